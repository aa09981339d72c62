//! What it costs to know a token again: one that was signed, and one that its issuer was asked about. The goal: the second no more than the first.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::authority::Tokens;
use holdfast::caller::key::DpopKey;
use holdfast::config::{
    AnswerForm, ClientAuthentication, ClientSecret, Introspection, Issuer, KeySource, OauthClient,
};
use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::credential::{CredentialLimits, Presented};
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::NonceRule;
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
const AUDIENCE: &str = "https://api.example.com";
/// As long as those of common servers.
const OPAQUE: &str = "vJ6N1w1kS2R8r0m9t7Yq3bXc5LzPfHdG4aKeUiOoWnE";

/// Answers every question with `answer`. One is asked.
fn serve(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let url = format!("http://{}/introspect", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).expect("an answer");
            // What is left of the question is read, or closing would reset the connection.
            while lines.next().is_some_and(|line| line.is_ok()) {}
        }
    });
    url
}

/// The tokens of an issuer that signs some and is asked about others, and one of each kind with the same claims.
async fn tokens() -> (Tokens, [HeaderMap; 2]) {
    let key = DpopKey::generate().expect("a key");
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"user","client_id":"client","scope":"accounts payments","jti":"1","iat":{},"exp":{},"cnf":{{"jkt":"{}"}}"#,
        NOW.seconds(),
        NOW.plus(600).seconds(),
        key.thumbprint(),
    );
    let signed = key.sign_compact(r#"{"typ":"at+jwt","alg":"ES256","kid":"1"}"#, &format!("{claims}}}"));
    let url = serve(format!("{claims},\"active\":true}}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jwks.json");
    let jwk = key.public_jwk().replacen('{', r#"{"kid":"1","alg":"ES256","#, 1);
    std::fs::write(&file, format!(r#"{{"keys":[{jwk}]}}"#)).expect("a file");
    let issuer = Issuer {
        rules: TokenRules {
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: Algorithms::new(&[Algorithm::Es256]),
            token_type: TokenType::AtJwt,
            required_claims: Vec::new(),
            max_lifetime: None,
            leeway: 5,
        },
        keys: KeySource::File(file),
        trust: None,
        refetch_cooldown: Duration::from_secs(30),
        refresh: Duration::from_secs(3600),
        keep_stale: Duration::from_secs(3600),
        introspection: Some(Introspection {
            client: OauthClient {
                url: Some(url.parse().expect("a URL")),
                client_id: "gateway".into(),
                authentication: ClientAuthentication::Basic(ClientSecret::new("secret".into())),
                timeout: Duration::from_secs(5),
                calls: 1,
                rate: 1,
            },
            answer: AnswerForm::Json,
            cache: 300,
            cache_inactive: 5,
        }),
        encryption: None,
        exchange: None,
    };
    let tokens = Tokens::new(&[issuer], 1 << 20).expect("an issuer with a file");
    tokens.spawn(&TaskTracker::new(), &CancellationToken::new());
    tokens.tried().await;
    let headers = |token: &str| {
        let line = HeaderValue::from_str(&format!("DPoP {token}")).expect("a header value");
        HeaderMap::from_iter([(AUTHORIZATION, line)])
    };
    (tokens, [headers(&signed), headers(OPAQUE)])
}

fn known_again(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (tokens, [signed, opaque]) = runtime.block_on(tokens());
    let target = Target {
        origin: Arc::new(Origin::read(AUDIENCE).expect("an origin")),
        path: Path::read("/").expect("a path"),
        query: None,
    };
    let rules = DpopRules {
        algorithms: Algorithms::new(&[Algorithm::Es256]),
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[1; 32], &[], 300),
    };
    for (what, headers) in
        [("a signed token in the cache", &signed), ("an opaque token in the cache", &opaque)]
    {
        criterion.bench_function(what, |bencher| {
            bencher.iter_custom(|count| {
                runtime.block_on(async {
                    let limits = CredentialLimits { token_bytes: 8192, proof_bytes: 8192 };
                    let facts =
                        RequestFacts { method: &Method::GET, target: &target, headers, certificate: None };
                    let terms = Terms { rules: &rules, nonce: NonceRule::None, now: NOW };
                    let presented = Presented::read(&facts, &limits, &terms).expect("credentials");
                    // The first time it is verified, or asked about: a rate of one question in a second fails any second.
                    drop(tokens.verify(presented.token(), None, NOW).await.expect("a good token"));
                    let begun = Instant::now();
                    for _ in 0..count {
                        drop(black_box(
                            tokens.verify(presented.token(), None, NOW).await.expect("a good token"),
                        ));
                    }
                    begun.elapsed()
                })
            });
        });
    }
}

criterion_group!(benches, known_again);
criterion_main!(benches);
