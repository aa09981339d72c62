//! What a server has to show before claims are made on a connection, in this order: that it speaks the protocol, that it knows us, that it is the one that takes writes and
//! forgets none, that a write succeeds and is copied, that its clock is ours, and which memory it has.
//!
//! The first question is one that no password is needed for: a password is not given to whatever listens there.
//!
//! The user's ACL needs `+ping +info +time +get +set +watch +unwatch +multi +exec`, `+wait` where `replicas` is not 0, `+asking +cluster|slots +cluster|info` in
//! a cluster, and the keys of `prefix`.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Kind;
use super::bounds::Bounds;
use super::link::Link;
use super::memory::{Identity, Known, Memory, Names};
use super::resp::Reply;
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
    let memory = Memory::find(link, names, &identity, known, own).await?;
    await_copies(link, settings).await?;
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
        // It was marked when the clock of its server was far ahead. The time will come, and until then it differs from what it was.
        Some(early) => Err(Trouble::ClockDiffers(i64::try_from(early).map_or(i64::MIN, |early| -early))),
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
    let field = |name: &str| {
        info.split(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(name.as_bytes()))
            .find_map(|rest| rest.strip_prefix(b":"))
    };
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

/// The server's time in milliseconds since 1970, and how far it is ahead of ours.
pub(super) async fn ask_time(
    link: &mut Link,
    settings: &config::Redis,
    clock: &Clock,
) -> Result<(u64, i64), Trouble> {
    let asked = Asked::now(clock);
    let reply = link.demand(&[b"TIME"]).await?;
    asked.judge_time(&reply, settings.clock_difference)
}

/// Two clocks at one moment, and a timer that nobody sets: by it is told which of them was set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    theirs: u64,
    ours: SystemTime,
    by_timer: Instant,
}

impl Pace {
    /// The server's clock shows `theirs` just now, in milliseconds.
    pub(super) fn from(theirs: u64, clock: &Clock) -> Self {
        Self { theirs, ours: clock.precise(), by_timer: Instant::now() }
    }

    /// Whether our own clock still goes as it did, at the moment `now` of the timer. Between two looks at the server nothing else would tell that it was set, and set back it would
    /// take proofs whose claims have ended.
    ///
    /// # Errors
    /// [`Trouble::ClockDiffers`] when it is off by more than `most`.
    pub(super) fn judge_ours(&self, now: Instant, clock: &Clock, most: Duration) -> Result<(), Trouble> {
        let due = self.ours + now.saturating_duration_since(self.by_timer);
        let ours = clock.precise();
        match due.duration_since(ours) {
            Ok(behind) if behind > most => Err(Trouble::ClockDiffers(whole_milliseconds(behind))),
            Err(ahead) if ahead.duration() > most => {
                Err(Trouble::ClockDiffers(-whole_milliseconds(ahead.duration())))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether the server's clock was set, if it shows `theirs` now and was asked within `timeout` both times.
    fn was_set(&self, theirs: u64, timeout: Duration) -> bool {
        let due = self
            .theirs
            .saturating_add(u64::try_from(self.by_timer.elapsed().as_millis()).unwrap_or(u64::MAX));
        u128::from(theirs.abs_diff(due)) > timeout.as_millis()
    }
}

/// The moment in which a server was asked for its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: SystemTime,
    by_timer: Instant,
}

impl Asked {
    /// This moment.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { at: clock.precise(), by_timer: Instant::now() }
    }

    /// [`judge_time`](Self::judge_time) of a server that was vetted before, which this keeps.
    ///
    /// # Errors
    /// Those of `judge_time`, and [`Trouble::MemoryLost`] where it is the server's clock that was set: claims have an end by that clock, so some may have ended before their time.
    pub(super) fn judge_again(
        &self,
        reply: &Reply<'_>,
        settings: &config::Redis,
        vetted: &mut Vetted,
        clock: &Clock,
    ) -> Result<(), Trouble> {
        let judged = self.judge_time(reply, settings.clock_difference);
        let was_set = |theirs| vetted.pace.was_set(theirs, settings.timeout);
        match judged {
            Err(Trouble::ClockDiffers(_)) if milliseconds(reply).is_some_and(was_set) => {
                Err(Trouble::MemoryLost)
            }
            Err(trouble) => Err(trouble),
            Ok((theirs, ahead)) => {
                (vetted.ahead, vetted.pace) = (ahead, Pace::from(theirs, clock));
                Ok(())
            }
        }
    }

    /// The time that a server has answered with just now, in milliseconds since 1970, and how far that is ahead of ours: it may have looked at its clock at any
    /// moment since it was asked, so half of that time is unknown, and counts against it.
    ///
    /// # Errors
    /// [`Trouble::ClockDiffers`] when the difference may be more than `most`.
    pub(super) fn judge_time(&self, reply: &Reply<'_>, most: Duration) -> Result<(u64, i64), Trouble> {
        let theirs = match reply {
            Reply::Error(words) => return Err(Trouble::of_error(words)),
            reply => milliseconds(reply).ok_or(Trouble::NotRedis)?,
        };
        let half = self.by_timer.elapsed() / 2;
        let ours = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + half;
        let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub(whole_milliseconds(ours));
        let unknown = whole_milliseconds(half).saturating_add(1);
        if ahead.saturating_abs().saturating_add(unknown) > whole_milliseconds(most) {
            return Err(Trouble::ClockDiffers(ahead));
        }
        Ok((theirs, ahead))
    }
}

/// The whole seconds of what `TIME` says.
pub(super) fn seconds(reply: &Reply<'_>) -> Option<u64> {
    milliseconds(reply).map(|milliseconds| milliseconds / 1000)
}

fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What `TIME` says: seconds and microseconds.
fn milliseconds(reply: &Reply<'_>) -> Option<u64> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::Bulk(seconds), Reply::Bulk(microseconds)] = parts.as_slice() else { return None };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    number(seconds)?.checked_mul(1000)?.checked_add(number(microseconds)? / 1000)
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

    #[tokio::test(start_paused = true)]
    async fn half_of_the_round_trip_counts_against_the_clock() {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = Clock::new(move || ours);
        let judge = async |seconds: &str, micros: &str, round_trip: u64| {
            let asked = Asked::now(&clock);
            tokio::time::advance(Duration::from_millis(round_trip)).await;
            let reply = Reply::Array(vec![Reply::Bulk(seconds.as_bytes()), Reply::Bulk(micros.as_bytes())]);
            asked.judge_time(&reply, Duration::from_secs(2))
        };
        assert_eq!(judge("1001", "999000", 0).await, Ok((1_001_999, 1999)));
        assert_eq!(judge("998", "1000", 0).await, Ok((998_001, -1999)));
        assert_eq!(
            judge("1002", "0", 0).await,
            Err(Trouble::ClockDiffers(2000)),
            "a millisecond may be cut off"
        );
        assert_eq!(judge("997", "0", 0).await, Err(Trouble::ClockDiffers(-3000)));
        assert_eq!(judge("1001", "999000", 200).await, Ok((1_001_999, 1899)));
        assert_eq!(judge("1002", "0", 200).await, Err(Trouble::ClockDiffers(1900)));
        assert_eq!(judge("x", "0", 0).await, Err(Trouble::NotRedis));
    }

    /// Both clocks may be set while a server is used; only its own ends claims.
    #[tokio::test(start_paused = true)]
    async fn a_server_whose_clock_was_set_has_another_memory() {
        let settings = crate::replay::redis::tests::settings(
            config::RedisServers::Cluster(Vec::new()),
            config::RedisWire::Plain,
        );
        let look = async |theirs: u64, ours: u64| {
            let clock = Clock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
            let mut vetted = Vetted {
                memory: Memory {
                    identity: Identity::new(b"r", b"h", b"0"),
                    key: Vec::new(),
                    value: Vec::new(),
                    begins: 0,
                    bounds: Bounds::default(),
                },
                ahead: 0,
                pace: Pace::from(1_000_000, &clock),
            };
            tokio::time::advance(Duration::from_secs(5)).await;
            let clock = Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(ours));
            let theirs = theirs.to_string();
            let reply = Reply::Array(vec![Reply::Bulk(theirs.as_bytes()), Reply::Bulk(b"0")]);
            let own = vetted.pace.judge_ours(Instant::now(), &clock, settings.clock_difference);
            (Asked::now(&clock).judge_again(&reply, &settings, &mut vetted, &clock), own)
        };
        let differs = |ahead| Err(Trouble::ClockDiffers(ahead));
        assert_eq!(look(1005, 1005).await, (Ok(()), Ok(())));
        assert_eq!(look(1006, 1005).await, (Ok(()), Ok(())), "by less than is borne");
        assert_eq!(look(1009, 1005).await, (Err(Trouble::MemoryLost), Ok(())));
        assert_eq!(look(1000, 1005).await, (Err(Trouble::MemoryLost), Ok(())));
        assert_eq!(look(1005, 1001).await, (differs(4000), differs(4000)));
        assert_eq!(look(1005, 1010).await, (differs(-5000), differs(-5000)));
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
