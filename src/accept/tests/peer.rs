//! R-F-09, T-MTL-22, T-MTL-23: who is calling, and who may say so.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{plaintext, the_listener};
use crate::accept::certificate::ClientCertificate;
use crate::accept::connection::Session;
use crate::accept::peer::{Peer, caller, claims_certificate, request_id};
use crate::accept::site::Site;
use crate::config::{ClientCertificateHeader, ForwardedHeader, Listener};
use crate::verify::digest::Digest;
use crate::verify::rejection::Rejection;

/// A site, and a session with it.
fn session(peer: [u8; 4], client_certificate_header: ClientCertificateHeader) -> (Site, Session) {
    let listener = Listener {
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a range")],
        client_certificate_header,
        ..plaintext()
    };
    let session = Session {
        peer: Peer::Direct(SocketAddr::from((peer, 1))),
        server_name: None,
        certificate: Some(ClientCertificate {
            digest: Digest::of(b"of the session"),
            der: None,
            vouched_until: None,
        }),
        tls: true,
        listener: the_listener(),
        overdue: Default::default(),
    };
    (Site::new(&listener), session)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

fn certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["client".to_owned()]).expect("parameters");
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

#[test]
fn a_reported_certificate_is_believed_from_a_trusted_proxy_where_the_listener_says_so() {
    let der = certificate();
    let reported = headers(&[("client-cert", &format!(":{}:", STANDARD.encode(&der)))]);
    let of_session = Some(Digest::of(b"of the session"));
    let ask = |peer, mode, headers: &HeaderMap| {
        let (site, session) = session(peer, mode);
        caller(headers, &site, &session).map(|caller| caller.certificate.map(|shown| shown.digest))
    };
    let (proxy, anyone) = ([10, 1, 2, 3], [192, 0, 2, 1]);
    let (on, off) = (ClientCertificateHeader::ClientCert, ClientCertificateHeader::None);
    assert_eq!(ask(proxy, on, &reported), Ok(Some(Digest::of(&der))));
    assert_eq!(ask(proxy, on, &HeaderMap::new()), Ok(None), "never the proxy's own");
    assert_eq!(ask(proxy, off, &reported), Ok(of_session));
    assert_eq!(ask(anyone, on, &reported), Ok(of_session));
    assert_eq!(ask(anyone, on, &headers(&[("client-cert", "rubbish")])), Ok(of_session), "not looked at");

    let (base64, url_safe) = (STANDARD.encode(&der), URL_SAFE.encode([0xff; 3]));
    let longer = STANDARD.encode([&der[..], b"\0"].concat());
    let huge = STANDARD.encode(vec![0x30; 20_000]);
    for bad in [
        String::new(),
        ":".to_owned(),
        "::".to_owned(),
        base64.clone(),
        format!(":{base64}"),
        format!("{base64}:"),
        format!(": {base64}:"),
        format!(":{base64}:;a=b"),
        format!(":{base64}:, :{base64}:"),
        format!(":{url_safe}:"),
        format!(":{longer}:"),
        format!(":{}:", STANDARD.encode(&der[..der.len() - 1])),
        format!(":{}:", base64.trim_end_matches('=').get(1..).expect("longer")),
        format!(":{huge}:"),
        format!("-----BEGIN CERTIFICATE----- {base64} -----END CERTIFICATE-----"),
        format!("%3A{base64}%3A"),
        format!("\"{base64}\""),
    ] {
        let bad = headers(&[("client-cert", &bad)]);
        assert_eq!(ask(proxy, on, &bad), Err(Rejection::ClientCertInvalid), "{bad:?}");
    }
    let mut twice = reported.clone();
    twice.append("client-cert", reported["client-cert"].clone());
    assert_eq!(ask(proxy, on, &twice), Err(Rejection::ClientCertInvalid));
}

#[test]
fn the_address_is_the_rightmost_that_is_not_ours() {
    let ask = |peer, lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let (site, session) = session(peer, ClientCertificateHeader::None);
        caller(&headers(&lines), &site, &session).map(|caller| caller.address.to_string())
    };
    let proxy = [10, 0, 0, 1];
    for (lines, address) in [
        (&[][..], "10.0.0.1"),
        (&["203.0.113.5"], "203.0.113.5"),
        (&["1.1.1.1, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
        (&["1.1.1.1", "203.0.113.5", "10.0.0.2"], "203.0.113.5"),
        (&["rubbish, 203.0.113.5"], "203.0.113.5"),
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&["203.0.113.5:4711"], "203.0.113.5"),
        (&["[2001:db8::1]:4711"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
    ] {
        assert_eq!(ask(proxy, lines).as_deref(), Ok(address), "{lines:?}");
    }
    for lines in [&["rubbish"][..], &[""], &["203.0.113.5,"], &["unknown"], &["1.1.1.1, _x, 10.0.0.2"]] {
        assert_eq!(ask(proxy, lines), Err(Rejection::ForwardedInvalid), "{lines:?}");
    }
    assert_eq!(ask([192, 0, 2, 1], &["203.0.113.5"]).as_deref(), Ok("192.0.2.1"), "from anyone");
    let (site, session) = session(proxy, ClientCertificateHeader::None);
    let v6 = Session { peer: Peer::Direct("[::ffff:192.0.2.1]:1".parse().expect("an address")), ..session };
    assert_eq!(
        caller(&HeaderMap::new(), &site, &v6).map(|caller| caller.address),
        Ok(IpAddr::from([192, 0, 2, 1]))
    );
}

/// Envoy's element, with what it names; the header that the listener does not read is not looked at.
#[test]
fn an_element_of_envoys_names_a_certificate() {
    let der = certificate();
    let digest = Digest::of(&der);
    let hash: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&der));
    let pem = pem
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
        .replace('\n', "%0A")
        .replace(' ', "%20");
    let ask = |peer, lines: &[(&'static str, &str)]| {
        let (site, session) = session(peer, ClientCertificateHeader::Xfcc);
        caller(&headers(lines), &site, &session).map(|caller| caller.certificate)
    };
    let (proxy, anyone) = ([10, 1, 2, 3], [192, 0, 2, 1]);
    let line = format!("By=spiffe://a/b;Hash={hash};Cert=\"{pem}\";Subject=\"CN=x\";URI=");
    let named = |der: Option<&[u8]>| {
        Ok(Some(ClientCertificate {
            digest,
            der: der.map(bytes::Bytes::copy_from_slice),
            vouched_until: None,
        }))
    };
    assert_eq!(ask(proxy, &[("x-forwarded-client-cert", &line)]), named(Some(&der)));
    assert_eq!(ask(proxy, &[("x-forwarded-client-cert", &format!("Hash={hash}"))]), named(None));
    assert_eq!(ask(proxy, &[]), Ok(None), "never the proxy's own");
    assert_eq!(ask(proxy, &[("client-cert", "rubbish")]), Ok(None));
    let of_session =
        ClientCertificate { digest: Digest::of(b"of the session"), der: None, vouched_until: None };
    assert_eq!(ask(anyone, &[("x-forwarded-client-cert", &line)]), Ok(Some(of_session)));
    let twice = [("x-forwarded-client-cert", line.as_str()); 2];
    let no_certificate = format!("Cert=\"{}\"", pem.replace("%0AM", "%0AA"));
    for lines in
        [&twice[..], &[("x-forwarded-client-cert", "")], &[("x-forwarded-client-cert", &no_certificate)]]
    {
        assert_eq!(ask(proxy, lines), Err(Rejection::ClientCertInvalid), "{lines:?}");
    }
    let strange = headers(&[("x-forwarded-client-cert", &line)]);
    for (peer, claims) in [(proxy, false), (anyone, true)] {
        let (site, session) = session(peer, ClientCertificateHeader::Xfcc);
        assert_eq!(claims_certificate(&strange, &site, &session), claims);
        assert!(!claims_certificate(&HeaderMap::new(), &site, &session));
    }
}

/// RFC 7239, as far back as trust goes; and of the two families only the one that the listener reads.
#[test]
fn forwarded_is_read_where_the_listener_says_so() {
    let ask = |peer, mode, lines: &[(&'static str, &str)]| {
        let listener = Listener {
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a range")],
            forwarded_header: mode,
            ..plaintext()
        };
        let (_, session) = session(peer, ClientCertificateHeader::None);
        caller(&headers(lines), &Site::new(&listener), &session).map(|caller| {
            let host = caller.host.map_or_else(|| "-".to_owned(), |host| host.host);
            let scheme = caller.scheme.map_or("-", |scheme| scheme.name());
            format!("{} {host} {scheme}", caller.address)
        })
    };
    let proxy = [10, 0, 0, 1];
    for (line, expected) in [
        ("for=203.0.113.5;host=a.example;proto=https", "203.0.113.5 a.example https"),
        ("for=1.1.1.1;host=evil.example, for=203.0.113.5", "203.0.113.5 - -"),
        ("for=203.0.113.5;host=a.example, for=10.0.0.2;host=inner", "203.0.113.5 a.example -"),
        ("for=10.0.0.3;proto=http, for=\"10.0.0.2:80\"", "10.0.0.3 - http"),
        // Whoever is behind a hidden one was written by it.
        ("for=1.1.1.1, for=_hidden;proto=https, for=10.0.0.2", "10.0.0.2 - https"),
        ("for=1.1.1.1, for=unknown", "10.0.0.1 - -"),
        ("for=1.1.1.1, proto=https", "10.0.0.1 - https"),
        ("for=\"[2001:db8::1]:4711\"", "2001:db8::1 - -"),
    ] {
        let said = ask(proxy, ForwardedHeader::Forwarded, &[("forwarded", line)]);
        assert_eq!(said.as_deref(), Ok(expected), "{line}");
    }
    let both =
        [("forwarded", "for=203.0.113.5"), ("x-forwarded-for", "203.0.113.6"), ("x-forwarded-host", "b")];
    for (mode, expected) in [
        (ForwardedHeader::Forwarded, "203.0.113.5 - -"),
        (ForwardedHeader::XForwarded, "203.0.113.6 b -"),
        (ForwardedHeader::None, "10.0.0.1 - -"),
    ] {
        assert_eq!(ask(proxy, mode, &both).as_deref(), Ok(expected));
        assert_eq!(ask([192, 0, 2, 1], mode, &both).as_deref(), Ok("192.0.2.1 - -"), "from anyone");
    }
    let bad = ask(proxy, ForwardedHeader::Forwarded, &[("forwarded", "for=203.0.113.5; proto=https")]);
    assert_eq!(bad, Err(Rejection::ForwardedInvalid));
    assert!(ask(proxy, ForwardedHeader::XForwarded, &[("forwarded", "rubbish;;")]).is_ok(), "not looked at");
}

/// The bytes behind a PROXY header are those of whoever it speaks for, and so are the headers in them.
#[test]
fn behind_the_proxy_protocol_the_reported_address_is_what_counts() {
    let (site, direct) = session([10, 0, 0, 1], ClientCertificateHeader::ClientCert);
    let der = certificate();
    let said = headers(&[
        ("client-cert", &format!(":{}:", STANDARD.encode(&der))),
        ("x-forwarded-for", "203.0.113.5"),
        ("x-request-id", "theirs"),
    ]);
    let address = |ip: [u8; 4]| SocketAddr::from((ip, 1));
    for (peer, believed, shown) in [
        (Peer::Direct(address([10, 0, 0, 1])), true, "203.0.113.5"),
        (Peer::Reported(address([10, 0, 0, 1])), true, "203.0.113.5"),
        (Peer::Reported(address([192, 0, 2, 9])), false, "192.0.2.9"),
        (Peer::Unnamed(address([10, 0, 0, 1])), false, "10.0.0.1"),
    ] {
        let session = Session {
            peer,
            certificate: None,
            listener: the_listener(),
            server_name: None,
            overdue: Default::default(),
            ..direct
        };
        let caller = caller(&said, &site, &session).expect("in order");
        assert_eq!(caller.address.to_string(), shown, "{peer}");
        assert_eq!(caller.certificate.is_some(), believed, "{peer}");
        assert_eq!(request_id(&said, &site, &session).is_some(), believed, "{peer}");
        assert_eq!(claims_certificate(&said, &site, &session), !believed, "{peer}");
    }
}

#[test]
fn a_request_id_is_taken_over_when_it_is_sane() {
    let (site, session) = session([10, 0, 0, 1], ClientCertificateHeader::None);
    let long = "x".repeat(129);
    for (lines, taken) in [
        (&["7f-4_A:z/="][..], true),
        (&[&long[..128]], true),
        (&[&long], false),
        (&[""], false),
        (&["a b"], false),
        (&["a\tb"], false),
        (&["a", "a"], false),
        (&[], false),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-request-id", *line)).collect();
        assert_eq!(request_id(&headers(&lines), &site, &session).is_some(), taken, "{lines:?}");
    }
}
