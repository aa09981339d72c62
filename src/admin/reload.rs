//! Asking for a reload, and hearing what came of it. Whoever carries it out is the other end: `app`.

use tokio::sync::{mpsc, oneshot};

/// Requests that may wait. More would only ask for the same again.
const WAITING: usize = 16;

/// Who asks for a reload. Files that changed need not be asked for: see `app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP
    Signal,
    /// `POST /reload`
    Request,
    /// A file is not what it was.
    Files,
}

impl Trigger {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::Signal => "SIGHUP",
            Trigger::Request => "POST /reload",
            Trigger::Files => "a file changed",
        }
    }
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another configuration is in force. What is different, a line each.
    Applied(Vec<String>),
    /// Nothing has changed: everything that is wrong, as text.
    Refused(String),
    /// Every file is the same to the byte.
    Unchanged,
}

/// One request for a reload.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub trigger: Trigger,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Outcome>,
}

/// Where reloads are asked for. Clones ask the same one.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Asked>);

impl Reloads {
    /// Both ends. Without anyone at the other end nothing is ever reloaded.
    pub fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self(ask), asked)
    }

    /// Asks, and waits for the outcome. `None` where nobody reloads: the gateway is stopping, or was not started from a file.
    pub async fn ask(&self, trigger: Trigger) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.send(Asked { trigger, answer }).await.ok()?;
        outcome.await.ok()
    }
}
