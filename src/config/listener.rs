//! The listeners, and what is wrong with `listeners` beyond how they are written.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::complaint::Complaints;
use super::decode::{List, Setting};
use super::either;
use super::file;
use super::material::Surroundings;
use super::words::{CertificateRequest, MinVersion};
use crate::verify::htu::{Origin, Scheme};

/// One of `listeners`.
#[derive(Debug)]
pub struct Listener {
    /// `name`
    pub name: String,
    /// `address`; port 0 lets the system choose
    pub address: SocketAddr,
    /// `public_urls`, at least one
    pub origins: Vec<Arc<Origin>>,
    /// `tls`
    pub tls: ListenerTls,
    /// `trusted_proxies`: whose headers and PROXY protocol are believed
    pub trusted_proxies: Vec<IpNet>,
    /// `forwarded_header`
    pub forwarded_header: ForwardedHeader,
    /// `client_certificate_header`
    pub client_certificate_header: ClientCertificateHeader,
    /// `proxy_protocol`
    pub proxy_protocol: ProxyProtocol,
    /// Whether a route reports `client-cert`, so that a connection has to keep more of its certificate than the digest.
    pub keeps_certificates: bool,
}

/// `tls` of a listener.
#[derive(Debug)]
pub enum ListenerTls {
    /// `tls: plaintext`
    Plaintext,
    /// Everything else.
    Tls(TlsSettings),
}

/// A TLS listener's settings.
#[derive(Debug)]
pub struct TlsSettings {
    /// `min_version: "1.3"` rather than "1.2"
    pub only_tls13: bool,
    /// `certificates` with the names each is valid for (lower case, `*.` for a wildcard); the first answers when none matches
    pub certificates: Vec<ServerCertificate>,
    /// `client_certificates`
    pub client_certificates: ClientCertificates,
}

/// A certificate chain with its key, matched to each other.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The DNS names and IP addresses in the leaf's subjectAltName, lower case; `*.` in front for a wildcard
    pub names: Vec<String>,
    /// The chain and key as rustls signs with them
    pub key: Arc<CertifiedKey>,
}

/// `client_certificates` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Left out: never asked for.
    None,
    /// Asked for.
    Asked {
        /// `request: required` rather than `optional`
        required: bool,
        /// `trust`
        trust: ClientTrust,
    },
}

/// Which client certificates a handshake takes.
#[derive(Clone, Debug)]
pub enum ClientTrust {
    /// Any certificate whose key the client holds (RFC 8705 §4).
    Any,
    /// Only those that chain to one of these.
    Ca(Arc<RootCertStore>),
}

impl PartialEq for ClientTrust {
    /// By what the CAs are: the same file may hold others after a while.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (ClientTrust::Any, ClientTrust::Any) => true,
            (ClientTrust::Ca(one), ClientTrust::Ca(other)) => one.roots == other.roots,
            (ClientTrust::Any, ClientTrust::Ca(_)) | (ClientTrust::Ca(_), ClientTrust::Any) => false,
        }
    }
}

impl Eq for ClientTrust {}

/// `client_certificate_header` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateHeader {
    /// No header is believed.
    None,
    /// `Client-Cert` (RFC 9440), from `trusted_proxies`.
    ClientCert,
    /// Envoy's `X-Forwarded-Client-Cert`, from `trusted_proxies`.
    Xfcc,
}

/// `forwarded_header` of a listener. One family is read and never both: a proxy that writes one of them passes the other one on as its
/// caller wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `-Host` and `-Proto`, from `trusted_proxies`.
    XForwarded,
    /// `Forwarded` (RFC 7239), from `trusted_proxies`.
    Forwarded,
    /// Neither is read.
    None,
}

/// `proxy_protocol` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Connections begin with what the caller sends.
    None,
    /// Connections begin with a PROXY header, and come from `trusted_proxies`; all others are closed.
    Required,
}

/// The listeners that could be built; all of them, when nothing was complained of.
pub(super) fn listeners(
    written: &List<file::Listener, 1>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Vec<Listener> {
    for (position, listener) in written.items.iter().enumerate() {
        refuse_twins(listener, &written.items[..position], complaints);
    }
    written.items.iter().filter_map(|listener| build(listener, surroundings, complaints)).collect()
}

/// Two listeners of one name or address: the second could not be told from the first, or could not listen.
fn refuse_twins(listener: &file::Listener, before: &[Setting<file::Listener>], complaints: &mut Complaints) {
    for other in before {
        if let (Some(name), Some(taken)) = (&listener.name, &other.name)
            && name.value == taken.value
        {
            let message = format!("the listener on line {} has this name too", taken.span.line);
            complaints.add_with(name.span, message, "names tell listeners apart in logs");
        }
        if let (Some(address), Some(taken)) = (&listener.address, &other.address)
            && is_taken(address.value, taken.value)
        {
            complaints
                .add(address.span, format!("the listener on line {} has this address", taken.span.line));
        }
    }
}

/// Whether one of the addresses keeps the other from being listened on. Port 0 is a different port each time.
pub(super) fn is_taken(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_family && overlap
}

fn build(
    written: &file::Listener,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Listener> {
    if let (Some(urls), Some(tls)) = (&written.public_urls, &written.tls) {
        judge_origins(&urls.value, &tls.value, complaints);
    }
    refuse_any_address(&written.trusted_proxies, complaints);
    refuse_what_nobody_may_say(written, complaints);
    let tls = written.tls.as_ref().and_then(|tls| match &tls.value {
        either::Tls::Plaintext => Some(ListenerTls::Plaintext),
        either::Tls::Settings(settings) => {
            tls_settings(settings, surroundings, complaints).map(ListenerTls::Tls)
        }
    });
    Some(Listener {
        name: written.name.as_ref()?.0.clone(),
        address: written.address.as_ref()?.value,
        origins: written.public_urls.as_ref()?.items.iter().map(|url| Arc::new(url.value.clone())).collect(),
        tls: tls?,
        trusted_proxies: written.trusted_proxies.values(),
        forwarded_header: written.forwarded_header.value,
        client_certificate_header: written.client_certificate_header.value,
        proxy_protocol: written.proxy_protocol.value,
        keeps_certificates: false,
    })
}

/// What is believed from trusted proxies alone has no effect where there are none; a PROXY header that is required from nobody
/// closes the listener to everybody.
fn refuse_what_nobody_may_say(written: &file::Listener, complaints: &mut Complaints) {
    let trusted = &written.trusted_proxies;
    if !trusted.items.is_empty() || !trusted.whole {
        return;
    }
    let no_one = "believed from no one: `trusted_proxies` is empty";
    if written.client_certificate_header.value != ClientCertificateHeader::None {
        complaints.add_with(
            written.client_certificate_header.span,
            format!("this header is {no_one}"),
            "list the proxies, or write `client_certificate_header: none`",
        );
    }
    if written.forwarded_header.value != ForwardedHeader::XForwarded {
        complaints.add_with(
            written.forwarded_header.span,
            format!("these headers are {no_one}"),
            "list the proxies, or leave `forwarded_header` out",
        );
    }
    if written.proxy_protocol.value == ProxyProtocol::Required {
        complaints.add_with(
            written.proxy_protocol.span,
            format!("the PROXY protocol is {no_one}, so every connection would be closed"),
            "list the proxies, or write `proxy_protocol: none`",
        );
    }
}

fn judge_origins(urls: &List<Origin, 1>, tls: &either::Tls, complaints: &mut Complaints) {
    for (position, url) in urls.items.iter().enumerate() {
        if urls.items[..position].iter().any(|before| before.value == url.value) {
            complaints.add(url.span, format!("`{}` stands here twice", url.value));
        }
        // The other way round is right: behind a proxy that ends TLS, callers see https and the listener does not.
        if url.scheme() == Scheme::Http && matches!(tls, either::Tls::Settings(_)) {
            complaints.add_with(
                url.span,
                format!("`{}` is not what callers of a TLS listener see", url.value),
                format!("write `https://{}`, or `tls: plaintext`", url.authority()),
            );
        }
    }
}

/// Whoever trusts everyone lets every caller write its own certificate and address.
fn refuse_any_address(trusted: &Setting<List<IpNet>>, complaints: &mut Complaints) {
    const MEND: &str = "list the addresses of your proxies alone";
    let mut single = false;
    for range in &trusted.items {
        if is_any_address(range.value) {
            complaints.add_with(range.span, format!("`{}` trusts everyone", range.value), MEND);
            single = true;
        }
    }
    if !single && IpNet::aggregate(&trusted.values()).into_iter().any(is_any_address) {
        complaints.add_with(trusted.span, "together these ranges trust everyone", MEND);
    }
}

/// Whether a range is all of IPv4, in either notation, or all of IPv6.
fn is_any_address(range: IpNet) -> bool {
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    range.prefix_len() == 0
        || matches!((range, Ipv6Net::new(mapped, 96)), (IpNet::V6(range), Ok(mapped)) if range.contains(&mapped))
}

fn tls_settings(
    written: &file::TlsSettings,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<TlsSettings> {
    let listed = written.certificates.as_ref().map_or(&[][..], |listed| &listed.items);
    let certificates: Vec<_> =
        listed.iter().filter_map(|one| surroundings.server_certificate(one, complaints)).collect();
    let client_certificates = match &written.client_certificates {
        None => ClientCertificates::None,
        Some(asked) => ClientCertificates::Asked {
            required: asked.request.value == CertificateRequest::Required,
            trust: match &asked.trust.as_ref()?.value {
                either::ClientTrust::Any => ClientTrust::Any,
                either::ClientTrust::Ca(ca) => ClientTrust::Ca(surroundings.roots(ca, complaints)?),
            },
        },
    };
    let only_tls13 = written.min_version.value == MinVersion::Tls13;
    Some(TlsSettings { only_tls13, certificates, client_certificates })
}

#[cfg(test)]
mod tests {
    use super::{is_any_address, is_taken};

    #[test]
    fn everyone_has_several_spellings() {
        for (range, any) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("::ffff:0:0/96", true),
            ("::/64", true),
            ("10.0.0.0/8", false),
            ("fd00::/8", false),
            ("::ffff:10.0.0.0/104", false),
        ] {
            assert_eq!(is_any_address(range.parse().expect(range)), any, "{range}");
        }
    }

    #[test]
    fn addresses_that_cannot_both_be_listened_on() {
        for (one, other, taken) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::1]:1", "127.0.0.1:1", false),
        ] {
            assert_eq!(
                is_taken(one.parse().expect(one), other.parse().expect(other)),
                taken,
                "{one} {other}"
            );
        }
    }
}
