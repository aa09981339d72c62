use serde_json::{Value, json};

use super::{TokenError, TokenRules, TokenType, Unverified, VerifiedToken};
use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::confirmation::Confirmation;
use crate::verify::jwks::KeySet;
use crate::verify::jwks::signing::{AUDIENCE, ISSUER, NOW, SigningKey, bearer, claims, key_set, raw};
use crate::verify::jws::to_base64url;
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;

const LEEWAY: i64 = 5;

struct Issuer {
    key: SigningKey,
    rules: TokenRules,
    keys: KeySet,
}

impl Issuer {
    fn new() -> Self {
        let key = SigningKey::new(Algorithm::Es256, "k");
        let rules = TokenRules {
            issuer: ISSUER.into(),
            audiences: vec!["https://other.example.com".into(), AUDIENCE.into()],
            algorithms: Algorithms::new(&[Algorithm::Es256, Algorithm::Rs256]),
            token_type: TokenType::AtJwt,
            required_claims: ["sub", "client_id", "iat", "jti"].map(String::from).to_vec(),
            leeway: LEEWAY,
            max_lifetime: None,
        };
        let (keys, _) = KeySet::read(key_set(&[key.public()]).as_bytes(), &rules.algorithms).unwrap();
        Self { key, rules, keys }
    }

    fn verify_at(&self, token: &str, now: UnixTime) -> Result<VerifiedToken, TokenError> {
        Unverified::read(raw(&bearer(token)))?.verify(&self.rules, &self.keys, now)
    }

    fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        self.verify_at(token, NOW)
    }

    /// The outcome with these claims changed; a claim set to the text "absent" is left out.
    fn with(&self, changes: &Value) -> Result<VerifiedToken, TokenError> {
        self.verify(&self.key.token(&changed(claims(), changes)))
    }

    /// The same for the header.
    fn with_header(&self, changes: &Value) -> Result<VerifiedToken, TokenError> {
        self.verify(&self.key.sign(&changed(self.key.header(), changes), &claims()))
    }
}

fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value == "absent" {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
    object
}

#[track_caller]
fn refused(outcome: Result<VerifiedToken, TokenError>, rejection: Rejection, case: impl std::fmt::Display) {
    assert_eq!(outcome.map(|_| ()), Err(TokenError::Rejected(rejection)), "{case}");
}

#[test]
fn what_a_verified_token_says() {
    let token = Issuer::new().with(&json!({"nbf": NOW.seconds(), "aud": ["x", AUDIENCE]})).unwrap();
    assert_eq!(token.issuer(), ISSUER);
    assert_eq!((token.subject(), token.client_id(), token.jti()), (Some("alice"), Some("app"), Some("t-1")));
    assert_eq!(token.audiences(), ["x", AUDIENCE]);
    assert!(token.has_scope("read") && token.has_scope("write") && !token.has_scope("rea"));
    assert_eq!(token.expires(), NOW.plus(300));
    assert_eq!(token.issued_at(), Some(NOW.minus(10)));
    assert!(matches!(token.confirmation(), Confirmation::Key(_)));
    assert!(token.memory() > 100);
}

/// T-JWT-01, T-JWT-02, R-H-01.
#[test]
fn types() {
    let mut issuer = Issuer::new();
    let right = ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"];
    for typ in right {
        assert!(issuer.with_header(&json!({ "typ": typ })).is_ok(), "{typ}");
    }
    let wrong =
        [json!("JWT"), json!("absent"), json!(""), json!(" at+jwt"), json!("at+jwt;x=y"), json!("x/at+jwt")];
    // T-JWT-25, R-H-20: what is another kind of JWT is none of ours, whatever the operator declares.
    let never = [
        json!("dpop+jwt"),
        json!("DPoP+JWT"),
        json!("application/dpop+jwt"),
        json!("secevent+jwt"),
        json!("logout+jwt"),
        json!("token-introspection+jwt"),
        json!("application/token-introspection+jwt"),
        json!(null),
        json!(["at+jwt"]),
        json!(5),
    ];
    for typ in wrong.iter().chain(&never) {
        refused(issuer.with_header(&json!({ "typ": typ })), Rejection::TokenTyp, typ);
    }
    issuer.rules.token_type = TokenType::Any;
    for typ in wrong.iter().chain(&right.map(Value::from)) {
        assert!(issuer.with_header(&json!({ "typ": typ })).is_ok(), "{typ}");
    }
    for typ in &never {
        refused(issuer.with_header(&json!({ "typ": typ })), Rejection::TokenTyp, typ);
    }
}

/// T-JWT-25, R-H-20: under `token_type: any`, other kinds by their claims.
#[test]
fn other_kinds_of_jwt_without_a_type() {
    let mut issuer = Issuer::new();
    issuer.rules.token_type = TokenType::Any;
    for mark in ["at_hash", "c_hash", "events", "token_introspection", "htm", "htu"] {
        let key = &issuer.key;
        let token = key
            .sign(&changed(key.header(), &json!({"typ": "JWT"})), &changed(claims(), &json!({ mark: "x" })));
        refused(issuer.verify(&token), Rejection::TokenTyp, mark);
    }
    // An ID token without hashes has no client_id, and a client assertion is its client's own.
    let header = changed(issuer.key.header(), &json!({"typ": "JWT"}));
    let id_token = changed(claims(), &json!({"client_id": "absent", "nonce": "n", "azp": "app"}));
    refused(issuer.verify(&issuer.key.sign(&header, &id_token)), Rejection::TokenClaimMissing, "ID token");
    let assertion = changed(claims(), &json!({"iss": "app", "sub": "app"}));
    refused(issuer.verify(&issuer.key.sign(&header, &assertion)), Rejection::TokenIssuer, "assertion");
}

/// T-JWT-04, T-JWT-05, R-H-04: no MAC, no `none`, nothing off the list.
#[test]
fn algorithms() {
    let issuer = Issuer::new();
    for alg in [
        json!("none"),
        json!("None"),
        json!("HS256"),
        json!("HS512"),
        json!("es256"),
        json!("ES256K"),
        json!("ES384"),
        json!("PS256"),
        json!(""),
        json!(null),
        json!("absent"),
        json!(["ES256"]),
    ] {
        refused(issuer.with_header(&json!({ "alg": alg })), Rejection::TokenAlg, &alg);
    }
    // An allowed algorithm that the key is not for: no key fits.
    let outcome = issuer.with_header(&json!({"alg": "RS256"})).map(|_| ());
    assert_eq!(outcome, Err(TokenError::KeyUnknown));
    // The public key as a MAC's secret is refused by the name of the algorithm alone.
    let input = format!(
        "{}.{}",
        to_base64url(json!({"alg": "HS256", "typ": "at+jwt", "kid": "k"}).to_string().as_bytes()),
        to_base64url(claims().to_string().as_bytes())
    );
    let secret = issuer.key.public().to_string();
    let signer = josekit::jws::HS256.signer_from_bytes(secret.as_bytes()).unwrap();
    let mac = josekit::jws::JwsSigner::sign(&signer, input.as_bytes()).unwrap();
    refused(issuer.verify(&format!("{input}.{}", to_base64url(&mac))), Rejection::TokenAlg, "HS256");
}

/// T-JWT-18, R-H-10, R-H-11, R-H-18.
#[test]
fn other_header_members() {
    let issuer = Issuer::new();
    let thief = SigningKey::new(Algorithm::Es256, "k");
    for (name, value) in [
        ("jwk", thief.public()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["AA"])),
        ("x5t", json!("AA")),
    ] {
        let header = changed(issuer.key.header(), &json!({ name: value }));
        assert!(issuer.verify(&issuer.key.sign(&header, &claims())).is_ok(), "{name}");
        refused(issuer.verify(&thief.sign(&header, &claims())), Rejection::TokenSignature, name);
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("b64", json!(true)),
        ("b64", json!(false)),
    ] {
        refused(issuer.with_header(&json!({ name: value })), Rejection::TokenHeader, name);
    }
    for kid in [json!(5), json!(null), json!(["k"]), json!("k".repeat(257))] {
        refused(issuer.with_header(&json!({ "kid": kid })), Rejection::TokenMalformed, &kid);
    }
    for kid in ["other", "", "../../etc/passwd", "k\r\nx", "' or 1=1 --"] {
        let outcome = issuer.with_header(&json!({ "kid": kid })).map(|_| ());
        assert_eq!(outcome, Err(TokenError::KeyUnknown), "{kid}");
    }
    assert!(issuer.with_header(&json!({"kid": "absent"})).is_ok());
}

/// T-JWT-20, T-JWT-21, T-JWT-26, T-JWT-28, R-H-17.
#[test]
fn form() {
    let issuer = Issuer::new();
    let good = issuer.key.token(&claims());
    let jwe = |header: &Value| format!("{}.AA.AA.AA.AA", to_base64url(header.to_string().as_bytes()));
    let twice = claims().to_string().replacen('{', r#"{"aud":"https://api.example.com","#, 1);
    let nested = claims().to_string().replacen(r#"{"jkt""#, r#"{"jkt":"x","jkt""#, 1);
    let header = issuer.key.header().to_string();
    for token in [
        "x".to_owned(),
        "....".repeat(4000),
        format!("{good}.AA"),
        good.rsplit_once('.').unwrap().0.to_owned(),
        format!("{}.", good.rsplit_once('.').unwrap().0),
        format!("{good}=="),
        good.replacen("ey", "+y", 1),
        jwe(&json!({"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF"})),
        jwe(&json!({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2_147_483_648_u64, "p2s": "AA"})),
        issuer.key.sign_text(&header, &twice),
        issuer.key.sign_text(&header, &nested),
        issuer.key.sign_text(&header.replacen('{', r#"{"alg":"ES256","#, 1), &claims().to_string()),
        issuer.key.sign_text(&header, "[]"),
        issuer.key.sign_text(&header, "null"),
        issuer.key.sign_text("\"x\"", &claims().to_string()),
        issuer.key.sign_text(&header, &format!("\u{feff}{}", claims())),
    ] {
        refused(issuer.verify(&token), Rejection::TokenMalformed, &token[..token.len().min(60)]);
    }
}

/// T-JWT-06, R-H-02.
#[test]
fn issuers() {
    let issuer = Issuer::new();
    for iss in [
        "https://as.example.com/",
        "https://AS.example.com",
        "https://evil.example.com",
        "",
        " https://as.example.com",
    ] {
        refused(issuer.with(&json!({ "iss": iss })), Rejection::TokenIssuer, iss);
    }
    for iss in [json!(null), json!([ISSUER]), json!({}), json!(1)] {
        refused(issuer.with(&json!({ "iss": iss })), Rejection::TokenMalformed, &iss);
    }
    refused(issuer.with(&json!({"iss": "absent"})), Rejection::TokenClaimMissing, "absent");
    // T-JWT-24: another issuer's key, even under the same name.
    let other = SigningKey::new(Algorithm::Es256, "k");
    refused(issuer.verify(&other.token(&claims())), Rejection::TokenSignature, "another key");
}

/// T-JWT-08, R-H-03.
#[test]
fn audiences() {
    let issuer = Issuer::new();
    for aud in
        [json!(AUDIENCE), json!([AUDIENCE]), json!(["x", AUDIENCE]), json!("https://other.example.com")]
    {
        assert!(issuer.with(&json!({ "aud": aud })).is_ok(), "{aud}");
    }
    for aud in [
        json!("https://api.example.com/"),
        json!("https://API.example.com"),
        json!("https://api.example"),
        json!("https://api.example.com.evil.com"),
        json!(""),
        json!([]),
        json!(["x"]),
        json!("https://other.example.com https://api.example.com"),
    ] {
        refused(issuer.with(&json!({ "aud": aud })), Rejection::TokenAudience, &aud);
    }
    for aud in [json!(null), json!(1), json!({}), json!([AUDIENCE, 1]), json!([[AUDIENCE]]), json!([null])] {
        refused(issuer.with(&json!({ "aud": aud })), Rejection::TokenMalformed, &aud);
    }
    refused(issuer.with(&json!({"aud": "absent"})), Rejection::TokenClaimMissing, "absent");
}

/// T-JWT-09, T-JWT-10, T-JWT-12, R-H-07: each edge, to the second.
#[test]
fn times() {
    let issuer = Issuer::new();
    let now = NOW.seconds();
    for (change, rejection) in [
        (json!({"exp": now + 1}), None),
        (json!({"exp": now - LEEWAY + 1}), None),
        (json!({"exp": now - LEEWAY}), Some(Rejection::TokenExpired)),
        (json!({"exp": now - LEEWAY - 1000}), Some(Rejection::TokenExpired)),
        (json!({"exp": 0}), Some(Rejection::TokenExpired)),
        // A fraction is cut, so the token ends a little sooner, never later.
        (json!({"exp": (now - LEEWAY) as f64 + 0.9}), Some(Rejection::TokenExpired)),
        (json!({"exp": 9_007_199_254_740_991_u64}), None),
        (json!({"nbf": now + LEEWAY}), None),
        (json!({"nbf": now + LEEWAY + 1}), Some(Rejection::TokenNotYetValid)),
        (json!({"nbf": 9_007_199_254_740_991_u64}), Some(Rejection::TokenNotYetValid)),
        (json!({"exp": 9_007_199_254_740_993_u64}), Some(Rejection::TokenMalformed)),
        (json!({"iat": now + LEEWAY + 60}), None),
        (json!({"iat": now + LEEWAY + 61}), Some(Rejection::TokenNotYetValid)),
        (json!({"iat": 0}), None),
        (json!({"exp": "absent"}), Some(Rejection::TokenClaimMissing)),
        (json!({"exp": "never"}), Some(Rejection::TokenMalformed)),
        (json!({"exp": (now + 300).to_string()}), Some(Rejection::TokenMalformed)),
        (json!({"exp": 1e300}), Some(Rejection::TokenMalformed)),
        (json!({"exp": 1e30}), Some(Rejection::TokenMalformed)),
        (json!({"exp": -1}), Some(Rejection::TokenMalformed)),
        (json!({"exp": null}), Some(Rejection::TokenMalformed)),
        (json!({"exp": true}), Some(Rejection::TokenMalformed)),
        (json!({"nbf": []}), Some(Rejection::TokenMalformed)),
        (json!({"nbf": "0"}), Some(Rejection::TokenMalformed)),
        (json!({"iat": "0"}), Some(Rejection::TokenMalformed)),
        (json!({"iat": {}}), Some(Rejection::TokenMalformed)),
    ] {
        match rejection {
            None => assert!(issuer.with(&change).is_ok(), "{change}"),
            Some(rejection) => refused(issuer.with(&change), rejection, &change),
        }
    }
}

/// T-JWT-13, R-H-08, R-H-19.
#[test]
fn required_claims_and_types() {
    let mut issuer = Issuer::new();
    for name in ["sub", "client_id", "jti", "iat"] {
        refused(issuer.with(&json!({ name: "absent" })), Rejection::TokenClaimMissing, name);
        for value in [json!(null), json!([]), json!({}), json!(true)] {
            refused(issuer.with(&json!({ name: value })), Rejection::TokenMalformed, name);
        }
    }
    for name in ["sub", "client_id", "jti"] {
        refused(issuer.with(&json!({ name: "" })), Rejection::TokenClaimMissing, name);
        refused(issuer.with(&json!({ name: 5 })), Rejection::TokenMalformed, name);
    }
    issuer.rules.required_claims.clear();
    for name in ["sub", "client_id", "jti", "iat", "scope"] {
        assert!(issuer.with(&json!({ name: "absent" })).is_ok(), "{name}");
        // Not required is not unchecked.
        refused(issuer.with(&json!({ name: ["x"] })), Rejection::TokenMalformed, name);
    }
    issuer.rules.required_claims = ["tenant", "scope", "cnf", "nbf", "exp"].map(String::from).to_vec();
    let right = json!({"tenant": 5, "nbf": 0});
    assert!(issuer.with(&right).is_ok());
    for (name, value) in [
        ("tenant", json!(null)),
        ("tenant", json!("absent")),
        ("cnf", json!("absent")),
        ("nbf", json!("absent")),
        ("scope", json!("")),
    ] {
        let mut change = right.clone();
        change[name] = value.clone();
        refused(issuer.with(&change), Rejection::TokenClaimMissing, format!("{name} {value}"));
    }
}

/// R-G-02: a binding we cannot check refuses the token already here.
#[test]
fn confirmations() {
    let issuer = Issuer::new();
    for cnf in [json!({}), json!(null), json!({"kid": "x"}), json!({"jkt": 5}), json!("x")] {
        refused(issuer.with(&json!({ "cnf": cnf })), Rejection::TokenConfirmation, &cnf);
    }
    let unbound = issuer.with(&json!({"cnf": "absent"})).unwrap();
    assert_eq!(unbound.confirmation(), Confirmation::Unbound);
}

/// The signature is over the very bytes: a changed claim, a changed header, another token's signature.
#[test]
fn signatures() {
    let issuer = Issuer::new();
    let token = issuer.key.token(&claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = input.split_once('.').unwrap();
    let forged = to_base64url(changed(claims(), &json!({"sub": "mallory"})).to_string().as_bytes());
    refused(issuer.verify(&format!("{header}.{forged}.{signature}")), Rejection::TokenSignature, "claims");
    let header = to_base64url(changed(issuer.key.header(), &json!({"x": 1})).to_string().as_bytes());
    let payload = input.split_once('.').unwrap().1;
    refused(issuer.verify(&format!("{header}.{payload}.{signature}")), Rejection::TokenSignature, "header");
    refused(issuer.verify(&format!("{input}.AA")), Rejection::TokenSignature, "short");
    refused(issuer.verify(&format!("{input}.{}", to_base64url(&[0; 64]))), Rejection::TokenSignature, "zero");
}

/// Nothing dear for a token that is refused anyway: claims are judged before a key is looked for.
#[test]
fn a_claim_refuses_before_a_key_is_missed() {
    let issuer = Issuer::new();
    let header = changed(issuer.key.header(), &json!({"kid": "unknown"}));
    let expired = changed(claims(), &json!({"exp": NOW.seconds() - 100}));
    refused(issuer.verify(&issuer.key.sign(&header, &expired)), Rejection::TokenExpired, "expired");
    let elsewhere = changed(claims(), &json!({"aud": "x"}));
    refused(issuer.verify(&issuer.key.sign(&header, &elsewhere)), Rejection::TokenAudience, "elsewhere");
}

/// R-H-21: a cached token is judged by the time again, with the same leeway.
#[test]
fn revalidation() {
    let issuer = Issuer::new();
    let token = issuer.with(&json!({"nbf": NOW.seconds()})).unwrap();
    let end = NOW.plus(300 + LEEWAY);
    assert!(token.revalidate(end.minus(1)).is_ok());
    assert_eq!(token.revalidate(end).map(|_| ()), Err(Rejection::TokenExpired));
    assert!(token.revalidate(NOW.minus(LEEWAY)).is_ok());
    assert_eq!(token.revalidate(NOW.minus(LEEWAY + 1)).map(|_| ()), Err(Rejection::TokenNotYetValid));
}

proptest::proptest! {
    /// Any header and any payload: an answer, and never that it is good.
    #[test]
    fn any_text_is_refused(
        header in "\\PC{0,40}", payload in "\\PC{0,80}", signature in proptest::collection::vec(proptest::num::u8::ANY, 0..80)
    ) {
        let token = format!(
            "{}.{}.{}", to_base64url(header.as_bytes()), to_base64url(payload.as_bytes()), to_base64url(&signature)
        );
        proptest::prop_assert!(Unverified::read(raw(&bearer(&token))).is_err());
    }
}
