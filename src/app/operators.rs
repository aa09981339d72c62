//! The admin listener: there or not, and at which address, as the configuration of the moment says.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::StartError;
use super::sockets::listen_soon;
use crate::admin::{self, Admin};
use crate::config;

/// What operators can reach.
pub(super) struct Operators {
    admin: Arc<Admin>,
    /// When it ends, everything has.
    ended: CancellationToken,
    served: Option<Served>,
}

struct Served {
    /// As the configuration has it, where the port may be 0.
    configured: SocketAddr,
    /// As it is.
    address: SocketAddr,
    ended: CancellationToken,
}

/// What operators will be able to reach.
pub(super) enum Prepared {
    /// What they can reach now, by these names.
    Same(Vec<String>),
    /// Another address.
    Opened { admin: config::Admin, address: SocketAddr, socket: TcpListener },
    /// Nothing.
    Nothing,
}

impl Operators {
    /// Nothing yet. `ended` ends it.
    pub(super) const fn new(admin: Arc<Admin>, ended: CancellationToken) -> Self {
        Self { admin, ended, served: None }
    }

    /// Opens the address, if it is another one.
    pub(super) async fn prepare(&self, admin: Option<&config::Admin>) -> Result<Prepared, StartError> {
        let now = self.served.as_ref().map(|served| served.configured);
        match admin {
            Some(admin) if now == Some(admin.address) => Ok(Prepared::Same(admin.names.clone())),
            Some(admin) => Prepared::open(admin, listen_soon(admin.address, "admin").await?),
            None => Ok(Prepared::Nothing),
        }
    }

    /// Serves what was prepared and nothing else.
    pub(super) fn commit(&mut self, prepared: Prepared) {
        let next = match prepared {
            Prepared::Same(names) => return self.admin.names.store(Arc::new(names)),
            Prepared::Nothing => None,
            Prepared::Opened { admin: config::Admin { address: configured, names }, address, socket } => {
                self.admin.names.store(Arc::new(names));
                info!(%address, "listening for operators");
                let ended = self.ended.child_token();
                // Not among the tasks that are waited for: it answers during the drain, and must not lengthen it.
                tokio::spawn(admin::serve(socket, Arc::clone(&self.admin), ended.clone()));
                Some(Served { configured, address, ended })
            }
        };
        if let Some(before) = std::mem::replace(&mut self.served, next) {
            info!(address = %before.address, "no longer listening for operators");
            before.ended.cancel();
        }
    }

    /// Where it is listened on.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.served.as_ref().map(|served| served.address)
    }
}

impl Prepared {
    /// A socket that is there already.
    pub(super) fn open(admin: &config::Admin, socket: TcpListener) -> Result<Self, StartError> {
        Ok(Prepared::Opened { admin: admin.clone(), address: socket.local_addr()?, socket })
    }
}
