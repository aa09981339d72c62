//! HTTP/2 heads that do not come to their end: seen below hyper, which waits for them without a limit.
//!
//! A head is a HEADERS frame and the CONTINUATION frames behind it, up to END_HEADERS (RFC 9113 §4.3); until then nothing else may come on the
//! connection. Only frame headers are looked at, to tell [`Activity`] that `header_timeout` is running. Every rule is left to hyper.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// RFC 9113 §3.4: what a client sends first.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// RFC 9113 §4.1: length, type, flags, stream.
const FRAME_HEADER: usize = 9;
/// RFC 9113 §6.2, §6.10.
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// A stream that reports heads in the making.
#[derive(Debug)]
pub(super) struct Frames<S> {
    inner: S,
    activity: Arc<Activity>,
    outline: Outline,
}

/// Where in the sequence of frames the reader is.
#[derive(Debug)]
struct Outline {
    place: Place,
    /// The last HEADERS or CONTINUATION frame did not end its head.
    open: bool,
}

#[derive(Debug)]
enum Place {
    /// So many bytes of the preface are missing.
    Preface(usize),
    /// So many bytes of a frame's header have come.
    Header([u8; FRAME_HEADER], usize),
    /// So many bytes of a payload are missing.
    Payload { missing: usize, of_head: bool },
}

impl<S> Frames<S> {
    /// Watches the frames that come from `inner`.
    pub(super) const fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity, outline: Outline { place: Place::Preface(PREFACE), open: false } }
    }
}

impl Outline {
    /// Follows the bytes that came.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.place {
                Place::Preface(missing) => {
                    let taken = bytes.len().min(*missing);
                    *missing -= taken;
                    if *missing == 0 {
                        self.place = Place::Header([0; FRAME_HEADER], 0);
                    }
                    taken
                }
                Place::Header(header, come) => {
                    let taken = bytes.len().min(FRAME_HEADER - *come);
                    header[*come..*come + taken].copy_from_slice(&bytes[..taken]);
                    *come += taken;
                    if *come == FRAME_HEADER {
                        let header = *header;
                        self.begin(header);
                    }
                    taken
                }
                Place::Payload { missing, .. } => {
                    let taken = bytes.len().min(*missing);
                    *missing -= taken;
                    if *missing == 0 {
                        self.place = Place::Header([0; FRAME_HEADER], 0);
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    fn begin(&mut self, [high, middle, low, kind, flags, ..]: [u8; FRAME_HEADER]) {
        let of_head = kind == HEADERS || kind == CONTINUATION;
        if of_head {
            self.open = flags & END_HEADERS == 0;
        }
        let missing = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.place = match missing {
            0 => Place::Header([0; FRAME_HEADER], 0),
            missing => Place::Payload { missing, of_head },
        };
    }

    /// Whether something has begun that ends in a request.
    const fn is_in_head(&self) -> bool {
        match self.place {
            Place::Preface(missing) => missing < PREFACE,
            Place::Payload { of_head: true, .. } => true,
            Place::Payload { of_head: false, .. } | Place::Header(..) => self.open,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.outline.follow(&buf.filled()[before..]);
        self.activity.in_head(self.outline.is_in_head());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
