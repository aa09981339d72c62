//! The structure and the claims of a proof: T-PRF, T-CLM, R-A-03 to R-A-13, R-A-19 to R-A-21 and R-A-25 to R-A-27.

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{Signer, decoded, encoded, push_member, replace, resign, respell_proof};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{Row, hear, play};

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

/// The order of P-256's group, which no part of a signature may reach (FIPS 186-5 §6.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// r ‖ s as a DER sequence.
fn der(signature: &[u8]) -> Vec<u8> {
    p256::ecdsa::Signature::from_slice(signature).expect("r and s").to_der().as_bytes().to_vec()
}

const SIGNATURES: &[Row] = &[
    ("T-PRF-30 R-A-10", "a bit of r", Refused(ProofSignature), |s, _| {
        signature(s, |mut x| {
            x[0] ^= 1;
            x
        })
    }),
    ("T-PRF-30", "the last bit of s", Refused(ProofSignature), |s, _| {
        signature(s, |mut x| {
            x[63] ^= 1;
            x
        })
    }),
    ("T-PRF-31", "another payload", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut claims = decoded(&p[1]);
            push_member(&mut claims, "\"foo\":1");
            vec![p[0].clone(), encoded(&claims), p[2].clone()]
        });
    }),
    ("T-PRF-31", "another header", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut header = decoded(&p[0]);
            push_member(&mut header, "\"kid\":\"x\"");
            vec![encoded(&header), p[1].clone(), p[2].clone()]
        });
    }),
    ("T-PRF-31", "another spelling of the same header", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut header = decoded(&p[0]);
            header.insert(1, b' ');
            vec![encoded(&header), p[1].clone(), p[2].clone()]
        });
    }),
    ("T-PRF-32", "another key's signature", Refused(ProofSignature), |s, _| {
        s.key = DpopKey::generate().expect("a key")
    }),
    ("T-PRF-32 R-A-23", "another key and its jwk", Refused(KeyMismatch), |s, _| {
        s.key = DpopKey::generate().expect("a key");
        s.proof_header["jwk"] = serde_json::from_str(&s.key.public_jwk()).expect("a JWK");
    }),
    ("T-PRF-34", "all zero", Refused(ProofSignature), |s, _| signature(s, |_| vec![0; 64])),
    ("T-PRF-34", "r is zero", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&[0; 32], &x[32..]].concat())
    }),
    ("T-PRF-34", "s is zero", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&x[..32], &[0; 32]].concat())
    }),
    ("R-A-10", "r is the order", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&ORDER, &x[32..]].concat())
    }),
    ("R-A-10", "s is the order", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&x[..32], &ORDER].concat())
    }),
    ("R-A-10", "all ones", Refused(ProofSignature), |s, _| signature(s, |_| vec![0xff; 64])),
    ("T-PRF-35", "DER", Refused(ProofSignature), |s, _| signature(s, |x| der(&x))),
    ("R-A-10", "a byte short", Refused(ProofSignature), |s, _| signature(s, |x| x[..63].to_vec())),
    ("R-A-10", "a byte more", Refused(ProofSignature), |s, _| signature(s, |x| [&x[..], &[0]].concat())),
    ("R-A-10", "a zero before each half", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&[0], &x[..32], &[0], &x[32..]].concat());
    }),
    ("R-A-10", "one byte", Refused(ProofSignature), |s, _| signature(s, |_| vec![1])),
];

fn signature(s: &mut Scene, edit: fn(Vec<u8>) -> Vec<u8>) {
    s.edit_proof = Box::new(move |proof| resign(&proof, edit));
}

const CLAIMS: &[Row] = &[
    ("T-CLM-02 R-A-25", "an empty jti", Refused(ProofJti), |s, _| s.proof_claims["jti"] = json!("")),
    ("R-A-25 R-E-07", "a jti of 256 bytes", Passed, |s, _| s.proof_claims["jti"] = json!("é".repeat(128))),
    ("R-A-25 R-E-07", "a jti of 257", Refused(ProofJti), |s, _| {
        s.proof_claims["jti"] = json!("x".repeat(257))
    }),
    ("R-A-25", "a jti of 5 KB", Refused(ProofJti), |s, _| s.proof_claims["jti"] = json!("x".repeat(5000))),
    ("R-A-25", "a jti of 10 KB", Refused(ProofTooLarge), |s, _| {
        s.proof_claims["jti"] = json!("x".repeat(10_000))
    }),
    ("T-CLM-04", "a jti with NUL", Refused(ProofMalformed), |s, _| s.proof_claims["jti"] = json!("a\0b")),
    ("T-CLM-04", "a jti with lines", Passed, |s, _| s.proof_claims["jti"] = json!("a\r\nINFO ok")),
    ("T-CLM-04", "a jti in another script", Passed, |s, _| s.proof_claims["jti"] = json!("ключ 鍵 🔑")),
    ("T-CLM-06 R-A-12", "PUT for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("PUT")),
    ("T-CLM-08", "get for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("get")),
    ("R-A-12", "an empty htm", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("")),
    ("R-A-12", "a space behind GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("GET ")),
    ("R-A-12", "two methods", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("GET,POST")),
    ("R-A-12", "any method", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("*")),
    ("R-A-12", "PROPFIND", Passed, |s, _| s.using("PROPFIND")),
    ("R-A-12", "GET for PROPFIND", Refused(ProofHtm), |s, _| s.method = "PROPFIND".into()),
    ("R-A-12", "OPTIONS", Passed, |s, _| s.using("OPTIONS")),
    ("T-CLM-12", "GET for HEAD", Refused(ProofHtm), |s, _| s.method = "HEAD".into()),
    ("T-CLM-12", "HEAD", Passed, |s, _| s.using("HEAD")),
    ("T-CLM-12", "HEAD for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("HEAD")),
    ("T-CLM-10 R-A-13", "POST that says it is DELETE, a proof for DELETE", Refused(ProofHtm), |s, _| {
        s.method = "POST".into();
        s.proof_claims["htm"] = json!("DELETE");
        s.headers.push(("x-http-method-override".into(), "DELETE".into()));
    }),
    ("R-A-13", "_method in the query", Refused(MethodOverridden), |s, _| {
        s.target = "/?_method=DELETE".into()
    }),
    ("R-A-13", "behind another parameter", Refused(MethodOverridden), |s, _| {
        s.target = "/?a=b&_method=DELETE".into()
    }),
    ("R-A-13", "percent-encoded", Refused(MethodOverridden), |s, _| s.target = "/?%5Fmethod=DELETE".into()),
    ("R-A-13", "encoded throughout", Refused(MethodOverridden), |s, _| {
        s.target = "/?a&%5f%6d%65%74%68%6f%64=DELETE".into()
    }),
    ("R-A-13", "another parameter", Passed, |s, _| s.target = "/?method=DELETE&x_method=1&a=_method".into()),
    ("T-CLM-20 R-A-21", "claims nobody knows", Passed, |s, _| {
        for name in ["foo", "aud", "iss", "sub", "htb", "azp"] {
            s.proof_claims[name] = json!({"deep": [1, 2, {"er": null}]});
        }
    }),
    ("T-CLM-21", "a content_digest", Passed, |s, _| {
        s.proof_claims["content_digest"] = json!("sha-256=:AAAA:")
    }),
    ("R-D-03", "a nonce nobody asked for", Passed, |s, _| s.proof_claims["nonce"] = json!("whatever")),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_compact_jws_of_two_objects() {
    play(&House::usual().await, SERIALISATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_and_its_key() {
    play(&House::usual().await, HEADERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_the_key_and_no_other() {
    play(&House::usual().await, SIGNATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_this_requests() {
    play(&House::usual().await, CLAIMS).await;
}

/// T-CLM-01, -02, -05, -09, -13, -14, T-BND-01, T-HTU-31, R-A-11: absent, or of another type, is refused; never taken for absent or for text.
#[tokio::test(flavor = "multi_thread")]
async fn claims_of_another_type() {
    let house = House::usual().await;
    let others = [json!(null), json!(true), json!([]), json!({}), json!(["GET"]), json!({"a": "GET"})];
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let mut scene = Scene::right(&house);
        if name == "ath" {
            scene.proof_claims["ath"] = json!("none");
        } else {
            without(&mut scene.proof_claims, name);
        }
        hear(&house, &scene, name, Refused(ProofClaims)).await;
        let wrong = if name == "iat" { json!(house.now().to_string()) } else { json!(1) };
        for value in others.iter().chain([&wrong]) {
            let mut scene = Scene::right(&house);
            scene.proof_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(ProofClaims)).await;
        }
    }
    for name in ["exp", "nbf"] {
        for value in others.iter().chain([&json!("1")]) {
            let mut scene = Scene::right(&house);
            scene.proof_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(ProofClaims)).await;
        }
    }
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

/// R-A-13: what could make another method of the one the proof is for never reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn method_overrides_do_not_arrive() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.body = "_method=DELETE".into();
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
        "X_Method-Override",
    ];
    scene.headers.extend(names.map(|name| (name.to_owned(), "DELETE".to_owned())));
    assert_eq!(scene.send(&house).await.status, 200);
    let [seen] = &house.seen()[..] else { panic!("one request") };
    assert_eq!(
        (seen.method.as_str(), &seen.body[..]),
        ("POST", &b"_method=DELETE"[..]),
        "bodies are the upstream's"
    );
    assert!(!seen.headers.keys().any(|name| name.as_str().contains("method")), "{:?}", seen.headers);
}

/// T-CLM-16, R-A-19: numbers that do not fit, as they are written.
#[tokio::test(flavor = "multi_thread")]
async fn dates_that_are_none() {
    let house = House::usual().await;
    let now = house.now();
    let cases: Vec<(String, Heard)> = [
        ("-9223372036854775808", ProofClaims),
        ("9223372036854775807", ProofClaims),
        ("9223372036854775808", ProofClaims),
        ("18446744073709551615", ProofClaims),
        ("99999999999999999999999999", ProofClaims),
        ("1e300", ProofClaims),
        ("1e400", ProofMalformed),
        ("-1", ProofClaims),
        ("-1e400", ProofMalformed),
        ("-0.5", ProofClaims),
        ("NaN", ProofMalformed),
        ("Infinity", ProofMalformed),
        ("0x10", ProofMalformed),
        ("01", ProofMalformed),
        ("9007199254740991", ProofInFuture),
        ("9007199254740993", ProofClaims),
        ("0", ProofTooOld),
        ("1.5", ProofTooOld),
    ]
    .map(|(text, rejection): (&str, Rejection)| (text.to_owned(), Refused(rejection)))
    .into_iter()
    .chain([
        (format!("{now}.5"), Passed),
        (format!("{now}.0"), Passed),
        (format!("{}e1", now / 10), Passed),
        // Milliseconds, a mistake of many clients.
        (format!("{now}000"), Refused(ProofInFuture)),
    ])
    .collect();
    for (text, expected) in cases {
        let mut scene = Scene::right(&house);
        let (from, to) = (format!("\"iat\":{now}"), format!("\"iat\":{text}"));
        respell_proof(&mut scene, move |_, claims| replace(claims, &from, &to));
        hear(&house, &scene, &text, expected).await;
    }
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
