//! The requests, as bytes, made before any is counted.

use std::net::SocketAddr;
use std::path::Path;

use holdfast::caller::key::DpopKey;
use holdfast::caller::proof::ProofRequest;
use holdfast::clock::Clock;
use holdfast::demo::token::{Grant, IssuerKey};
use holdfast::verify::confirmation::Confirmation;
use holdfast::verify::digest::Digest;
use holdfast::verify::time::UnixTime;
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::Outcome;

/// The issuer that the measured gateway trusts.
const ISSUER: &str = "https://issuer.example.com";

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// A token bound to the connection's certificate.
    Certificate,
    /// A token bound to a key, and a proof of its own for each request.
    Dpop,
}

/// The requests of one connection, in order.
pub(crate) struct List(pub(crate) Vec<Vec<u8>>);

/// Makes requests.
pub(crate) struct Requests {
    kind: Kind,
    head: String,
    url: String,
    origin: String,
    issuer: IssuerKey,
    certificate: CertificateDer<'static>,
    now: UnixTime,
}

impl Requests {
    pub(crate) fn new(kind: Kind, files: &Path, address: SocketAddr, path: &str) -> Outcome<Self> {
        let authority = format!("localhost:{}", address.port());
        Ok(Self {
            kind,
            head: format!(
                "GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: load/1\r\naccept: application/json\r\n"
            ),
            url: format!("https://{authority}{path}"),
            origin: format!("https://{authority}"),
            issuer: IssuerKey::from_pem(&std::fs::read_to_string(files.join("issuer.key"))?)?,
            certificate: CertificateDer::from_pem_file(files.join("client.pem"))?,
            now: Clock::system().now(),
        })
    }

    /// A list for each connection, each of `length`. Each connection is a caller of its own, with its own token and key. Signing takes longer than anything that is
    /// measured, so every core makes a part of them.
    pub(crate) fn lists(&self, connections: usize, length: usize) -> Outcome<Vec<List>> {
        let mut lists = Vec::with_capacity(connections);
        let cores = std::thread::available_parallelism()?.get();
        while lists.len() < connections {
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..cores.min(connections - lists.len()))
                    .map(|_| scope.spawn(|| self.list(length).map_err(|error| error.to_string())))
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
            });
            lists.extend(made.into_iter().collect::<Result<Vec<_>, _>>()?);
        }
        Ok(lists)
    }

    fn list(&self, length: usize) -> Outcome<List> {
        let request = |credentials: &str| format!("{}{credentials}\r\n", self.head).into_bytes();
        Ok(List(match self.kind {
            Kind::Plain => vec![request(""); length],
            Kind::Certificate => {
                let token = self.token(Confirmation::Certificate(Digest::of(&self.certificate)))?;
                vec![request(&format!("authorization: Bearer {token}\r\n")); length]
            }
            Kind::Dpop => {
                let key = DpopKey::generate()?;
                let token = self.token(Confirmation::Key(key.thumbprint()))?;
                let wanted = ProofRequest::new(&Method::GET, &self.url)?.with_token(&token);
                let mut requests = Vec::with_capacity(length);
                for _ in 0..length {
                    let proof = wanted.sign(&key, self.now)?;
                    requests.push(request(&format!("authorization: DPoP {token}\r\ndpop: {proof}\r\n")));
                }
                requests
            }
        }))
    }

    fn token(&self, confirmation: Confirmation) -> Outcome<String> {
        let grant = Grant {
            issuer: ISSUER,
            audience: &self.origin,
            subject: "alice",
            client_id: "load",
            scope: "accounts:read",
            lifetime: 600,
            confirmation,
        };
        Ok(self.issuer.mint(&grant, self.now)?)
    }
}
