//! What is wrong with a route's `require.mcp` beyond how it is written, and the policy it becomes.

use super::complaint::{Complaints, quoted};
use super::decode::{List, Setting};
use super::route_file;
use super::values::{Scope, Text};
use crate::verify::policy::mcp::{Allowed, Mcp, NAMED_METHODS};

/// The policy.
pub(super) fn mcp(written: &route_file::Mcp, complaints: &mut Complaints) -> Mcp {
    let entries = written.allow.iter().flat_map(|allow| &allow.items);
    Mcp {
        versions: written.versions.items.iter().map(|version| version.0.clone()).collect(),
        allow: entries.map(|entry| allowed(entry, complaints)).collect(),
    }
}

fn allowed(written: &route_file::McpAllowed, complaints: &mut Complaints) -> Allowed {
    let methods = written.methods.iter().flat_map(|methods| &methods.items);
    if let Some(names) = &written.names {
        // With another method no server compares `Mcp-Name` with anything, so a rule about it would hold nobody.
        for method in methods.clone().filter(|method| !NAMED_METHODS.contains(&method.0.as_str())) {
            complaints.add_with(
                names.span,
                format!("{} has no name that a server compares with the body", quoted(&method.0)),
                format!(
                    "`names` is for {}; write the others in an entry of their own",
                    NAMED_METHODS.join(", ")
                ),
            );
        }
    }
    Allowed {
        methods: methods.map(|method| method.0.clone()).collect(),
        names: written.names.iter().flat_map(texts).collect(),
        scopes: written.scopes.items.iter().map(|scope: &Setting<Scope>| scope.0.clone()).collect(),
    }
}

fn texts(list: &Setting<List<Text, 1>>) -> impl Iterator<Item = String> {
    list.items.iter().map(|text| text.0.clone())
}

/// What a route that asks for any of it must be like itself.
pub(super) fn judge(route: &route_file::Route, complaints: &mut Complaints) {
    let Some(mcp) = &route.require.mcp else { return };
    let methods = route.matches.as_ref().map(|matches| matches.methods.as_ref());
    let posts = |methods: &Setting<List<http::Method, 1>>| {
        !methods.whole || methods.items.iter().all(|method| method.value == http::Method::POST)
    };
    // The headers say what the body of a POST says; a GET has none, and opens a stream of an older revision, or nothing.
    if methods.is_some_and(|methods| !methods.is_some_and(posts)) {
        complaints.add_with(
            mcp.span,
            "only the headers of a POST are compared with anything, and this route takes other methods too",
            "write `methods: [POST]` into `match`",
        );
    }
}
