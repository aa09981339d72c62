//! The way back: a response body that knows when its request is over, and HTTP/2 streams whose reader has stopped reading.
//!
//! In HTTP/1 a reader that stops is seen at the socket (`stall`). In HTTP/2 it can go on answering pings while it gives one stream no
//! window, so there each stream is watched: a frame that was made and not taken within `idle_timeout` ends the stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use super::activity::InFlight;

tokio::task_local! {
    /// The stream whose task this is.
    static STREAM: Arc<Turn>;
}

/// Whose turn it is on a stream. Odd while its reader is to take what was made, even while we are to make more; every frame
/// counts up, so that progress is seen as well.
#[derive(Debug, Default)]
struct Turn(AtomicU64);

impl Turn {
    fn is_readers(&self) -> Option<u64> {
        let turn = self.0.load(Ordering::Relaxed);
        (turn % 2 == 1).then_some(turn)
    }

    fn to_reader(&self) {
        let turn = self.0.load(Ordering::Relaxed);
        self.0.store((turn | 1) + 2, Ordering::Relaxed);
    }

    fn to_us(&self) {
        let turn = self.0.load(Ordering::Relaxed);
        self.0.store((turn | 1) + 1, Ordering::Relaxed);
    }
}

/// Says whose turn it is on the stream whose task this is; an HTTP/1 connection has none, and nothing happens.
fn turn(change: fn(&Turn)) {
    let _ = STREAM.try_with(|turn| change(turn));
}

pin_project! {
    /// A response body, with the request it answers: that is over when this is dropped.
    #[derive(Debug)]
    pub(super) struct Answer<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
    }
}

impl<B> Answer<B> {
    /// The head is made, so it is the reader's turn.
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        turn(Turn::to_reader);
        Self { body, in_flight }
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = self.project().body.poll_frame(cx);
        turn(if frame.is_pending() { Turn::to_us } else { Turn::to_reader });
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where hyper runs the streams of an HTTP/2 connection: counted for the drain, and watched.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: TaskTracker,
    idle_timeout: Duration,
}

impl Streams {
    /// Streams that are counted in `tasks` and end when nobody reads them for `idle_timeout`.
    pub(super) const fn new(tasks: TaskTracker, idle_timeout: Duration) -> Self {
        Self { tasks, idle_timeout }
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.tasks.spawn(Watched {
            stream,
            turn: Arc::default(),
            idle_timeout: self.idle_timeout,
            waited: 0,
            timer: None,
        });
    }
}

pin_project! {
    /// A stream that ends when its reader has taken nothing for `idle_timeout`. Dropping it resets the stream.
    struct Watched<F> {
        #[pin]
        stream: F,
        turn: Arc<Turn>,
        idle_timeout: Duration,
        // The turn that the timer was set for.
        waited: u64,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.project();
        if STREAM.sync_scope(Arc::clone(me.turn), || me.stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(turn) = me.turn.is_readers() else { return Poll::Pending };
        let deadline = Instant::now() + *me.idle_timeout;
        let timer = me.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if *me.waited != turn {
            *me.waited = turn;
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("a stream was reset: its reader takes nothing");
        Poll::Ready(())
    }
}
