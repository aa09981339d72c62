//! What binds a token to its caller: T-BND, the binding rows of T-MTL, R-A-22, R-A-23, R-F, R-G, and the table of DESIGN.md §2.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use holdfast::caller::key::{DpopKey, random_base64url};
use holdfast::verify::digest::{AccessToken, Digest};
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::signer::{decoded, encoded};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{Row, hear, heard, play};

const ROUTES: &str =
    "  - { name: mtls, match: { path_prefix: /mtls }, upstream: echo, require: { binding: mtls } }
  - { name: both, match: { path_prefix: /both }, upstream: echo, require: { binding: both } }
  - { name: lax, match: { path_prefix: /lax }, upstream: echo, enforcement: report-only }
  - { name: lax-dpop, match: { path_prefix: /lax/dpop }, upstream: echo, require: { binding: dpop }, enforcement: report-only }
  - { name: lax-mtls, match: { path_prefix: /lax/mtls }, upstream: echo, require: { binding: mtls }, enforcement: report-only }
  - { name: lax-both, match: { path_prefix: /lax/both }, upstream: echo, require: { binding: both }, enforcement: report-only }
";

/// A `cnf`, in the order of the rows of the table.
const CONFIRMATIONS: [&str; 5] = ["jkt", "x5t#S256", "both", "none", "{}"];

/// How a token is presented: the scheme, whether with a right proof, and which certificate the connection has. Certificate 0 is the token's.
#[derive(Clone, Copy, Debug)]
struct Presented {
    scheme: &'static str,
    proof: bool,
    certificate: Option<usize>,
}

/// Every way to present a token.
fn presentations() -> Vec<Presented> {
    let mut all = Vec::new();
    for scheme in ["DPoP", "Bearer"] {
        for proof in [true, false] {
            for certificate in [Some(0), Some(1), None] {
                all.push(Presented { scheme, proof, certificate });
            }
        }
    }
    all
}

/// The table of DESIGN.md §2, as a function of everything that could matter and nothing else. Below `/lax` unbound tokens are let through, and
/// nothing else is.
fn expected(route: &str, confirmation: &str, presented: Presented) -> Heard {
    let Presented { scheme, proof, certificate } = presented;
    let (route, enforced) = match route.strip_prefix("/lax") {
        Some(rest) => (rest, false),
        None => (route, true),
    };
    if (enforced, confirmation, scheme, proof) == (false, "none", "Bearer", false) {
        return Passed;
    }
    if scheme == "DPoP" && route == "/mtls" {
        return Refused(BindingInsufficient);
    }
    if scheme == "DPoP" && !proof {
        return Refused(ProofMissing);
    }
    let by_certificate = match certificate {
        Some(0) => Passed,
        Some(_) => Refused(CertificateMismatch),
        None => Refused(CertificateMissing),
    };
    let held = match (confirmation, scheme) {
        ("jkt", "DPoP") => Passed,
        ("jkt" | "both", "Bearer") => Refused(BearerForDpop),
        ("x5t#S256", "DPoP") => Refused(DpopForCertificate),
        ("both", "DPoP") | ("x5t#S256", "Bearer") => by_certificate,
        ("none", _) => Refused(TokenUnbound),
        _ => Refused(TokenConfirmation),
    };
    let fits = match route {
        "/dpop" => confirmation != "x5t#S256",
        "/mtls" => confirmation == "x5t#S256",
        "/both" => confirmation == "both",
        _ => true,
    };
    if held == Passed && !fits { Refused(BindingInsufficient) } else { held }
}

fn confirmed(scene: &mut Scene, house: &House, confirmation: &str) {
    let (jkt, x5t) = (scene.token_claims["cnf"]["jkt"].clone(), thumbprint(house, 0));
    match confirmation {
        "jkt" => {}
        "x5t#S256" => scene.token_claims["cnf"] = json!({"x5t#S256": x5t}),
        "both" => scene.token_claims["cnf"] = json!({"jkt": jkt, "x5t#S256": x5t}),
        "{}" => scene.token_claims["cnf"] = json!({}),
        _ => drop(scene.token_claims.as_object_mut().expect("an object").remove("cnf")),
    }
}

/// R-B-03, R-B-04, R-F-03 to R-F-06, R-G-02, R-G-03, T-BND-12, -16, -17, T-MTL-01, -02, -03, -05, -09, -15, T-REQ-33: every `cnf`, presented in every
/// way, on every kind of route.
#[tokio::test(flavor = "multi_thread")]
async fn every_cnf_presented_in_every_way() {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    let mut accepted = 0;
    for route in ["/", "/dpop", "/mtls", "/both", "/lax", "/lax/dpop", "/lax/mtls", "/lax/both"] {
        for confirmation in CONFIRMATIONS {
            for presented in presentations() {
                let mut scene = Scene::at(&house, route);
                confirmed(&mut scene, &house, confirmation);
                scene.certificate = presented.certificate;
                let token = scene.token(&house);
                let mut lines = vec![("authorization".to_owned(), format!("{} {token}", presented.scheme))];
                if presented.proof {
                    lines.push(("dpop".to_owned(), scene.proof(&token)));
                }
                scene.credentials = Some(lines);
                let expected = expected(route, confirmation, presented);
                accepted += usize::from(expected == Passed);
                hear(&house, &scene, &format!("{route} {confirmation} {presented:?}"), expected).await;
            }
        }
    }
    // So that the table above cannot turn lenient unnoticed. any: 3 jkt, 2 certificate, 1 both; dpop: 3 and 1; mtls: 2; both: 1. On the same four
    // where they are report-only, a bearer besides, whatever certificate it has or has not.
    let bound = 6 + 4 + 2 + 1;
    assert_eq!(accepted, bound + bound + 4 * 3);
}

/// `cnf` as it is written, for a token with a right proof.
fn cnf_rows(jkt: &str, x5t: &str) -> Vec<(&'static str, Value, Heard)> {
    const NO: Heard = Refused(TokenConfirmation);
    // All but the last character, whose unused bits would have to be zero in upper case too.
    let upper = format!("{}{}", jkt[..42].to_uppercase(), &jkt[42..]);
    let altered = format!("{}{}", &jkt[..42], if jkt.ends_with('A') { "B" } else { "_" });
    vec![
        ("T-BND-11 R-G-01", json!("str"), NO),
        ("T-BND-11", json!(jkt), NO),
        ("T-BND-11", json!(1), NO),
        ("T-BND-11", json!(0), NO),
        ("T-BND-11", json!(true), NO),
        ("T-BND-11", json!(false), NO),
        ("T-BND-11", json!(2.5), NO),
        ("T-BND-11", json!([]), NO),
        ("T-BND-11", json!([123]), NO),
        ("T-BND-11", json!([{"jkt": jkt}]), NO),
        ("T-BND-11", json!(null), NO),
        ("T-BND-11", json!(json!({"jkt": jkt}).to_string()), NO),
        ("T-BND-12 R-G-02", json!({}), NO),
        ("T-BND-13 R-G-05", json!({"jkt": 5}), NO),
        ("T-BND-13", json!({"jkt": ""}), NO),
        ("T-BND-13", json!({"jkt": null}), NO),
        ("T-BND-13", json!({"jkt": [jkt]}), NO),
        ("T-BND-13", json!({"jkt": {"S256": jkt}}), NO),
        ("T-BND-13", json!({"jkt": "!!"}), NO),
        ("T-BND-13", json!({"jkt": &jkt[..42]}), NO),
        ("T-BND-13", json!({"jkt": format!("{jkt}A")}), NO),
        ("T-BND-13", json!({"jkt": format!("{jkt}=")}), NO),
        ("T-BND-13", json!({"jkt": format!(" {jkt}")}), NO),
        ("T-BND-13", json!({"jkt": format!("{jkt}\n")}), NO),
        ("T-BND-13", json!({"jkt": hex(&decoded(jkt))}), NO),
        ("T-BND-13", json!({"jkt": altered}), NO),
        ("T-BND-13", json!({"JKT": jkt}), NO),
        ("R-G-05", json!({"jkt": upper}), if upper == jkt { Passed } else { Refused(KeyMismatch) }),
        ("T-BND-15 R-G-04", json!({"jkt": jkt, "foo": 1}), Passed),
        ("T-BND-15", json!({"jkt": jkt, "kid": "x", "jwk": {}, "jku": "https://evil.example"}), Passed),
        ("T-BND-15", json!({"jkt": jkt, "x5t": "AAAA"}), Passed),
        ("T-BND-15", json!({"jkt": jkt, "jkt#S512": "AAAA"}), Passed),
        ("T-BND-16 R-G-03", json!({"jkt": jkt, "x5t#S256": x5t}), Refused(CertificateMissing)),
        ("R-G-03", json!({"x5t#S256": x5t, "jkt": jkt}), Refused(CertificateMissing)),
        ("R-G-05", json!({"jkt": jkt, "x5t#S256": null}), NO),
        ("R-G-05", json!({"jkt": jkt, "x5t#S256": ""}), NO),
        ("R-G-05", json!({"jkt": jkt, "x5t#S256": 1}), NO),
        ("R-G-05", json!({"jkt": null, "x5t#S256": x5t}), NO),
        ("T-BND-19 R-G-02", json!({"kid": "x"}), NO),
        ("T-BND-19", json!({"jwk": {}}), NO),
        ("T-BND-19", json!({"jwe": "x"}), NO),
        ("T-BND-19", json!({"jku": "http://127.0.0.1:1/"}), NO),
        ("T-MTL-06 R-F-08", json!({"x5t": "bwcK0esc3ACC3DB2Y5_lESsX"}), NO),
        ("T-BND-19", json!({"osc": {}}), NO),
        ("T-MTL-15", json!({"x5t#S256": x5t}), Refused(DpopForCertificate)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// T-BND-11 to -19, R-G.
#[tokio::test(flavor = "multi_thread")]
async fn cnf_as_it_is_written() {
    let house = House::usual().await;
    let rows = cnf_rows(
        Scene::right(&house).token_claims["cnf"]["jkt"].as_str().expect("text"),
        &thumbprint(&house, 0),
    )
    .len();
    for row in 0..rows {
        let mut scene = Scene::right(&house);
        let jkt = scene.token_claims["cnf"]["jkt"].as_str().expect("text").to_owned();
        let (ids, cnf, expected) = cnf_rows(&jkt, &thumbprint(&house, 0)).swap_remove(row);
        scene.token_claims["cnf"] = cnf.clone();
        hear(&house, &scene, &format!("{ids}: {cnf}"), expected).await;
        // Nor does any of them make a bearer token of it (T-BND-12), with a certificate or without.
        for certificate in [None, Some(1)] {
            (scene.scheme, scene.certificate) = ("Bearer".into(), certificate);
            let answer = scene.send(&house).await;
            assert_eq!((answer.status, house.seen().len()), (401, 0), "{ids}: {cnf}: {answer:?}");
        }
    }
}

/// T-MTL-07, R-F-02, R-F-08, R-G-05: one spelling of a certificate's thumbprint.
#[tokio::test(flavor = "multi_thread")]
async fn thumbprints_of_certificates_as_they_are_written() {
    let house = House::usual().await;
    let right = thumbprint(&house, 0);
    let bytes = decoded(&right);
    let colons = bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    for (what, written, expected) in [
        ("as it is", json!(right), Passed),
        ("hexadecimal", json!(hex(&bytes)), Refused(TokenConfirmation)),
        ("hexadecimal with colons", json!(colons), Refused(TokenConfirmation)),
        ("padded", json!(URL_SAFE.encode(&bytes)), Refused(TokenConfirmation)),
        ("base64", json!(STANDARD.encode(&bytes)), Refused(TokenConfirmation)),
        ("with a line's end", json!(format!("{right}\n")), Refused(TokenConfirmation)),
        ("with a space", json!(format!(" {right}")), Refused(TokenConfirmation)),
        ("cut", json!(right[..42]), Refused(TokenConfirmation)),
        ("of SHA-1's length", json!(encoded(&bytes[..20])), Refused(TokenConfirmation)),
        (
            "of SHA-512's length",
            json!(encoded(&[&bytes[..], &bytes[..]].concat())),
            Refused(TokenConfirmation),
        ),
        ("in an array", json!([right]), Refused(TokenConfirmation)),
        ("another", json!(thumbprint(&house, 1)), Refused(CertificateMismatch)),
        ("all zero", json!(encoded(&[0; 32])), Refused(CertificateMismatch)),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.token_claims["cnf"] = json!({"x5t#S256": written});
        hear(&house, &scene, what, expected).await;
    }
    for cnf in [
        json!({"x5t": right}),
        json!({"x5t#s256": right}),
        json!({"x5t#S512": right}),
        json!({"x5c": [right]}),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.token_claims["cnf"] = cnf.clone();
        hear(&house, &scene, &format!("R-F-08 {cnf}"), Refused(TokenConfirmation)).await;
    }
    // The thumbprint of a key is none of a certificate, equal or not.
    let mut scene = Scene::with_certificate(&house);
    scene.token_claims["cnf"] = json!({"jkt": right});
    hear(&house, &scene, "a certificate's as jkt", Refused(BearerForDpop)).await;
}

/// The hash of a token in every spelling but the right one.
const ATH: &[Row] = &[
    ("T-BND-01 R-A-22", "absent", Refused(ProofClaims), |s, _| s.proof_claims["ath"] = json!("none")),
    ("T-BND-03", "empty", Refused(ProofAth), |s, _| s.proof_claims["ath"] = json!("")),
    ("T-BND-03", "null", Refused(ProofClaims), |s, _| s.proof_claims["ath"] = json!(null)),
    ("T-BND-03", "a number", Refused(ProofClaims), |s, _| s.proof_claims["ath"] = json!(0)),
    ("T-BND-04", "padded", Refused(ProofAth), |s, house| ath(s, house, |hash| URL_SAFE.encode(hash))),
    ("T-BND-04", "hexadecimal", Refused(ProofAth), |s, house| ath(s, house, hex)),
    ("T-BND-04", "base64", Refused(ProofAth), |s, house| {
        // A token whose hash has a character that the two alphabets spell differently.
        while !digest(s, house).contains(['-', '_']) {
            s.token_claims["jti"] = json!(random_base64url::<16>().expect("randomness"));
        }
        ath(s, house, |hash| STANDARD_NO_PAD.encode(hash));
    }),
    ("T-BND-04", "not base64url", Refused(ProofAth), |s, house| {
        ath(s, house, |hash| format!("{}!", &encoded(hash)[1..]))
    }),
    ("T-BND-04", "SHA-512", Refused(ProofAth), |s, house| {
        let token = s.token(house);
        s.proof_claims["ath"] =
            json!(encoded(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, token.as_bytes()).as_ref()));
    }),
    ("T-BND-04", "SHA-384", Refused(ProofAth), |s, house| {
        let token = s.token(house);
        s.proof_claims["ath"] =
            json!(encoded(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, token.as_bytes()).as_ref()));
    }),
    ("T-BND-04", "half of it", Refused(ProofAth), |s, house| ath(s, house, |hash| encoded(&hash[..16]))),
    ("T-BND-04", "a second spelling of its end", Refused(ProofAth), |s, house| {
        ath(s, house, |hash| {
            let text = encoded(hash);
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = alphabet.find(&text[42..]).expect("base64url");
            format!("{}{}", &text[..42], &alphabet[at + 1..at + 2])
        });
    }),
    ("T-BND-05", "one letter in the other case", Refused(ProofAth), |s, house| {
        ath(s, house, |hash| {
            let mut text = encoded(hash).into_bytes();
            let letter = text.iter_mut().find(|b| b.is_ascii_alphabetic()).expect("a letter");
            *letter ^= 0x20;
            String::from_utf8(text).expect("ASCII")
        });
    }),
    ("R-A-22", "a line's end behind it", Refused(ProofAth), |s, house| {
        ath(s, house, |hash| encoded(hash) + "\n")
    }),
    ("R-A-22", "of the whole header", Refused(ProofAth), |s, house| {
        let token = format!("DPoP {}", s.token(house));
        s.proof_claims["ath"] = json!(Digest::<AccessToken>::of(token.as_bytes()).to_base64url());
    }),
    ("R-A-22", "of nothing", Refused(ProofAth), |s, _| {
        s.proof_claims["ath"] = json!(Digest::<AccessToken>::of(b"").to_base64url())
    }),
    ("T-BND-06", "of another token", Refused(ProofAth), |s, house| {
        let other = Scene::right(house).token(house);
        s.proof_claims["ath"] = json!(Digest::<AccessToken>::of(other.as_bytes()).to_base64url());
    }),
    ("T-BND-06", "the token itself", Refused(ProofAth), |s, house| {
        s.proof_claims["ath"] = json!(s.token(house))
    }),
];

fn digest(s: &Scene, house: &House) -> String {
    // The house's signatures are deterministic, so this is the token that will be sent.
    Digest::<AccessToken>::of(s.token(house).as_bytes()).to_base64url()
}

fn ath(s: &mut Scene, house: &House, spell: impl Fn(&[u8]) -> String) {
    s.proof_claims["ath"] = json!(spell(&decoded(&digest(s, house))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_of_the_token() {
    play(&House::usual().await, ATH).await;
}

/// T-BND-08, -09, R-A-23, RFC 9449 Figure 16: each token with its own key and no other, whichever was seen first.
#[tokio::test(flavor = "multi_thread")]
async fn two_callers_keep_to_their_own() {
    let house = House::usual().await;
    let (one, other) = (Scene::right(&house), Scene::right(&house));
    let tokens = [one.token(&house), other.token(&house)];
    let mut client = house.connect(&one.sni, None).await;
    for (scene, key) in [(&one, 0), (&other, 1)] {
        for (of, token) in tokens.iter().enumerate() {
            let lines = [
                ("authorization".to_owned(), format!("DPoP {token}")),
                ("dpop".to_owned(), {
                    let mut claims = scene.proof_claims.clone();
                    claims["jti"] = json!(format!("{of}"));
                    claims["ath"] = json!(Digest::<AccessToken>::of(token.as_bytes()).to_base64url());
                    scene.key.sign_compact(&scene.proof_header.to_string(), &claims.to_string())
                }),
            ];
            let answer = client.exchange(&scene.bytes_with(&lines)).await.expect("an answer");
            let expected = if of == key { Passed } else { Refused(KeyMismatch) };
            heard(&house, scene, &answer, &format!("key {key}, token {of}"), expected);
            if of != key {
                assert!(answer.all("www-authenticate")[0].contains("Invalid DPoP key binding"), "{answer:?}");
            }
        }
    }
}

/// T-BND-24, T-BND-25: a good proof does not mend a bad token.
#[tokio::test(flavor = "multi_thread")]
async fn good_proofs_for_bad_tokens() {
    const TOKENS: &[Row] = &[
        ("T-BND-24", "the RFC's opaque token", Refused(TokenMalformed), |s, _| {
            s.edit_token = Box::new(|_| "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU".into());
        }),
        ("T-BND-24", "a word", Refused(TokenMalformed), |s, _| s.edit_token = Box::new(|_| "token".into())),
        ("T-BND-25", "expired", Refused(TokenExpired), |s, house| {
            s.token_claims["exp"] = json!(house.now() - 60)
        }),
        ("T-BND-24", "another issuer's", Refused(TokenIssuer), |s, _| {
            s.token_claims["iss"] = json!("https://evil.example")
        }),
        ("T-BND-24", "signed by the caller", Refused(TokenSignature), |s, _| {
            let key = DpopKey::from_pem(&s.key.to_pkcs8_pem()).expect("its own PEM");
            let (header, claims) = (s.token_header.to_string(), s.token_claims.to_string());
            s.edit_token = Box::new(move |_| key.sign_compact(&header, &claims));
        }),
    ];
    play(&House::usual().await, TOKENS).await;
}

/// T-MTL-19, T-MTL-21, R-F-01, R-F-03, R-F-05: the certificate is this connection's, and nothing that anyone writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_this_connections() {
    let house = House::usual().await;
    let of = |certificate: usize| {
        let mut scene = Scene::with_certificate(&house);
        scene.token_claims["cnf"] = json!({"x5t#S256": thumbprint(&house, certificate)});
        scene
    };
    let tokens = [of(0), of(1)];
    type Expected = [Result<(), Rejection>; 2];
    let cases: [(Option<usize>, Expected); 3] = [
        (Some(0), [Ok(()), Err(CertificateMismatch)]),
        (Some(1), [Err(CertificateMismatch), Ok(())]),
        (None, [Err(CertificateMissing), Err(CertificateMissing)]),
    ];
    for (certificate, expected) in cases {
        // One connection for both tokens, twice, in HTTP/1.1 and in HTTP/2.
        let mut client = house.connect(crate::house::HOST, certificate).await;
        let h2 = house.connect_h2(certificate).await;
        for _ in 0..2 {
            for (scene, expected) in tokens.iter().zip(expected) {
                let expected = expected.map_or_else(Refused, |()| Passed);
                let what = format!("on a connection with {certificate:?}");
                let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
                heard(&house, scene, &answer, &what, expected);
                let request = scene.request_with(&scene.credentials(&house));
                let answer = h2.exchange(request).await.expect("an answer");
                heard(&house, scene, &answer, &what, expected);
            }
        }
    }
    let der = STANDARD.encode(&house.certificates[0].0);
    let pem = format!("-----BEGIN%20CERTIFICATE-----%0A{der}%0A-----END%20CERTIFICATE-----");
    let headers = [
        ("client-cert", format!(":{der}:")),
        ("Client_Cert", format!(":{der}:")),
        ("x-client-cert", der.clone()),
        ("x-ssl-client-cert", pem.clone()),
        ("ssl-client-cert", pem.clone()),
        ("x-forwarded-client-cert", format!("Cert=\"{pem}\"")),
        ("x-forwarded-tls-client-cert", der.clone()),
        ("x-amzn-mtls-clientcert", pem),
    ];
    for certificate in [None, Some(1)] {
        let mut scene = of(0);
        scene.certificate = certificate;
        scene.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let rejection = if certificate.is_some() { CertificateMismatch } else { CertificateMissing };
        hear(&house, &scene, "a certificate in headers", Refused(rejection)).await;
    }
}

/// R-F-06, R-F-16: the scheme of a certificate-bound token is Bearer in any spelling; a renewed certificate is another one.
#[tokio::test(flavor = "multi_thread")]
async fn certificate_bound_tokens_are_bearer_tokens() {
    let house = House::usual().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let mut scene = Scene::with_certificate(&house);
        scene.scheme = scheme.into();
        hear(&house, &scene, scheme, Passed).await;
    }
    // A listener that never asks for certificates accepts no token that is bound to one.
    let listener = "    tls: { certificates: [{ chain: server.pem, key: server.key }] }\n";
    let never = House::built(Plan { listener, ..Plan::default() }).await;
    hear(&never, &Scene::with_certificate(&never), "nobody asked", Refused(CertificateMissing)).await;
}
