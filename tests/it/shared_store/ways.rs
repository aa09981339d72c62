//! Ways to a shared store as they stand in the configuration: TLS with a private CA, a name and a certificate of our own; a store in each region; and a clock that is off.

use holdfast::verify::rejection::Rejection::*;

use super::{sharing, until_in_use};
use crate::house::{House, NONCE_KEY, Plan};
use crate::process::wait;
use crate::redis::server::Server;
use crate::scene::{Scene, renew};
use crate::served::{Pki, leaked};
use crate::table::Heard::{Passed, Refused};
use crate::table::{hear, heard};

/// A server that speaks TLS alone, as `app.internal`, and asks for a certificate of the same CA.
fn over_tls(pki: &Pki) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    for (name, text) in [("ca", &pki.ca), ("chain", &pki.server.0), ("key", &pki.server.1)] {
        std::fs::write(path(name), text).expect("written");
    }
    // It reads them when it starts.
    Server::start(&[
        "--port",
        "0",
        "--tls-port",
        "6379",
        "--tls-auth-clients",
        "yes",
        "--tls-ca-cert-file",
        &path("ca"),
        "--tls-cert-file",
        &path("chain"),
        "--tls-key-file",
        &path("key"),
    ])
}

/// T-RPL-08 over TLS: two replicas that reach the store so share it; who leaves out a part of it does not reach it, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_over_tls_from_the_configuration() {
    const TRUST: &str = ", trust: { ca: ca.pem }";
    const NAME: &str = ", server_name: app.internal";
    const SHOWN: &str = ", client_certificate: { chain: shown.pem, key: shown.key }";
    let (pki, others) = (Pki::new(), Pki::new());
    let server = over_tls(&pki);
    let url = server.url().replace("redis://", "rediss://");
    let plan = |pki: &Pki, more: &[&str]| {
        let mut plan = sharing(&url, &more.concat());
        plan.files.extend(pki.files());
        plan
    };
    let first = House::built(plan(&pki, &[TRUST, NAME, SHOWN])).await;
    let second = first.twin(plan(&pki, &[TRUST, NAME, SHOWN])).await;
    let mut scene = Scene::right(&first);
    until_in_use(&first, &mut scene).await;
    renew(&mut scene, &first, None);
    let used = scene.bytes(&first);
    let answer = scene.send_bytes(&first, &used).await;
    heard(&first, &scene, &answer, "at the first", Passed);
    let answer = scene.send_bytes(&second, &used).await;
    heard(&second, &scene, &answer, "at the second", Refused(ProofReplayed));
    // A prefix by which the house knows that it is not to wait.
    const NEVER: &str = ", prefix: \"unreachable:\"";
    for (what, trusted, parts) in [
        ("without a certificate", &pki, &[TRUST, NAME, NEVER][..]),
        ("without the name", &pki, &[TRUST, SHOWN, NEVER]),
        ("without the CA", &pki, &[NAME, SHOWN, NEVER]),
        ("with another CA", &others, &[TRUST, NAME, SHOWN, NEVER]),
        ("with another name", &pki, &[TRUST, ", server_name: api.internal", SHOWN, NEVER]),
    ] {
        let house = first.twin(plan(trusted, parts)).await;
        wait(&format!("{what} it says why"), async || {
            let (status, detail) = house.ask_admin("/readyz").await;
            status == 503 && detail.contains("no TLS with it: ")
        })
        .await;
        hear(&house, &Scene::right(&house), what, Refused(ReplayStoreUnavailable)).await;
    }
}

/// Two stores and one set of keys: a proof passes once in its own region, whichever replica it comes to, and in no other.
#[tokio::test(flavor = "multi_thread")]
async fn each_region_has_its_store_and_its_nonces() {
    let (north, south) = (Server::start(&[]), Server::start(&[]));
    let plan = |server: &Server, region: &str| {
        let plan = sharing(&server.url(), "");
        let rules = plan.rules.replace("max_future: 1s", &format!("nonce: required, nonce_region: {region}"));
        Plan { rules: leaked(rules), files: vec![("ring", NONCE_KEY.to_owned())], ..plan }
    };
    let first = House::built(plan(&north, "north")).await;
    let (second, third, fourth) = (
        first.twin(plan(&north, "north")).await,
        first.twin(plan(&south, "south")).await,
        first.twin(plan(&south, "south")).await,
    );
    let mut scene = Scene::right(&first);
    for house in [&fourth, &third, &second, &first] {
        until_in_use(house, &mut scene).await;
    }
    for ([home, near], away) in
        [([&first, &second], [&third, &fourth]), ([&third, &fourth], [&first, &second])]
    {
        until_in_use(home, &mut scene).await;
        renew(&mut scene, home, None);
        let bytes = scene.bytes(home);
        for house in away {
            let answer = scene.send_bytes(house, &bytes).await;
            heard(house, &scene, &answer, "abroad, not used", Refused(NonceStale));
        }
        let answer = scene.send_bytes(home, &bytes).await;
        heard(home, &scene, &answer, "at home", Passed);
        let answer = scene.send_bytes(near, &bytes).await;
        heard(near, &scene, &answer, "at home, again", Refused(ProofReplayed));
        for house in away {
            let answer = scene.send_bytes(house, &bytes).await;
            heard(house, &scene, &answer, "abroad, used", Refused(NonceStale));
        }
    }
}

/// How far the server's clock is from ours stands in the metrics of a gateway that runs; beyond `clock_difference` the server is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_shown() {
    let server = Server::start(&[]);
    let house = House::built(sharing(&server.url(), ", clock_difference: 3s")).await;
    let shows = async |ahead: f64, usable: bool| {
        let place = server.address;
        wait(&format!("it shows {ahead} s"), async || {
            let metrics = house.ask_admin("/metrics").await.1;
            let number = |name: &str| {
                let name = format!("holdfast_replay_store_{name}{{server=\"{place}\"}} ");
                metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok())
            };
            let shown = number("clock_difference_seconds").expect("it was asked");
            (shown - ahead).abs() < 1.0 && number("usable") == Some(f64::from(u8::from(usable)))
        })
        .await;
    };
    let mut scene = Scene::right(&house);
    until_in_use(&house, &mut scene).await;
    shows(0.0, true).await;
    // Our clock is set ahead by more than is borne. It takes no proofs, by whichever clock they are dated.
    house.pass_time(20);
    shows(-20.0, false).await;
    assert!(house.ask_admin("/readyz").await.1.contains("its clock differs from this machine's by -"));
    renew(&mut scene, &house, None);
    hear(&house, &scene, "by our clock", Refused(ReplayStoreUnavailable)).await;
    house.pass_time(-20);
    shows(0.0, true).await;
    // By less.
    house.pass_time(2);
    shows(-2.0, true).await;
    until_in_use(&house, &mut scene).await;
}
