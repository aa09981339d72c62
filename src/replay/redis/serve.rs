//! A vetted connection at work: what waits is sent as one batch, replies are handed to the batches in their order, until the first thing that is wrong.
//!
//! Replies come in the order of the questions, so a reply that is late, wrong or missing leaves all after it without an owner. There is nothing to be saved
//! then: the connection is given up, and every claim that is in flight is answered as unavailable. None is sent again, since nobody knows whether it was made.
//!
//! One task does it all, reading and writing: each hand-over to another one would cost more than the claim.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::batch::{Batch, Claim, Judge, Phrases};
use super::clocks::Pace;
use super::link::Stream;
use super::memory::Names;
use super::resp::{NoReply, Reply};
use super::state::ServerState;
use super::trouble::Trouble;

/// Claims that go out together. More would make the first of them wait for the last.
const CLAIMS: usize = 128;
/// Batches in flight on one connection. What comes while so many are under way is gathered into the next one, which is what makes batches larger when there is more to do.
const BATCHES: usize = 4;
/// How often the server is looked at. Twice within that time it can hardly have been replaced by another and have taken its place again.
const LOOK: Duration = Duration::from_secs(1);
/// How much is read at a time.
const READ: usize = 16 * 1024;

/// Why a connection is no longer at work.
#[derive(Debug)]
pub(super) enum End {
    /// Something was wrong.
    Trouble(Trouble),
    /// Nobody makes claims any more.
    Closed,
}

/// See the module's description.
pub(super) struct Serving<'s> {
    stream: Box<dyn Stream>,
    judge: Judge<'s>,
    state: &'s ServerState,
    phrases: Phrases,
    input: BytesMut,
    output: Vec<u8>,
    /// How much of `output` is written.
    written: usize,
    /// Whether what is written has still to be pushed out.
    flushing: bool,
    in_flight: VecDeque<Batch>,
    /// Claims on their way from the queue into a batch.
    gathered: Vec<Claim>,
    next_look: Instant,
    /// Whether it was told that limits are not counted.
    complained: bool,
    /// Rings no later than the next thing that is due.
    alarm: Pin<Box<Sleep>>,
}

impl<'s> Serving<'s> {
    /// A connection that was just vetted.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        judge: Judge<'s>,
        names: &Names,
        state: &'s ServerState,
    ) -> Self {
        let next_look = Instant::now() + LOOK;
        Self {
            phrases: Phrases::new(&judge, names),
            stream,
            judge,
            state,
            input: BytesMut::with_capacity(READ),
            output: Vec::with_capacity(READ),
            written: 0,
            flushing: false,
            in_flight: VecDeque::with_capacity(BATCHES + 1),
            gathered: Vec::with_capacity(CLAIMS),
            next_look,
            complained: false,
            alarm: Box::pin(tokio::time::sleep_until(next_look)),
        }
    }

    /// Works until something is wrong. The claims in flight are dropped with this, and so answered as unavailable.
    pub(super) async fn run(&mut self, queue: &mut mpsc::Receiver<Claim>) -> End {
        std::future::poll_fn(|cx| self.poll(queue, cx)).await
    }

    /// How the server's clock went when it was looked at last.
    pub(super) const fn pace(&self) -> Pace {
        self.judge.vetted.pace
    }

    fn poll(&mut self, queue: &mut mpsc::Receiver<Claim>, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let read = match self.poll_read(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(trouble)) => return Poll::Ready(End::Trouble(trouble)),
                Poll::Pending => false,
            };
            let gathered = match self.poll_gather(queue, cx) {
                Poll::Ready(Ok(true)) => true,
                Poll::Ready(Ok(false)) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(trouble)) => return Poll::Ready(End::Trouble(trouble)),
                Poll::Pending => false,
            };
            if let Poll::Ready(Err(trouble)) = self.poll_write(cx) {
                return Poll::Ready(End::Trouble(trouble));
            }
            let rung = match self.poll_alarm(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(trouble)) => return Poll::Ready(End::Trouble(trouble)),
                Poll::Pending => false,
            };
            if !(read || gathered || rung) {
                return Poll::Pending;
            }
        }
    }

    /// Reads what has come and hands it out. Also when nothing is expected: a server that closes the connection is noticed at once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let mut piece = [std::mem::MaybeUninit::uninit(); READ];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        if piece.filled().is_empty() {
            return Poll::Ready(Err(Trouble::Unreachable("it closed the connection".into())));
        }
        self.input.extend_from_slice(piece.filled());
        let (mut done, mut uncounted) = (0, None);
        let result = loop {
            let (reply, length) = match Reply::read(&self.input[done..]) {
                Ok(read) => read,
                Err(NoReply::Half) => break Ok(()),
                Err(NoReply::Foreign) => break Err(Trouble::NotRedis),
            };
            // A reply that nobody has asked for would become the next one's.
            let Some(batch) = self.in_flight.front_mut() else { break Err(Trouble::NotRedis) };
            match batch.take(&reply, &mut self.judge) {
                Err(trouble) => break Err(trouble),
                Ok(false) => {}
                Ok(true) => {
                    if let Some(batch) = self.in_flight.pop_front() {
                        match batch.is_look() {
                            true => self.state.looked(self.judge.vetted.ahead),
                            false => self.state.answered(batch.sent.elapsed()),
                        }
                        uncounted = uncounted.or(batch.answer());
                    }
                }
            }
            done += length;
        };
        self.input.advance(done);
        if let Some(why) = uncounted {
            // Once for each connection: what else fails may end them as fast as they come.
            if !std::mem::replace(&mut self.complained, true) {
                self.state.uncounted(&why);
            }
        }
        Poll::Ready(result)
    }

    /// Makes a batch of the claims that wait. `false`: there will be no more.
    fn poll_gather(
        &mut self,
        queue: &mut mpsc::Receiver<Claim>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Trouble>> {
        if self.in_flight.len() >= BATCHES {
            // A reply will come, or be late.
            return Poll::Pending;
        }
        if ready!(queue.poll_recv_many(cx, &mut self.gathered, CLAIMS)) == 0 {
            return Poll::Ready(Ok(false));
        }
        let sent = Instant::now();
        let Judge { vetted, clock, settings, .. } = &self.judge;
        // What has waited behind slow answers for as long as an answer may take is refused, or its request would be held for all of theirs.
        let all = self.gathered.len();
        self.gathered.retain(|claim| sent.duration_since(claim.since) < settings.timeout);
        self.state.waited_for_too_long(all - self.gathered.len());
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(true));
        }
        vetted.pace.judge_ours(sent, clock, settings.clock_difference)?;
        let batch = Batch::of_claims(&mut self.gathered, sent, &self.phrases, &mut self.output);
        self.send(batch);
        Poll::Ready(Ok(true))
    }

    fn send(&mut self, batch: Batch) {
        let due = batch.sent + self.judge.settings.timeout;
        if self.alarm.deadline() > due {
            self.alarm.as_mut().reset(due);
        }
        self.in_flight.push_back(batch);
        self.flushing = true;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        while self.written < self.output.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(Trouble::Unreachable("it takes nothing".into())));
            }
            self.written += written;
        }
        self.output.clear();
        self.written = 0;
        if self.flushing {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Looks whether a reply is late, and whether it is time to look at the server. The alarm rings at least once in each `timeout` while there is work, rather than being set for each
    /// batch anew, which would cost more.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        ready!(self.alarm.as_mut().poll(cx));
        let now = Instant::now();
        let timeout = self.judge.settings.timeout;
        if self.in_flight.front().is_some_and(|oldest| oldest.sent + timeout <= now) {
            return Poll::Ready(Err(Trouble::Late));
        }
        if self.next_look <= now {
            self.next_look = now + LOOK;
            let look = Batch::look(now, self.judge.clock, &self.phrases, &mut self.output);
            self.send(look);
        }
        let oldest = self.in_flight.front().map(|oldest| oldest.sent + timeout);
        let next = oldest.map_or(self.next_look, |oldest| oldest.min(self.next_look));
        self.alarm.as_mut().reset(next);
        Poll::Ready(Ok(()))
    }
}
