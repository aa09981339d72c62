//! What it costs to judge a token that is cached by ten rules about its claims. The goals are 2 µs and no allocation.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::caller::key::DpopKey;
use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::claim_value::ClaimPath;
use holdfast::verify::credential::{CredentialLimits, Presented};
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::jwks::KeySet;
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::{BindingRule, ClaimRule, ClaimTest, Literal, NonceRule, Pattern, Policy};
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use holdfast::verify::token::{TokenRules, TokenType, Unverified, VerifiedToken};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);
const ISSUER: &str = "https://issuer.example.com";
const AUDIENCE: &str = "https://api.example.com";

fn target() -> Target {
    Target {
        origin: Arc::new(Origin::read(AUDIENCE).expect("an origin")),
        path: Path::read("/").expect("a path"),
        query: None,
    }
}

/// A token as large issuers write them.
fn token() -> VerifiedToken {
    let key = DpopKey::generate().expect("a key");
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"user","client_id":"client","iat":{},"exp":{},"jti":"1",
        "scope":"openid email profile accounts","cnf":{{"jkt":"{}"}},"acr":"urn:example:loa:2","auth_time":{},
        "azp":"client","sid":"0b1f6a8e-1d5c-4e6e-9b60-6f2f6b3b7f5c","typ":"Bearer","email":"someone@example.com",
        "email_verified":true,"name":"Some One","preferred_username":"someone","tier":2,"department":"finance",
        "https://example.com/tenant":"acme","groups":["all","staff","finance","auditors"],
        "realm_access":{{"roles":["offline_access","uma_authorization","teller","auditor"]}},
        "resource_access":{{"accounts":{{"roles":["reader","writer"]}},"account":{{"roles":["view-profile"]}}}}}}"#,
        NOW.minus(60).seconds(),
        NOW.plus(600).seconds(),
        key.thumbprint(),
        NOW.minus(60).seconds(),
    );
    let compact = key.sign_compact(r#"{"typ":"at+jwt","alg":"ES256"}"#, &claims);
    let algorithms = Algorithms::new(&[Algorithm::Es256]);
    let (keys, _) = KeySet::read(format!(r#"{{"keys":[{}]}}"#, key.public_jwk()).as_bytes(), &algorithms)
        .expect("a key set");
    let rules = TokenRules {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: algorithms.clone(),
        token_type: TokenType::AtJwt,
        required_claims: Vec::new(),
        leeway: 5,
        max_lifetime: None,
    };
    let line = HeaderValue::from_str(&format!("Bearer {compact}")).expect("a header value");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, line)]);
    let target = target();
    let facts = RequestFacts { method: &Method::GET, target: &target, headers: &headers, certificate: None };
    let proofs = DpopRules {
        algorithms,
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[1; 32], &[], 300),
    };
    let limits = CredentialLimits { token_bytes: 8192, proof_bytes: 8192 };
    let terms = Terms { rules: &proofs, nonce: NonceRule::None, now: NOW };
    let presented = Presented::read(&facts, &limits, &terms).expect("credentials");
    Unverified::read(presented.token())
        .and_then(|token| {
            token
                .verify(&rules, &keys, NOW)
                .map_err(|_| holdfast::verify::rejection::Rejection::TokenSignature)
        })
        .expect("a good token")
}

/// Ten rules of every kind.
fn policy() -> Policy {
    let rule = |claim: &str, test| ClaimRule { path: ClaimPath::read(claim).expect("a path"), test };
    let text = |text: &str| Literal::Text(text.to_owned());
    let pattern = |text: &str| ClaimTest::Matches(Pattern::new(text).expect("a pattern"));
    Policy {
        claims: vec![
            rule("department", ClaimTest::OneOf(vec![text("finance")])),
            rule("tier", ClaimTest::OneOf(vec![Literal::Number(1.0), Literal::Number(2.0)])),
            rule("email_verified", ClaimTest::OneOf(vec![Literal::Boolean(true)])),
            rule("email", pattern(r"[^@]+@example\.com")),
            rule("https://example.com/tenant", ClaimTest::OneOf(vec![text("other"), text("acme")])),
            rule("groups", ClaimTest::OneOf(vec![text("auditors")])),
            rule("/realm_access/roles", ClaimTest::OneOf(vec![text("auditor"), text("teller")])),
            rule("/resource_access/accounts/roles", ClaimTest::OneOf(vec![text("writer")])),
            rule("sid", pattern("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
            rule("azp", ClaimTest::OneOf(vec![text("client")])),
        ],
        ..Policy::new(BindingRule::Any, NonceRule::None)
    }
}

fn ten_rules(criterion: &mut Criterion) {
    let (token, policy) = (token(), policy());
    let (method, target, headers) = (Method::GET, target(), HeaderMap::new());
    let facts = RequestFacts { method: &method, target: &target, headers: &headers, certificate: None };
    assert_eq!(
        policy.judge(&token, &facts, NOW),
        Ok(()),
        "every rule holds, so that every rule is looked at"
    );
    let before = Region::new(COUNTED);
    for _ in 0..1000 {
        assert_eq!(black_box(policy.judge(black_box(&token), &facts, NOW)), Ok(()));
    }
    assert_eq!(before.change().allocations, 0, "judging allocates");
    println!("a token of {} bytes of memory", token.memory());
    criterion.bench_function("ten rules about claims", |bencher| {
        bencher.iter(|| policy.judge(black_box(&token), &facts, NOW));
    });
}

/// The same rules as a condition; for the operator who has to choose.
#[cfg(feature = "cel")]
fn a_condition(criterion: &mut Criterion) {
    use holdfast::verify::policy::Condition;
    let condition = "claims.department == 'finance' && claims.tier in [1, 2] && claims.email_verified && claims.email.endsWith('@example.com') \
                     && claims['https://example.com/tenant'] in ['other', 'acme'] && 'auditors' in claims.groups && claims.realm_access.roles.exists(r, r in \
                     ['auditor', 'teller']) && 'writer' in claims.resource_access.accounts.roles && claims.sid.size() == 36 && claims.azp == 'client'";
    let condition = Condition::new(condition).expect("a condition");
    let policy = Policy { condition: Some(condition), ..Policy::new(BindingRule::Any, NonceRule::None) };
    let (token, method, target, headers) = (token(), Method::GET, target(), HeaderMap::new());
    let facts = RequestFacts { method: &method, target: &target, headers: &headers, certificate: None };
    assert_eq!(policy.judge(&token, &facts, NOW), Ok(()));
    criterion.bench_function("ten rules as a condition", |bencher| {
        bencher.iter(|| policy.judge(black_box(&token), &facts, NOW));
    });
}

#[cfg(not(feature = "cel"))]
const fn a_condition(_: &mut Criterion) {}

criterion_group!(benches, ten_rules, a_condition);
criterion_main!(benches);
