//! When keys are fetched and how long they are believed. The keys are in a file and the clock is paused, so each wait is exactly as long as it says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, advance};

use super::{Running, issuer, key};
use crate::authority::fetch::MOST_BYTES;
use crate::config::{Issuer, KeySource};
use crate::verify::jwks::signing::{ISSUER, claims, key_set};
use crate::verify::rejection::Rejection;

const COOLDOWN: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(300);
const KEEP_STALE: Duration = Duration::from_secs(3600);
/// Timers of tokio count milliseconds.
const TICK: Duration = Duration::from_millis(2);

struct KeyFile(TempDir);

impl KeyFile {
    fn new(text: &str) -> Self {
        let file = Self(TempDir::new().unwrap());
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(self.0.path().join("jwks.json"), text).unwrap();
    }

    fn issuer(&self) -> Issuer {
        Issuer {
            refetch_cooldown: COOLDOWN,
            refresh: REFRESH,
            keep_stale: KEEP_STALE,
            ..issuer(ISSUER, KeySource::File(self.0.path().join("jwks.json")), None)
        }
    }
}

/// Waits for the nth attempt and says how long that took.
async fn time_until(running: &Running, attempts: u64) -> Duration {
    let began = Instant::now();
    running.ended(attempts).await;
    began.elapsed()
}

#[track_caller]
fn about(took: Duration, expected: Duration) {
    assert!(took.abs_diff(expected) <= TICK, "{took:?} rather than {expected:?}");
}

/// T-JWK-01, T-JWK-08: a key that is added works after a refresh, one that is removed works no longer, in the cache neither.
#[tokio::test(start_paused = true)]
async fn every_refresh_brings_the_keys_that_are() {
    let (old, new) = (key("old"), key("new"));
    let file = KeyFile::new(&key_set(&[old.public()]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    assert!(running.verify(&old.token(&claims())).await.is_ok());
    file.write(&key_set(&[new.public()]));
    about(time_until(&running, 2).await, REFRESH);
    about(time_until(&running, 3).await, REFRESH);
    assert!(running.verify(&new.token(&claims())).await.is_ok());
    assert_eq!(running.rejection(&old.token(&claims())).await, Rejection::TokenKeyUnknown);
    assert_eq!(running.counted(), (3, 0));
}

/// T-JWK-02, T-JWT-14, R-H-13: a thousand kids nobody published, and one fetch when the cooldown has passed.
#[tokio::test(start_paused = true)]
async fn unknown_kids_cause_one_fetch_a_cooldown() {
    let (known, added) = (key("known"), key("added"));
    let file = KeyFile::new(&key_set(&[known.public()]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    let unknown: Vec<String> = (0..1000)
        .map(|number| {
            let mut header = known.header();
            header["kid"] = format!("unknown-{number}").into();
            known.sign(&header, &claims())
        })
        .collect();
    for token in &unknown {
        assert_eq!(running.rejection(token).await, Rejection::TokenKeyUnknown);
    }
    assert_eq!(running.counted(), (1, 0), "none while the first fetch is fresh");
    file.write(&key_set(&[known.public(), added.public()]));
    assert_eq!(running.rejection(&added.token(&claims())).await, Rejection::TokenKeyUnknown);

    advance(COOLDOWN).await;
    let began = Instant::now();
    assert!(running.verify(&added.token(&claims())).await.is_ok(), "T-JWK-01: after one fetch");
    assert!(began.elapsed() <= TICK, "and without waiting for a refresh");
    assert_eq!(running.counted(), (2, 0));
    for token in &unknown {
        assert_eq!(running.rejection(token).await, Rejection::TokenKeyUnknown);
    }
    assert_eq!(running.counted(), (2, 0));
    // All at once, after another cooldown.
    advance(COOLDOWN).await;
    let asked: Vec<_> = unknown
        .into_iter()
        .map(|token| {
            let tokens = Arc::clone(&running.tokens);
            tokio::spawn(async move {
                use crate::verify::jwks::signing::{NOW, bearer, raw};
                tokens.verify(raw(&bearer(&token)), None, NOW).await.map(|_| ())
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Err(Rejection::TokenKeyUnknown));
    }
    assert_eq!(running.counted(), (3, 0));
    // The refresh is due as ever, counted from the last fetch, and nobody's earlier question causes another.
    about(time_until(&running, 4).await, REFRESH);
}

/// R-H-13: the cooldown holds without keys and after a failure too; then the fetch is tried again by itself.
#[tokio::test(start_paused = true)]
async fn a_start_without_keys() {
    let key = key("k");
    let token = key.token(&claims());
    for nothing in ["", r#"{"keys":[]}"#] {
        let file = KeyFile::new(nothing);
        let running = Running::new(&[file.issuer()]);
        assert!(!running.tokens.ready());
        running.tokens.tried().await;
        assert!(!running.tokens.ready());
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(running.rejection(&token).await, Rejection::IssuerUnavailable);
        }
        assert!(began.elapsed() <= TICK, "nobody waits when nothing is under way");
        assert_eq!(running.counted(), (1, 1));
        about(time_until(&running, 2).await, COOLDOWN);
        assert_eq!(running.counted(), (2, 2));
        file.write(&key_set(&[key.public()]));
        about(time_until(&running, 3).await, COOLDOWN);
        assert_eq!(running.counted(), (3, 2));
        assert!(running.tokens.ready());
        assert!(running.verify(&token).await.is_ok());
        about(time_until(&running, 4).await, REFRESH);
    }
}

/// T-JWK-05 with T-JWK-01: a token of a key that was published while its issuer could not be heard is not the caller's fault.
#[tokio::test(start_paused = true)]
async fn a_new_key_that_could_not_be_heard_of() {
    let (old, new) = (key("old"), key("new"));
    let file = KeyFile::new(&key_set(&[old.public()]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    assert_eq!(running.rejection(&new.token(&claims())).await, Rejection::TokenKeyUnknown);
    file.write("<html>");
    advance(COOLDOWN).await;
    for _ in 0..100 {
        assert_eq!(running.rejection(&new.token(&claims())).await, Rejection::IssuerUnavailable);
        assert!(running.verify(&old.token(&claims())).await.is_ok());
    }
    assert_eq!(running.counted(), (2, 1), "one fetch a cooldown all the same");
    file.write(&key_set(&[new.public()]));
    running.ended(3).await;
    assert!(running.verify(&new.token(&claims())).await.is_ok());
    assert_eq!(running.rejection(&old.token(&claims())).await, Rejection::TokenKeyUnknown);
}

/// T-JWK-05, R-H-14: garbage and empty sets change nothing for a while, then the keys are dropped, and cached tokens with them.
#[tokio::test(start_paused = true)]
async fn the_last_good_keys_are_kept_for_a_time() {
    let key = key("k");
    let token = key.token(&claims());
    let file = KeyFile::new(&key_set(&[key.public()]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    let last_good = Instant::now();
    assert!(running.verify(&token).await.is_ok());
    let mut attempts = 1;
    for nothing in ["<html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
        file.write(nothing);
        attempts += 1;
        running.ended(attempts).await;
        assert!(running.verify(&token).await.is_ok() && running.tokens.ready());
    }
    assert_eq!(running.counted(), (4, 3));
    std::fs::remove_file(file.0.path().join("jwks.json")).unwrap();
    while running.tokens.ready() {
        assert!(running.verify(&token).await.is_ok());
        advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    about(
        last_good.elapsed().saturating_sub(Duration::from_secs(1)),
        KEEP_STALE.saturating_sub(Duration::from_secs(1)),
    );
    assert_eq!(running.rejection(&token).await, Rejection::IssuerUnavailable);
    file.write(&key_set(&[key.public()]));
    let (attempts, _) = running.counted();
    running.ended(attempts + 1).await;
    assert!(running.verify(&token).await.is_ok());
}

/// While fetches work, keys are never dropped, however short `keep_stale` is; after the first failure they are.
#[tokio::test(start_paused = true)]
async fn nothing_stale_is_kept_if_the_operator_says_so() {
    let key = key("k");
    let file = KeyFile::new(&key_set(&[key.public()]));
    let running = Running::new(&[Issuer { keep_stale: Duration::ZERO, ..file.issuer() }]);
    for attempts in 1..4 {
        running.ended(attempts).await;
        assert!(running.tokens.ready());
    }
    file.write("");
    running.ended(4).await;
    assert!(!running.tokens.ready());
}

/// The same keys in other words do not empty the cache, and other keys do.
#[tokio::test(start_paused = true)]
async fn the_cache_lives_as_long_as_the_keys() {
    let (key, other) = (key("k"), key("other"));
    let token = key.token(&claims());
    let file = KeyFile::new(&key_set(&[key.public()]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    // Two answers about one token share its claims exactly when the second came from the cache.
    let first = running.verify(&token).await.unwrap();
    let again = running.verify(&token).await.unwrap();
    assert!(std::ptr::eq(first.issuer(), again.issuer()));
    file.write(&format!(" {}", key_set(&[key.public(), serde_json::json!({"kty": "new"})])));
    running.ended(2).await;
    assert!(std::ptr::eq(first.issuer(), running.verify(&token).await.unwrap().issuer()));
    file.write(&key_set(&[key.public(), other.public()]));
    running.ended(3).await;
    assert!(!std::ptr::eq(first.issuer(), running.verify(&token).await.unwrap().issuer()));
}

/// A file is read to the same size as an answer.
#[tokio::test(start_paused = true)]
async fn files_of_any_size() {
    let keys = key_set(&[key("k").public()]);
    for (bytes, fits) in [(MOST_BYTES, true), (MOST_BYTES + 1, false)] {
        let file = KeyFile::new(&format!("{keys}{}", " ".repeat(bytes - keys.len())));
        let running = Running::new(&[file.issuer()]);
        running.ended(1).await;
        assert_eq!(running.tokens.ready(), fits, "{bytes}");
    }
}

/// Without its task an issuer has no keys, and a request does not wait for ever.
#[tokio::test(start_paused = true)]
async fn without_its_task() {
    let key = key("k");
    let file = KeyFile::new(&key_set(&[key.public()]));
    let running = Running::not_yet(&[file.issuer()]);
    let began = Instant::now();
    assert_eq!(running.rejection(&key.token(&claims())).await, Rejection::IssuerUnavailable);
    about(began.elapsed(), Duration::from_secs(5));
    assert!(!running.tokens.ready());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_when_it_is_told() {
    let file = KeyFile::new("");
    let running = Running::new(&[file.issuer()]);
    running.tasks.close();
    running.stop.cancel();
    running.tasks.wait().await;
}

/// Times beyond any clock are no panic.
#[tokio::test(start_paused = true)]
async fn endless_times() {
    let file = KeyFile::new(&key_set(&[key("k").public()]));
    let (refetch_cooldown, refresh, keep_stale) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let running = Running::new(&[Issuer { refetch_cooldown, refresh, keep_stale, ..file.issuer() }]);
    running.ended(1).await;
    assert!(running.tokens.ready());
}

/// The operator hears of new keys, of keys not used and of failures, by the issuer's name and never with what the keys are.
#[tokio::test(start_paused = true)]
async fn what_is_logged() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let key = key("a-kid");
    let secret = serde_json::json!({"kty": "oct", "k": "c2VjcmV0"});
    let file = KeyFile::new(&key_set(&[key.public(), secret]));
    let running = Running::new(&[file.issuer()]);
    running.ended(1).await;
    file.write("<html>");
    running.ended(2).await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "INFO",
        "new keys",
        "keys=1",
        "some published keys are not used",
        "secret=1",
        "keys could not be fetched",
        "not a JSON object with an array of keys",
        ISSUER,
    ] {
        assert!(logged.contains(expected), "{expected} in {logged}");
    }
    let public = key.public();
    for hidden in [public["x"].as_str().unwrap(), "c2VjcmV0", "a-kid", "<html>"] {
        assert!(!logged.contains(hidden), "{hidden} in {logged}");
    }
}
