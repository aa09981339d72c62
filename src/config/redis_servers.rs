//! Where `replay.redis` is: exactly one of its three places, whose servers are all spoken to in one way.

use super::complaint::{Complaints, Span, quoted};
use super::decode::List;
use super::issuer::is_loopback;
use super::material::Surroundings;
use super::places::{Encrypted, RedisUrl};
use super::redis::login;
use super::redis_file as file;
use super::{RedisEndpoint, RedisServer, RedisServers, Sentinel};

/// The one place that is written, and how it is spoken to.
pub(super) fn servers(
    written: &file::Redis,
    span: Span,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<(RedisServers, Encrypted)> {
    const ONE: &str = "exactly one of `url`, `sentinel` and `cluster` says where the proofs are remembered";
    let file::Redis { url, sentinel, cluster, .. } = written;
    let spans = [
        url.as_ref().map(|url| url.span),
        sentinel.as_ref().map(|sentinel| sentinel.span),
        cluster.as_ref().map(|cluster| cluster.span),
    ];
    let mut places = spans.into_iter().flatten();
    match (places.next(), places.next()) {
        (None, _) => {
            complaints.add_with(span, "no server to remember proofs", ONE);
            return None;
        }
        (Some(_), Some(second)) => {
            complaints.add_with(second, "two places for one memory", ONE);
            return None;
        }
        (Some(_), None) => {}
    }
    if let Some(url) = url {
        let encrypted = judge(&url.value, url.span, complaints)?;
        return Some((RedisServers::Alone(url.server.clone()), encrypted));
    }
    if let Some(sentinel) = sentinel {
        let login = login(sentinel.user.as_ref(), sentinel.password.as_ref(), surroundings, complaints);
        let (servers, encrypted) = endpoints(&sentinel.servers.as_ref()?.value, complaints)?;
        let name = sentinel.name.as_ref()?.0.clone();
        return Some((RedisServers::Sentinel(Sentinel { name, servers, login: login? }), encrypted));
    }
    let (servers, encrypted) = endpoints(&cluster.as_ref()?.servers.as_ref()?.value, complaints)?;
    Some((RedisServers::Cluster(servers), encrypted))
}

/// The servers of a list, which are spoken to in one way: those that they tell of are spoken to in the same.
fn endpoints<const PORT: u16>(
    list: &List<RedisUrl<PORT>, 1>,
    complaints: &mut Complaints,
) -> Option<(Vec<RedisEndpoint>, Encrypted)> {
    let mut endpoints: Vec<RedisEndpoint> = Vec::with_capacity(list.items.len());
    let mut way = None;
    for item in &list.items {
        let encrypted = judge(&item.value, item.span, complaints)?;
        let RedisServer::Network(endpoint) = &item.server else {
            let mend = "it has no socket for the servers that it tells of; write `redis://127.0.0.1`";
            complaints.add_with(item.span, "a group is not reached through a socket", mend);
            return None;
        };
        if endpoints.contains(endpoint) {
            complaints.add(item.span, "this stands here twice");
        }
        if way.is_some_and(|way| way != encrypted) {
            let mend = "write `rediss://` for all of them";
            complaints.add_with(
                item.span,
                "some of these servers are spoken to over TLS and some are not",
                mend,
            );
            return None;
        }
        way = Some(encrypted);
        endpoints.push(endpoint.clone());
    }
    Some((endpoints, way?))
}

/// Whether a server is spoken to over TLS; `None` after a complaint. An answer that came over a network in the clear is whoever's: it could say of any proof that it was
/// never used.
fn judge<const PORT: u16>(
    url: &RedisUrl<PORT>,
    span: Span,
    complaints: &mut Complaints,
) -> Option<Encrypted> {
    if url.encrypted == Encrypted::No
        && let RedisServer::Network(endpoint) = &url.server
        && !is_loopback(&endpoint.host)
    {
        let message =
            format!("{} is neither spoken to over TLS nor a loopback address", quoted(&endpoint.host));
        complaints.add_with(span, message, "write `rediss://`; `redis://` only to a loopback address");
        return None;
    }
    Some(url.encrypted)
}
