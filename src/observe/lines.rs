//! Lines on their way to a place that may be slow: requests hand them over and never wait, and a thread of its own writes them.
//!
//! To wake a thread costs several times what it costs to make a line. So the first line wakes it, and the others gather for a moment before all are
//! written at once. When the place takes nothing any more, lines are refused rather than kept: memory has a bound, and no request waits.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait.
const MOST: usize = 1 << 20;

/// Bytes that are worth writing at once.
const ENOUGH: usize = 64 * 1024;

/// How long the first line of many waits for the others.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the last lines may take at the end.
const LAST: Duration = Duration::from_secs(1);

/// The way to the thread. Dropped, it sees the last lines written, unless that takes longer than a second.
#[derive(Debug)]
pub(super) struct Lines(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// No more will come.
    ended: bool,
    /// Everything is written, and the thread is gone.
    done: bool,
}

/// The line was not taken, since too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let written = Arc::clone(&queue);
        std::thread::Builder::new().name("access-log".into()).spawn(move || written.write_all(out))?;
        Ok(Self(queue))
    }

    /// Hands over a line, with its line break.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn push(&self, line: &[u8]) -> Result<(), Full> {
        let mut waiting = self.0.lock();
        let before = waiting.bytes.len();
        let after = before + line.len();
        if after > MOST {
            return Err(Full);
        }
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.0.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.ended = true;
        self.0.changed.notify_all();
        // What the lock would say of a panic is nothing that could be mended here.
        drop(self.0.changed.wait_timeout_while(waiting, LAST, |waiting| !waiting.done));
    }
}

impl Queue {
    /// Nothing panics while this is held, and a log that is half a line short is better than none.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes what has gathered, until no more will come.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        let mut ended = false;
        while !ended {
            ended = self.take(&mut batch);
            // A closed standard output must not stop the gateway; the lines are lost, as the operator has chosen.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(ENOUGH);
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// Waits for a line and for others behind it, and takes them all. Gives whether they are the last.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let waiting = self
            .changed
            .wait_while(self.lock(), |waiting| waiting.bytes.is_empty() && !waiting.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, GATHERING, |waiting| waiting.bytes.len() < ENOUGH && !waiting.ended)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A place that keeps each write, and takes none before it is told to.
    struct Place {
        may_write: Receiver<()>,
        written: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once nobody tells any more, everything may be written.
            let _ = self.may_write.recv();
            self.written.lock().expect("no one panicked").push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Written = Arc<Mutex<Vec<Vec<u8>>>>;

    fn place() -> (Lines, SyncSender<()>, Written) {
        let (tell, may_write) = sync_channel(1);
        let written = Written::default();
        let place = Place { may_write, written: Arc::clone(&written) };
        (Lines::to(place).expect("a thread"), tell, written)
    }

    #[test]
    fn lines_arrive_whole_in_order_and_many_at_a_time() {
        let (lines, tell, written) = place();
        drop(tell);
        let line = |number: usize| format!("line {number}\n").into_bytes();
        for number in 0..10_000 {
            assert_eq!(lines.push(&line(number)), Ok(()));
        }
        // The end waits for the last of them.
        drop(lines);
        let written = written.lock().expect("no one panicked");
        assert!(written.len() < 1000, "{} writes", written.len());
        assert!(written.iter().all(|batch| batch.ends_with(b"\n")));
        assert_eq!(written.concat(), (0..10_000).flat_map(line).collect::<Vec<u8>>());
    }

    #[test]
    fn a_place_that_takes_nothing_is_waited_for_by_nobody() {
        let (lines, tell, written) = place();
        let line = [b'x'; 1024];
        let taken = (0..10_000).take_while(|_| lines.push(&line).is_ok()).count();
        // One batch is in the hand of the thread, and one waits.
        assert!((MOST / line.len()..=2 * MOST / line.len()).contains(&taken), "{taken}");
        assert_eq!(lines.push(&line), Err(Full));
        drop(tell);
        drop(lines);
        assert_eq!(written.lock().expect("no one panicked").concat().len(), taken * line.len());
    }
}
