//! What `holdfast dpop curl` sends: the request both tries have in common, and the proof that each has of its own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{CurlArguments, CurlError, shown};
use crate::caller::connection;
use crate::caller::key::DpopKey;
use crate::caller::proof::{NotAUrl, ProofRequest};
use crate::caller::trust::{ClientIdentity, ServerTrust, client_config};
use crate::cli::dpop::{DpopError, proof_request, read_key, read_text};
use crate::clock::Clock;
use crate::verify::credential::DPOP;
use crate::verify::htu::Origin;

/// Everything that both tries have in common.
pub(super) struct Outgoing {
    origin: Origin,
    target: Uri,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    tls: Arc<ClientConfig>,
    key: DpopKey,
    proof: ProofRequest,
}

impl Outgoing {
    pub(super) fn read(arguments: &CurlArguments) -> Result<Self, CurlError> {
        let method = match &arguments.method {
            Some(method) => method.clone(),
            None if arguments.data.is_empty() => Method::GET,
            None => Method::POST,
        };
        let mut proof = proof_request(&method, &arguments.url)?;
        let (origin, target) = connection::split(&arguments.url)
            .ok_or_else(|| DpopError::Url(NotAUrl, arguments.url.clone()))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, text_value(origin.authority())?);
        if let Some(token) = arguments.token.read()? {
            proof = proof.with_token(&token);
            headers.insert(AUTHORIZATION, text_value(&format!("DPoP {token}"))?);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if !arguments.data.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        // As curl does it: a header of the caller's takes the place of ours, and two of the caller's are two.
        for (name, _) in &arguments.headers {
            headers.remove(name);
        }
        for (name, value) in &arguments.headers {
            headers.append(name, value.clone());
        }
        Ok(Self {
            origin,
            target,
            method,
            headers,
            body: body(&arguments.data)?,
            tls: tls(arguments)?,
            key: read_key(&arguments.key)?,
            proof,
        })
    }

    /// Sends it with a proof of its own: a proof serves one request, so the second try needs a second one (RFC 9449 §11.1).
    pub(super) async fn send(
        &self,
        nonce: Option<&str>,
        verbose: bool,
    ) -> Result<Response<Incoming>, CurlError> {
        let proof = match nonce {
            None => self.proof.clone(),
            Some(nonce) => self.proof.clone().with_nonce(nonce),
        };
        let proof = proof.sign(&self.key, Clock::system().now()).map_err(DpopError::Randomness)?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(DPOP, text_value(&proof)?);
        if verbose {
            shown::head(">", &format!("{} {} HTTP/1.1", self.method, self.target), request.headers());
        }
        let response = connection::send(&self.origin, &self.tls, request).await?;
        if verbose {
            shown::head("<", &shown::status_line(&response), response.headers());
        }
        Ok(response)
    }
}

fn text_value(text: &str) -> Result<HeaderValue, DpopError> {
    HeaderValue::from_str(text).map_err(|_| DpopError::Token)
}

/// The body of all `--data`, joined as curl does.
fn body(data: &[String]) -> Result<Bytes, DpopError> {
    let mut parts = Vec::with_capacity(data.len());
    for part in data {
        parts.push(match part.strip_prefix('@') {
            Some(file) => read_text(Path::new(file))?.replace(['\r', '\n'], ""),
            None => part.clone(),
        });
    }
    Ok(parts.join("&").into())
}

fn tls(arguments: &CurlArguments) -> Result<Arc<ClientConfig>, CurlError> {
    let trust = match (&arguments.cacert, arguments.insecure) {
        (_, true) => ServerTrust::Anyone,
        (Some(path), false) => ServerTrust::Roots(Arc::new(read_roots(path)?)),
        (None, false) => ServerTrust::System,
    };
    let identity = match &arguments.cert {
        Some(path) => Some(read_identity(path, arguments.key_file.as_deref().unwrap_or(path))?),
        None => None,
    };
    Ok(client_config(trust, identity)?)
}

fn read_roots(path: &Path) -> Result<RootCertStore, CurlError> {
    let unfit = |why: String| CurlError::Ca(path.to_owned(), why);
    let text = read_text(path).map_err(|error| unfit(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
        roots.add(certificate).map_err(|error| unfit(error.to_string()))?;
    }
    if roots.is_empty() { Err(unfit("there is no certificate".to_owned())) } else { Ok(roots) }
}

fn read_identity(certificate: &Path, key: &Path) -> Result<ClientIdentity, CurlError> {
    let text = read_text(certificate)?;
    let unfit = |path: &Path, why: String| CurlError::Certificate(path.to_owned(), why);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unfit(certificate, error.to_string()))?;
    // Read once where both are in one file: a pipe gives its bytes only once.
    let key_text = if key == certificate { text } else { read_text(key)? };
    let key =
        PrivateKeyDer::from_pem_slice(key_text.as_bytes()).map_err(|error| unfit(key, error.to_string()))?;
    Ok(ClientIdentity { chain, key })
}
