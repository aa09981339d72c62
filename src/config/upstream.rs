//! What is wrong with `upstreams` beyond how they are written, and the upstreams.

use super::Upstream;
use super::complaint::Complaints;
use super::decode::Named;
use super::file;
use super::material::Surroundings;
use crate::verify::htu::Scheme;

/// The upstreams that could be built, in the order of their names.
pub(super) fn upstreams(
    written: &Named<file::Upstream>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Vec<Upstream> {
    let mut upstreams = Vec::with_capacity(written.entries.len());
    for (name, upstream) in &written.entries {
        let servers = upstream.servers.as_ref();
        if let (Some(trust), Some(servers)) = (&upstream.trust, servers)
            && servers.whole
            && servers.items.iter().all(|server| server.scheme() == Scheme::Http)
        {
            complaints.add_with(
                trust.span,
                "no server of this upstream is https",
                "leave `trust` out, or write `https://`",
            );
        }
        let trust = upstream.trust.as_ref().map(|trust| surroundings.roots(trust, complaints));
        let (Some(servers), false) = (servers, matches!(trust, Some(None))) else { continue };
        upstreams.push(Upstream {
            name: name.text.clone(),
            servers: servers.values(),
            protocol: upstream.protocol.value,
            trust: trust.flatten(),
            connect_timeout: upstream.connect_timeout.0,
            response_timeout: upstream.response_timeout.0,
        });
    }
    upstreams.sort_by(|one, other| one.name.cmp(&other.name));
    upstreams
}
