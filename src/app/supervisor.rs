//! What the service manager is told (sd_notify(3)): ready, reloading, stopping. Nothing where there is none.

use std::io;

use sd_notify::NotifyState;
use tracing::debug;

/// Who has started the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody who listens: a test, the demo.
    None,
    /// Whoever has put `NOTIFY_SOCKET` into the environment, if anyone has.
    Environment,
}

impl Supervisor {
    /// It serves. Also said after each reload, whatever came of it, with what came of it.
    pub fn ready(self, status: &str) {
        self.tell(|| Ok(vec![NotifyState::Ready, NotifyState::Status(status)]));
    }

    /// A reload begins. `Type=notify-reload` waits for this after its SIGHUP, and for [`Supervisor::ready`] after this; the time tells it
    /// which of several signals is meant.
    pub fn reloading(self) {
        self.tell(|| Ok(vec![NotifyState::Reloading, NotifyState::monotonic_usec_now()?]));
    }

    /// It stops.
    pub fn stopping(self) {
        self.tell(|| Ok(vec![NotifyState::Stopping, NotifyState::Status("draining")]));
    }

    fn tell<'s>(self, state: impl FnOnce() -> io::Result<Vec<NotifyState<'s>>>) {
        let told = match self {
            Supervisor::None => Ok(()),
            Supervisor::Environment => state().and_then(|state| sd_notify::notify(&state)),
        };
        if let Err(error) = told {
            debug!(%error, "the service manager could not be told");
        }
    }
}
