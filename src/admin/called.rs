//! By which names operators may call the admin listener.
//!
//! Nobody shows credentials here: who can reach the address may ask. A page in an operator's browser can, once its own name is pointed at the address
//! (DNS rebinding), and to the browser what it reads then is of its own origin. But the browser says in `Host` whom it means, and that name is the page's: a
//! name that is not ours is nobody we know. An IP address cannot be pointed anywhere, and `localhost` not by strangers (RFC 6761 §6.3).

use std::net::IpAddr;

use http::Request;
use http::header::HOST;

use crate::verify::htu::Authority;

/// Whether whoever sent this means us. `names` are those of the configuration. A request without `Host` is no browser's (RFC 9112 §3.2).
pub(super) fn is_for_us<B>(request: &Request<B>, names: &[String]) -> bool {
    let hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let mut named = hosts.chain(request.uri().authority().map(http::uri::Authority::as_str));
    named.all(|text| Authority::read(text).is_some_and(|authority| is_ours(&authority.host, names)))
}

fn is_ours(host: &str, names: &[String]) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok() || names.iter().any(|name| name == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_ours() {
        let names = ["gateway.internal".to_owned()];
        for (uri, hosts, ours) in [
            ("/", &["127.0.0.1:9901"][..], true),
            ("/", &["[::1]:9901"], true),
            ("/", &["10.0.0.7"], true),
            ("/", &["LocalHost:9901"], true),
            ("/", &["Gateway.internal:9901"], true),
            ("/", &[], true),
            ("/", &["evil.example:9901"], false),
            ("/", &["localhost.evil.example"], false),
            ("/", &["127.0.0.1.evil.example"], false),
            ("/", &["gateway.internal.evil.example"], false),
            ("/", &["127.0.0.1@evil.example"], false),
            ("/", &[""], false),
            ("/", &["localhost", "evil.example"], false),
            ("http://evil.example/", &["localhost"], false),
        ] {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(()).expect("a request");
            assert_eq!(is_for_us(&request, &names), ours, "{uri} {hosts:?}");
        }
    }
}
