//! How places are written: servers, their names, and where a request goes on to.

use std::net::IpAddr;

use super::decode::{FromText, Wrong};
use crate::verify::htu::{Authority, Origin};

/// One of `servers`: an origin, or `unix:` and the absolute path of a socket, as nginx writes it.
#[derive(Clone, Debug)]
pub(super) struct Server(pub(super) super::Server);

impl FromText for Server {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text.strip_prefix("unix:") {
            None => Origin::from_text(text).map(super::Server::Origin).map(Self),
            // What `sockaddr_un` has room for, less the zero at its end.
            Some(path) if path.starts_with('/') && !path.starts_with("//") && path.len() < 108 => {
                Ok(Self(super::Server::Unix(path.into())))
            }
            Some(_) => Err(Wrong::new(
                "is no path of a socket",
                "`unix:` and an absolute path of at most 107 bytes: `unix:/run/app/http.sock`",
            )),
        }
    }
}

/// Whether a server is spoken to over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encrypted {
    No,
    Yes,
}

/// A server of Redis or Valkey, or a sentinel: `redis://` or `rediss://`, a host and perhaps a port, which is `PORT` where none is given; or `unix:` and a path.
#[derive(Clone, Debug)]
pub(super) struct RedisUrl<const PORT: u16> {
    pub(super) server: super::RedisServer,
    pub(super) encrypted: Encrypted,
}

impl<const PORT: u16> FromText for RedisUrl<PORT> {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        Self::read(text).map_err(|wrong| Wrong { secret: wrong.secret || may_hold_a_password(text), ..wrong })
    }
}

/// Whether what is no address may be one with a password, as other programs write it: `redis://user:password@host`, `host:6379,password=password`, `redis://host?password=password`. A complaint
/// ends up in logs, so it repeats a place alone.
fn may_hold_a_password(text: &str) -> bool {
    let place = text.split_once("://").map_or(text, |(_, place)| place);
    let is_place = place.is_empty() || Authority::read(place.strip_suffix('/').unwrap_or(place)).is_some();
    let is_path = text.starts_with("unix:") && !text.contains([',', ';', '=', '&', '?', '@', ' ']);
    !is_place && !is_path
}

impl<const PORT: u16> RedisUrl<PORT> {
    fn read(text: &str) -> Result<Self, Wrong> {
        const MEND: &str = "`rediss://` (TLS) or `redis://`, for Valkey too, a host and perhaps a port; or `unix:` and an absolute path";
        if text.contains('?') {
            return Err(Wrong::new(
                "has something behind its address",
                "no option can stand here: `user`, `password` and all others stand beside it",
            ));
        }
        if text.starts_with("unix:") {
            let super::Server::Unix(path) = Server::from_text(text)?.0 else {
                return Err(Wrong::new("is no address of a server", MEND));
            };
            return Ok(Self { server: super::RedisServer::Unix(path), encrypted: Encrypted::No });
        }
        if text.contains('@') {
            return Err(Wrong::new("has a user or password in it", "write `user` and `password` beside it"));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Wrong::new("is no address of a server", MEND))?;
        let encrypted = match scheme {
            "rediss" => Encrypted::Yes,
            "redis" => Encrypted::No,
            _ => return Err(Wrong::new("is no address of a server", MEND)),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '#']) {
            let mend = "no database can stand here: it is 0, and keys have a `prefix`";
            return Err(Wrong::new("has something behind its port", mend));
        }
        let Authority { host, port } =
            Authority::read(authority).ok_or_else(|| Wrong::new("is no address of a server", MEND))?;
        if port == Some(0) {
            return Err(Wrong::new("has port 0", "nobody listens there"));
        }
        let endpoint = super::RedisEndpoint { host, port: port.unwrap_or(PORT) };
        Ok(Self { server: super::RedisServer::Network(endpoint), encrypted })
    }
}

/// A name that a certificate can be valid for: a DNS name or an IP address.
#[derive(Clone, Debug)]
pub(super) struct ServerName(pub(super) rustls::pki_types::ServerName<'static>);

impl FromText for ServerName {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        rustls::pki_types::ServerName::try_from(text.to_owned())
            .map(Self)
            .map_err(|_| Wrong::new("is no name of a server", "a DNS name or an IP address, without a port"))
    }
}

/// A DNS name in lower case, as in `Host`, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsName(pub(super) String);

impl FromText for DnsName {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let authority = Authority::read(text).filter(|_| !text.contains([':', '[']));
        let host = authority.map(|authority| authority.host).filter(|host| host.parse::<IpAddr>().is_err());
        host.map(Self)
            .ok_or_else(|| Wrong::new("is no DNS name", "a name alone: no scheme, no port, no IP address"))
    }
}

/// A path and perhaps a query, as in a request.
#[derive(Clone, Debug)]
pub(super) struct UrlPath(pub(super) http::uri::PathAndQuery);

impl FromText for UrlPath {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let fits = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        text.parse()
            .ok()
            .filter(|_| fits)
            .map(Self)
            .ok_or_else(|| Wrong::new("is no path", "a path as in a request: `/healthz`"))
    }
}

/// `forward.host`: a word, or a host and perhaps a port.
impl FromText for super::Host {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "caller" => return Ok(super::Host::Caller),
            "upstream" => return Ok(super::Host::Upstream),
            _ => {}
        }
        let name = Authority::read(text).and_then(|_| http::HeaderValue::from_str(text).ok());
        name.map(super::Host::Name).ok_or_else(|| {
            Wrong::new(
                "is no host",
                "`caller`, `upstream`, or a name and perhaps a port: `app.internal:8080`",
            )
        })
    }
}
