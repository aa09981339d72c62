//! The URL a proof is for: T-HTU, R-A-14 to R-A-17, and what T-ORG says of it.

use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use crate::house::{House, OTHER_HOST, Plan};
use crate::scene::Scene;
use crate::signer::{replace, respell_proof};
use crate::table::Heard::{self, Passed, Refused, Unread};
use crate::table::{Row, hear, play};

const ROUTES: &str = "  - { name: slashes, match: { path_prefix: /slashes, allow_empty_segments: true, allow_encoded_slash: true }, upstream: echo }
";

/// The request's target, the claim, and what is heard.
type Comparison = (&'static str, &'static str, &'static str, Heard);

const OTHER: Heard = Refused(ProofHtu);

const COMPARISONS: &[Comparison] = &[
    ("T-HTU-01", "/resource", "https://api.example.com/resource", Passed),
    ("T-HTU-02 R-A-14", "/resource", "https://api.example.com/resource?a=b#c", Passed),
    ("R-A-14", "/resource", "https://api.example.com/resource#c?d", Passed),
    ("R-A-14", "/resource", "https://api.example.com/resource?", Passed),
    ("T-HTU-03", "/resource?x=1", "https://api.example.com/resource", Passed),
    ("T-HTU-04", "/resource?x=1", "https://api.example.com/resource?y=2", Passed),
    ("R-A-14", "/resource?", "https://api.example.com/resource", Passed),
    ("R-A-14", "/resource??a=/../b?c", "https://api.example.com/resource", Passed),
    ("R-A-14", "/resource", "https://api.example.com/other?/resource", OTHER),
    ("R-A-14", "/resource", "https://api.example.com/?/resource", OTHER),
    ("T-HTU-05 R-A-15", "/resource", "HTTPS://API.EXAMPLE.COM/resource", Passed),
    ("T-HTU-06", "/resource", "https://api.example.com:443/resource", Passed),
    ("T-HTU-28", "/resource", "https://api.example.com:/resource", Passed),
    ("T-HTU-07", "/resource", "https://api.example.com:8443/resource", OTHER),
    ("R-A-15", "/resource", "https://api.example.com:80/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:65536/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:66079/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:abc/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:+443/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:-443/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com: 443/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:443:443/resource", OTHER),
    ("T-HTU-28", "/resource", "https://api.example.com:443443443443443443443/resource", OTHER),
    ("T-HTU-08", "/resource", "http://api.example.com/resource", OTHER),
    ("T-HTU-08", "/resource", "http://api.example.com:443/resource", OTHER),
    ("T-HTU-09", "/resource", "https://api.example.com/Resource", OTHER),
    ("T-HTU-09", "/Resource", "https://api.example.com/resource", OTHER),
    ("T-HTU-11", "/", "https://api.example.com", Passed),
    ("T-HTU-11", "/", "https://api.example.com?x", Passed),
    ("T-HTU-11", "/", "https://api.example.com#x", Passed),
    ("T-HTU-11", "/?a", "https://api.example.com/", Passed),
    ("T-HTU-11", "/resource", "https://api.example.com", OTHER),
    ("T-HTU-12 R-A-16", "/resource", "https://api.example.com/resourceohnonotagain", OTHER),
    ("R-A-16", "/resource", "https://api.example.com/resource/ohnonotagain", OTHER),
    ("T-HTU-13", "/resource", "https://api.example.com/res", OTHER),
    ("T-HTU-14", "/resource", "https://api.example.com/resource/", OTHER),
    ("T-HTU-14", "/resource/", "https://api.example.com/resource", OTHER),
    ("T-HTU-14", "/resource/", "https://api.example.com/resource/", Passed),
    ("T-HTU-15", "/~user", "https://api.example.com/%7Euser", Passed),
    ("T-HTU-15", "/%7Euser", "https://api.example.com/~user", Passed),
    ("T-HTU-15", "/A", "https://api.example.com/%41", Passed),
    ("T-HTU-16", "/%4d", "https://api.example.com/M", Passed),
    ("T-HTU-16", "/%4d", "https://api.example.com/m", OTHER),
    ("T-HTU-15", "/a.b-c_d", "https://api.example.com/%61%2E%62%2D%63%5F%64", Passed),
    ("T-HTU-17", "/slashes/a%2fb", "https://api.example.com/slashes/a%2Fb", Passed),
    ("R-A-15", "/slashes/a%2Fb", "https://api.example.com/slashes/a/b", OTHER),
    ("R-A-15", "/slashes/a/b", "https://api.example.com/slashes/a%2Fb", OTHER),
    ("T-HTU-21", "/slashes//x", "https://api.example.com/slashes//x", Passed),
    ("T-HTU-21", "/slashes//x", "https://api.example.com/slashes/x", OTHER),
    ("T-HTU-21", "/slashes/x", "https://api.example.com/slashes//x", OTHER),
    ("T-HTU-21", "/x", "https://api.example.com//x", OTHER),
    ("R-A-15", "/a%252Fb", "https://api.example.com/a%2Fb", OTHER),
    ("R-A-15", "/a%25b", "https://api.example.com/a%25b", Passed),
    ("R-A-15", "/a%3Bb", "https://api.example.com/a;b", OTHER),
    ("R-A-15", "/a@b", "https://api.example.com/a%40b", OTHER),
    ("R-A-15", "/a%20b", "https://api.example.com/a%20b", Passed),
    ("R-A-15", "/a%20b", "https://api.example.com/a+b", OTHER),
    ("R-A-15", "/a+b", "https://api.example.com/a%2Bb", OTHER),
    ("R-A-15", "/caf%C3%A9", "https://api.example.com/caf%c3%a9", Passed),
    ("R-A-16", "/caf%C3%A9", "https://api.example.com/café", OTHER),
    ("R-A-15", "/a!$&'()*+,;=:@b", "https://api.example.com/a!$&'()*+,;=:@b", Passed),
    ("T-HTU-18", "/resource", "https://api.example.com/resource%", OTHER),
    ("T-HTU-18", "/resource", "https://api.example.com/resource%zz", OTHER),
    ("T-HTU-18", "/resource", "https://api.example.com/resource%00", OTHER),
    ("T-HTU-19", "/a/c", "https://api.example.com/a/./b/../c", Passed),
    ("T-HTU-19", "/c", "https://api.example.com/a/../../c", Passed),
    ("T-HTU-19", "/a/", "https://api.example.com/a/b/..", Passed),
    ("T-HTU-19", "/a", "https://api.example.com/a/b/..", OTHER),
    ("T-HTU-20", "/x", "https://api.example.com/%2e%2E/x", Passed),
    ("T-HTU-19", "/a/./b/../c", "https://api.example.com/a/c", Refused(PathAmbiguous)),
    ("T-HTU-20", "/%2e%2e/x", "https://api.example.com/x", Refused(PathAmbiguous)),
    ("T-HTU-20", "/a/.%2e/x", "https://api.example.com/x", Refused(PathAmbiguous)),
    ("T-HTU-21", "//x", "https://api.example.com//x", Refused(PathAmbiguous)),
    ("T-HTU-33", "/a\\b", "https://api.example.com/a\\b", Refused(PathAmbiguous)),
    ("T-HTU-18", "/a%00b", "https://api.example.com/a%00b", Refused(PathAmbiguous)),
    ("T-HTU-17", "/a%2Fb", "https://api.example.com/a%2Fb", Refused(PathAmbiguous)),
    ("T-HTU-23", "/x", "https://api.example.com./x", OTHER),
    ("T-HTU-24", "/x", "https://[::1]/x", OTHER),
    ("T-HTU-24", "/x", "https://[0:0:0:0:0:0:0:1]/x", OTHER),
    ("T-HTU-24", "/x", "https://[::ffff:127.0.0.1]:443/x", OTHER),
    ("T-HTU-25", "/x", "https://[fe80::443]/x", OTHER),
    ("T-HTU-24", "/x", "https://[fe80::1%25eth0]/x", OTHER),
    ("T-HTU-24", "/x", "https://[::1/x", OTHER),
    ("T-HTU-24", "/x", "https://[]/x", OTHER),
    ("T-HTU-24", "/x", "https://[v1.a]/x", OTHER),
    ("T-HTU-24", "/x", "https://[api.example.com]/x", OTHER),
    ("R-A-16", "/x", "https://127.0.0.1/x", OTHER),
    ("R-A-16", "/x", "https://localhost/x", OTHER),
    ("R-A-16", "/x", "https://api.example.com.evil.example/x", OTHER),
    ("R-A-16", "/x", "https://api.example.comevil/x", OTHER),
    ("R-A-16", "/x", "https://evilapi.example.com/x", OTHER),
    ("R-A-16", "/x", "https://evil.example/https://api.example.com/x", OTHER),
    ("R-A-16", "/x", "https://evil.example?https://api.example.com/x", OTHER),
    ("R-A-16", "/x", "https://evil.example#https://api.example.com/x", OTHER),
    ("R-A-16", "/x", "https://api.example.com,evil.example/x", OTHER),
    ("R-A-16", "/x", "https://*.example.com/x", OTHER),
    ("R-A-16", "/x", "https://api.example.com/*", OTHER),
    ("R-A-16", "/x", "https://api%2Eexample.com/x", OTHER),
    ("R-A-16", "/x", "https://äpi.example.com/x", OTHER),
    ("R-A-16", "/x", "https://api。example。com/x", OTHER),
    ("R-A-16", "/x", "https://xn--pi-ria.example.com/x", OTHER),
    ("T-HTU-26", "/x", "https://api2.example.com/x", OTHER),
    ("T-HTU-27", "/x", "https://u:p@api.example.com/x", OTHER),
    ("T-HTU-27", "/x", "https://u@api.example.com/x", OTHER),
    ("T-HTU-27", "/x", "https://@api.example.com/x", OTHER),
    ("T-HTU-27", "/x", "https://api.example.com@evil.example/x", OTHER),
    ("T-HTU-29", "/x", "/x", OTHER),
    ("T-HTU-29", "/x", "x", OTHER),
    ("T-HTU-29", "/x", "//api.example.com/x", OTHER),
    ("T-HTU-29", "/x", "api.example.com/x", OTHER),
    ("T-HTU-29", "/x", "://api.example.com/x", OTHER),
    ("T-HTU-29", "/x", "https:/api.example.com/x", OTHER),
    ("T-HTU-29", "/x", "https:api.example.com/x", OTHER),
    ("T-HTU-29", "/x", "https:///api.example.com/x", OTHER),
    ("T-HTU-30", "/x", "", OTHER),
    ("T-HTU-30", "/x", "https://", OTHER),
    ("T-HTU-30", "/x", "https:///x", OTHER),
    ("T-HTU-32", "/x", "ftp://api.example.com/x", OTHER),
    ("T-HTU-32", "/x", "javascript:alert(1)", OTHER),
    ("T-HTU-32", "/x", "file:///x", OTHER),
    ("T-HTU-32", "/x", "wss://api.example.com/x", OTHER),
    ("T-HTU-32", "/x", "httpss://api.example.com/x", OTHER),
    ("T-HTU-33", "/x", " https://api.example.com/x", OTHER),
    ("T-HTU-33", "/x", "https://api.example.com/x ", OTHER),
    ("T-HTU-33", "/x", "https://api.example.com/x\t", OTHER),
    ("T-HTU-33", "/x", "https://api.example.com/x\n", OTHER),
    ("T-HTU-33", "/x", "\thttps://api.example.com/x", OTHER),
    ("T-HTU-33", "/x", "https:\\\\api.example.com\\x", OTHER),
    ("T-HTU-33", "/x", "https://api.example.com\\x", OTHER),
    ("T-HTU-33", "/x", "https://api.example.com/x?a b", OTHER),
    ("T-HTU-33", "/x", "https://api.exam\nple.com/x", OTHER),
    ("T-HTU-33", "/x", "<https://api.example.com/x>", OTHER),
    ("T-HTU-33", "/x", "\"https://api.example.com/x\"", OTHER),
    ("T-HTU-35", "/a;v=1", "https://api.example.com/a;v=1", Passed),
    ("T-HTU-35", "/a;v=1", "https://api.example.com/a", OTHER),
    ("T-HTU-35", "/a", "https://api.example.com/a;v=1", OTHER),
    ("T-HTU-35", "/a;v=1", "https://api.example.com/a;V=1", OTHER),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_and_the_request_are_compared_in_normal_form() {
    let house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    for (ids, target, claim, expected) in COMPARISONS {
        let mut scene = Scene::right(&house);
        scene.target = (*target).into();
        scene.proof_claims["htu"] = json!(claim);
        let answer = scene.send(&house).await;
        let what = format!("{ids}: {target} for {claim:?}");
        if *expected == Passed {
            // R-L-05: what is authorised is what is forwarded, in its normal form, with the query as it came.
            let [seen] = &house.seen()[..] else { panic!("{what}: {answer:?}") };
            let (path, query) =
                target.split_once('?').map_or((*target, None), |(path, query)| (path, Some(query)));
            let (seen_path, seen_query) = seen
                .target
                .split_once('?')
                .map_or((seen.target.as_str(), None), |(path, query)| (path, Some(query)));
            assert_eq!((answer.status, seen_query), (200, query), "{what}");
            assert!(
                holdfast::verify::htu::Path::read(path).is_ok_and(|path| path.as_str() == seen_path),
                "{what}"
            );
        } else {
            crate::table::heard(&house, &scene, &answer, &what, *expected);
        }
    }
}

/// T-HTU-36, T-HTU-37, T-ORG-05 to -14, -19, R-A-17: the origin is one of the configuration's, whatever the request says.
const ORIGINS: &[Row] = &[
    ("T-HTU-36", "an absolute form", Passed, |s, _| s.target = "https://api.example.com/".into()),
    ("T-HTU-36", "an absolute form without a path", Passed, |s, _| {
        s.target = "https://api.example.com".into()
    }),
    ("T-HTU-36", "an absolute form with its port", Passed, |s, _| {
        s.target = "https://api.example.com:443/".into()
    }),
    ("T-HTU-36", "an absolute form of another host", Refused(HostInvalid), |s, _| {
        s.target = "https://evil.example/".into()
    }),
    ("T-HTU-36", "an absolute form without TLS", Refused(HostUnknown), |s, _| {
        s.target = "http://api.example.com/".into()
    }),
    ("T-HTU-36", "an absolute form of another scheme", Unread(400), |s, _| {
        s.target = "ftp://api.example.com/".into()
    }),
    ("T-HTU-37", "OPTIONS *", Refused(MethodRefused), |s, _| {
        s.using("OPTIONS");
        s.target = "*".into();
    }),
    ("T-HTU-34", "a target with a fragment", Unread(400), |s, _| s.target = "/#x".into()),
    ("R-A-15", "Host with its port", Passed, |s, _| s.host = "api.example.com:443".into()),
    ("R-A-15", "Host in capitals", Passed, |s, _| s.host = "API.Example.COM".into()),
    ("T-ORG-05 R-A-17", "a host of nobody, and a proof for it", Refused(SniMismatch), |s, _| {
        s.host = "evil.example".into();
        s.proof_claims["htu"] = json!("https://evil.example/");
    }),
    ("T-ORG-05", "the same with its SNI", Refused(HostUnknown), |s, _| {
        (s.host, s.sni) = ("evil.example".into(), "evil.example".into());
        s.proof_claims["htu"] = json!("https://evil.example/");
    }),
    ("T-ORG-01", "Host with a path", Refused(HostInvalid), |s, _| {
        s.host = "api.example.com/resource?".into()
    }),
    ("T-ORG-06", "X-Forwarded-Host, and a proof for it", OTHER, |s, _| {
        believed(s, "x-forwarded-host", "evil.example", "https://evil.example/")
    }),
    ("T-ORG-06", "X-Forwarded-Host of the other public name", OTHER, |s, _| {
        believed(s, "x-forwarded-host", OTHER_HOST, "https://api2.example.com/");
    }),
    ("T-ORG-06", "X-Forwarded-Host, and a right proof", Passed, |s, _| {
        s.headers.push(("x-forwarded-host".into(), "evil.example".into()))
    }),
    ("T-ORG-09", "X-Forwarded-Proto, and a proof for it", OTHER, |s, _| {
        believed(s, "x-forwarded-proto", "http", "http://api.example.com/")
    }),
    ("T-ORG-09", "X-Forwarded-Proto, and a right proof", Passed, |s, _| {
        s.headers.push(("x-forwarded-proto".into(), "http".into()))
    }),
    ("T-ORG-11", "X-Forwarded-Prefix, and a proof for it", OTHER, |s, _| {
        believed(s, "x-forwarded-prefix", "/api", "https://api.example.com/api/");
    }),
    ("T-ORG-11", "X-Forwarded-Port, and a proof for it", OTHER, |s, _| {
        believed(s, "x-forwarded-port", "8443", "https://api.example.com:8443/");
    }),
    ("T-ORG-11", "X-Original-URL, and a proof for it", OTHER, |s, _| {
        believed(s, "x-original-url", "/other", "https://api.example.com/other")
    }),
    ("T-ORG-13", "Forwarded, and a proof for it", OTHER, |s, _| {
        believed(s, "forwarded", "host=evil.example;proto=https", "https://evil.example/");
    }),
    ("T-ORG-14", "Origin, and a proof for it", OTHER, |s, _| {
        believed(s, "origin", "https://evil.example", "https://evil.example/")
    }),
    ("T-ORG-14", "Referer, and a proof for it", OTHER, |s, _| {
        believed(s, "referer", "https://evil.example/", "https://evil.example/")
    }),
    ("T-ORG-19", "the other public name", Passed, |s, _| {
        (s.host, s.sni) = (OTHER_HOST.into(), OTHER_HOST.into());
        s.go_to("/");
    }),
    ("T-ORG-19", "the other public name, a proof for the first", OTHER, |s, _| {
        (s.host, s.sni) = (OTHER_HOST.into(), OTHER_HOST.into())
    }),
];

fn believed(s: &mut Scene, header: &str, value: &str, htu: &str) {
    s.headers.push((header.into(), value.into()));
    s.proof_claims["htu"] = json!(htu);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_is_the_configurations() {
    play(&House::usual().await, ORIGINS).await;
}

/// JSON may escape what it likes: the claim is the text it stands for.
#[tokio::test(flavor = "multi_thread")]
async fn escapes_of_json_are_not_the_urls() {
    let house = House::usual().await;
    for (written, expected) in [
        ("https:\\/\\/api.example.com\\/", Passed),
        ("\\u0068ttps://api.example.com/", Passed),
        ("https://api.example.com/\\u0000", Refused(ProofMalformed)),
        ("https://api.example.com/\\n", OTHER),
    ] {
        let mut scene = Scene::right(&house);
        respell_proof(&mut scene, move |_, claims| replace(claims, "https://api.example.com/", written));
        hear(&house, &scene, written, expected).await;
    }
}

/// R-A-25: a claim as long as a proof may be costs nothing out of the ordinary.
#[tokio::test(flavor = "multi_thread")]
async fn long_claims_end() {
    let house = House::usual().await;
    for part in ["/a", "/../", "/./", "%41", "?", "//", "@", ":"] {
        let mut scene = Scene::at(&house, "/y");
        let rest = part.repeat(5000 / part.len());
        scene.proof_claims["htu"] = json!(format!("https://api.example.com/x{rest}"));
        hear(&house, &scene, part, OTHER).await;
    }
}
