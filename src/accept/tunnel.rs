//! What a connection becomes behind a 101 (RFC 9110 §7.8): bytes both ways between the caller and the upstream, and nothing is understood
//! of them.
//!
//! A tunnel begins when the 101 has left for the caller, and only a handler that holds the upstream's own 101 can make one. It
//! runs in the connection's task, so it keeps the connection's slot and is counted in the drain. Its memory is what one side has
//! sent and the other has not taken yet, at most [`PIECE`] each way, and none while it is quiet.

use std::fmt;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Ending;
use crate::clock::Deadline;
use crate::patience::Patience;

/// How much is read at a time.
const PIECE: usize = 16 * 1024;

/// Both directions of a connection to an upstream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// The other end of a tunnel, and how long it may live.
pub struct Tunnel {
    /// The upstream's connection, from the first byte behind its 101.
    pub upstream: Box<dyn Duplex>,
    /// How long both sides may be silent; `None` is `limits.idle_timeout`. When one side has ended, the other has that at most.
    pub idle_timeout: Option<Duration>,
    /// When it ends whatever happens.
    pub deadline: Option<Deadline>,
    /// Hears of its end, once; not when the tunnel never began.
    pub ended: Box<dyn FnOnce(Ended) + Send>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

/// How a tunnel ended, and what went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub end: End,
    /// Bytes from the caller to the upstream.
    pub from_caller: u64,
    /// Bytes from the upstream to the caller.
    pub from_upstream: u64,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said that they were done.
    Closed,
    /// The connection to the caller failed.
    CallerLeft,
    /// The connection to the upstream failed.
    UpstreamBroken,
    /// Neither said anything for too long.
    Idle,
    /// Its deadline came.
    Expired,
    /// The gateway stops, and the grace is over.
    Drained,
}

impl Tunnel {
    /// Carries bytes until an end comes. `early` is what the caller sent before it could have read the 101.
    pub(super) async fn run<S>(self, caller: S, early: BytesMut, ending: &Ending)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { upstream, idle_timeout, deadline, ended } = self;
        let usual = ending.limits.idle_timeout;
        let idle_timeout = idle_timeout.unwrap_or(usual);
        let mut carried = Carried {
            caller,
            upstream,
            up: Way::new(early),
            down: Way::new(BytesMut::new()),
            patience: Patience::new(idle_timeout),
            idle_when_half: idle_timeout.min(usual),
            deadline,
        };
        let end = tokio::select! {
            biased;
            end = std::future::poll_fn(|cx| carried.poll(cx)) => end,
            () = ending.overdue() => End::Drained,
        };
        ended(Ended { end, from_caller: carried.up.bytes, from_upstream: carried.down.bytes });
    }
}

/// A tunnel at work.
struct Carried<S> {
    caller: S,
    upstream: Box<dyn Duplex>,
    up: Way,
    down: Way,
    patience: Patience,
    idle_when_half: Duration,
    deadline: Option<Deadline>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carried<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(deadline) = &mut self.deadline
            && deadline.poll_passed(cx).is_ready()
        {
            return Poll::Ready(End::Expired);
        }
        let (before, was_half) = (self.progress(), self.is_half());
        let up = self.up.poll(cx, &mut self.caller, &mut self.upstream);
        let down = self.down.poll(cx, &mut self.upstream, &mut self.caller);
        for (outcome, from, to) in
            [(&up, End::CallerLeft, End::UpstreamBroken), (&down, End::UpstreamBroken, End::CallerLeft)]
        {
            match outcome {
                Poll::Ready(Err(Broken::From)) => return Poll::Ready(from),
                Poll::Ready(Err(Broken::To)) => return Poll::Ready(to),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(End::Closed);
        }
        if self.is_half() && !was_half {
            // A side that is gone for good says the same as one that has only finished; it must not hold the other for an hour.
            self.patience = Patience::new(self.idle_when_half);
        } else if self.progress() != before {
            self.patience.restore();
        }
        self.patience.poll_exhausted(cx).map(|()| End::Idle)
    }

    const fn progress(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    fn is_half(&self) -> bool {
        self.up.stage != Stage::Open || self.down.stage != Stage::Open
    }
}

/// Which end of a way failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    From,
    To,
}

/// One direction. What one side sends waits here until the other takes it, and no more is read meanwhile.
struct Way {
    waiting: BytesMut,
    stage: Stage,
    unflushed: bool,
    /// Taken by the other side.
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// One side has ended; the other is to hear of it.
    Ending,
    Over,
}

impl Way {
    const fn new(waiting: BytesMut) -> Self {
        Self { waiting, stage: Stage::Open, unflushed: false, bytes: 0 }
    }

    /// Carries what there is. Ready when this direction has ended and the other side knows.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.waiting.has_remaining() {
            let taken = ready!(poll_write(cx, to, &self.waiting))?;
            self.waiting.advance(taken);
            self.wrote(taken);
        }
        while self.stage == Stage::Open {
            // Room for a piece exists only while one passes.
            let mut room = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            if Pin::new(&mut *from).poll_read(cx, &mut piece).map_err(|_| Broken::From)?.is_pending() {
                self.waiting = BytesMut::new();
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::To)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            let mut left = piece.filled();
            if left.is_empty() {
                self.stage = Stage::Ending;
            }
            while !left.is_empty() {
                let Poll::Ready(taken) = poll_write(cx, to, left)? else {
                    self.waiting.extend_from_slice(left);
                    return Poll::Pending;
                };
                left = &left[taken..];
                self.wrote(taken);
            }
        }
        if self.stage == Stage::Ending {
            ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| Broken::To)?;
            self.stage = Stage::Over;
        }
        Poll::Ready(Ok(()))
    }

    const fn wrote(&mut self, count: usize) {
        self.bytes += count as u64;
        self.unflushed = true;
    }
}

/// Writes some of `bytes`, of which there is at least one.
fn poll_write<W>(cx: &mut Context<'_>, to: &mut W, bytes: &[u8]) -> Poll<Result<usize, Broken>>
where
    W: AsyncWrite + Unpin,
{
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) | Err(_) => Poll::Ready(Err(Broken::To)),
        Ok(taken) => Poll::Ready(Ok(taken)),
    }
}
