//! Access tokens: T-JWT and R-H, as far as a token is a JWS. How keys are fetched is another file's.

use holdfast::verify::rejection::Rejection::*;
use serde_json::{Value, json};

use crate::house::House;
use crate::scene::Scene;
use crate::signer::{encoded, push_member, replace, resign, respell_token};
use crate::table::Heard::{Passed, Refused};
use crate::table::{Row, hear, play};

mod keys;
mod life;

fn typ(s: &mut Scene, typ: Value) {
    s.token_header["typ"] = typ;
}

fn kid(s: &mut Scene, kid: Value) {
    s.token_header["kid"] = kid;
}

fn without(object: &mut Value, name: &str) {
    object.as_object_mut().expect("an object").remove(name);
}

/// Replaces the parts of the token as they stand on the wire.
fn parts(s: &mut Scene, edit: fn(Vec<String>) -> Vec<String>) {
    s.edit_token = Box::new(move |token| edit(token.split('.').map(String::from).collect()).join("."));
}

const HEADERS: &[Row] = &[
    ("T-JWT-01 R-H-01", "at+jwt", Passed, |_, _| {}),
    ("T-JWT-01", "AT+JWT", Passed, |s, _| typ(s, json!("AT+JWT"))),
    ("T-JWT-01", "application/at+jwt", Passed, |s, _| typ(s, json!("application/at+jwt"))),
    ("T-JWT-01", "Application/AT+JWT", Passed, |s, _| typ(s, json!("Application/AT+JWT"))),
    ("T-JWT-02", "JWT", Refused(TokenTyp), |s, _| typ(s, json!("JWT"))),
    ("T-JWT-02", "no typ", Refused(TokenTyp), |s, _| without(&mut s.token_header, "typ")),
    ("T-JWT-02", "dpop+jwt", Refused(TokenTyp), |s, _| typ(s, json!("dpop+jwt"))),
    ("T-JWT-02", "secevent+jwt", Refused(TokenTyp), |s, _| typ(s, json!("secevent+jwt"))),
    ("T-JWT-02 R-H-20", "logout+jwt", Refused(TokenTyp), |s, _| typ(s, json!("logout+jwt"))),
    ("T-JWT-25 R-I-08", "token-introspection+jwt", Refused(TokenTyp), |s, _| {
        typ(s, json!("token-introspection+jwt"))
    }),
    ("R-H-01", "at+jwtx", Refused(TokenTyp), |s, _| typ(s, json!("at+jwtx"))),
    ("R-H-01", "text/at+jwt", Refused(TokenTyp), |s, _| typ(s, json!("text/at+jwt"))),
    ("R-H-01", "application/application/at+jwt", Refused(TokenTyp), |s, _| {
        typ(s, json!("application/application/at+jwt"))
    }),
    ("R-H-01", "with a parameter", Refused(TokenTyp), |s, _| typ(s, json!("at+jwt; charset=utf-8"))),
    ("R-H-01", "a number", Refused(TokenTyp), |s, _| typ(s, json!(1))),
    ("R-H-01", "null", Refused(TokenTyp), |s, _| typ(s, json!(null))),
    ("R-H-01", "in an array", Refused(TokenTyp), |s, _| typ(s, json!(["at+jwt"]))),
    ("R-H-04", "none", Refused(TokenAlg), |s, _| s.token_header["alg"] = json!("none")),
    ("R-H-04", "none without a signature", Refused(TokenMalformed), |s, _| {
        s.token_header["alg"] = json!("none");
        s.edit_token = Box::new(|token| resign(&token, |_| Vec::new()));
    }),
    ("R-H-04", "nOnE", Refused(TokenAlg), |s, _| s.token_header["alg"] = json!("nOnE")),
    ("R-H-04", "es256", Refused(TokenAlg), |s, _| s.token_header["alg"] = json!("es256")),
    ("R-H-04", "no alg", Refused(TokenAlg), |s, _| without(&mut s.token_header, "alg")),
    ("R-H-04", "alg is a number", Refused(TokenAlg), |s, _| s.token_header["alg"] = json!(-7)),
    ("R-H-05", "ES384, which is not on the issuer's list", Refused(TokenAlg), |s, _| {
        s.token_header["alg"] = json!("ES384")
    }),
    ("R-H-04", "RS256 with an EC key's kid", Refused(TokenKeyUnknown), |s, _| {
        s.token_header["alg"] = json!("RS256")
    }),
    ("R-H-04", "EdDSA with an EC key's kid", Refused(TokenKeyUnknown), |s, _| {
        s.token_header["alg"] = json!("EdDSA")
    }),
    ("T-JWT-05", "HS256", Refused(TokenAlg), |s, _| s.token_header["alg"] = json!("HS256")),
    ("T-JWT-14 R-H-09", "a kid nobody knows", Refused(TokenKeyUnknown), |s, _| kid(s, json!("two"))),
    ("R-H-09", "no kid, and one key that fits", Passed, |s, _| without(&mut s.token_header, "kid")),
    ("R-H-09", "an empty kid", Refused(TokenKeyUnknown), |s, _| kid(s, json!(""))),
    ("R-H-09", "a kid in another case", Refused(TokenKeyUnknown), |s, _| kid(s, json!("One"))),
    ("R-H-11", "a path", Refused(TokenKeyUnknown), |s, _| kid(s, json!("../../etc/passwd"))),
    ("R-H-11", "a statement", Refused(TokenKeyUnknown), |s, _| kid(s, json!("one' OR '1'='1"))),
    ("R-H-11 R-C-05", "lines and quotes", Refused(TokenKeyUnknown), |s, _| {
        kid(s, json!("one\"\r\nSet-Cookie: x=y\r\n\\"))
    }),
    ("R-H-11", "of 256 bytes", Refused(TokenKeyUnknown), |s, _| kid(s, json!("k".repeat(256)))),
    ("R-H-11", "of 257", Refused(TokenMalformed), |s, _| kid(s, json!("k".repeat(257)))),
    ("R-H-11", "a number", Refused(TokenMalformed), |s, _| kid(s, json!(1))),
    ("R-H-11", "null", Refused(TokenMalformed), |s, _| kid(s, json!(null))),
    ("R-H-18", "crit", Refused(TokenHeader), |s, _| s.token_header["crit"] = json!(["exp"])),
    ("R-H-18", "an empty crit", Refused(TokenHeader), |s, _| s.token_header["crit"] = json!([])),
    ("R-H-18", "crit is null", Refused(TokenHeader), |s, _| s.token_header["crit"] = json!(null)),
    ("R-H-18", "b64 false", Refused(TokenHeader), |s, _| {
        s.token_header["b64"] = json!(false);
        s.token_header["crit"] = json!(["b64"]);
    }),
    ("R-A-21", "unknown members", Passed, |s, _| s.token_header["foo"] = json!({"a": [1]})),
    ("T-JWT-20 R-H-15", "a JWE", Refused(TokenMalformed), |s, _| {
        s.edit_token = Box::new(|_| {
            let header = encoded(br#"{"typ":"at+jwt","alg":"RSA-OAEP","enc":"A256GCM"}"#);
            format!("{header}.AAAA.AAAA.AAAA.AAAA")
        });
    }),
    ("T-JWT-21 R-H-16", "a JWE that would take a password a long time", Refused(TokenMalformed), |s, _| {
        s.edit_token = Box::new(|_| {
            let header = encoded(
                br#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA","zip":"DEF"}"#,
            );
            format!("{header}.AAAA.AAAA.AAAA.AAAA")
        });
    }),
    ("T-JWT-26", "flattened JSON", Refused(TokenMalformed), |s, _| {
        parts(s, |p| vec![json!({"protected": p[0], "payload": p[1], "signature": p[2]}).to_string()]);
    }),
    ("T-JWT-26", "flattened JSON with spaces", Refused(TokenMalformed), |s, _| {
        parts(s, |p| {
            vec![format!(
                "{{\"protected\": \"{}\", \"payload\": \"{}\", \"signature\": \"{}\"}}",
                p[0], p[1], p[2]
            )]
        });
    }),
    ("T-JWT-26", "general JSON", Refused(TokenMalformed), |s, _| {
        parts(s, |p| {
            vec![json!({"payload": p[1], "signatures": [{"protected": p[0], "signature": p[2]}]}).to_string()]
        });
    }),
    ("R-H-17", "two parts", Refused(TokenMalformed), |s, _| parts(s, |p| p[..2].to_vec())),
    ("R-H-17", "four parts", Refused(TokenMalformed), |s, _| {
        parts(s, |p| [p.clone(), vec!["AA".into()]].concat())
    }),
    ("R-H-17", "dots alone", Refused(TokenMalformed), |s, _| parts(s, |_| vec![".".repeat(16_000)])),
    ("R-H-17", "more dots than a token may have characters", Refused(TokenTooLarge), |s, _| {
        parts(s, |_| vec![".".repeat(17_000)])
    }),
    ("R-H-17", "the other alphabet", Refused(TokenMalformed), |s, _| {
        parts(s, |p| vec![p[0].clone(), p[1].clone(), format!("{}+/", p[2])])
    }),
    ("R-H-17", "padding in the middle", Refused(TokenMalformed), |s, _| {
        parts(s, |p| vec![format!("{}=", p[0]), p[1].clone(), p[2].clone()])
    }),
    ("R-H-17", "a second spelling of the signature", Refused(TokenMalformed), |s, _| {
        s.edit_token = Box::new(|mut token| {
            let last = token.pop().expect("a character");
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = alphabet.find(last).expect("base64url");
            token + &alphabet[at + 1..at + 2]
        });
    }),
    ("R-H-04", "a signature of zeros", Refused(TokenSignature), |s, _| {
        s.edit_token = Box::new(|token| resign(&token, |_| vec![0; 64]))
    }),
    ("R-H-04", "a bit of the signature", Refused(TokenSignature), |s, _| {
        s.edit_token = Box::new(|token| {
            resign(&token, |mut signature| {
                signature[40] ^= 4;
                signature
            })
        });
    }),
    ("R-H-04", "DER", Refused(TokenSignature), |s, _| {
        s.edit_token = Box::new(|token| {
            resign(&token, |signature| {
                p256::ecdsa::Signature::from_slice(&signature).expect("r and s").to_der().as_bytes().to_vec()
            })
        });
    }),
    ("R-H-04", "the payload of another token", Refused(TokenSignature), |s, _| {
        parts(s, |p| {
            let mut claims = crate::signer::decoded(&p[1]);
            replace(&mut claims, "\"sub\":\"alice\"", "\"sub\":\"admin\"");
            vec![p[0].clone(), encoded(&claims), p[2].clone()]
        });
    }),
];

const CLAIMS: &[Row] = &[
    ("T-JWT-06 R-H-02", "another issuer", Refused(TokenIssuer), |s, _| {
        s.token_claims["iss"] = json!("https://other.example.com")
    }),
    ("T-JWT-06", "a slash behind it", Refused(TokenIssuer), |s, _| {
        s.token_claims["iss"] = json!("https://as.example.com/")
    }),
    ("R-H-02", "in capitals", Refused(TokenIssuer), |s, _| {
        s.token_claims["iss"] = json!("https://AS.example.com")
    }),
    ("R-H-02", "with its port", Refused(TokenIssuer), |s, _| {
        s.token_claims["iss"] = json!("https://as.example.com:443")
    }),
    ("R-H-02", "a space behind it", Refused(TokenIssuer), |s, _| {
        s.token_claims["iss"] = json!("https://as.example.com ")
    }),
    ("R-H-02", "empty", Refused(TokenIssuer), |s, _| s.token_claims["iss"] = json!("")),
    ("T-JWT-06", "an array", Refused(TokenMalformed), |s, _| {
        s.token_claims["iss"] = json!(["https://as.example.com"])
    }),
    ("T-JWT-06", "null", Refused(TokenMalformed), |s, _| s.token_claims["iss"] = json!(null)),
    ("T-JWT-08 R-H-03", "another audience", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("https://other.example.com")
    }),
    ("R-H-03", "a longer one", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("https://api.example.com.evil")
    }),
    ("R-H-03", "a shorter one", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("https://api.example")
    }),
    ("R-H-03", "a slash behind it", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("https://api.example.com/")
    }),
    ("R-H-03", "in capitals", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("https://API.example.com")
    }),
    ("R-H-03", "two in one text", Refused(TokenAudience), |s, _| {
        s.token_claims["aud"] = json!("x https://api.example.com")
    }),
    ("R-H-03", "empty", Refused(TokenAudience), |s, _| s.token_claims["aud"] = json!("")),
    ("R-H-03", "nobody", Refused(TokenAudience), |s, _| s.token_claims["aud"] = json!([])),
    ("R-H-03", "others", Refused(TokenAudience), |s, _| s.token_claims["aud"] = json!(["x", "y"])),
    ("R-H-03", "one of several", Passed, |s, _| {
        s.token_claims["aud"] = json!(["x", "https://api.example.com"])
    }),
    ("R-H-03", "alone in an array", Passed, |s, _| {
        s.token_claims["aud"] = json!(["https://api.example.com"])
    }),
    ("R-H-03", "in an array in an array", Refused(TokenMalformed), |s, _| {
        s.token_claims["aud"] = json!([["https://api.example.com"]])
    }),
    ("R-H-03", "beside a number", Refused(TokenMalformed), |s, _| {
        s.token_claims["aud"] = json!(["https://api.example.com", 1])
    }),
    ("R-H-03", "a number", Refused(TokenMalformed), |s, _| s.token_claims["aud"] = json!(1)),
    ("R-H-03", "null", Refused(TokenMalformed), |s, _| s.token_claims["aud"] = json!(null)),
    ("R-H-03", "an object", Refused(TokenMalformed), |s, _| {
        s.token_claims["aud"] = json!({"https://api.example.com": true})
    }),
    ("R-H-03", "a route's own audience", Passed, |s, _| {
        s.go_to("/narrow");
        s.token_claims["aud"] = json!(["https://api.example.com", "https://api.example.com/narrow"]);
    }),
    ("R-H-03", "a route's own audience alone", Refused(TokenAudience), |s, _| {
        s.go_to("/narrow");
        s.token_claims["aud"] = json!("https://api.example.com/narrow");
    }),
    ("R-H-03", "a route's own audience, longer", Refused(RouteAudience), |s, _| {
        s.go_to("/narrow");
        s.token_claims["aud"] = json!(["https://api.example.com", "https://api.example.com/narrower"]);
    }),
    ("T-JWT-28", "a claim twice", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| push_member(c, "\"sub\":\"admin\""))
    }),
    ("T-JWT-28", "a claim twice, once escaped", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| push_member(c, "\"\\u0063nf\":{}"));
    }),
    ("T-JWT-28", "jkt twice", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| {
            replace(c, "\"cnf\":{", "\"cnf\":{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\",")
        });
    }),
    ("T-JWT-28", "alg twice", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |h, _| push_member(h, "\"alg\":\"none\""))
    }),
    ("R-A-27", "invalid UTF-8", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| {
            c.splice(1..1, *b"\"x\":\"\xff\",");
        })
    }),
    ("R-A-27", "NUL", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| push_member(c, "\"x\":\"\\u0000\""))
    }),
    ("R-A-27", "a byte order mark", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| {
            c.splice(0..0, *b"\xef\xbb\xbf");
        })
    }),
    ("R-H-17", "claims that are an array", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| *c = b"[]".to_vec())
    }),
    ("R-H-17", "claims that are no JSON", Refused(TokenMalformed), |s, house| {
        respell_token(s, house, |_, c| *c = b"x".to_vec())
    }),
    ("T-JWT-29 R-H-22", "both scopes", Passed, |s, _| scope(s, json!("accounts:read accounts:write"))),
    ("R-H-22", "the other way round, among others", Passed, |s, _| {
        scope(s, json!("x accounts:write y accounts:read z"))
    }),
    ("R-H-22", "spaces around", Passed, |s, _| scope(s, json!(" accounts:read  accounts:write "))),
    ("T-JWT-29", "none", Refused(ScopeInsufficient), |s, _| {
        s.go_to("/scoped");
        without(&mut s.token_claims, "scope");
    }),
    ("T-JWT-29", "empty", Refused(ScopeInsufficient), |s, _| scope(s, json!(""))),
    ("T-JWT-29", "one of two", Refused(ScopeInsufficient), |s, _| scope(s, json!("accounts:read"))),
    ("T-JWT-29", "a longer one", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts:readall accounts:write"))
    }),
    ("T-JWT-29", "a shorter one", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts accounts:write"))
    }),
    ("T-JWT-29", "a prefix", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("xaccounts:read accounts:write"))
    }),
    ("T-JWT-29", "in capitals", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("Accounts:Read Accounts:Write"))
    }),
    ("T-JWT-29", "commas", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts:read,accounts:write"))
    }),
    ("T-JWT-29", "a tab", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts:read\taccounts:write"))
    }),
    ("T-JWT-29", "a line's end", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts:read\naccounts:write"))
    }),
    ("T-JWT-29", "a plus", Refused(ScopeInsufficient), |s, _| {
        scope(s, json!("accounts:read+accounts:write"))
    }),
    ("T-JWT-29", "any", Refused(ScopeInsufficient), |s, _| scope(s, json!("*"))),
    ("R-H-19", "an array of scopes", Refused(TokenMalformed), |s, _| {
        scope(s, json!(["accounts:read", "accounts:write"]))
    }),
    ("R-H-22", "scp instead of scope", Refused(ScopeInsufficient), |s, _| {
        s.go_to("/scoped");
        without(&mut s.token_claims, "scope");
        s.token_claims["scp"] = json!("accounts:read accounts:write");
    }),
    ("T-JWT-25 R-H-20", "an ID token", Refused(TokenTyp), |s, _| {
        typ(s, json!("JWT"));
        s.token_claims["nonce"] = json!("n");
        s.token_claims["at_hash"] = json!("AAAA");
    }),
    ("T-JWT-25", "a client assertion", Refused(TokenIssuer), |s, _| {
        without(&mut s.token_header, "typ");
        s.token_claims["iss"] = json!("app");
        s.token_claims["sub"] = json!("app");
    }),
];

fn scope(s: &mut Scene, scope: Value) {
    s.go_to("/scoped");
    s.token_claims["scope"] = scope;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_serialisations() {
    play(&House::usual().await, HEADERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_this_issuer_for_this_resource() {
    play(&House::usual().await, CLAIMS).await;
}

/// T-JWT-29, R-C-06: which scopes are missing is said in the challenge.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_named() {
    let house = House::usual().await;
    let mut scene = Scene::at(&house, "/scoped");
    scene.token_claims["scope"] = json!("other");
    let answer = hear(&house, &scene, "a scope missing", Refused(ScopeInsufficient)).await;
    let challenges = answer.all("www-authenticate");
    assert!(challenges[0].contains("scope=\"accounts:read accounts:write\""), "{challenges:?}");
    assert!(!answer.text().contains("other"), "nothing is repeated");
}

/// T-JWT-09, -10, -12, R-H-07: to the second, with the leeway of 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn times_of_a_token() {
    let house = House::usual().await;
    for (name, seconds, expected) in [
        ("exp", 1, Passed),
        ("exp", 0, Passed),
        ("exp", -4, Passed),
        ("exp", -5, Refused(TokenExpired)),
        ("exp", -6, Refused(TokenExpired)),
        ("exp", -86_400, Refused(TokenExpired)),
        ("nbf", -86_400, Passed),
        ("nbf", 0, Passed),
        ("nbf", 5, Passed),
        ("nbf", 6, Refused(TokenNotYetValid)),
        ("nbf", 86_400, Refused(TokenNotYetValid)),
        ("iat", -86_400, Passed),
        ("iat", 65, Passed),
        ("iat", 66, Refused(TokenNotYetValid)),
        ("iat", 86_400, Refused(TokenNotYetValid)),
    ] {
        let mut scene = Scene::right(&house);
        scene.token_claims[name] = json!(house.now() + seconds);
        hear(&house, &scene, &format!("{name} {seconds:+}"), expected).await;
    }
    // As numbers are written.
    for (text, expected) in [
        ("1e300", Refused(TokenMalformed)),
        ("1e400", Refused(TokenMalformed)),
        ("-1", Refused(TokenMalformed)),
        ("-9223372036854775808", Refused(TokenMalformed)),
        ("9223372036854775807", Refused(TokenMalformed)),
        ("18446744073709551616", Refused(TokenMalformed)),
        ("NaN", Refused(TokenMalformed)),
        ("0", Refused(TokenExpired)),
        ("1.5", Refused(TokenExpired)),
        ("4102444800.5", Passed),
        ("4.1024448e9", Passed),
        ("9007199254740991", Passed),
        ("9007199254740992", Refused(TokenMalformed)),
    ] {
        let mut scene = Scene::right(&house);
        let from = format!("\"exp\":{}", house.now() + 300);
        respell_token(&mut scene, &house, move |_, claims| {
            replace(claims, &from, &format!("\"exp\":{text}"))
        });
        hear(&house, &scene, text, expected).await;
    }
}

/// T-JWT-10, -13, R-H-07, R-H-08, R-H-19: required claims that are missing, and every claim in every other type.
#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_missing_or_of_another_type() {
    let house = House::usual().await;
    for name in ["iss", "aud", "exp", "sub", "client_id", "iat", "jti"] {
        let mut scene = Scene::right(&house);
        without(&mut scene.token_claims, name);
        hear(&house, &scene, name, Refused(TokenClaimMissing)).await;
    }
    for name in ["sub", "client_id", "jti"] {
        let mut scene = Scene::right(&house);
        scene.token_claims[name] = json!("");
        hear(&house, &scene, &format!("an empty {name}"), Refused(TokenClaimMissing)).await;
    }
    for name in ["sub", "client_id", "jti", "scope", "iss"] {
        for value in [json!(1), json!(null), json!(true), json!([]), json!(["x"]), json!({})] {
            let mut scene = Scene::right(&house);
            scene.token_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(TokenMalformed)).await;
        }
    }
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("never"),
            json!("4102444800"),
            json!(null),
            json!(true),
            json!([]),
            json!([4_102_444_800_i64]),
            json!({}),
        ] {
            let mut scene = Scene::right(&house);
            scene.token_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(TokenMalformed)).await;
        }
    }
}
