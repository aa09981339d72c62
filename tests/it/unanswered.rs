//! An issuer that is asked about tokens and answers badly, byte for byte: late, without end, in pieces, in a coding nobody asked for, or not at all. Each has its own
//! reason, none refuses the token, and what the issuer has said before holds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast::verify::rejection::Rejection::{
    IntrospectionMalformed, IntrospectionTooLarge, IntrospectionTooSlow, IntrospectionUnreachable,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{House, Plan};
use crate::introspection::{active, opaque};
use crate::scene::Scene;
use crate::scripted;
use crate::table::{Heard, hear};

/// What is written behind a question.
#[derive(Clone)]
enum Written {
    /// These bytes, and the connection stays open.
    Whole(Vec<u8>),
    /// The same to the first question on a connection; behind the second one it is closed.
    Once(Vec<u8>),
    /// The same, and the connection is closed.
    Closed(Vec<u8>),
    /// One byte after the other, ten milliseconds apart.
    Drop(Vec<u8>),
    /// The first bytes, and the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

type Next = Arc<Mutex<Written>>;

async fn issuer(next: Next) -> SocketAddr {
    scripted::upstream(move |stream| talk(stream, Arc::clone(&next))).await
}

async fn talk(mut stream: TcpStream, next: Next) {
    for number in 0.. {
        if read_question(&mut stream).await.is_none() {
            return;
        }
        let written = next.lock().expect("no one panicked").clone();
        let sent = match written {
            Written::Whole(bytes) => stream.write_all(&bytes).await,
            Written::Once(_) if number > 0 => return,
            Written::Once(bytes) => stream.write_all(&bytes).await,
            Written::Closed(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Written::Drop(bytes) => {
                for byte in bytes {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
                Ok(())
            }
            Written::Endless(first, again) => {
                let mut sent = stream.write_all(&first).await;
                while sent.is_ok() {
                    sent = stream.write_all(&again).await;
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads a request with its body, which it has to name the length of.
async fn read_question(stream: &mut TcpStream) -> Option<()> {
    let head = String::from_utf8(scripted::read_until(stream, b"\r\n\r\n").await).ok()?.to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ")?;
    let mut body = vec![0; length.split("\r\n").next()?.parse().ok()?];
    stream.read_exact(&mut body).await.ok().map(|_| ())
}

fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn sized(body: &str) -> Vec<u8> {
    answer(&format!("content-length: {}\r\n", body.len()), body.as_bytes())
}

/// `{}` as gzip has it, stored.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x02\0\xfd\xff{}\x43\xbf\xa6\xa3\x02\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn each_has_its_reason_and_what_was_said_holds() {
    let next: Next = Arc::new(Mutex::new(Written::Closed(Vec::new())));
    let address = issuer(Arc::clone(&next)).await;
    let configured = format!(
        "    keys: {{ jwks_file: issuer.jwks.json }}
    introspection:
      url: http://{address}/introspect
      client_id: gateway
      client_secret: {{ file: client-secret }}
      cache_inactive: 0s
      timeout: 400ms\n"
    );
    let files = vec![("client-secret", "secret".to_owned())];
    let house = House::built(Plan { issuer: configured.leak(), files, ..Plan::default() }).await;
    let say = |written: Written| *next.lock().expect("no one panicked") = written;
    let known = opaque(Scene::right(&house));
    say(Written::Whole(sized(&active(&known).to_string())));
    hear(&house, &known, "known before", Heard::Passed).await;

    let scene = opaque(Scene::right(&house));
    let good = active(&scene).to_string();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096)).into_bytes();
    let padded = format!("{}{good}", " ".repeat(50 << 20));
    for (what, written, rejection) in [
        ("drop by drop", Written::Drop(sized(&good)), IntrospectionTooSlow),
        ("half", Written::Closed(sized(&good)[..200].to_vec()), IntrospectionUnreachable),
        ("half a head", Written::Closed(b"HTTP/1.1 200 OK\r\ncont".to_vec()), IntrospectionUnreachable),
        ("nothing", Written::Closed(Vec::new()), IntrospectionUnreachable),
        ("no HTTP", Written::Closed(good.clone().into_bytes()), IntrospectionUnreachable),
        (
            "chunks without end",
            Written::Endless(answer("transfer-encoding: chunked\r\n", b""), chunk),
            IntrospectionTooLarge,
        ),
        ("50 MB without a length", Written::Closed(answer("", padded.as_bytes())), IntrospectionTooLarge),
        (
            "a length and no more",
            Written::Whole(answer("content-length: 52428800\r\n", b"{")),
            IntrospectionTooLarge,
        ),
        (
            "gzip",
            Written::Whole(answer("content-encoding: gzip\r\ncontent-length: 25\r\n", GZIPPED)),
            IntrospectionMalformed,
        ),
        (
            "two types",
            Written::Closed(answer("content-type: text/html\r\n", good.as_bytes())),
            IntrospectionMalformed,
        ),
        (
            "the same type twice",
            Written::Closed(answer("content-type: application/json\r\n", good.as_bytes())),
            IntrospectionMalformed,
        ),
        (
            "100 and 100 again",
            Written::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            IntrospectionTooSlow,
        ),
        (
            "fields without end",
            Written::Endless(
                b"HTTP/1.1 200 OK\r\n".to_vec(),
                format!("x: {}\r\n", "y".repeat(4096)).into_bytes(),
            ),
            IntrospectionUnreachable,
        ),
        ("two objects", Written::Whole(sized(&format!("{good}{good}"))), IntrospectionMalformed),
        ("a BOM", Written::Whole(sized(&format!("\u{feff}{good}"))), IntrospectionMalformed),
    ] {
        say(written);
        let began = Instant::now();
        hear(&house, &scene, what, Heard::Refused(rejection)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{what} took {:?}", began.elapsed());
        // Who is known passes meanwhile, and a good answer in between keeps the endpoint from being left alone.
        let mut again = Scene::right(&house);
        let token = known.token(&house);
        again.key = holdfast::caller::key::DpopKey::from_pem(&known.key.to_pkcs8_pem()).expect("its own PEM");
        again.proof_header = known.proof_header.clone();
        again.edit_token = Box::new(move |_| token.clone());
        hear(&house, &again, what, Heard::Passed).await;
        let other = opaque(Scene::right(&house));
        say(Written::Whole(sized(&active(&other).to_string())));
        hear(&house, &other, "a good one", Heard::Passed).await;
    }
    // A connection that was kept and turns out to be closed costs the token nothing: it is asked about over a new one.
    for _ in 0..3 {
        let other = opaque(Scene::right(&house));
        say(Written::Once(sized(&active(&other).to_string())));
        hear(&house, &other, "a connection that was closed meanwhile", Heard::Passed).await;
    }
    // What comes behind an answer is never the next one's.
    let other = opaque(Scene::right(&house));
    let mut two = sized(&active(&other).to_string());
    two.extend(sized(&good));
    say(Written::Whole(two));
    hear(&house, &other, "two answers at once", Heard::Passed).await;
    say(Written::Whole(sized("{\"active\":false}")));
    hear(
        &house,
        &scene,
        "the second of two",
        Heard::Refused(holdfast::verify::rejection::Rejection::TokenInactive),
    )
    .await;
}
