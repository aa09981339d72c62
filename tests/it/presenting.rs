//! Presenting a token: T-REQ, R-B, R-J-01 to R-J-03 and R-J-06.

use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::table::Heard::{Passed, Refused, Unread};
use crate::table::{Row, hear, heard, play};

const ROUTES: &str =
    "  - { name: mtls, match: { path_prefix: /mtls }, upstream: echo, require: { binding: mtls } }
  - { name: both, match: { path_prefix: /both }, upstream: echo, require: { binding: both } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// Changes the lines of Authorization and DPoP.
fn relined(s: &mut Scene, house: &House, edit: impl FnOnce(&mut Vec<(String, String)>)) {
    let mut lines = s.credentials(house);
    edit(&mut lines);
    s.credentials = Some(lines);
}

/// Changes what stands in Authorization.
fn authorized(s: &mut Scene, house: &House, edit: impl FnOnce(&str) -> String) {
    relined(s, house, |lines| lines[0].1 = edit(&lines[0].1));
}

/// Sends these credentials alone.
fn only(s: &mut Scene, name: &str, value: &str) {
    s.credentials = Some(vec![(name.into(), value.into())]);
}

/// Another right proof for the same token.
fn another_proof(s: &Scene, house: &House) -> String {
    let mut claims = s.proof_claims.clone();
    claims["jti"] = json!("another");
    let token = s.token(house);
    let ath = holdfast::verify::digest::Digest::<holdfast::verify::digest::AccessToken>::of(token.as_bytes());
    claims["ath"] = json!(ath.to_base64url());
    s.key.sign_compact(&s.proof_header.to_string(), &claims.to_string())
}

const SPELLINGS: &[Row] = &[
    ("T-REQ-04", "dpop", Passed, |s, _| s.scheme = "dpop".into()),
    ("T-REQ-04", "DPOP", Passed, |s, _| s.scheme = "DPOP".into()),
    ("T-REQ-04", "dPoP", Passed, |s, _| s.scheme = "dPoP".into()),
    ("T-REQ-05 R-A-01", "DPOP and AUTHORIZATION in capitals", Passed, |s, house| {
        relined(s, house, |lines| lines.iter_mut().for_each(|line| line.0 = line.0.to_uppercase()));
    }),
    ("R-A-01", "DPoP as the RFC writes it", Passed, |s, house| {
        relined(s, house, |lines| lines[1].0 = "DPoP".into());
    }),
    ("R-B-01", "two spaces", Passed, |s, house| authorized(s, house, |line| line.replace(' ', "  "))),
    ("R-B-01", "nine spaces", Passed, |s, house| authorized(s, house, |line| line.replace(' ', "         "))),
    ("R-A-01", "white space around the field's value", Passed, |s, house| {
        relined(s, house, |lines| lines.iter_mut().for_each(|line| line.1 = format!(" \t{} ", line.1)));
    }),
    ("T-REQ-08 R-B-01", "a tab", Refused(CredentialsMalformed), |s, house| {
        authorized(s, house, |line| line.replace(' ', "\t"));
    }),
    ("T-REQ-08", "a space and a tab", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| line.replace(' ', " \t"));
    }),
    ("R-B-01", "no space", Refused(CredentialsMissing), |s, house| {
        authorized(s, house, |line| line.replace(' ', ""));
    }),
    ("R-B-01", "a colon", Refused(CredentialsMissing), |s, house| {
        authorized(s, house, |line| line.replace(' ', ":"));
    }),
    ("R-B-01", "a word behind the token", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("{line} x"));
    }),
    ("R-B-01", "a parameter behind the token", Refused(CredentialsRepeated), |s, house| {
        authorized(s, house, |line| format!("{line}, realm=x"));
    }),
    ("R-B-01", "the scheme twice", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("DPoP {line}"));
    }),
    ("T-REQ-09 R-J-03", "DPoP", Refused(CredentialsMalformed), |s, _| only(s, "authorization", "DPoP")),
    ("T-REQ-10", "DPoP and a space", Refused(CredentialsMalformed), |s, _| {
        only(s, "authorization", "DPoP ");
    }),
    ("T-REQ-09", "DPoP alone with a proof", Refused(CredentialsMalformed), |s, house| {
        authorized(s, house, |_| "DPoP".into());
    }),
    ("R-J-03", "Bearer", Refused(CredentialsMalformed), |s, _| only(s, "authorization", "Bearer")),
    ("T-REQ-12 R-J-02", "a quoted token", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("{}\"", line.replace("DPoP ", "DPoP \"")));
    }),
    ("T-REQ-12", "a comma behind it", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("{line},"));
    }),
    ("T-REQ-12", "a semicolon behind it", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("{line};"));
    }),
    ("T-REQ-12", "UTF-8", Refused(CredentialsMalformed), |s, house| {
        authorized(s, house, |line| format!("{line}é"));
    }),
    ("T-REQ-12", "a percent sign", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| format!("{line}%20"));
    }),
    ("T-REQ-12", "= in the middle", Refused(TokenMalformed), |s, house| {
        authorized(s, house, |line| line.replacen('.', "=.", 1));
    }),
    ("T-REQ-12", "NUL", Unread(400), |s, house| authorized(s, house, |line| format!("{line}\0"))),
    (
        "T-REQ-12 R-H-17",
        "padding, which token68 may have and a JWS may not",
        Refused(TokenMalformed),
        |s, _| {
            s.edit_token = Box::new(|token| token + "=");
        },
    ),
    ("T-REQ-13", "an empty field", Refused(CredentialsMissing), |s, _| only(s, "authorization", "")),
    ("T-REQ-13", "the token alone", Refused(CredentialsMissing), |s, house| {
        authorized(s, house, |line| line.replace("DPoP ", ""));
    }),
];

const SCHEMES: &[Row] = &[
    ("T-REQ-01 R-C-01", "nothing", Refused(CredentialsMissing), |s, _| s.credentials = Some(Vec::new())),
    ("T-REQ-02 R-B-02", "a proof alone", Refused(CredentialsMissing), |s, house| {
        relined(s, house, |lines| drop(lines.remove(0)));
    }),
    ("T-REQ-14", "Basic", Refused(CredentialsMissing), |s, _| only(s, "authorization", "Basic eDp5")),
    ("T-REQ-14", "Basic with a proof", Refused(CredentialsMissing), |s, house| {
        authorized(s, house, |_| "Basic eDp5".into());
    }),
    ("T-REQ-14", "Negotiate", Refused(CredentialsMissing), |s, _| only(s, "authorization", "Negotiate YII=")),
    ("T-REQ-14", "DPoP2", Refused(CredentialsMissing), |s, _| s.scheme = "DPoP2".into()),
    ("T-REQ-14", "Bearer,DPoP", Refused(CredentialsMissing), |s, house| {
        authorized(s, house, |line| line.replace("DPoP", "Bearer,DPoP"));
    }),
    ("T-REQ-16 R-B-08", "Bearer, then DPoP", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.insert(0, ("authorization".into(), "Bearer x".into())));
    }),
    ("T-REQ-16 R-B-08", "DPoP, then Bearer", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.insert(1, ("authorization".into(), "Bearer x".into())));
    }),
    ("T-REQ-16", "the same token under both schemes", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.push(("Authorization".into(), lines[0].1.replace("DPoP", "Bearer"))));
    }),
    ("T-REQ-16", "Basic, then DPoP", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.insert(0, ("authorization".into(), "Basic eDp5".into())));
    }),
    ("T-REQ-16", "DPoP, then an empty one", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.push(("authorization".into(), String::new())));
    }),
    ("T-REQ-17", "two alike", Refused(CredentialsRepeated), |s, house| {
        relined(s, house, |lines| lines.push(lines[0].clone()));
    }),
    ("T-REQ-18", "two in one line", Refused(CredentialsRepeated), |s, house| {
        authorized(s, house, |line| format!("{line}, Bearer x"));
    }),
    ("T-REQ-18", "two in one line without a space", Refused(CredentialsRepeated), |s, house| {
        authorized(s, house, |line| format!("{line},Bearer x"));
    }),
    ("T-REQ-26 R-B-03", "a bound token as Bearer", Refused(BearerForDpop), |s, _| s.scheme = "Bearer".into()),
    ("T-REQ-28", "as bearer", Refused(BearerForDpop), |s, _| s.scheme = "bearer".into()),
    ("T-REQ-28", "as BEARER", Refused(BearerForDpop), |s, _| s.scheme = "BEARER".into()),
    ("T-REQ-27 R-B-03", "as Bearer, with a right proof", Refused(BearerForDpop), |s, house| {
        authorized(s, house, |line| line.replace("DPoP", "Bearer"));
    }),
    ("R-B-03", "as Bearer, with a certificate", Refused(BearerForDpop), |s, _| {
        s.scheme = "Bearer".into();
        s.certificate = Some(0);
    }),
    ("T-REQ-29 R-B-04", "an unbound token as DPoP", Refused(TokenUnbound), |s, _| unbind(s)),
    ("R-B-04 T-MTL-05", "an unbound token as DPoP, with a certificate", Refused(TokenUnbound), |s, _| {
        unbind(s);
        s.certificate = Some(0);
    }),
    ("R-G-02", "an unbound token as Bearer", Refused(TokenUnbound), |s, _| {
        unbind(s);
        s.scheme = "Bearer".into();
    }),
    ("T-REQ-32", "an unbound token as Bearer, with a stray proof", Refused(TokenUnbound), |s, house| {
        unbind(s);
        authorized(s, house, |line| line.replace("DPoP", "Bearer"));
    }),
    (
        "T-REQ-33",
        "a DPoP-bound token where a certificate is asked for",
        Refused(BindingInsufficient),
        |s, _| {
            s.go_to("/mtls");
        },
    ),
    ("T-REQ-33", "the same as Bearer", Refused(BearerForDpop), |s, _| {
        s.go_to("/mtls");
        s.scheme = "Bearer".into();
    }),
    ("T-REQ-33", "the same with a certificate", Refused(BearerForDpop), |s, _| {
        s.go_to("/mtls");
        s.scheme = "Bearer".into();
        s.certificate = Some(0);
    }),
    ("CASES decision", "certificate-bound as Bearer, with a stray right proof", Passed, |s, house| {
        s.token_claims["cnf"] = json!({"x5t#S256": thumbprint(house, 0)});
        s.certificate = Some(0);
        authorized(s, house, |line| line.replace("DPoP", "Bearer"));
    }),
    (
        "CASES decision",
        "certificate-bound as Bearer, with two stray proofs of nothing",
        Passed,
        |s, house| {
            *s = Scene::with_certificate(house);
            relined(s, house, |lines| {
                lines.extend([("dpop".into(), "x".into()), ("dpop".into(), "y,z".into())]);
            });
        },
    ),
];

fn unbind(s: &mut Scene) {
    s.token_claims.as_object_mut().expect("an object").remove("cnf");
}

const PROOF_LINES: &[Row] = &[
    ("R-B-02", "no DPoP header", Refused(ProofMissing), |s, house| relined(s, house, |l| l.truncate(1))),
    ("T-REQ-20", "an empty one", Refused(ProofMissing), |s, house| {
        relined(s, house, |lines| lines[1].1 = String::new());
    }),
    ("T-REQ-20", "a blank one", Refused(ProofMissing), |s, house| {
        relined(s, house, |lines| lines[1].1 = " \t ".into());
    }),
    ("T-REQ-21 R-A-02", "two right ones", Refused(ProofRepeated), |s, house| {
        let other = another_proof(s, house);
        relined(s, house, |lines| lines.push(("dpop".into(), other)));
    }),
    ("R-A-02", "two alike", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines.push(lines[1].clone()));
    }),
    ("T-REQ-22", "a right one, then another thing", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines.push(("dpop".into(), "garbage".into())));
    }),
    ("T-REQ-22", "another thing, then a right one", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines.insert(1, ("dpop".into(), "garbage".into())));
    }),
    ("T-REQ-22", "a right one, then an empty one", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines.push(("dpop".into(), String::new())));
    }),
    ("T-REQ-25 R-A-02", "two, in other letters", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines.push(("DPoP".into(), lines[1].1.clone())));
    }),
    ("T-REQ-25", "obs-fold", Unread(400), |s, house| {
        relined(s, house, |lines| lines[1].1 = lines[1].1.replacen('.', ".\r\n ", 1));
    }),
    ("T-REQ-24 R-A-02", "two in one line", Refused(ProofRepeated), |s, house| {
        let other = another_proof(s, house);
        relined(s, house, |lines| lines[1].1 = format!("{}, {other}", lines[1].1));
    }),
    ("T-REQ-24", "two in one line without a space", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines[1].1 = format!("{0},{0}", lines[1].1));
    }),
    ("T-REQ-24", "one and a comma", Refused(ProofRepeated), |s, house| {
        relined(s, house, |lines| lines[1].1.push(','));
    }),
    ("R-A-01", "the proof under another name", Refused(ProofMissing), |s, house| {
        relined(s, house, |lines| lines[1].0 = "X-DPoP".into());
    }),
    ("R-A-01", "the proof under a name with a space", Unread(400), |s, house| {
        relined(s, house, |lines| lines[1].0 = "dpop ".into());
    }),
];

const PLACES: &[Row] = &[
    ("T-REQ-34 R-J-01", "the token in the query", Refused(TokenInQuery), |s, house| {
        s.target = format!("/?access_token={}", s.token(house));
        s.credentials = Some(Vec::new());
    }),
    ("T-REQ-35 R-B-09", "in the query and in the header", Refused(TokenInQuery), |s, house| {
        s.target = format!("/?access_token={}", s.token(house));
    }),
    ("T-REQ-34", "behind another parameter", Refused(TokenInQuery), |s, _| {
        s.target = "/?a=b&access_token=x".into()
    }),
    ("T-REQ-34", "empty", Refused(TokenInQuery), |s, _| s.target = "/?access_token=".into()),
    ("T-REQ-34", "without a value", Refused(TokenInQuery), |s, _| s.target = "/?a&access_token".into()),
    ("T-REQ-34", "percent-encoded", Refused(TokenInQuery), |s, _| s.target = "/?access%5Ftoken=x".into()),
    ("T-REQ-34", "encoded throughout", Refused(TokenInQuery), |s, _| {
        s.target = "/?%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x".into();
    }),
    ("T-REQ-34", "behind a semicolon", Refused(TokenInQuery), |s, _| {
        s.target = "/?a=b;access_token=x".into()
    }),
    ("T-REQ-34", "on a route for certificates", Refused(TokenInQuery), |s, _| {
        s.target = "/mtls?access_token=x".into()
    }),
    ("T-REQ-34", "a name that only begins alike", Passed, |s, _| s.target = "/?access_token_hint=x".into()),
    ("T-REQ-34", "as a value", Passed, |s, _| s.target = "/?a=access_token".into()),
    ("T-REQ-36", "in a form", Refused(CredentialsMissing), |s, house| {
        s.using("POST");
        s.headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
        s.body = format!("access_token={}", s.token(house));
        s.credentials = Some(Vec::new());
    }),
    ("T-REQ-37", "a body is never searched", Passed, |s, _| {
        s.using("POST");
        s.headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
        s.body = "access_token=x".into();
    }),
    ("T-REQ-38 R-B-10", "in Proxy-Authorization", Refused(CredentialsMissing), |s, house| {
        relined(s, house, |lines| lines[0].0 = "proxy-authorization".into());
    }),
    ("R-B-10", "in both", Passed, |s, house| {
        relined(s, house, |lines| lines.push(("proxy-authorization".into(), lines[0].1.clone())));
    }),
    ("T-REQ-39", "in X-Authorization", Refused(CredentialsMissing), |s, house| {
        relined(s, house, |lines| lines[0].0 = "x-authorization".into());
    }),
    ("T-REQ-39", "in X-Forwarded-Access-Token", Refused(CredentialsMissing), |s, house| {
        relined(s, house, |lines| lines[0].0 = "x-forwarded-access-token".into());
    }),
    ("T-REQ-39", "in a cookie", Refused(CredentialsMissing), |s, house| {
        let token = s.token(house);
        relined(s, house, |lines| lines[0] = ("cookie".into(), format!("access_token={token}")));
    }),
    ("T-REQ-41", "a WebSocket without a token", Refused(CredentialsMissing), |s, _| {
        s.credentials = Some(Vec::new());
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            s.headers.push((name.into(), value.into()));
        }
    }),
    ("T-REQ-41", "server-sent events without a token", Refused(CredentialsMissing), |s, _| {
        s.credentials = Some(Vec::new());
        s.headers.push(("accept".into(), "text/event-stream".into()));
    }),
    ("T-REQ-42", "CONNECT", Refused(MethodRefused), |s, _| {
        s.using("CONNECT");
        s.target = "api.example.com:443".into();
    }),
    ("T-REQ-42", "TRACE", Refused(MethodRefused), |s, _| s.using("TRACE")),
    ("T-REQ-42", "TRACE on a public route", Refused(MethodRefused), |s, _| {
        s.go_to("/public");
        s.using("TRACE");
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_authorization() {
    play(&house().await, SPELLINGS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemes_and_tokens() {
    play(&house().await, SCHEMES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_proof() {
    play(&house().await, PROOF_LINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_place_for_a_token() {
    play(&house().await, PLACES).await;
}

/// T-REQ-01, T-CHL-01, T-CHL-02, R-C-02: what is offered without credentials is what could succeed on the route.
#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_challenges_are_bare() {
    let house = house().await;
    let dpop = "DPoP algs=\"ES256 ES384 PS256 EdDSA Ed25519\"";
    for (path, offered) in
        [("/", &[dpop, "Bearer"][..]), ("/dpop", &[dpop]), ("/mtls", &["Bearer"]), ("/both", &[dpop])]
    {
        let mut scene = Scene::at(&house, path);
        scene.credentials = Some(Vec::new());
        let answer = hear(&house, &scene, path, Refused(CredentialsMissing)).await;
        assert_eq!(answer.all("www-authenticate"), offered, "{path}");
    }
    // R-B-08, RFC 9449 Figure 19: on every challenge.
    let mut scene = Scene::right(&house);
    relined(&mut scene, &house, |lines| lines.push(lines[0].clone()));
    let answer = hear(&house, &scene, "two alike", Refused(CredentialsRepeated)).await;
    let challenges = answer.all("www-authenticate");
    assert_eq!(challenges.len(), 2);
    assert!(challenges.iter().all(|line| line.contains("error=\"invalid_request\"")), "{challenges:?}");
    // R-C-03, RFC 9449 Figure 18: a token that was presented has its error on the challenge of its scheme.
    for (scheme, carries) in [("DPoP", 0), ("Bearer", 1)] {
        let mut scene = Scene::right(&house);
        unbind(&mut scene);
        scene.scheme = scheme.into();
        let answer = hear(&house, &scene, scheme, Refused(TokenUnbound)).await;
        for (at, line) in answer.all("www-authenticate").iter().enumerate() {
            assert_eq!(line.contains("error="), at == carries, "{scheme}: {line}");
        }
    }
}

/// R-J-06: a connection is not a session.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_needs_its_own_credentials() {
    let house = house().await;
    let (right, mut bare) = (Scene::right(&house), Scene::right(&house));
    bare.credentials = Some(Vec::new());
    let mut client = house.connect(&right.sni, None).await;
    for _ in 0..2 {
        let scene = Scene::right(&house);
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        heard(&house, &scene, &answer, "with a token", Passed);
        let answer = client.exchange(&bare.bytes(&house)).await.expect("an answer");
        heard(&house, &bare, &answer, "the same connection, without", Refused(CredentialsMissing));
    }
    // Both in one write.
    let mut bytes = right.bytes(&house);
    bytes.extend(bare.bytes(&house));
    client.send(&bytes).await.expect("sent");
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    let answer = client.answer().await.expect("an answer");
    assert_eq!(house.seen().len(), 1);
    heard(&house, &bare, &answer, "pipelined, without", Refused(CredentialsMissing));
    // With the certificate of the connection, but the token of nobody.
    let bound = Scene::with_certificate(&house);
    let mut client = house.connect(&bound.sni, Some(0)).await;
    let answer = client.exchange(&bound.bytes(&house)).await.expect("an answer");
    heard(&house, &bound, &answer, "with its certificate", Passed);
    let answer = client.exchange(&bare.bytes(&house)).await.expect("an answer");
    heard(&house, &bare, &answer, "with its certificate, without a token", Refused(CredentialsMissing));
}

/// T-REQ-06, T-REQ-25, T-REQ-40: the same over HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_http2() {
    let house = house().await;
    let client = house.connect_h2(None).await;
    type Change = fn(&mut Vec<(String, String)>);
    let cases: [(&str, crate::table::Heard, Change); 8] = [
        ("T-REQ-06 lower case, as it always is", Passed, |_| {}),
        ("T-REQ-40 without a token", Refused(CredentialsMissing), Vec::clear),
        ("T-REQ-26 as Bearer", Refused(BearerForDpop), |lines| {
            lines[0].1 = lines[0].1.replace("DPoP", "Bearer");
        }),
        ("T-REQ-25 two proofs", Refused(ProofRepeated), |lines| lines.push(lines[1].clone())),
        ("T-REQ-17 two tokens", Refused(CredentialsRepeated), |lines| lines.push(lines[0].clone())),
        ("R-B-02 no proof", Refused(ProofMissing), |lines| lines.truncate(1)),
        ("T-REQ-40 a proof alone", Refused(CredentialsMissing), |lines| drop(lines.remove(0))),
        ("and again", Passed, |_| {}),
    ];
    for (what, expected, change) in cases {
        let scene = Scene::right(&house);
        let mut lines = scene.credentials(&house);
        change(&mut lines);
        let answer = client.exchange(scene.request_with(&lines)).await.expect(what);
        heard(&house, &scene, &answer, what, expected);
    }
}
