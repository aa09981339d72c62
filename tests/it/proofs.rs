//! The structure of a proof and its key: T-PRF, R-A-03 to R-A-09 and R-A-25 to R-A-27.

use holdfast::verify::rejection::Rejection::*;
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{Signer, decoded, encoded, push_member, replace, respell_proof};
use crate::table::Heard::{Passed, Refused};
use crate::table::{Row, hear, play};

mod claims;
mod signatures;

/// Replaces the parts of the proof as they stand on the wire.
fn parts(s: &mut Scene, edit: fn(Vec<String>) -> Vec<String>) {
    s.edit_proof = Box::new(move |proof| edit(proof.split('.').map(String::from).collect()).join("."));
}

fn without(object: &mut Value, name: &str) {
    object.as_object_mut().expect("an object").remove(name);
}

const SERIALISATIONS: &[Row] = &[
    ("T-PRF-02", "one dot", Refused(ProofMalformed), |s, _| parts(s, |p| p[..2].to_vec())),
    ("T-PRF-02", "no dot", Refused(ProofMalformed), |s, _| parts(s, |p| vec![p.concat()])),
    ("T-PRF-02", "three dots", Refused(ProofMalformed), |s, _| {
        parts(s, |p| [p.clone(), vec![p[2].clone()]].concat())
    }),
    ("T-PRF-02 R-A-03", "five parts, as a JWE", Refused(ProofMalformed), |s, _| {
        parts(s, |p| vec![p[0].clone(), String::new(), p[1].clone(), p[1].clone(), p[2].clone()]);
    }),
    ("T-PRF-02 R-A-25", "8,000 dots", Refused(ProofMalformed), |s, _| parts(s, |_| vec![".".repeat(8000)])),
    ("T-PRF-02 R-A-25", "10,000 dots", Refused(ProofTooLarge), |s, _| parts(s, |_| vec![".".repeat(10_000)])),
    ("R-A-03", "empty parts", Refused(ProofMalformed), |s, _| parts(s, |_| vec!["..".into()])),
    ("R-A-03", "an empty header", Refused(ProofMalformed), |s, _| {
        parts(s, |p| vec![String::new(), p[1].clone(), p[2].clone()])
    }),
    ("R-A-03", "an empty payload", Refused(ProofMalformed), |s, _| {
        parts(s, |p| vec![p[0].clone(), String::new(), p[2].clone()])
    }),
    ("R-A-10", "an empty signature", Refused(ProofMalformed), |s, _| {
        parts(s, |p| vec![p[0].clone(), p[1].clone(), String::new()])
    }),
    ("R-A-03", "a dot in front", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| format!(".{p}"))
    }),
    ("R-A-03", "a dot behind", Refused(ProofMalformed), |s, _| s.edit_proof = Box::new(|p| format!("{p}."))),
    ("R-A-03", "padding", Refused(ProofMalformed), |s, _| s.edit_proof = Box::new(|p| format!("{p}=="))),
    ("R-A-03", "a space within", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| p.replacen('.', ". ", 1))
    }),
    ("R-A-03", "quotes around", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| format!("\"{p}\""))
    }),
    ("R-A-03", "+ of another alphabet", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| p.replacen('.', "+.", 1))
    }),
    ("R-A-03", "a letter of no alphabet", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| format!("{p}é"))
    }),
    ("R-A-03", "percent-encoded dots", Refused(ProofMalformed), |s, _| {
        s.edit_proof = Box::new(|p| p.replace('.', "%2E"))
    }),
    ("R-A-03 R-E-02", "a second spelling of the signature", Refused(ProofMalformed), |s, _| {
        // 64 bytes leave four bits of the last character unused; setting one spells the same bytes again.
        s.edit_proof = Box::new(|mut p| {
            let last = p.pop().expect("a character");
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = alphabet.find(last).expect("base64url");
            p + &alphabet[at + 1..at + 2]
        });
    }),
    ("T-PRF-04", "flattened JSON", Refused(ProofRepeated), |s, _| {
        parts(s, |p| vec![json!({"protected": p[0], "payload": p[1], "signature": p[2]}).to_string()]);
    }),
    ("T-PRF-04", "general JSON", Refused(ProofRepeated), |s, _| {
        parts(s, |p| {
            vec![json!({"payload": p[1], "signatures": [{"protected": p[0], "signature": p[2]}]}).to_string()]
        });
    }),
    ("T-PRF-04", "JSON without a comma", Refused(ProofMalformed), |s, _| {
        parts(s, |_| vec!["{\"payload\":\"\"}".into()])
    }),
    ("T-PRF-03", "a header that is no JSON", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| *h = b"dpop+jwt".to_vec())
    }),
    ("T-PRF-03", "a header that is an array", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| *h = b"[]".to_vec())
    }),
    ("T-PRF-03", "a header that is null", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| *h = b"null".to_vec())
    }),
    ("T-PRF-03", "an empty header object", Refused(ProofTyp), |s, _| {
        respell_proof(s, |h, _| *h = b"{}".to_vec())
    }),
    ("T-PRF-03", "a payload that is no JSON", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| *c = b"x".to_vec())
    }),
    ("T-PRF-03", "a payload that is an array", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| *c = [b"[", &c[..], b"]"].concat());
    }),
    ("T-PRF-03", "a payload that is a string", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| *c = b"\"x\"".to_vec())
    }),
    ("T-PRF-03", "an empty payload object", Refused(ProofClaims), |s, _| {
        respell_proof(s, |_, c| *c = b"{}".to_vec())
    }),
    ("T-PRF-03", "something behind the payload", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| c.extend(b"{}"))
    }),
    ("T-PRF-03", "a comma too many", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| {
            c.pop();
            c.extend(b",}");
        })
    }),
    ("T-PRF-03", "a comment", Refused(ProofMalformed), |s, _| respell_proof(s, |_, c| c.extend(b"//"))),
    ("T-PRF-03", "white space within is JSON", Passed, |s, _| {
        respell_proof(s, |h, c| {
            h.splice(1..1, *b" \n\t");
            c.splice(1..1, *b"\r\n ");
        })
    }),
    ("T-PRF-38 R-A-26", "htm twice", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"htm\":\"POST\""))
    }),
    ("T-PRF-38", "htm twice, alike", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"htm\":\"GET\""))
    }),
    ("T-PRF-38", "htm twice, once escaped", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"\\u0068tm\":\"POST\""));
    }),
    ("T-PRF-38", "alg twice", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| push_member(h, "\"alg\":\"none\""))
    }),
    ("T-PRF-38", "typ twice", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| push_member(h, "\"typ\":\"JWT\""))
    }),
    ("T-PRF-38", "jwk twice", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| push_member(h, "\"jwk\":{}"))
    }),
    ("T-PRF-38", "x twice in the jwk", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| replace(h, "\"jwk\":{", "\"jwk\":{\"x\":\"AA\","));
    }),
    ("T-PRF-38", "an unknown claim twice", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"foo\":1,\"foo\":2"));
    }),
    ("T-PRF-38", "twice inside an unknown claim", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"foo\":[{\"a\":1,\"a\":2}]"));
    }),
    ("R-A-26", "another case is another member", Passed, |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"HTM\":\"POST\""))
    }),
    ("T-PRF-39 R-A-27", "invalid UTF-8 in the header", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| {
            h.splice(1..1, *b"\"x\":\"\xff\",");
        })
    }),
    ("T-PRF-39", "invalid UTF-8 in the claims", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| {
            c.splice(1..1, *b"\"x\":\"\xc0\xaf\",");
        })
    }),
    ("T-PRF-39", "a surrogate as UTF-8", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| {
            c.splice(1..1, *b"\"x\":\"\xed\xa0\x80\",");
        })
    }),
    ("T-PRF-39", "half a surrogate pair", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"x\":\"\\ud800\""))
    }),
    ("T-PRF-39", "a byte order mark before the header", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |h, _| {
            h.splice(0..0, *b"\xef\xbb\xbf");
        })
    }),
    ("T-PRF-39", "a byte order mark before the claims", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| {
            c.splice(0..0, *b"\xef\xbb\xbf");
        })
    }),
    ("T-PRF-39", "NUL, escaped", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"x\":\"\\u0000\""))
    }),
    ("T-PRF-39", "NUL, plain", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| push_member(c, "\"x\":\"\0\""))
    }),
    ("T-PRF-39", "NUL behind the end", Refused(ProofMalformed), |s, _| respell_proof(s, |_, c| c.push(0))),
    ("T-PRF-39", "UTF-16", Refused(ProofMalformed), |s, _| {
        respell_proof(s, |_, c| {
            *c = c.iter().flat_map(|byte| [*byte, 0]).collect();
        })
    }),
];

const HEADERS: &[Row] = &[
    ("T-PRF-06 R-A-04", "no typ", Refused(ProofTyp), |s, _| without(&mut s.proof_header, "typ")),
    ("T-PRF-07", "JWT", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("JWT")),
    ("T-PRF-08", "foo", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("foo")),
    ("T-PRF-08", "at+jwt", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("at+jwt")),
    ("T-PRF-08", "a number", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!(1)),
    ("T-PRF-08", "null", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!(null)),
    ("T-PRF-08", "in an array", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!(["dpop+jwt"])),
    ("T-PRF-08", "empty", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("")),
    ("T-PRF-08", "dpop", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("dpop")),
    ("R-A-04", "dpop+jwt2", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("dpop+jwt2")),
    ("R-A-04", "with a space", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("dpop+jwt ")),
    ("R-A-04", "in capitals", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("DPOP+JWT")),
    ("R-A-04", "another proof's", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("wpt+jwt")),
    ("T-PRF-10", "application/dpop+jwt", Refused(ProofTyp), |s, _| {
        s.proof_header["typ"] = json!("application/dpop+jwt")
    }),
    ("T-PRF-11 R-A-06", "no jwk", Refused(ProofKey), |s, _| without(&mut s.proof_header, "jwk")),
    ("T-PRF-12", "jwk is text", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"] = json!(s.proof_header["jwk"].to_string())
    }),
    ("T-PRF-12", "jwk is null", Refused(ProofKey), |s, _| s.proof_header["jwk"] = json!(null)),
    ("T-PRF-12", "jwk is an array", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"] = json!([s.proof_header["jwk"]])
    }),
    ("T-PRF-12", "jwk is a number", Refused(ProofKey), |s, _| s.proof_header["jwk"] = json!(1)),
    ("T-PRF-12", "jwk is empty", Refused(ProofKey), |s, _| s.proof_header["jwk"] = json!({})),
    ("R-A-08", "kid instead of jwk", Refused(ProofKey), |s, _| {
        without(&mut s.proof_header, "jwk");
        s.proof_header["kid"] = json!("one");
    }),
    ("R-A-06", "no kty", Refused(ProofKey), |s, _| without(&mut s.proof_header["jwk"], "kty")),
    ("R-A-06", "kty in lower case", Refused(ProofKey), |s, _| s.proof_header["jwk"]["kty"] = json!("ec")),
    ("R-A-06", "kty is a number", Refused(ProofKey), |s, _| s.proof_header["jwk"]["kty"] = json!(2)),
    ("R-A-06", "kty of another type", Refused(ProofKey), |s, _| s.proof_header["jwk"]["kty"] = json!("OKP")),
    ("R-A-06", "no crv", Refused(ProofKey), |s, _| without(&mut s.proof_header["jwk"], "crv")),
    ("R-A-06", "another crv", Refused(ProofKey), |s, _| s.proof_header["jwk"]["crv"] = json!("P-384")),
    ("R-A-06", "secp256k1", Refused(ProofKey), |s, _| s.proof_header["jwk"]["crv"] = json!("secp256k1")),
    ("R-A-06", "crv in lower case", Refused(ProofKey), |s, _| s.proof_header["jwk"]["crv"] = json!("p-256")),
    ("R-A-06", "no y", Refused(ProofKey), |s, _| without(&mut s.proof_header["jwk"], "y")),
    ("R-A-06", "y is a number", Refused(ProofKey), |s, _| s.proof_header["jwk"]["y"] = json!(4)),
    ("T-PRF-20", "a point off the curve", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"]["x"] = s.proof_header["jwk"]["y"].clone()
    }),
    ("T-PRF-20", "the point (0, 0)", Refused(ProofKey), |s, _| {
        for name in ["x", "y"] {
            s.proof_header["jwk"][name] = json!(encoded(&[0; 32]));
        }
    }),
    ("T-PRF-20", "coordinates beyond the field", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"]["x"] = json!(encoded(&[0xff; 32]))
    }),
    ("T-PRF-20", "no coordinates", Refused(ProofKey), |s, _| {
        for name in ["x", "y"] {
            s.proof_header["jwk"][name] = json!("");
        }
    }),
    ("T-PRF-20", "x a byte too short", Refused(ProofKey), |s, _| recoded(s, "x", |x| x[1..].to_vec())),
    ("T-BND-23 R-G-06", "x with a leading zero", Refused(ProofKey), |s, _| {
        recoded(s, "x", |x| [&[0], x].concat())
    }),
    ("T-BND-23", "y with a leading zero", Refused(ProofKey), |s, _| recoded(s, "y", |y| [&[0], y].concat())),
    ("T-BND-23", "x padded", Refused(ProofKey), |s, _| {
        let x = s.proof_header["jwk"]["x"].as_str().expect("text").to_owned();
        s.proof_header["jwk"]["x"] = json!(x + "=");
    }),
    ("R-G-06", "x in hexadecimal", Refused(ProofKey), |s, _| {
        let x = decoded(s.proof_header["jwk"]["x"].as_str().expect("text"));
        s.proof_header["jwk"]["x"] = json!(x.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }),
    ("T-PRF-14", "a symmetric key", Refused(ProofKeyPrivate), |s, _| {
        s.proof_header["jwk"] = json!({"kty": "oct", "k": "AAAA"})
    }),
    ("T-PRF-14", "a symmetric key without k", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"] = json!({"kty": "oct"})
    }),
    ("T-PRF-14", "a symmetric key with HS256", Refused(ProofAlg), |s, _| {
        s.proof_header["jwk"] = json!({"kty": "oct", "k": "AAAA"});
        s.proof_header["alg"] = json!("HS256");
    }),
    ("T-PRF-18", "an AKP key with priv", Refused(ProofKeyPrivate), |s, _| {
        s.proof_header["jwk"] = json!({"kty": "AKP", "alg": "ES256", "pub": "AAAA", "priv": "AAAA"});
    }),
    ("T-PRF-22", "use is enc", Refused(ProofKey), |s, _| s.proof_header["jwk"]["use"] = json!("enc")),
    ("T-PRF-22", "use is null", Refused(ProofKey), |s, _| s.proof_header["jwk"]["use"] = json!(null)),
    ("T-PRF-22", "key_ops without verify", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"]["key_ops"] = json!(["encrypt"])
    }),
    ("T-PRF-22", "key_ops is empty", Refused(ProofKey), |s, _| s.proof_header["jwk"]["key_ops"] = json!([])),
    ("T-PRF-22", "key_ops is text", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"]["key_ops"] = json!("verify")
    }),
    ("T-PRF-22", "use and key_ops that fit", Passed, |s, _| {
        s.proof_header["jwk"]["use"] = json!("sig");
        s.proof_header["jwk"]["key_ops"] = json!(["verify"]);
    }),
    ("T-PRF-23", "the jwk's alg is another", Refused(ProofKey), |s, _| {
        s.proof_header["jwk"]["alg"] = json!("ES384")
    }),
    ("T-PRF-23", "the jwk's alg is the header's", Passed, |s, _| {
        s.proof_header["jwk"]["alg"] = json!("ES256")
    }),
    ("T-BND-21 R-G-06", "other members of the jwk", Passed, |s, _| {
        s.proof_header["jwk"]["kid"] = json!("mine");
        s.proof_header["jwk"]["x5c"] = json!([]);
        s.proof_header["jwk"]["x5t"] = json!("AAAA");
        s.proof_header["jwk"]["foo"] = json!({"a": 1});
    }),
    ("R-A-08", "kid beside the jwk", Passed, |s, _| {
        s.proof_header["kid"] = json!("../../etc/passwd\r\nINFO ok")
    }),
    ("R-A-21", "unknown header members", Passed, |s, _| {
        s.proof_header["foo"] = json!({"bar": [1, 2]});
        s.proof_header["cty"] = json!("x");
    }),
    ("T-PRF-26 R-A-09", "crit names what is there", Refused(ProofHeader), |s, _| {
        s.proof_header["crit"] = json!(["foo"]);
        s.proof_header["foo"] = json!(1);
    }),
    ("T-PRF-26", "crit names what is not there", Refused(ProofHeader), |s, _| {
        s.proof_header["crit"] = json!(["foo"])
    }),
    ("T-PRF-27", "an empty crit", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!([])),
    ("T-PRF-27", "crit is text", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!("x")),
    ("T-PRF-27", "crit is null", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!(null)),
    ("T-PRF-27", "crit names typ", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!(["typ"])),
    ("T-PRF-27", "crit names alg", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!(["alg"])),
    ("T-PRF-27", "crit names exp", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!(["exp"])),
    ("T-PRF-28", "b64 false and crit", Refused(ProofHeader), |s, _| {
        s.proof_header["b64"] = json!(false);
        s.proof_header["crit"] = json!(["b64"]);
    }),
    ("T-PRF-28", "b64 false", Refused(ProofHeader), |s, _| s.proof_header["b64"] = json!(false)),
];

/// Changes the bytes of a member of the jwk.
fn recoded(s: &mut Scene, name: &str, edit: fn(&[u8]) -> Vec<u8>) {
    let bytes = decoded(s.proof_header["jwk"][name].as_str().expect("text"));
    s.proof_header["jwk"][name] = json!(encoded(&edit(&bytes)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_compact_jws_of_two_objects() {
    play(&House::usual().await, SERIALISATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_and_its_key() {
    play(&House::usual().await, HEADERS).await;
}

/// T-PRF-15, T-PRF-16, T-PRF-18, T-PRF-19, R-A-07: presence is enough, whatever the value and the key type.
#[tokio::test(flavor = "multi_thread")]
async fn private_members_by_their_presence() {
    let house = House::usual().await;
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        for value in [json!("AAAA"), json!(null), json!(""), json!([])] {
            let mut scene = Scene::right(&house);
            scene.proof_header["jwk"][name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(ProofKeyPrivate)).await;
        }
    }
    for algorithm in ["ES256", "PS256", "EdDSA"] {
        let signer = Signer::new(algorithm);
        let mut scene = Scene::right(&house);
        crate::signer::hold(&mut scene, &signer);
        scene.proof_header["jwk"] = signer.private();
        hear(&house, &scene, algorithm, Refused(ProofKeyPrivate)).await;
    }
}

/// T-PRF-24, R-A-08: nothing that a proof names is ever fetched.
#[tokio::test(flavor = "multi_thread")]
async fn references_to_keys_are_refused_and_not_followed() {
    let house = House::usual().await;
    let bait = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    bait.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/keys", bait.local_addr().expect("an address"));
    for (name, value) in
        [("jku", json!(url)), ("x5u", json!(url)), ("x5c", json!(["AAAA"])), ("jku", json!(null))]
    {
        for keep_jwk in [true, false] {
            let mut scene = Scene::right(&house);
            scene.proof_header[name] = value.clone();
            if !keep_jwk {
                without(&mut scene.proof_header, "jwk");
            }
            hear(&house, &scene, name, Refused(ProofHeader)).await;
        }
    }
    assert!(bait.accept().is_err(), "someone came for the keys");
}

/// R-A-25: the limit is exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_may_be_as_long_as_the_limit() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    let token = scene.token(&house);
    let mut edges = [Passed, Refused(ProofTooLarge)].into_iter().zip([8190..=8192, 8193..=8196]);
    let (mut expected, mut lengths) = edges.next().expect("an edge");
    for padding in 5500.. {
        scene.proof_claims["pad"] = json!("x".repeat(padding));
        if !lengths.contains(&scene.proof(&token).len()) {
            continue;
        }
        scene.proof_claims["jti"] = json!(format!("{:022}", padding));
        hear(&house, &scene, &format!("{padding}"), expected).await;
        match edges.next() {
            Some(next) => (expected, lengths) = next,
            None => return,
        }
    }
}

/// T-PRF-40: as deep as fits in limits that are far above the usual ones.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_levels() {
    let more = "limits: { header_bytes: 256KiB, proof_bytes: 128KiB, token_bytes: 128KiB }\n";
    let house = House::built(Plan { more, ..Plan::default() }).await;
    let deep =
        [("[".repeat(10_000), "]".repeat(10_000)), ("{\"a\":".repeat(10_000) + "1", "}".repeat(10_000))];
    for (open, close) in deep {
        for closed in [true, false] {
            let member = format!("\"deep\":{open}{}", if closed { close.as_str() } else { "" });
            for in_header in [true, false] {
                let mut scene = Scene::right(&house);
                let member = member.clone();
                respell_proof(&mut scene, move |header, claims| {
                    push_member(if in_header { header } else { claims }, &member);
                });
                hear(&house, &scene, "deep", Refused(ProofMalformed)).await;
            }
        }
    }
    assert_eq!(Scene::right(&house).send(&house).await.status, 200, "the gateway is well");
}
