//! Another configuration in the place of the one in force, while it runs: what triggers it, what it changes, and that nothing else happens.

use std::time::Duration;

use serde_json::json;

use crate::house::{HOST, House, Plan};
use crate::process::{Process, wait};
use crate::scene::Scene;
use crate::wire::Client;

mod load;
mod proofs;
mod shared;
mod slow;
pub mod tls;

/// A house whose gateway reads its configuration again when it is asked to, and by itself only where `watch` says so.
pub async fn house(watch: &'static str) -> House {
    House::built(Plan { reloads: true, more: watch, ..Plan::default() }).await
}

/// Nothing is read by itself.
pub const ASKED: &str = "reload: { watch: none }\n";
/// Files are watched, and looked at far too seldom to be noticed in a test.
const WATCHED: &str = "reload: { poll: 1h }\n";

/// How often a reload ended so.
pub async fn reloads(house: &House, outcome: &str) -> u64 {
    let (_, text) = house.ask_admin("/metrics").await;
    let series = format!("holdfast_reloads_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{text}"));
    line.parse().expect("a count")
}

/// What a GET of a path without credentials ends with, on a connection of its own.
async fn status(house: &House, path: &str) -> u16 {
    let mut scene = Scene::at(house, path);
    scene.credentials = Some(Vec::new());
    scene.send(house).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_answered() {
    let house = house(ASKED).await;
    let text = house.text();
    // Asked for, it is done, even where nothing has changed.
    assert_eq!(house.post_reload().await, (200, "applied\n".to_owned()));
    house.write("gateway.yaml", &text.replace("admin:", "amdin:"));
    let (status_code, said) = house.post_reload().await;
    assert_eq!(status_code, 422, "{said}");
    assert!(said.starts_with("refused\n") && said.contains("unknown key `amdin`"), "{said}");
    assert_eq!(status(&house, "/public").await, 200, "the old one is in force");
    house.write("gateway.yaml", &text.replace("path_prefix: /public", "path_prefix: /open"));
    let (status_code, said) = house.post_reload().await;
    assert_eq!(status_code, 200, "{said}");
    assert!(said.starts_with("applied\nfile ") && said.ends_with("gateway.yaml\n"), "{said}");
    assert_eq!((status(&house, "/public").await, status(&house, "/open").await), (401, 200));
    assert_eq!((reloads(&house, "applied").await, reloads(&house, "refused").await), (2, 1));

    let mut page = Client::plain(house.admin).await.expect("the admin listener");
    let request = b"POST /reload HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\r\n";
    assert_eq!(page.exchange(request).await.expect("an answer").status, 403);
    assert_eq!(house.ask_admin("/reload").await.0, 405);
    let fixed = House::usual().await;
    assert_eq!(fixed.post_reload().await.0, 409, "it came from no file");
}

/// A connection that is older than the configuration is served by the new one.
#[tokio::test(flavor = "multi_thread")]
async fn old_connections_meet_the_new_configuration() {
    let house = house(ASKED).await;
    let mut one = house.connect(HOST, None).await;
    let two = house.connect_h2(None).await;
    let scene = Scene::right(&house);
    assert_eq!(one.exchange(&scene.bytes(&house)).await.expect("an answer").status, 200);
    let text = house.text();
    house.reload_with(&text.replace("public_urls: [https://api.example.com, ", "public_urls: [")).await;
    let scene = Scene::right(&house);
    let answer = one.exchange(&scene.bytes(&house)).await.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (421, "host_unknown"));
    let answer = two.exchange(scene.request_with(&scene.credentials(&house))).await.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (421, "host_unknown"));
    house.reload_with(&(text + "limits: { body_bytes: 10 }\n")).await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.body = "more than ten bytes".into();
    let answer = one.exchange(&scene.bytes(&house)).await.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (413, "body_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go_and_move() {
    let house = house(ASKED).await;
    let text = house.text();
    let mut kept = house.connect(HOST, None).await;
    // One more, behind it. Port 0 with another name is another socket.
    let more = "  - { name: more, address: '127.0.0.1:0', public_urls: ['https://more.example.com'], tls: plaintext }\n";
    house.reload_with(&text.replacen("issuers:\n", &format!("{more}issuers:\n"), 1)).await;
    let addresses = house.gateway.addresses();
    assert_eq!((addresses.len(), addresses[0]), (2, house.address));
    let request = b"GET /public HTTP/1.1\r\nhost: more.example.com\r\n\r\n";
    let mut added = Client::plain(addresses[1]).await.expect("it listens");
    assert_eq!(added.exchange(request).await.expect("an answer").status, 200);
    // It goes: its connections are drained, and nobody else speaks for it.
    house.reload_with(&text).await;
    match added.exchange(request).await {
        Ok(answer) => {
            assert_eq!((answer.status, answer.one("connection")), (421, "close"));
            assert!(added.is_closed().await);
        }
        Err(error) => panic!("cut: {error}"),
    }
    wait("the port is given back", async || Client::plain(addresses[1]).await.is_err()).await;
    // The other moves; whoever is there is answered, and told to come again.
    let elsewhere =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    house.reload_with(&text.replacen("address: 127.0.0.1:0", &format!("address: {elsewhere}"), 1)).await;
    assert_eq!(house.gateway.addresses(), [elsewhere]);
    let scene = Scene::right(&house);
    let answer = kept.exchange(&scene.bytes(&house)).await.expect("an answer");
    assert_eq!((answer.status, answer.one("connection")), (200, "close"));
    let mut moved = Client::connect(elsewhere, HOST, None).await.expect("the handshake");
    let scene = Scene::right(&house);
    assert_eq!(moved.exchange(&scene.bytes(&house)).await.expect("an answer").status, 200);
}

/// A port that is free now.
fn port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port")
}

/// The house with one listener more, without TLS, for its own host.
fn with_listeners(text: &str, listeners: &[(&str, std::net::SocketAddr, &str)]) -> String {
    let more: String = listeners
        .iter()
        .map(|(name, address, host)| {
            format!("  - {{ name: {name}, address: '{address}', public_urls: ['https://{host}'], tls: plaintext }}\n")
        })
        .collect();
    text.replacen("issuers:\n", &format!("{more}issuers:\n"), 1)
}

/// A listener that went a moment ago still has its socket, for whoever is half-way. It can be had back all the same, and its address by another.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_comes_back_at_once() {
    let house = house(ASKED).await;
    let (text, address) = (house.text(), port());
    for name in ["more", "more", "another"] {
        house.reload_with(&with_listeners(&text, &[(name, address, "more.example.com")])).await;
        let mut caller = Client::plain(address).await.expect("it listens");
        let request = b"GET /public HTTP/1.1\r\nhost: more.example.com\r\n\r\n";
        assert_eq!(caller.exchange(request).await.expect("an answer").status, 200);
        house.reload_with(&text).await;
    }
    // To the operators.
    house
        .reload_with(&text.replacen(
            "admin: { address: 127.0.0.1:0",
            &format!("admin: {{ address: {address}"),
            1,
        ))
        .await;
}

/// Two listeners that swap their names: whoever came in by one never meets the hosts of the other, not for one request.
#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_swap_names() {
    let house = house(ASKED).await;
    let (text, one, two) = (house.text(), port(), port());
    let (inner, outer) = ("inner.example.com", "outer.example.com");
    house.reload_with(&with_listeners(&text, &[("a", one, outer), ("b", two, inner)])).await;
    let request = |host: &str| format!("GET /public HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut caller = Client::plain(one).await.expect("it listens");
        assert_eq!(caller.exchange(request(outer).as_bytes()).await.expect("an answer").status, 200);
        assert_eq!(caller.exchange(request(inner).as_bytes()).await.expect("an answer").status, 421);
        callers.push(caller);
    }
    house.reload_with(&with_listeners(&text, &[("b", one, outer), ("a", two, inner)])).await;
    for (caller, host) in callers.iter_mut().zip([inner, outer]) {
        let answer = caller.exchange(request(host).as_bytes()).await.expect("an answer");
        assert_eq!((answer.status, answer.one("connection")), (421, "close"), "{host}");
    }
    for (address, host, status) in
        [(one, outer, 200), (one, inner, 421), (two, inner, 200), (two, outer, 421)]
    {
        let mut caller = Client::plain(address).await.expect("it listens");
        assert_eq!(caller.exchange(request(host).as_bytes()).await.expect("an answer").status, status);
    }
}

/// An address that cannot be had changes nothing at all, wherever else the new configuration is right.
#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing() {
    let house = house(ASKED).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = taken.local_addr().expect("an address");
    let text = house.text().replace("path_prefix: /public", "path_prefix: /open");
    for place in ["address: 127.0.0.1:0", "admin: { address: 127.0.0.1:0"] {
        let text = text.replacen(place, &place.replace("127.0.0.1:0", &taken.to_string()), 1);
        house.write("gateway.yaml", &text);
        let (code, said) = house.post_reload().await;
        assert!(code == 422 && said.contains(&taken.to_string()), "{code} {said}");
        assert_eq!((status(&house, "/public").await, status(&house, "/open").await), (200, 401));
    }
}

/// A file that changes is noticed, whichever it is, and once for all that happens at once; the same bytes again are no change.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_watched() {
    let house = house(WATCHED).await;
    let text = house.text();
    house.write("gateway.yaml", &text.replace("path_prefix: /public", "path_prefix: /open"));
    wait("the configuration file", async || status(&house, "/open").await == 200).await;
    assert_eq!(reloads(&house, "applied").await, 1);
    // Another issuer's keys: what was signed with the old ones is refused from then on.
    let scene = Scene::right(&house);
    let jwks = std::fs::read_to_string(house.directory.path().join("issuer.jwks.json")).expect("it is there");
    house.write("issuer.jwks.json", &jwks.replace("\"kid\":\"one\"", "\"kid\":\"other\""));
    wait("the issuer's keys", async || scene.send(&house).await.reason() == "token_key_unknown").await;
    let before = reloads(&house, "unchanged").await;
    for _ in 0..20 {
        house.write("issuer.jwks.json", &jwks.replace("\"kid\":\"one\"", "\"kid\":\"other\""));
    }
    wait("the same again", async || reloads(&house, "unchanged").await > before).await;
    assert_eq!((reloads(&house, "applied").await, reloads(&house, "refused").await), (2, 0));
    // Half a change is refused, the whole one is taken without being asked for.
    house.write("issuer.jwks.json", &jwks[..20]);
    wait("half a file", async || reloads(&house, "refused").await == 1).await;
    house.write("issuer.jwks.json", &jwks);
    wait("the whole file", async || Scene::right(&house).send(&house).await.status == 200).await;
}

/// Where the system does not tell, looking does. Here the directory is another one after the change.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_looked_at() {
    let house = house("reload: { poll: 100ms }\n").await;
    let directory = house.directory.path();
    let text = house.text().replace("jwks_file: issuer.jwks.json", "jwks_file: deep/er/jwks.json");
    std::fs::create_dir_all(directory.join("deep/er")).expect("made");
    std::fs::copy(directory.join("issuer.jwks.json"), directory.join("deep/er/jwks.json")).expect("copied");
    house.reload_with(&text).await;
    let scene = Scene::right(&house);
    let jwks = std::fs::read_to_string(directory.join("deep/er/jwks.json")).expect("it is there");
    std::fs::create_dir_all(directory.join("other/er")).expect("made");
    house.write("other/er/jwks.json", &jwks.replace("\"kid\":\"one\"", "\"kid\":\"other\""));
    std::fs::rename(directory.join("deep"), directory.join("gone")).expect("renamed");
    std::fs::rename(directory.join("other"), directory.join("deep")).expect("renamed");
    wait("the issuer's keys", async || scene.send(&house).await.reason() == "token_key_unknown").await;
}

/// An issuer that does not answer keeps nobody else waiting once the reload is done, and the reload is done without it.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_without_keys_disturbs_no_other() {
    let house = house(ASKED).await;
    // Nobody answers there, at once.
    let more = "  - { issuer: 'http://127.0.0.1:1', audiences: [x], keys: { discovery: true } }\nreplay:";
    house.reload_with(&house.text().replacen("replay:", more, 1)).await;
    assert_eq!(Scene::right(&house).send(&house).await.status, 200);
    let mut scene = Scene::right(&house);
    scene.token_claims["iss"] = json!("http://127.0.0.1:1");
    scene.token_claims["aud"] = json!("x");
    assert_eq!(scene.send(&house).await.reason(), "issuer_unavailable");
}

/// The real process: SIGHUP, one line for what went wrong, the log level, and the old configuration in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_real_process() {
    let mut house = House::built(Plan { more: ASKED, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    let file = house.directory.path().join("process.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let pem = std::fs::read_to_string(house.directory.path().join("server.pem")).expect("the certificate");
    house.write("server.pem", &pem[..pem.len() / 2]);
    process.signal("HUP");
    wait("it is refused", async || reloads(&house, "refused").await == 1).await;
    let errors = |told: String| {
        told.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect::<Vec<_>>()
    };
    wait("it says so", async || !errors(process.stderr()).is_empty()).await;
    let said = errors(process.stderr());
    assert_eq!(said.len(), 1, "{said:?}");
    for part in ["reload refused", "SIGHUP", "process.yaml:", "this file is not PEM"] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert_eq!(status(&house, "/public").await, 200);
    house.write("server.pem", &pem);
    std::fs::write(&file, text.replace("level: info", "level: debug")).expect("written");
    process.signal("HUP");
    wait("it is applied", async || reloads(&house, "applied").await == 1).await;
    wait("the level", async || {
        // Whoever says no word over TLS is worth a line at that level.
        drop(Client::plain(house.address).await.expect("connected"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        process.stderr().contains("DEBUG")
    })
    .await;
}
