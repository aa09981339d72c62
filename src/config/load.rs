//! A file, or its text, to a [`Config`] or to everything that is wrong with it.

use std::cell::RefCell;
use std::path::Path;

use super::complaint::{Complaints, Span};
use super::decode::{List, Setting, Whole};
use super::document::{self, Format, Node};
use super::environment::{self, Environment};
use super::file::{self, File};
use super::files::Files;
use super::material::Surroundings;
use super::profile;
use super::proofs::Shared;
use super::route_file;
use super::words::{AccessLog, Watching};
use super::{
    Admin, Config, Limits, Log, Watch, assertions, issuer, listener, proofs, redis, route, upstream,
};
use crate::verify::credential::CredentialLimits;

/// Reads the configuration file at `path`, in the format its ending says, and every file that it names. Paths in it are relative to
/// its own directory; `environment` is what `${NAME}` and `{ env: NAME }` mean.
///
/// It blocks, on small files. Nothing is fetched, resolved or listened on here.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, Complaints> {
    read_files(path, environment).outcome
}

/// What came of reading a configuration, and what it was read from.
#[derive(Debug)]
pub struct Reading {
    /// The configuration, or everything that is wrong.
    pub outcome: Result<Config, Complaints>,
    /// The configuration file and every file it names, as far as it was understood: those that are there, and those that should be.
    pub files: Files,
}

/// Does what [`load`] does, and tells which files were read for it.
pub fn read_files(path: &Path, environment: Environment<'_>) -> Reading {
    let files = RefCell::default();
    let outcome = load_noting(path, environment, &files);
    Reading { outcome, files: files.into_inner() }
}

fn load_noting(
    path: &Path,
    environment: Environment<'_>,
    files: &RefCell<Files>,
) -> Result<Config, Complaints> {
    let (text, format) = text_of(path, files)?;
    judge(
        &text,
        format,
        &path.display().to_string(),
        Surroundings { base: base_of(path), environment, files },
    )
}

/// The directory that the paths in a file are relative to.
fn base_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The tree of the file at `path`, which is right in everything.
///
/// # Errors
/// As [`load`].
pub(super) fn tree(path: &Path, environment: Environment<'_>) -> Result<Node, Complaints> {
    let files = RefCell::default();
    let (text, format) = text_of(path, &files)?;
    let name = path.display().to_string();
    judge(&text, format, &name, Surroundings { base: base_of(path), environment, files: &files })?;
    let (tree, complaints) = understood(&text, format, &name, environment);
    tree.ok_or(complaints)
}

/// Judges a tree that stands for the file at `path`.
pub(super) fn rejudge(tree: &Node, path: &Path, environment: Environment<'_>, complaints: &mut Complaints) {
    let files = &RefCell::default();
    let _ = config_of(tree, Surroundings { base: base_of(path), environment, files }, complaints);
}

fn text_of(path: &Path, files: &RefCell<Files>) -> Result<(String, Format), Complaints> {
    let name = path.display().to_string();
    let mut complaints = Complaints::about(&name);
    let Some(format) = Format::of(path) else {
        complaints.add_with(
            Span::default(),
            "the format is told by the ending, and this is none",
            "`.yaml`, `.toml` or `.json`",
        );
        return Err(complaints);
    };
    let read = files.borrow_mut().read(path, document::LARGEST as u64);
    let content = match read {
        Ok(content) => content,
        Err(reason) => {
            complaints.add(Span::default(), format!("the configuration cannot be read: {reason}"));
            return Err(complaints);
        }
    };
    let text = match String::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|&&b| b == b'\n').count() + 1;
            complaints.add(Span { line, column: 1, length: 1 }, "this line is not UTF-8");
            return Err(complaints);
        }
    };
    Ok((text, format))
}

/// Reads a configuration from its text. `name` is what complaints call it, `base` is the directory that its paths are relative to.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn read(
    text: &str,
    format: Format,
    name: &str,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Config, Complaints> {
    judge(text, format, name, Surroundings { base, environment, files: &RefCell::default() })
}

fn judge(
    text: &str,
    format: Format,
    name: &str,
    surroundings: Surroundings<'_>,
) -> Result<Config, Complaints> {
    let (tree, mut complaints) = understood(text, format, name, surroundings.environment);
    let config = tree.and_then(|tree| config_of(&tree, surroundings, &mut complaints));
    complaints.into_error()?;
    Ok(config.expect("whatever could not be built was complained of"))
}

/// What a text says, with what the environment holds and what its profiles set.
fn understood(
    text: &str,
    format: Format,
    name: &str,
    environment: Environment<'_>,
) -> (Option<Node>, Complaints) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut complaints = Complaints::about(name);
    complaints.quote_from(text);
    let mut tree = document::read(text, format, &mut complaints);
    if let Some(tree) = &mut tree {
        environment::replace(tree, environment, &mut complaints);
        profile::apply(tree);
    }
    (tree, complaints)
}

fn config_of(tree: &Node, surroundings: Surroundings<'_>, complaints: &mut Complaints) -> Option<Config> {
    let file = file::read(tree, complaints)?;
    profile::rules::judge(&file, complaints);
    build(&file, surroundings, complaints)
}

/// Builds every part, each as far as it can be.
fn build(file: &File, surroundings: Surroundings<'_>, complaints: &mut Complaints) -> Option<Config> {
    let written_routes = file.routes.as_ref().map(|routes| &routes.value);
    let Whole { settings: replay, whole } = &*file.replay;
    let redis = &replay.redis;
    let shared = match redis {
        Some(redis) => Shared::Yes(redis.span),
        None if *whole => Shared::No,
        None => Shared::Unread,
    };
    let around = route::Around {
        profile: file.profile.value,
        listeners: file.listeners.as_ref().map(|listeners| &listeners.value),
        upstreams: file.upstreams.as_ref().map(|upstreams| &upstreams.value),
        dpop: &file.dpop.settings,
        shared,
        assertions: file.assertions.as_ref(),
        issuers: &file.issuers,
    };
    let listeners = around.listeners.map(|written| listener::listeners(written, surroundings, complaints));
    let issuers = issuer::issuers(&file.issuers, surroundings, complaints);
    refuse_no_issuer(file, written_routes, complaints);
    let dpop = proofs::dpop(
        &file.dpop,
        written_routes,
        shared,
        file.limits.proof_bytes.in_memory(),
        surroundings,
        complaints,
    );
    let replay = proofs::replay(&replay.memory, shared, complaints);
    let redis = redis.as_ref().map(|written| redis::redis(written, surroundings, complaints));
    let assertions = around
        .assertions
        .map(|written| assertions::assertions(written, written_routes, surroundings, complaints));
    let upstreams = around
        .upstreams
        .map(|written| upstream::upstreams(written, file.limits.idle_timeout.0, surroundings, complaints));
    let routes = written_routes.map(|written| route::routes(written, around, complaints));
    let admin = file.admin.as_ref().and_then(|admin| {
        let address = admin.address.as_ref()?;
        refuse_public_admin(address, around.listeners, complaints);
        let names = admin.names.items.iter().map(|name| name.0.clone()).collect();
        Some(Admin { address: address.value, names })
    });
    let limits = limits(&file.limits, complaints);
    let mut listeners = listeners?;
    let keeps_certificates = routes.iter().flatten().any(|route| route.forward.report.client_cert);
    listeners.iter_mut().for_each(|listener| listener.keeps_certificates = keeps_certificates);
    Some(Config {
        profile: file.profile.value,
        listeners,
        issuers,
        dpop: dpop?,
        replay,
        redis: redis.map_or(Some(None), |built| built.map(Some))?,
        assertions: assertions.map_or(Some(None), |built| built.map(Some))?,
        upstreams: upstreams?,
        routes: routes?,
        log: Log { level: file.log.level.value, access: file.log.access.value == AccessLog::Json },
        admin,
        limits,
        reload: watch(&file.reload, complaints),
        shutdown_delay: file.shutdown.delay.0,
        shutdown_grace: file.shutdown.grace.0,
    })
}

/// Without an issuer no token is ever accepted, so every route that is not public would be closed.
fn refuse_no_issuer(file: &File, routes: Option<&List<route_file::Route, 1>>, complaints: &mut Complaints) {
    let closed = routes.and_then(|routes| routes.items.iter().find(|route| !route.public.value));
    if let Some(closed) = closed
        && file.issuers.items.is_empty()
        && file.issuers.whole
    {
        let message = "there is no issuer, so no token could be accepted";
        let mend = format!("the route on line {} is not public: add an entry to `issuers`", closed.span.line);
        complaints.add_with(file.issuers.span, message, mend);
    }
}

/// Health and metrics are for the operator alone.
fn refuse_public_admin(
    address: &Setting<std::net::SocketAddr>,
    listeners: Option<&List<file::Listener, 1>>,
    complaints: &mut Complaints,
) {
    let listeners = listeners.map_or(&[][..], |listeners| &listeners.items);
    let public = listeners.iter().filter_map(|listener| listener.address.as_ref());
    if let Some(public) = public.into_iter().find(|public| listener::is_taken(address.value, public.value)) {
        let message = format!("the listener on line {} has this address", public.span.line);
        complaints.add_with(address.span, message, "health and metrics are never on a public listener");
    }
}

fn watch(written: &file::Reload, complaints: &mut Complaints) -> Watch {
    match written.watch.value {
        Watching::Files => Watch::Files { poll: written.poll.0 },
        Watching::None => {
            if written.poll.written {
                let mend = "leave it out, or write `watch: files`";
                complaints.add_with(written.poll.span, "no file is watched, so this has no effect", mend);
            }
            Watch::None
        }
    }
}

fn limits(written: &file::Limits, complaints: &mut Complaints) -> Limits {
    let connections = written.connections.0;
    let per_address = written.connections_per_address.as_ref();
    if let Some(per_address) = per_address
        && per_address.0 > connections
    {
        let message = format!("there are {connections} connections at most, over all addresses");
        complaints.add_with(per_address.span, message, "write a smaller number, or raise `connections`");
    }
    Limits {
        header_bytes: written.header_bytes.in_memory(),
        credentials: CredentialLimits {
            token_bytes: written.token_bytes.in_memory(),
            proof_bytes: written.proof_bytes.in_memory(),
        },
        body_bytes: written.body_bytes.0,
        connections,
        // One address can never have all of them, or whoever is there first could keep everyone else out. Where there are only a few, there is
        // nothing to share out.
        connections_per_address: match per_address {
            Some(limit) => limit.0,
            None if connections <= 100 => usize::MAX,
            None => connections / 4 * 3,
        },
        handshake_timeout: written.handshake_timeout.0,
        header_timeout: written.header_timeout.0,
        idle_timeout: written.idle_timeout.0,
        least_rate: written.least_rate.0,
    }
}
