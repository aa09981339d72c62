//! Which server is the master of a group, as its sentinels say (redis.io, "Sentinel client spec").
//!
//! All of them are asked at the same time, and the answer of the latest configuration counts: a sentinel that was cut off still names the master of before. None is believed for
//! long, and a server only when it says itself that it is a master, which `vet.rs` sees to.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::connect::{Connector, announced};
use super::link::Link;
use super::resp::Reply;
use super::trouble::{Trouble, said};
use crate::config::{RedisEndpoint, Sentinel};

/// How often the sentinels are asked. A master that was replaced may answer for as long as it is cut off from those who know.
const EVERY: Duration = Duration::from_secs(1);
/// Between two questions at least, however many lanes want to know.
const SELDOM: Duration = Duration::from_millis(100);

/// What the sentinels said last that could be used; before that, why there is nothing. `None`: they are being asked for the first time.
type Found = Option<Result<RedisEndpoint, Trouble>>;

/// Where the master is, for lanes. Clones know the same; with the last of them the sentinels are asked no more.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    found: watch::Receiver<Found>,
    doubted: Arc<Notify>,
    name: Arc<str>,
}

impl fmt::Display for Whereabouts {
    /// What a master is called that is not known yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sentinel:{}", self.name)
    }
}

impl Whereabouts {
    /// Begins to ask, in a task of its own.
    pub(super) fn watch(sentinels: Sentinels) -> Self {
        let (tell, found) = watch::channel(None);
        let doubted = Arc::<Notify>::default();
        let name = sentinels.settings.name.as_str().into();
        tokio::spawn(keep_asking(sentinels, tell, Arc::clone(&doubted)));
        Self { found, doubted, name }
    }

    /// Where the master is, by what was last said. A name that is no longer believed stays while no sentinel names another: vetting tells whether it is one.
    ///
    /// # Errors
    /// [`Trouble::NoMaster`] when none was ever named.
    pub(super) async fn master(&self) -> Result<RedisEndpoint, Trouble> {
        let mut found = self.found.clone();
        let first = found.wait_for(Option::is_some).await.map(|found| found.clone());
        first.ok().flatten().unwrap_or_else(|| Err(Trouble::NoMaster("they are not asked any more".into())))
    }

    /// Has the sentinels asked again, soon: this master did not do.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Does `work` with `master`, for as long as it is master. `None`: another one has taken its place.
    pub(super) async fn during<T>(&self, master: &RedisEndpoint, work: impl Future<Output = T>) -> Option<T> {
        let mut found = self.found.clone();
        let replaced = found.wait_for(|found| matches!(found, Some(Ok(other)) if other != master));
        tokio::select! {
            biased;
            Ok(_) = replaced => None,
            done = work => Some(done),
        }
    }
}

async fn keep_asking(mut sentinels: Sentinels, tell: watch::Sender<Found>, doubted: Arc<Notify>) {
    loop {
        let asked = Instant::now();
        tokio::select! {
            () = tell.closed() => return,
            said = sentinels.master() => {
                tell.send_if_modified(|found| {
                    let news = match (&*found, &said) {
                        (Some(Ok(known)), Ok(named)) => known != named,
                        // Nobody says that it is another.
                        (Some(Ok(_)), Err(_)) => false,
                        (Some(Err(_)) | None, _) => true,
                    };
                    if news {
                        *found = Some(said);
                    }
                    news
                });
            }
        }
        tokio::select! {
            () = tell.closed() => return,
            () = tokio::time::sleep_until(asked + EVERY) => {}
            () = doubted.notified() => tokio::time::sleep_until(asked + SELDOM).await,
        }
    }
}

/// The sentinels of a group, each with the connection on which it was asked last.
pub(super) struct Sentinels {
    settings: Sentinel,
    connector: Connector,
    /// How long those are waited for that have not answered when more than half have.
    grace: Duration,
    links: Vec<Option<Link>>,
    /// The configuration that was believed last.
    believed: Option<Master>,
}

/// A master, by one sentinel's account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    /// The number of the configuration that made it master; of two, the greater is the later.
    epoch: u64,
    endpoint: RedisEndpoint,
}

impl Sentinels {
    /// The sentinels of these settings; none of them is asked yet. `timeout` is that of a reply.
    pub(super) fn new(settings: &Sentinel, connector: Connector, timeout: Duration) -> Self {
        let links = settings.servers.iter().map(|_| None).collect();
        Self { settings: settings.clone(), connector, grace: timeout, links, believed: None }
    }

    /// The group's master. Waits for `connect_timeout` and two replies at most, and seldom for so long: when more than half of the sentinels have answered, the others have the time
    /// of one reply.
    ///
    /// # Errors
    /// [`Trouble::NoMaster`] with what the last of them said, when none names a master, or only some that may have missed the latest change.
    pub(super) async fn master(&mut self) -> Result<RedisEndpoint, Trouble> {
        let mut asked = JoinSet::new();
        for (place, link) in self.links.iter_mut().enumerate() {
            let (link, connector, settings) = (link.take(), self.connector.clone(), self.settings.clone());
            asked.spawn(async move { (place, ask(link, place, &connector, &settings).await) });
        }
        let most = self.settings.servers.len() / 2 + 1;
        let (mut answers, mut why) = (Vec::new(), None);
        // Each question has an end of its own; this one only makes sure that there is one to wait for.
        let mut end = Instant::now() + Duration::from_secs(3600);
        while let Ok(Some(one)) = timeout_at(end, asked.join_next()).await {
            match one {
                Ok((place, Ok((link, master)))) => {
                    self.links[place] = Some(link);
                    answers.push(master);
                    if answers.len() == most {
                        end = Instant::now() + self.grace;
                    }
                }
                Ok((place, Err(trouble))) => {
                    why = Some(format!("{}: {trouble}", self.settings.servers[place]))
                }
                Err(ended) => why = Some(ended.to_string()),
            }
        }
        self.believe(answers).ok_or_else(|| {
            Trouble::NoMaster(
                why.unwrap_or_else(|| "those that answer know less than was known before".into()),
            )
        })
    }

    /// The latest of the answers. Fewer than half of the sentinels may all have been cut off, and then know no more than they did: they are not believed
    /// about a configuration that is older than the one that was believed before. More than half are, since numbers begin anew where a group is set up again.
    fn believe(&mut self, answers: Vec<Master>) -> Option<RedisEndpoint> {
        let are_most = answers.len() > self.settings.servers.len() / 2;
        let latest = answers.into_iter().max_by_key(|master| master.epoch)?;
        if !are_most && self.believed.as_ref().is_some_and(|before| before.epoch > latest.epoch) {
            return None;
        }
        let endpoint = latest.endpoint.clone();
        self.believed = Some(latest);
        Some(endpoint)
    }
}

/// What one sentinel says, on the connection there is or on a new one.
async fn ask(
    link: Option<Link>,
    place: usize,
    connector: &Connector,
    settings: &Sentinel,
) -> Result<(Link, Master), Trouble> {
    if let Some(mut link) = link
        && let Ok(master) = master(&mut link, &settings.name).await
    {
        return Ok((link, master));
    }
    let mut link = connector.log_in(&settings.servers[place], settings.login.as_ref()).await?;
    let master = master(&mut link, &settings.name).await?;
    Ok((link, master))
}

/// `SENTINEL MASTER`: names and values in turn. It names the configuration too, which `get-master-addr-by-name` does not.
async fn master(link: &mut Link, name: &str) -> Result<Master, Trouble> {
    let Reply::Array(parts) = link.demand(&[b"SENTINEL", b"MASTER", name.as_bytes()]).await? else {
        return Err(Trouble::Broken("SENTINEL MASTER gives no list".into()));
    };
    read(&parts).ok_or_else(|| {
        let first = parts
            .iter()
            .find_map(|part| if let Reply::Bulk(words) = part { Some(said(words)) } else { None });
        Trouble::Broken(format!("SENTINEL MASTER names no server: {}", first.unwrap_or_default()))
    })
}

fn read(parts: &[Reply<'_>]) -> Option<Master> {
    let value = |name: &[u8]| {
        parts.chunks_exact(2).find_map(|pair| match pair {
            [Reply::Bulk(found), Reply::Bulk(value)] if *found == name => Some(*value),
            _ => None,
        })
    };
    let number = |name: &[u8]| std::str::from_utf8(value(name)?).ok()?.parse::<u64>().ok();
    let port = u16::try_from(number(b"port")?).ok()?;
    Some(Master { epoch: number(b"config-epoch")?, endpoint: announced(value(b"ip")?, port)? })
}

#[cfg(test)]
mod tests {
    use super::{Master, Sentinels, read};
    use crate::config::{RedisEndpoint, RedisServers, RedisWire, Sentinel};
    use crate::replay::redis::connect::Connector;
    use crate::replay::redis::resp::Reply;
    use std::time::Duration;

    fn at(port: u16) -> RedisEndpoint {
        RedisEndpoint { host: "127.0.0.1".into(), port }
    }

    fn said(epoch: u64, port: u16) -> Master {
        Master { epoch, endpoint: at(port) }
    }

    fn of(settings: Sentinel) -> Sentinels {
        let servers = RedisServers::Sentinel(settings.clone());
        let connector = Connector::new(&crate::replay::redis::tests::settings(servers, RedisWire::Plain));
        Sentinels::new(&settings, connector, Duration::from_secs(1))
    }

    /// After a cut, the sentinels on the one side name the old master for as long as it lasts.
    #[test]
    fn the_latest_configuration_counts_and_a_few_cannot_bring_back_an_old_one() {
        let settings = Sentinel { name: "a".into(), servers: vec![at(1), at(2), at(3)], login: None };
        let mut three = of(settings);
        assert_eq!(three.believe(vec![]), None);
        assert_eq!(three.believe(vec![said(1, 10)]), Some(at(10)), "one is better than none");
        assert_eq!(three.believe(vec![said(1, 10), said(2, 20)]), Some(at(20)));
        assert_eq!(three.believe(vec![said(2, 20), said(1, 10), said(1, 10)]), Some(at(20)));
        assert_eq!(three.believe(vec![said(1, 10)]), None);
        assert_eq!(three.believe(vec![said(2, 20)]), Some(at(20)));
        assert_eq!(three.believe(vec![said(0, 30), said(0, 30)]), Some(at(30)), "set up again");
        assert_eq!(three.believe(vec![said(1, 10)]), Some(at(10)));
    }

    #[test]
    fn a_master_has_an_address_and_a_configuration() {
        let answer = |text: &'static str| -> Vec<Reply<'static>> {
            text.split(' ').map(|part| Reply::Bulk(part.as_bytes())).collect()
        };
        let whole = "name a ip 127.0.0.1 port 10 flags master config-epoch 3 x y";
        assert_eq!(read(&answer(whole)), Some(said(3, 10)));
        for (from, to) in [
            ("ip", "pi"),
            ("127.0.0.1", "?"),
            ("10", "0"),
            ("10", "65536"),
            ("10", "x"),
            ("config-epoch", "epoch"),
            ("name ", ""),
        ] {
            assert_eq!(read(&answer(whole.replacen(from, to, 1).leak())), None, "{to}");
        }
        assert_eq!(read(&[]), None);
    }
}
