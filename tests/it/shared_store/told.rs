//! What an operator is told of a store that is not as it should be, by a real process: in its log, in the detail of readiness and in its metrics; and what a caller hears meanwhile.

use holdfast::verify::rejection::Rejection::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::{sharing, until_in_use};
use crate::house::House;
use crate::process::{Process, wait};
use crate::redis::server::Server;
use crate::scene::{Scene, renew};
use crate::table::Heard::{Passed, Refused};
use crate::table::{hear, heard};

/// What is wrong with a server: its label in log and metrics, what the operator reads of it, how it becomes so, and how it is mended.
type Fault = (&'static str, &'static str, fn(&mut Server), fn(&mut Server));

/// A gateway as a process of its own, with what it has said up to now.
struct Told {
    house: House,
    process: Process,
    place: String,
    read: usize,
}

impl Told {
    async fn by(server: &Server, more: &str) -> Self {
        let mut house = House::built(sharing(&server.url(), more)).await;
        let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
        let mut told = Self { house, process, place: server.address.to_string(), read: 0 };
        told.logs("the replay store is in use", "").await;
        told
    }

    /// Waits for a line of the log with both, behind those that were waited for before.
    async fn logs(&mut self, what: &str, more: &str) -> String {
        let mut found = None;
        wait(&format!("the log says: {what} {more}"), async || {
            let log = self.process.stderr();
            let line = log[self.read..].lines().find(|line| line.contains(what) && line.contains(more));
            found = line.map(str::to_owned);
            found.is_some()
        })
        .await;
        self.read = self.process.stderr().len();
        found.expect("it was found")
    }

    /// A number of the metrics.
    async fn number(&self, name: &str) -> f64 {
        let metrics = self.house.ask_admin("/metrics").await.1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().expect("a number")
    }

    /// The metric that says whether the server is used.
    async fn is_usable(&self) -> bool {
        self.number(&format!("holdfast_replay_store_usable{{server=\"{}\"}}", self.place)).await == 1.0
    }

    /// Holds it to what is told of a store that is away for this reason.
    async fn away(&mut self, label: &str, words: &str) {
        let goes_on = self.house.text().contains("on_failure: nonce");
        let (mode, meanwhile) = if goes_on {
            ("nonce", "pass with a nonce of this process alone")
        } else {
            ("refuse", "are refused")
        };
        let meanwhile = format!("replay store: proofs that it cannot be asked about {meanwhile}");
        let line = self.logs("the replay store cannot be asked", &format!("reason=\"{label}\"")).await;
        assert!(line.contains(" WARN ") && line.contains(words) && line.contains(&self.place), "{line}");
        assert!(line.contains(&format!("on_failure=\"{mode}\"")), "{line}");
        wait("readiness tells why", async || {
            // Where requests go it would be no better, so they may come.
            let (status, detail) = self.house.ask_admin("/readyz").await;
            let away = format!("replay store {}: away since ", self.place);
            status == 200
                && detail.lines().any(|line| line.starts_with(&away) && line.contains(words))
                && detail.lines().any(|line| line == meanwhile)
        })
        .await;
        assert!(!self.is_usable().await, "{label}");
        assert_eq!(self.number("holdfast_replay_store_alone").await, f64::from(u8::from(goes_on)), "{label}");
        let troubles = format!("holdfast_replay_store_troubles_total{{reason=\"{label}\"}}");
        assert!(self.number(&troubles).await >= 1.0, "{label}");
    }

    /// Holds it to what is told of a store that is back.
    async fn back(&mut self, scene: &mut Scene) {
        let line = self.logs("the replay store is in use again", &self.place.clone()).await;
        assert!(line.contains(" INFO ") && line.contains("away_ms="), "{line}");
        until_in_use(&self.house, scene).await;
        let detail = self.house.ask_admin("/readyz").await.1;
        assert!(detail.contains(&format!("replay store {}: in use\n", self.place)), "{detail}");
        assert!(self.is_usable().await && !detail.contains("replay store: "));
        assert_eq!(self.number("holdfast_replay_store_alone").await, 0.0);
    }
}

const FAULTS: [Fault; 8] = [
    (
        "may_evict",
        "set `maxmemory-policy noeviction`",
        |server| server.order(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]),
        |server| server.order(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]),
    ),
    (
        "full",
        "give it more `maxmemory`",
        |server| server.order(&["CONFIG", "SET", "maxmemory", "1"]),
        |server| server.order(&["CONFIG", "SET", "maxmemory", "0"]),
    ),
    (
        "cannot_persist",
        "mend the disk",
        |server| {
            // A directory where the file ought to be.
            std::fs::create_dir(server.directory.path().join("dump.rdb")).expect("a directory");
            server.order(&["CONFIG", "SET", "save", "3600 1"]);
            server.say(&["BGSAVE"]);
        },
        |server| {
            std::fs::remove_dir(server.directory.path().join("dump.rdb")).expect("it is empty");
            server.order(&["CONFIG", "SET", "save", ""]);
        },
    ),
    (
        "read_only",
        "it is a replica",
        |server| server.order(&["REPLICAOF", "127.0.0.1", "1"]),
        |server| server.order(&["REPLICAOF", "NO", "ONE"]),
    ),
    (
        "not_permitted",
        "its ACL does not let the user do what is needed",
        |server| server.order(&["ACL", "SETUSER", "default", "-set"]),
        |server| server.order(&["ACL", "SETUSER", "default", "+set"]),
    ),
    (
        "wrong_password",
        "it refuses `user` and `password`, or wants them",
        |server| {
            server.order(&["CONFIG", "SET", "requirepass", "secret"]);
            server.say(&["-a", "secret", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal"]);
        },
        |server| server.order(&["-a", "secret", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""]),
    ),
    ("late", "longer than `timeout`", |server| server.signal("STOP"), |server| server.signal("CONT")),
    ("unreachable", "it cannot be reached", Server::kill, Server::restart),
];

/// `refuse`: each fault is told, nothing with a proof passes meanwhile, and it is told when it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_server_has_its_reason_and_callers_are_refused() {
    let mut server = Server::start(&[]);
    let mut told = Told::by(&server, "").await;
    let mut scene = Scene::right(&told.house);
    until_in_use(&told.house, &mut scene).await;
    for (label, words, spoil, mend) in FAULTS {
        spoil(&mut server);
        told.away(label, words).await;
        renew(&mut scene, &told.house, None);
        hear(&told.house, &scene, label, Refused(ReplayStoreUnavailable)).await;
        mend(&mut server);
        told.back(&mut scene).await;
    }
    // It is back before anybody could look.
    server.order(&["FLUSHALL"]);
    let line = told.logs("the replay store cannot be asked", "reason=\"memory_lost\"").await;
    assert!(line.contains("its memory was emptied"), "{line}");
    told.back(&mut scene).await;
    // Something else has taken its place.
    server.kill();
    told.logs("the replay store cannot be asked", "reason=\"unreachable\"").await;
    let other = TcpListener::bind(server.address).await.expect("the server has gone");
    let other = tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            // Who hangs up needs no answer.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    told.away("not_redis", "is no Redis and no Valkey").await;
    renew(&mut scene, &told.house, None);
    hear(&told.house, &scene, "no Redis", Refused(ReplayStoreUnavailable)).await;
    other.abort();
    let _ = other.await;
    server.restart();
    told.back(&mut scene).await;
}

/// `nonce`: the same is told, and the process goes on with nonces of its own until the store is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_on_alone_tells_so() {
    let mut server = Server::start(&[]);
    let mut told = Told::by(&server, ", on_failure: nonce").await;
    let mut scene = Scene::right(&told.house);
    until_in_use(&told.house, &mut scene).await;
    server.kill();
    told.away("unreachable", "it cannot be reached").await;
    let house = &told.house;
    renew(&mut scene, house, None);
    let answer = hear(house, &scene, "alone", Refused(NonceElsewhere)).await;
    renew(&mut scene, house, Some(answer.one("dpop-nonce")));
    let alone = scene.bytes(house);
    let answer = scene.send_bytes(house, &alone).await;
    heard(house, &scene, &answer, "with a nonce of its own", Passed);
    server.restart();
    told.back(&mut scene).await;
    let answer = scene.send_bytes(&told.house, &alone).await;
    heard(&told.house, &scene, &answer, "used alone", Refused(ProofReplayed));
}
