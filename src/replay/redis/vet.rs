//! What a server has to show before claims are made on a connection, in this order: that it speaks the protocol, that it knows us, that it is the one that takes writes and
//! forgets none, that a write succeeds and is copied, that its clock is ours, and which memory it has.
//!
//! The first question is one that no password is needed for: a password is not given to whatever listens there.
//!
//! The README ("Several gateways") lists what the user's ACL has to allow. `INCR` is not tried here: without it there are claims and no counts.

use std::time::Duration;

use super::Kind;
use super::bounds::Bounds;
use super::clocks::{Pace, ask_time};
use super::link::Link;
use super::memory::{Identity, Known, Memory, Names};
use super::resp::{Reply, field};
use super::trouble::{Trouble, said};
use crate::clock::Clock;
use crate::config::{self, RedisLogin};

/// How long a memory that begins in the next second is waited for.
const LONGEST_WAIT: Duration = Duration::from_millis(1100);

/// What a server has shown.
#[derive(Clone, Debug)]
pub(super) struct Vetted {
    /// The memory it has.
    pub(super) memory: Memory,
    /// How far its clock is ahead of ours, in milliseconds.
    pub(super) ahead: i64,
    /// When that was so.
    pub(super) pace: Pace,
}

/// Vets the server behind `link`, whose keys are named so.
///
/// # Errors
/// The [`Trouble`] it is.
pub(super) async fn vet(
    link: &mut Link,
    settings: &config::Redis,
    kind: Kind,
    names: &Names,
    known: Known,
    own: Bounds,
    clock: &Clock,
) -> Result<Vetted, Trouble> {
    greet(link).await?;
    if let Some(login) = &settings.login {
        log_in(link, login).await?;
    }
    let identity = match link.demand(&[b"INFO"]).await? {
        Reply::Bulk(info) => judge_info(info, kind)?,
        _ => return Err(Trouble::NotRedis),
    };
    link.demand(&names.probing()).await?;
    // Before the marker may be written: a master that was cut off from the others could still be taking claims, while this one begins a memory without them.
    await_copies(link, settings).await?;
    // A server whose clock is wrong is not given a marker: it would be wrong for long after the clock is right again.
    ask_time(link, settings, clock).await?;
    // Nobody waits for copies of the marker here: each batch waits for its own, and they come behind the marker. A server that has copies of claims has it too.
    let memory = Memory::find(link, names, &identity, known, own).await?;
    let (now, ahead) = await_beginning(link, &memory, settings, clock).await?;
    Ok(Vetted { memory, ahead, pace: Pace::from(now, clock) })
}

/// Waits for the second in which the memory begins, by the server's clock; gives its time, and how far that is ahead of ours.
async fn await_beginning(
    link: &mut Link,
    memory: &Memory,
    settings: &config::Redis,
    clock: &Clock,
) -> Result<(u64, i64), Trouble> {
    let begins = memory.begins.saturating_mul(1000);
    let (now, ahead) = ask_time(link, settings, clock).await?;
    if now >= begins {
        return Ok((now, ahead));
    }
    tokio::time::sleep(Duration::from_millis(begins - now).min(LONGEST_WAIT)).await;
    let (now, ahead) = ask_time(link, settings, clock).await?;
    match begins.checked_sub(now) {
        None | Some(0) => Ok((now, ahead)),
        // The memory before it began as late, or clocks were wrong when it was marked.
        Some(early) => Err(Trouble::NotBegun { seconds: early.div_ceil(1000), marker: said(&memory.key) }),
    }
}

/// Whether it speaks the protocol at all. It may answer that we have to log in first, or that it cannot answer yet; what comes after will tell.
pub(super) async fn greet(link: &mut Link) -> Result<(), Trouble> {
    const KNOWN: [&[u8]; 4] = [b"NOAUTH", b"NOPERM", b"LOADING", b"MASTERDOWN"];
    match link.ask(&[b"PING"]).await? {
        Reply::Simple(b"PONG") => Ok(()),
        Reply::Error(words) if KNOWN.iter().any(|known| words.starts_with(known)) => Ok(()),
        Reply::Error(words) => Err(Trouble::of_error(words)),
        _ => Err(Trouble::NotRedis),
    }
}

/// Logs in (`AUTH`).
pub(super) async fn log_in(link: &mut Link, login: &RedisLogin) -> Result<(), Trouble> {
    let password = login.password.text().as_bytes();
    let reply = match &login.user {
        Some(user) => link.ask(&[b"AUTH", user.as_bytes(), password]).await?,
        None => link.ask(&[b"AUTH", password]).await?,
    };
    // A server without passwords says so in words of its own.
    const HAS_NONE: [&[u8]; 2] = [b"ERR AUTH <password> called", b"ERR Client sent AUTH"];
    match reply {
        Reply::Simple(b"OK") => Ok(()),
        Reply::Error(words) => Err(match Trouble::of_error(words) {
            Trouble::Broken(said) if HAS_NONE.iter().any(|known| words.starts_with(known)) => {
                Trouble::WrongPassword(said)
            }
            // One that knows no AUTH repeats what it was sent, the password too.
            Trouble::Broken(_) => Trouble::WrongPassword(
                "its answer to AUTH is not shown, since it may repeat the password".into(),
            ),
            trouble => trouble,
        }),
        _ => Err(Trouble::NotRedis),
    }
}

/// Whether the server is one that may be trusted with claims, by its `INFO`; and which one it is.
///
/// # Errors
/// [`Trouble::NotRedis`], [`Trouble::Loading`], [`Trouble::ReadOnly`], [`Trouble::InCluster`], [`Trouble::NoCluster`], [`Trouble::MayEvict`]
pub(super) fn judge_info(info: &[u8], kind: Kind) -> Result<Identity, Trouble> {
    let field = |name| field(info, name);
    // Valkey calls itself Redis here too, for the clients' sake.
    if field("redis_version").is_none() {
        return Err(Trouble::NotRedis);
    }
    if field("loading").is_some_and(|loading| loading != b"0") {
        return Err(Trouble::Loading);
    }
    match (kind, field("cluster_enabled")) {
        (Kind::Alone, Some(b"1")) => return Err(Trouble::InCluster),
        (Kind::Node, Some(b"0") | None) => return Err(Trouble::NoCluster),
        (Kind::Alone | Kind::Node, _) => {}
    }
    if field("role") != Some(b"master") {
        return Err(Trouble::ReadOnly);
    }
    // Whatever `maxmemory` is: it can be set while we look elsewhere, and a policy that evicts is nothing this store could ever want. A server that does not say may as well.
    let policy = field("maxmemory_policy").unwrap_or(b"unknown");
    if policy != b"noeviction" {
        return Err(Trouble::MayEvict(said(policy)));
    }
    match (field("run_id"), field("master_replid"), field("evicted_keys")) {
        (Some(run), Some(replication), Some(evicted)) => Ok(Identity::new(run, replication, evicted)),
        _ => Err(Trouble::Broken("INFO names no run_id, master_replid and evicted_keys".into())),
    }
}

/// Waits for as many copies of what this connection has written as `replicas` asks for.
pub(super) async fn await_copies(link: &mut Link, settings: &config::Redis) -> Result<(), Trouble> {
    if settings.replicas == 0 {
        return Ok(());
    }
    let (replicas, patience) =
        (settings.replicas.to_string(), patience_of_wait(settings.timeout).to_string());
    let reply = link.demand(&[b"WAIT", replicas.as_bytes(), patience.as_bytes()]).await?;
    judge_copies(&reply, settings.replicas)
}

/// How long the server may wait for its replicas, in milliseconds: less than we wait for its reply, so that it can still tell us that they are missing. Never 0, which is for ever.
pub(super) fn patience_of_wait(timeout: Duration) -> u128 {
    (timeout.as_millis() * 3 / 4).max(1)
}

/// Whether the reply to `WAIT` names enough copies.
pub(super) fn judge_copies(reply: &Reply<'_>, replicas: usize) -> Result<(), Trouble> {
    match reply {
        Reply::Integer(have) if usize::try_from(*have).is_ok_and(|have| have >= replicas) => Ok(()),
        Reply::Integer(_) => Err(Trouble::TooFewReplicas),
        Reply::Error(words) => Err(Trouble::of_error(words)),
        _ => Err(Trouble::NotRedis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:aa\r\n# Stats\r\nevicted_keys:0\r\n# Persistence\r\nloading:0\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\nmaster_replid:bb\r\nmaster_replid2:cc\r\n# Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn what_a_server_says_of_itself_is_judged() {
        let judge = |from: &str, to: &str| judge_info(INFO.replace(from, to).as_bytes(), Kind::Alone);
        assert_eq!(judge("", ""), Ok(Identity::new(b"aa", b"bb", b"0")));
        for (from, to, trouble) in [
            ("redis_version", "version", Trouble::NotRedis),
            ("loading:0", "loading:1", Trouble::Loading),
            ("role:master", "role:slave", Trouble::ReadOnly),
            ("role:master", "", Trouble::ReadOnly),
            ("noeviction", "volatile-ttl", Trouble::MayEvict("volatile-ttl".into())),
            ("maxmemory_policy", "policy", Trouble::MayEvict("unknown".into())),
            ("cluster_enabled:0", "cluster_enabled:1", Trouble::InCluster),
        ] {
            assert_eq!(judge(from, to), Err(trouble), "{to}");
        }
        for nameless in ["run_id", "master_replid:", "evicted_keys"] {
            assert!(matches!(judge(nameless, "x"), Err(Trouble::Broken(_))), "{nameless}");
        }
        assert_eq!(judge_info(INFO.as_bytes(), Kind::Node), Err(Trouble::NoCluster));
    }

    #[test]
    fn a_server_waits_for_its_replicas_for_less_than_we_wait_for_it() {
        assert_eq!(patience_of_wait(Duration::from_millis(250)), 187);
        assert_eq!(patience_of_wait(Duration::from_millis(1)), 1, "0 would be for ever");
        assert_eq!(judge_copies(&Reply::Integer(2), 2), Ok(()));
        assert_eq!(judge_copies(&Reply::Integer(1), 2), Err(Trouble::TooFewReplicas));
        assert_eq!(judge_copies(&Reply::Integer(-1), 1), Err(Trouble::TooFewReplicas));
    }
}
