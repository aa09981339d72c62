//! What reaches hyper's HTTP/1 parser: heads that `head` found in order, whole, and bodies as long as their heads say.
//!
//! Bytes are read straight into hyper's own buffer and judged there. Only what cannot be judged yet (half a head, half a
//! chunk-size line) is taken back and kept until the rest arrives, so a request that comes in one piece is not copied.
//!
//! After a head that is refused nothing more is read. hyper is told of the end of the stream as soon as the answers to earlier
//! requests have left, and `connection` then writes the refusal. Inside a body it is too late for that: the body fails, and whatever
//! is being sent upstream fails with it.
//!
//! Behind a request to switch protocols nothing is judged until it is answered. A 101 makes what came meanwhile the first bytes of the other
//! protocol. Any other answer leaves them without a meaning that both sides must agree on: read as HTTP they could be requests that whoever
//! fed the caller its other-protocol data wrote into it (RFC 9931 §4), so they are thrown away and the connection ends behind the answer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{Activity, Switch};
use super::chunked::{Checked, ChunkReader};
use super::head::{Body, HeadReader};
use super::refusal::Refusal;

/// The most bytes that are taken in behind a request to switch protocols before it is answered. The rest waits in the system's buffer.
const MOST_EARLY: usize = 16 * 1024;

/// How much is read at a time while hyper is not there.
pub(super) const PIECE: usize = 4 * 1024;

/// A stream whose reading side yields only well-framed HTTP/1 requests.
#[derive(Debug)]
pub(super) struct Framing<S> {
    inner: S,
    activity: Arc<Activity>,
    reader: RequestReader,
    /// Bytes that could not be passed on when they came: first `ready` ones that were judged since, then those that were not.
    held: BytesMut,
    ready: usize,
}

impl<S> Framing<S> {
    /// Reads requests from `inner`, with heads of at most `header_bytes`.
    pub(super) fn new(inner: S, activity: Arc<Activity>, header_bytes: usize) -> Self {
        let reader = RequestReader { header_bytes, part: Part::Head(HeadReader::default()), verdict: None };
        Self { inner, activity, reader, held: BytesMut::new(), ready: 0 }
    }

    /// Whether something has come that hyper has to see.
    pub(super) const fn has_request(&self) -> bool {
        self.ready > 0
    }

    /// Gives back what is not needed until the next request. `false` when there is something that is: then it cannot wait without hyper.
    pub(super) fn park(&mut self) -> bool {
        self.activity.rests(false);
        // Its room may be that of a long head.
        self.held = if self.held.is_empty() { BytesMut::new() } else { return false };
        self.reader.is_between_requests()
    }

    fn note_body(&self) {
        let in_body = matches!(self.reader.part, Part::Length(_) | Part::Chunks(_));
        self.activity.in_body(in_body || self.ready > 0);
    }

    /// What is left when hyper is done with it.
    pub(super) fn into_rest(self) -> Rest<S> {
        let refusal = match self.reader.verdict {
            Some(Verdict::Told(refusal)) => Some(refusal),
            Some(Verdict::Refused(_) | Verdict::Early | Verdict::Broken) | None => None,
        };
        Rest { stream: self.inner, refusal, unjudged: self.held }
    }
}

/// A stream that carries no more requests.
#[derive(Debug)]
pub(super) struct Rest<S> {
    /// The stream.
    pub(super) stream: S,
    /// The refusal that is due on it: only when nothing else is being written.
    pub(super) refusal: Option<Refusal>,
    /// What came and was never judged. After a 101 these are the first bytes of the other protocol.
    pub(super) unjudged: BytesMut,
}

/// The requests of one connection, told apart.
#[derive(Debug)]
struct RequestReader {
    header_bytes: usize,
    part: Part,
    verdict: Option<Verdict>,
}

/// What is being read.
#[derive(Debug)]
enum Part {
    Head(HeadReader),
    Length(u64),
    Chunks(ChunkReader),
    /// Nothing, before the request to switch protocols is answered.
    Switching,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// A head was refused.
    Refused(Refusal),
    /// The same, and hyper knows that there is nothing more to read: the refusal can be written.
    Told(Refusal),
    /// Something came behind a request to switch protocols, which was then declined.
    Early,
    /// A body broke its framing.
    Broken,
}

impl RequestReader {
    /// Judges `bytes`, which start behind what was judged before; how many of them, from the first, may be passed on.
    fn judge(&mut self, bytes: &[u8], activity: &Activity) -> usize {
        let mut judged = 0;
        while judged < bytes.len() && self.verdict.is_none() {
            let rest = &bytes[judged..];
            match &mut self.part {
                Part::Head(reader) => match reader.read(rest, self.header_bytes) {
                    Ok(Some(head)) => {
                        activity.request_began();
                        // What comes behind it is another head, whose time begins with its own first byte.
                        activity.in_head(false);
                        judged += head.length;
                        self.part = match head.body {
                            Body::None if head.upgrade => {
                                activity.switches(Switch::Asked);
                                Part::Switching
                            }
                            Body::None => Part::Head(HeadReader::default()),
                            Body::Length(length) => Part::Length(length),
                            Body::Chunked => Part::Chunks(ChunkReader::new()),
                        };
                    }
                    Ok(None) => break,
                    Err(refusal) => self.verdict = Some(Verdict::Refused(refusal)),
                },
                Part::Switching => {
                    activity.switches(Switch::AskedAndSpoke);
                    break;
                }
                Part::Length(left) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    judged += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.part = Part::Head(HeadReader::default());
                    }
                }
                Part::Chunks(reader) => match reader.read(rest) {
                    Ok(Checked::Part(0)) => break,
                    Ok(Checked::Part(length)) => judged += length,
                    Ok(Checked::End(length)) => {
                        judged += length;
                        self.part = Part::Head(HeadReader::default());
                    }
                    Err(_) => {
                        activity.broke();
                        self.verdict = Some(Verdict::Broken);
                    }
                },
            }
        }
        judged
    }

    /// Whether nothing of a request has been judged that is not over.
    const fn is_between_requests(&self) -> bool {
        matches!(self.part, Part::Head(_)) && self.verdict.is_none()
    }

    /// Goes on after a request to switch protocols was answered with something else. `early`: bytes had come before.
    fn resume(&mut self, early: bool) {
        self.part = Part::Head(HeadReader::default());
        if early {
            self.verdict = Some(Verdict::Early);
        }
    }
}

impl<S: AsyncRead + Unpin> Framing<S> {
    /// Waits, while hyper is not there, until a whole head has come that it can be given, or a refusal is due, or nothing more can come.
    /// [`Framing::has_request`] says whether it is the first.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ready == 0 && self.reader.verdict.is_none() {
            // Room for a piece exists only while one passes.
            let mut room = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(piece.filled());
            self.judge_held();
        }
        if let (0, Some(Verdict::Refused(refusal))) = (self.ready, self.reader.verdict) {
            self.reader.verdict = Some(Verdict::Told(refusal));
        }
        Poll::Ready(Ok(()))
    }

    /// Judges what was kept, to which something has been added.
    fn judge_held(&mut self) {
        self.ready = self.reader.judge(&self.held, &self.activity);
        self.note_place();
    }

    /// Says whether a head has begun that is not whole, or a body.
    fn note_place(&self) {
        let in_head = matches!(self.reader.part, Part::Head(_)) && self.held.len() > self.ready;
        self.activity.in_head(in_head && self.reader.verdict.is_none());
        self.note_body();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framing<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        loop {
            if me.ready > 0 {
                let passed = me.ready.min(buf.remaining());
                buf.put_slice(&me.held[..passed]);
                me.held.advance(passed);
                me.ready -= passed;
                me.note_body();
                return Poll::Ready(Ok(()));
            }
            if matches!(me.reader.part, Part::Switching) {
                match me.activity.switch() {
                    Switch::Asked | Switch::AskedAndSpoke | Switch::Switched => {
                        if me.held.len() >= MOST_EARLY {
                            return Poll::Pending;
                        }
                    }
                    Switch::Unasked | Switch::Declined => me.reader.resume(!me.held.is_empty()),
                }
            }
            match me.reader.verdict {
                // The end of the stream would make hyper drop the requests it is still answering.
                Some(Verdict::Refused(_) | Verdict::Early) if me.activity.is_busy() => return Poll::Pending,
                Some(Verdict::Early) => return Poll::Ready(Ok(())),
                Some(Verdict::Refused(refusal) | Verdict::Told(refusal)) => {
                    me.reader.verdict = Some(Verdict::Told(refusal));
                    return Poll::Ready(Ok(()));
                }
                Some(Verdict::Broken) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                None => {}
            }
            let before = buf.filled().len();
            let outcome = Pin::new(&mut me.inner).poll_read(cx, buf);
            // hyper asks for more only when it has taken all that it was given.
            me.activity.rests(outcome.is_pending() && me.held.is_empty() && me.reader.is_between_requests());
            ready!(outcome)?;
            let arrived = &buf.filled()[before..];
            if arrived.is_empty() {
                // The end of the stream, or no room: in the middle of a body hyper knows what is missing, and half a head is no request.
                return Poll::Ready(Ok(()));
            }
            if me.held.is_empty() {
                let judged = me.reader.judge(arrived, &me.activity);
                me.held.extend_from_slice(&arrived[judged..]);
                buf.set_filled(before + judged);
            } else {
                me.held.extend_from_slice(arrived);
                buf.set_filled(before);
                me.judge_held();
                continue;
            }
            me.note_place();
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.activity.flushed();
        if matches!(self.reader.verdict, Some(Verdict::Refused(_) | Verdict::Early))
            && !self.activity.is_busy()
        {
            // hyper waits for a read that will not come: have it ask again, and hear of the end.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes only. hyper calls this when it is done, but a refusal may still have to be written: `connection` closes.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What one long head needed room for is not kept for all the time that nobody asks for anything.
    #[tokio::test]
    async fn a_parked_connection_keeps_no_room() {
        let (mut caller, near) = duplex(16 * 1024);
        let mut framing = Framing::new(near, Activity::new(), 16 * 1024);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000));
        caller.write_all(head.as_bytes()).await.expect("open");
        poll_fn(|cx| framing.poll_request(cx)).await.expect("open");
        assert!(framing.has_request());
        let mut read = vec![0; head.len()];
        framing.read_exact(&mut read).await.expect("whole");
        assert!(read == head.as_bytes() && framing.held.capacity() > 0);
        assert!(framing.park());
        assert_eq!(framing.held.capacity(), 0);
        // Half a head is needed.
        caller.write_all(b"GET").await.expect("open");
        assert!(poll_fn(|cx| Poll::Ready(framing.poll_request(cx).is_pending())).await);
        assert!(!framing.park());
        assert_eq!(framing.held, b"GET"[..]);
    }
}
