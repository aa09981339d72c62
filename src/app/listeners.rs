//! The listeners that are served, and how others take their place.
//!
//! Whatever can fail is done in [`Listeners::prepare`], before anything has changed: addresses are bound, TLS is set up. [`Listeners::commit`] only
//! puts it in place. A socket stays with its address; connections stay with their socket.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::StartError;
use super::sockets::listen_soon;
use crate::accept::backlog::{Abandon, Origin, Socket};
use crate::accept::room::Room;
use crate::accept::{self, Listening};
use crate::clock::Lapse;
use crate::config::{Config, Listener};
use crate::gateway::Current;

/// What is served.
pub(super) struct Listeners {
    served: Vec<Served>,
    gateway: Arc<Current>,
    room: Arc<Room>,
    tasks: TaskTracker,
    /// Ends them all.
    closing: CancellationToken,
    grace: Lapse,
}

/// One socket and what it is served by.
struct Served {
    /// As the configuration has it, where the port may be 0.
    configured: SocketAddr,
    /// As it is.
    address: SocketAddr,
    listening: Arc<ArcSwap<Listening>>,
    stop: CancellationToken,
    origin: Origin,
    abandon: Abandon,
}

/// What will be served: everything is in hand.
pub(super) struct Prepared(Vec<Next>);

enum Next {
    /// A socket that is there goes on with other settings.
    Kept { position: usize, listening: Listening },
    /// A socket that is new.
    Opened {
        configured: SocketAddr,
        address: SocketAddr,
        socket: Socket,
        listening: Listening,
        stop: CancellationToken,
    },
}

impl Listeners {
    /// None yet.
    pub(super) const fn new(
        gateway: Arc<Current>,
        room: Arc<Room>,
        tasks: TaskTracker,
        closing: CancellationToken,
        grace: Lapse,
    ) -> Self {
        Self { served: Vec::new(), gateway, room, tasks, closing, grace }
    }

    /// Sets up the listeners of `config`. `sockets` are those that are there already, in the order of the listeners; for listeners beyond
    /// them, sockets that are served now are kept where the address is the same, and others are opened.
    pub(super) async fn prepare(
        &self,
        config: &Config,
        sockets: Vec<Socket>,
    ) -> Result<Prepared, StartError> {
        let mut prepared = Vec::with_capacity(config.listeners.len());
        let mut kept = Vec::new();
        let mut sockets = sockets.into_iter();
        for listener in &config.listeners {
            let is_its = |(position, served): &(usize, &Served)| {
                !kept.contains(position) && served.is_socket_of(listener)
            };
            let found = self.served.iter().enumerate().find(is_its);
            prepared.push(match (sockets.next(), found) {
                (Some(socket), _) => self.open(socket, listener, config)?,
                (None, Some((position, served))) => {
                    kept.push(position);
                    let listening =
                        served.listening.load().followed_by(listener, config.limits, &served.stop)?;
                    Next::Kept { position, listening }
                }
                (None, None) => {
                    let socket = listen_soon(listener.address, &listener.name).await?;
                    self.open(socket.into(), listener, config)?
                }
            });
        }
        Ok(Prepared(prepared))
    }

    fn open(&self, socket: Socket, listener: &Listener, config: &Config) -> Result<Next, StartError> {
        let stop = self.closing.child_token();
        let listening = Listening::new(listener, config.limits, Arc::clone(&self.room), &stop)?;
        Ok(Next::Opened {
            configured: listener.address,
            address: socket.local_addr()?,
            socket,
            listening,
            stop,
        })
    }

    /// Serves what was prepared and nothing else. What is no longer served takes no connection any more, and the connections it has are drained.
    pub(super) fn commit(&mut self, Prepared(prepared): Prepared) {
        let mut before: Vec<Option<Served>> = self.served.drain(..).map(Some).collect();
        for next in prepared {
            let served = match next {
                Next::Kept { position, listening } => {
                    before.get_mut(position).and_then(Option::take).inspect(|served| {
                        let listening = Arc::new(listening);
                        let old = served.listening.swap(Arc::clone(&listening));
                        old.give_way_to(&listening);
                    })
                }
                Next::Opened { configured, address, socket, listening, stop } => {
                    info!(listener = &*listening.id.name, %address, "listening for callers");
                    let listening = Arc::new(ArcSwap::from_pointee(listening));
                    let (gateway, grace) = (Arc::clone(&self.gateway), self.grace.clone());
                    let (origin, abandon) = (socket.origin(), socket.abandon());
                    self.tasks.spawn(accept::serve(
                        socket,
                        Arc::clone(&listening),
                        gateway,
                        stop.clone(),
                        grace,
                    ));
                    Some(Served { configured, address, listening, stop, origin, abandon })
                }
            };
            self.served.extend(served);
        }
        for gone in before.into_iter().flatten() {
            info!(listener = &*gone.listening.load().id.name, address = %gone.address, "no longer listening");
            if gone.origin == Origin::Inherited {
                warn!(address = %gone.address, "this socket was passed by the service manager: callers are refused there from now on, until a listener has the address again");
            }
            gone.abandon.tell();
            gone.stop.cancel();
        }
    }

    /// Where it is listened on, in the order of the configuration.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.served.iter().map(|served| served.address).collect()
    }
}

impl Served {
    /// Whether the listener can have this socket. With port 0 an address stands for many sockets, so the name has to be the same too.
    fn is_socket_of(&self, listener: &Listener) -> bool {
        self.configured == listener.address
            && (listener.address.port() != 0 || *self.listening.load().id.name == *listener.name)
    }
}
