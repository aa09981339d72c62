//! R-F-09, T-MTL-22, T-MTL-23: who is calling, and who may say so.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::plaintext;
use crate::accept::connection::Session;
use crate::accept::peer::caller;
use crate::accept::site::Site;
use crate::config::{ClientCertificateHeader, Listener};
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
        peer: SocketAddr::from((peer, 1)),
        server_name: None,
        certificate: Some(Digest::of(b"of the session")),
        tls: true,
        listener: "test".into(),
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
        caller(headers, &site, &session).map(|caller| caller.certificate)
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
    let v6 = Session { peer: "[::ffff:192.0.2.1]:1".parse().expect("an address"), ..session };
    assert_eq!(
        caller(&HeaderMap::new(), &site, &v6).map(|caller| caller.address),
        Ok(IpAddr::from([192, 0, 2, 1]))
    );
}
