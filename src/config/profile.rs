//! `profile`: what a preset sets, and what it does not let an operator write.
//!
//! A preset sets nothing that could not be written by hand: here it is written into the tree where the operator wrote nothing, and everything behind this reads it as
//! if it stood in the file. So `check --print` shows it, and there is no second way for a setting to have an effect. What is merely a default of the preset can be
//! written otherwise; what its specification rules out is complained of in [`rules`].

use super::complaint::{Complaints, Span};
use super::document::{self, Author, Format, Key, Node, Value};
use super::{Access, Config, Route};

pub(super) mod rules;

/// A preset. A route has that of the file unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// None.
    None,
    /// FAPI 2.0 Security Profile, Final, §5.3.4 and §5.4.
    Fapi2,
    /// A server of the Model Context Protocol, 2026-07-28, with DPoP as SEP-1932 has it.
    Mcp,
}

impl Config {
    /// The presets in force, each with the names of its routes. A public route has nothing of one, nor does a file whose routes all are.
    pub fn profiles(&self) -> impl Iterator<Item = (Profile, Vec<&str>)> {
        [Profile::Fapi2, Profile::Mcp].into_iter().filter_map(|profile| {
            let under = |route: &&Route| route.profile == profile && matches!(route.access, Access::Bound(_));
            let names: Vec<&str> = self.routes.iter().filter(under).map(|route| &*route.name).collect();
            (!names.is_empty()).then_some((profile, names))
        })
    }
}

impl Profile {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::None => "none",
            Profile::Fapi2 => "fapi2",
            Profile::Mcp => "mcp",
        }
    }

    fn of(node: &Node) -> Option<(Self, Span)> {
        let written = find(node, "profile")?;
        let Value::Scalar(scalar) = &written.value else { return None };
        let all = [Profile::None, Profile::Fapi2, Profile::Mcp];
        // Another word is complained of where it is decoded.
        all.into_iter().find(|profile| profile.name() == scalar.text).map(|profile| (profile, written.span))
    }
}

/// Writes what the profiles of the file and of its routes set.
pub(super) fn apply(tree: &mut Node) {
    let whole = Profile::of(tree);
    if let Some((profile, at)) = whole {
        let pen = Pen { profile, at };
        for (path, value) in pen.file() {
            pen.write(tree, path, value);
        }
        for issuer in items(tree, "issuers") {
            for (path, value) in pen.issuer() {
                pen.write(issuer, path, value);
            }
        }
    }
    let mut resources: Vec<String> = items(tree, "routes")
        .iter()
        .filter_map(|route| text(find(find(route, "resource")?, "path")?))
        .collect();
    for route in items(tree, "routes") {
        let own = Profile::of(route).or(whole);
        let public = find(route, "public").and_then(text).is_some_and(|public| public == "true");
        let Some((profile, at)) = own.filter(|_| !public) else { continue };
        let pen = Pen { profile, at };
        for (path, value) in pen.route() {
            pen.write(route, path, value);
        }
        if profile == Profile::Mcp {
            pen.write(route, &["require", "origins"], &pages(route));
            if let Some(path) =
                identifier(route).filter(|path| !resources.iter().any(|one| covers(one, path)))
            {
                pen.write(route, &["resource", "path"], &quoted(&path));
                resources.push(path);
            }
        }
    }
}

/// Who writes, and where whoever asks is pointed to.
struct Pen {
    profile: Profile,
    at: Span,
}

/// Where, and what as YAML.
type Entry = (&'static [&'static str], &'static str);

impl Pen {
    /// What is set for the whole file.
    const fn file(&self) -> &'static [Entry] {
        match self.profile {
            Profile::None => &[],
            // FAPI 2.0 §5.4.1.
            Profile::Fapi2 => &[(&["dpop", "algorithms"], "[ES256, PS256, EdDSA]")],
            // SEP-1932: five minutes at most.
            Profile::Mcp => &[(&["dpop", "max_age"], "5m")],
        }
    }

    /// What is set for each issuer.
    const fn issuer(&self) -> &'static [Entry] {
        match self.profile {
            Profile::None | Profile::Mcp => &[],
            Profile::Fapi2 => &[
                (&["algorithms"], "[ES256, PS256, EdDSA]"),
                (&["max_lifetime"], "1h"),
                // FAPI 2.0 §5.3.2.1: clocks that are 10 seconds ahead are no reason to refuse.
                (&["leeway"], "10s"),
            ],
        }
    }

    /// What is set for each route that is not public.
    const fn route(&self) -> &'static [Entry] {
        match self.profile {
            Profile::None => &[],
            Profile::Fapi2 => &[(&["forward", "interaction_id"], "true")],
            Profile::Mcp => &[
                // A tool may be silent for long while it works; and no stream outlives the token that it was opened with.
                (&["forward", "idle_timeout"], "15m"),
                (&["forward", "end_at_expiry"], "true"),
            ],
        }
    }

    /// Writes `value` at `path`, unless something is there.
    fn write(&self, node: &mut Node, path: &[&str], value: &str) {
        let Some((key, below)) = path.split_first() else { return };
        let Value::Mapping(entries) = &mut node.value else { return };
        let at = entries.iter().position(|(written, _)| written.text == *key);
        if at.is_some() && below.is_empty() {
            return;
        }
        let at = at.unwrap_or_else(|| {
            let span = self.at;
            let node = if below.is_empty() {
                read(value, span)
            } else {
                Node { value: Value::Mapping(Vec::new()), span }
            };
            entries
                .push((Key { text: (*key).to_owned(), span, author: Author::Profile(self.profile) }, node));
            entries.len() - 1
        });
        self.write(&mut entries[at].1, below, value);
    }
}

/// A value of ours, all of it at `span`.
pub(super) fn read(yaml: &str, span: Span) -> Node {
    let mut complaints = Complaints::about("preset");
    let node = document::read(yaml, Format::Yaml, &mut complaints);
    let mut node = node.unwrap_or(Node { value: Value::Refused, span });
    place(&mut node, span);
    node
}

fn place(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.value {
        Value::Nothing | Value::Refused | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| place(item, span)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                key.span = span;
                place(value, span);
            }
        }
    }
}

fn find<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Mapping(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

fn items<'n>(tree: &'n mut Node, name: &str) -> &'n mut [Node] {
    let Value::Mapping(entries) = &mut tree.value else { return &mut [] };
    match entries.iter_mut().find(|(key, _)| key.text == name) {
        Some((_, Node { value: Value::Sequence(items), .. })) => items,
        Some(_) | None => &mut [],
    }
}

fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Nothing | Value::Refused | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// `text` as YAML, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The pages that a route lets send requests: those that its `cors` lets read, and no others.
fn pages(route: &Node) -> String {
    let listed = find(route, "cors").and_then(|cors| find(cors, "origins"));
    let Some(Node { value: Value::Sequence(listed), .. }) = listed else { return "[]".to_owned() };
    // `*` is every page, which is no guard; that is complained of where the two are compared.
    let listed = listed.iter().filter_map(text).filter(|origin| origin != "*");
    format!("[{}]", listed.map(|origin| quoted(&origin)).collect::<Vec<_>>().join(", "))
}

/// The identifier that the metadata of a route can have: its path, where that is one (RFC 9728 §3).
fn identifier(route: &Node) -> Option<String> {
    let matches = find(route, "match")?;
    let path = find(matches, "path").or_else(|| find(matches, "path_prefix")).and_then(text)?;
    let trimmed = path.trim_end_matches('/');
    let fits = !path.contains(['{', '%']) && path.starts_with('/');
    fits.then(|| if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// Whether `path` is at `resource` or below it.
fn covers(resource: &str, path: &str) -> bool {
    let resource = resource.trim_end_matches('/');
    path.strip_prefix(resource).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
