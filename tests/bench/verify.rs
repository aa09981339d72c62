//! What it costs to verify a fresh proof against a cached token, everything but IO: from headers to a permit.
//!
//! The goals: at most 1.2 times one bare verification of an ES256 signature by aws-lc-rs in the same run, and at most 6 µs without the signature.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::authority::Tokens;
use holdfast::caller::key::DpopKey;
use holdfast::caller::proof::ProofRequest;
use holdfast::config::{AfterRestart, Issuer, KeySource, ReplayMemory};
use holdfast::replay::memory::MemoryStore;
use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::credential::{CredentialLimits, DPOP, Presented};
use holdfast::verify::digest::Digest;
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::enforcement::Enforcement;
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::jws;
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::{BindingRule, NonceRule, Policy};
use holdfast::verify::proof;
use holdfast::verify::replay::{Claim, Made, Permit};
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use holdfast::verify::token::{TokenRules, TokenType};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);
const ISSUER: &str = "https://issuer.example.com";
const URL: &str = "https://api.example.com/accounts/1234567890/transactions";
const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 8192, proof_bytes: 8192 };
/// Different proofs. When all are spent, an empty store takes the place of the full one, off the clock.
const PROOFS: usize = 500;

/// A gateway's parts, and requests with fresh proofs.
struct Gateway {
    tokens: Tokens,
    rules: DpopRules,
    policy: Policy,
    target: Target,
    requests: Vec<HeaderMap>,
}

impl Gateway {
    async fn new() -> Self {
        let (issuer_key, caller_key) =
            (DpopKey::generate().expect("a key"), DpopKey::generate().expect("a key"));
        let header = r#"{"typ":"at+jwt","alg":"ES256","kid":"1"}"#;
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"https://api.example.com","sub":"user","client_id":"client","scope":"accounts payments","jti":"1","iat":{},"exp":{},"cnf":{{"jkt":"{}"}}}}"#,
            NOW.seconds(),
            NOW.plus(600).seconds(),
            caller_key.thumbprint()
        );
        let token = issuer_key.sign_compact(header, &claims);
        let header = |text: &str| HeaderValue::from_str(text).expect("a header value");
        let wanted = ProofRequest::new(&Method::GET, URL).expect("a URL").with_token(&token);
        let request = || {
            let proof = wanted.sign(&caller_key, NOW).expect("a proof");
            HeaderMap::from_iter([(AUTHORIZATION, header(&format!("DPoP {token}"))), (DPOP, header(&proof))])
        };
        let path = URL.strip_prefix("https://api.example.com").expect("the origin");
        Self {
            tokens: tokens(&issuer_key).await,
            rules: DpopRules {
                algorithms: Algorithms::new(&[Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa]),
                max_age: 60,
                max_future: 10,
                fence: None,
                oldest: None,
                nonces: NonceRing::new(&[1; 32], &[], 300),
            },
            policy: Policy {
                scopes: vec!["accounts".to_owned()],
                ..Policy::new(BindingRule::Any, NonceRule::None)
            },
            target: Target {
                origin: Arc::new(Origin::read("https://api.example.com").expect("an origin")),
                path: Path::read(path).expect("a path"),
                query: None,
            },
            requests: (0..PROOFS).map(|_| request()).collect(),
        }
    }

    fn facts<'r>(&'r self, headers: &'r HeaderMap) -> RequestFacts<'r> {
        RequestFacts { method: &Method::GET, target: &self.target, headers, certificate: None }
    }

    const fn terms(&self) -> Terms<'_> {
        Terms { rules: &self.rules, nonce: NonceRule::None, now: NOW }
    }

    /// All of it, as `gateway.rs` does it.
    async fn permit(&self, headers: &HeaderMap, store: &MemoryStore) -> Permit {
        let (facts, terms) = (self.facts(headers), self.terms());
        let presented = Presented::read(&facts, &LIMITS, &terms).expect("credentials");
        let token = self.tokens.verify(presented.token(), None, NOW).await.expect("a good token");
        let proven =
            proof::prove(presented, token, &facts, &terms, Enforcement::Enforce).expect("a good proof");
        let granted = self.policy.grant(proven, &facts, NOW).expect("enough for the route");
        granted.claim(store, NOW).await.expect("a fresh proof")
    }

    /// What comes before the signature: reading the credentials and every cheap check of the proof, and the token from the cache.
    async fn before_the_signature(&self, headers: &HeaderMap) {
        let (facts, terms) = (self.facts(headers), self.terms());
        let presented = Presented::read(&facts, &LIMITS, &terms).expect("credentials");
        assert_eq!(presented.proof_rejection(), None);
        drop(black_box(self.tokens.verify(presented.token(), None, NOW).await.expect("a good token")));
    }

    /// The signatures of the proofs alone, one after the other: verifying takes different branches for different signatures, and one that is repeated
    /// would be guessed right every time.
    fn bare(&self) -> impl FnMut() + use<> {
        let parts = |headers: &HeaderMap| {
            let proof = headers[DPOP].to_str().expect("ASCII").to_owned();
            let (message, signature) = proof.rsplit_once('.').expect("a JWS");
            (message.to_owned(), jws::from_base64url(signature).expect("base64url"))
        };
        let signatures: Vec<(String, Vec<u8>)> = self.requests.iter().map(parts).collect();
        let proof = self.requests[0][DPOP].to_str().expect("ASCII");
        let header = jws::Compact::read(proof).expect("a JWS");
        let header = header.header().expect("a header");
        let jwk = header.get("jwk").and_then(|jwk| jwk.as_object()).expect("a key");
        let coordinate = |name| jws::string(jwk, name).and_then(jws::from_base64url).expect("a coordinate");
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let mut next = 0;
        move || {
            let (message, signature) = &signatures[next % signatures.len()];
            next += 1;
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, black_box(&point));
            key.verify(black_box(message.as_bytes()), black_box(signature)).expect("a good signature");
        }
    }
}

async fn tokens(issuer_key: &DpopKey) -> Tokens {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jwks.json");
    let jwk = issuer_key.public_jwk().replacen('{', r#"{"kid":"1","alg":"ES256","#, 1);
    std::fs::write(&file, format!(r#"{{"keys":[{jwk}]}}"#)).expect("a file");
    let issuer = Issuer {
        rules: TokenRules {
            issuer: ISSUER.to_owned(),
            audiences: vec!["https://api.example.com".to_owned()],
            algorithms: Algorithms::new(&[Algorithm::Es256]),
            token_type: TokenType::AtJwt,
            required_claims: Vec::new(),
            leeway: 5,
            max_lifetime: None,
        },
        keys: KeySource::File(file),
        trust: None,
        refetch_cooldown: Duration::from_secs(30),
        refresh: Duration::from_secs(3600),
        keep_stale: Duration::from_secs(3600),
        introspection: None,
        exchange: None,
        encryption: None,
    };
    let tokens = Tokens::new(&[issuer], 1 << 20).expect("an issuer with a file");
    tokens.spawn(&TaskTracker::new(), &CancellationToken::new());
    tokens.tried().await;
    assert!(tokens.ready(), "the keys were read");
    tokens
}

/// A store in use: one that is empty would be measured while it grows.
fn store() -> MemoryStore {
    let capacity = 1_000_000;
    let store =
        MemoryStore::new(&ReplayMemory { capacity, per_key: capacity, after_restart: AfterRestart::Accept });
    for number in 0..50_000_u64 {
        let (proof, owner) = (Digest::of(&number.to_be_bytes()), Digest::of(&(number % 100).to_be_bytes()));
        let until = NOW.plus((number % 60) as i64);
        store.take(Claim { proof, owner, until, made: Made::Dated(NOW) }, NOW).expect("room");
    }
    store
}

fn verify(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let gateway = runtime.block_on(Gateway::new());
    let mut bare = gateway.bare();
    criterion.bench_function("one bare aws-lc-rs verification", |bencher| bencher.iter(&mut bare));
    criterion.bench_function("a fresh proof and a cached token, everything but IO", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let (mut spent, mut left) = (Duration::ZERO, count as usize);
                while left > 0 {
                    let store = store();
                    let now = Instant::now();
                    for headers in gateway.requests.iter().take(left) {
                        drop(black_box(gateway.permit(headers, &store).await));
                    }
                    spent += now.elapsed();
                    left = left.saturating_sub(PROOFS);
                }
                spent
            })
        });
    });
    criterion.bench_function("of that, all that comes before the signature", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let begun = Instant::now();
                for headers in gateway.requests.iter().cycle().take(count as usize) {
                    gateway.before_the_signature(headers).await;
                }
                begun.elapsed()
            })
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = verify
}
criterion_main!(benches);
