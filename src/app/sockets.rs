//! The sockets to serve on: opened here, or passed by the service manager (`LISTEN_FDS`, sd_listen_fds(3)).
//!
//! A passed socket belongs to the listener that it is named after, or else to the one with its address. One that belongs to none stops the start:
//! callers could connect to it and nobody would ever answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use listenfd::ListenFd;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep};

use super::StartError;
use crate::accept::backlog::{Origin, Socket};
use crate::config::Config;

/// The name that stands for the admin listener.
const ADMIN: &str = "admin";

/// How long a listener that has ended may keep its address, far beyond what it takes when there are slots for whoever is in its queue.
const LEAVING: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How many connections may wait until we take them. Beyond it the system drops a caller's first packet, which is sent again a whole second later. The standard
/// library asks for 128, which one burst of callers fills; Linux gives at most `net.core.somaxconn`, 4096 where nobody has changed it.
const BACKLOG: u16 = 4096;

/// The sockets to serve on, in the order of the configuration's listeners.
#[derive(Debug)]
pub struct Sockets {
    /// One for each listener.
    pub public: Vec<Socket>,
    /// The admin listener's.
    pub admin: Option<TcpListener>,
}

/// A socket that the service manager has passed.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=`, where there is one.
    pub name: Option<String>,
    /// The socket.
    pub socket: std::net::TcpListener,
}

impl Sockets {
    /// Listens on the addresses of a configuration. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Bind`] for the first that cannot be had.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        Self::with_passed(config, Vec::new())
    }

    /// Takes the sockets that were passed, and listens on the addresses that none was passed for.
    ///
    /// # Errors
    /// [`StartError::Bind`], and [`StartError::Passed`] for a socket that belongs to no listener.
    pub fn with_passed(config: &Config, mut passed: Vec<Passed>) -> Result<Self, StartError> {
        let mut public = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            public.push(match take(&mut passed, &listener.name, listener.address)? {
                Some(socket) => Socket::new(socket, Origin::Inherited),
                None => listen(listener.address, &listener.name)?.into(),
            });
        }
        let admin = match &config.admin {
            Some(admin) => Some(match take(&mut passed, ADMIN, admin.address)? {
                Some(socket) => socket,
                None => listen(admin.address, ADMIN)?,
            }),
            None => None,
        };
        match passed.first() {
            Some(left) => Err(StartError::Passed {
                socket: describe(left),
                why: "belongs to no listener: neither its name nor its address is that of one".to_owned(),
            }),
            None => Ok(Self { public, admin }),
        }
    }
}

/// Listens on the address of a listener.
pub(super) fn listen(address: SocketAddr, listener: &str) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What is left of the connections of a process before this one does not keep the address.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG.into())
    };
    bound().map_err(|source| StartError::Bind { address, listener: listener.to_owned(), source })
}

/// The same, where the one who has the address may be a listener of ours that the reload before this one has ended: its socket stays for a moment, for
/// those who are half-way. Refused at once, the reload would not be tried again before somebody asks for it.
pub(super) async fn listen_soon(address: SocketAddr, listener: &str) -> Result<TcpListener, StartError> {
    let at_latest = Instant::now() + LEAVING;
    loop {
        match listen(address, listener) {
            Err(StartError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && Instant::now() < at_latest =>
            {
                sleep(TRY_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// Takes the socket that belongs to a listener out of those that were passed.
fn take(
    passed: &mut Vec<Passed>,
    name: &str,
    address: SocketAddr,
) -> Result<Option<TcpListener>, StartError> {
    let is_named = |one: &Passed| one.name.as_deref() == Some(name);
    let has_address = |one: &Passed| one.socket.local_addr().is_ok_and(|its| its == address);
    let at = passed.iter().position(is_named).or_else(|| passed.iter().position(has_address));
    let Some(at) = at else { return Ok(None) };
    let one = passed.remove(at);
    if address.port() != 0 && !has_address(&one) {
        // Callers would be served where the configuration does not say so.
        let why = format!("is not at {address}, the address of listener {name}");
        return Err(StartError::Passed { socket: describe(&one), why });
    }
    if !SockRef::from(&one.socket).is_listener()? {
        // As a process before us has left it that had no listener for it any more.
        SockRef::from(&one.socket).listen(BACKLOG.into())?;
    }
    one.socket.set_nonblocking(true)?;
    Ok(Some(TcpListener::from_std(one.socket)?))
}

fn describe(passed: &Passed) -> String {
    let address = passed.socket.local_addr().map_or_else(|_| "no address".to_owned(), |at| at.to_string());
    format!("{} ({address})", passed.name.as_deref().unwrap_or("without a name"))
}

/// The sockets that the service manager has passed to this process. They can be asked for once.
///
/// # Errors
/// When one of them is no listening TCP socket.
pub fn passed() -> io::Result<Vec<Passed>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    let mut passed = Vec::with_capacity(sockets.len());
    for position in 0..sockets.len() {
        // What systemd says where nobody has said anything.
        let name = names.next().filter(|name| !["", "unknown", "connection", "stored"].contains(name));
        let name = name.map(str::to_owned);
        let Some(socket) = sockets.take_tcp_listener(position)? else { continue };
        passed.push(Passed { name, socket });
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    /// Nobody takes these connections. With the usual backlog, those after the first 128 wait for a second or longer.
    #[tokio::test]
    async fn a_burst_of_callers_finds_room() {
        let socket = listen((Ipv4Addr::LOCALHOST, 0).into(), "test").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let callers: Result<Vec<_>, _> = (0..300).map(connect).collect();
        assert_eq!(callers.expect("room for all").len(), 300);
    }
}
