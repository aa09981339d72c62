//! Rejection, fault or upstream response → what the caller receives.
//!
//! Challenges are exactly RFC 9449 §7 and RFC 6750 §3: one header line for each scheme that could succeed on the route, DPoP first,
//! since some clients read only the first. The route is an argument here, so no refusal can forget its `algs` or its scope.

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;

use crate::cors::Allowed;
use crate::forward::{Download, Fault};
use crate::route::resource::Metadata;
use crate::verify::algorithm::Algorithms;
use crate::verify::nonce::SealedNonce;
use crate::verify::policy::{Authentication, Policy};
use crate::verify::rejection::{Code, Rejection};

/// The header that names a request in logs, to the upstream and to the caller.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Seconds after which a refusal for a reason of ours may be worth another try.
const RETRY_SOON: u64 = 5;

/// Under which scheme the caller presented its token; decides which challenge carries the error (RFC 9449 Figure 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// No scheme we speak, or several.
    None,
    /// `DPoP`
    Dpop,
    /// `Bearer`
    Bearer,
}

/// A refusal with what depends on the request: everything its rendering needs.
#[derive(Debug)]
pub struct Refusal<'r> {
    /// Why.
    pub rejection: Rejection,
    /// The policy of the route, where one was found and is not public.
    pub policy: Option<&'r Policy>,
    /// The accepted proof algorithms.
    pub algorithms: &'r Algorithms,
    /// The scheme the caller used.
    pub used: Used,
    /// The scopes that this request needs besides those of the policy.
    pub scopes_of_call: &'r [String],
    /// A nonce for the key of the caller's verified token.
    pub nonce: Option<SealedNonce>,
    /// For a 405: the methods the path takes, comma-separated.
    pub allow: String,
    /// The URL of the metadata of the resource that was asked for, where it has any (RFC 9728).
    pub resource_metadata: Option<&'r str>,
    /// Seconds after which there is something left of a spent allowance.
    pub allowance_wait: Option<u64>,
    /// How long, in seconds, a claim of this route may live at most: when a key's share has room again.
    pub claim_lifetime: i64,
}

/// Renders a refusal. It holds nothing a caller sent.
pub fn refusal(refusal: &Refusal<'_>, request_id: &HeaderValue) -> Response<Body> {
    let rejection = refusal.rejection;
    let mut response = problem(
        StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        rejection.code().error(),
        rejection.label(),
        rejection.sentence(),
        request_id,
    );
    let headers = response.headers_mut();
    for challenge in challenges(refusal) {
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    if let Some(nonce) = &refusal.nonce {
        nonce.send_with(headers);
    }
    match rejection.status() {
        // RFC 9110 §15.5.6: a 405 must say which methods there are.
        405 => {
            headers
                .insert(ALLOW, HeaderValue::from_str(&refusal.allow).unwrap_or(HeaderValue::from_static("")));
        }
        429 => {
            let wait = refusal.allowance_wait.or(u64::try_from(refusal.claim_lifetime).ok());
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.unwrap_or(RETRY_SOON)));
        }
        503 => {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SOON));
        }
        _ => {}
    }
    response
}

/// Renders trouble with the upstream or with the caller's body on the way to it.
pub fn fault(fault: Fault, request_id: &HeaderValue) -> Response<Body> {
    let mut response = problem(fault.status(), None, fault.label(), fault.sentence(), request_id);
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SOON));
    }
    response
}

/// Renders the answer to a preflight. It is for the browser alone: no page sees its body or status.
pub fn preflight(allowed: Allowed<'_>, request_id: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::from(String::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    allowed.write(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, request_id.clone());
    response
}

/// Renders the metadata of a resource, for as long as it takes clients to come by again: after a reload the old one is still cached.
pub fn metadata(metadata: &Metadata, request_id: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Text(Full::from(metadata.document().clone())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(REQUEST_ID, request_id.clone());
    response
}

/// An answer of ours as HEAD has it: without a body, and with the length that GET would have been told (RFC 9110 §9.3.2). HTTP/1 leaves a body out by itself;
/// HTTP/2 sends what it is given, and a client may take that for a stream error (RFC 9113 §8.1.1).
pub fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| Body::from(String::new()))
}

/// The `WWW-Authenticate` lines of a refusal.
fn challenges(refusal: &Refusal<'_>) -> Vec<String> {
    let (Some(policy), code) = (refusal.policy, refusal.rejection.code()) else { return Vec::new() };
    let (dpop, bearer) = (policy.binding.offers_dpop(), policy.offers_bearer());
    // Whether this challenge carries the error. The one whose scheme was used does; where that one is not offered, every one does, so that
    // the reason is never lost. A request that is malformed altogether has it on all (RFC 9449 Figure 19).
    let carries = |scheme: Used| match code {
        Code::None | Code::Bare => false,
        Code::InvalidRequest => true,
        Code::InvalidToken
        | Code::InvalidDpopProof
        | Code::UseDpopNonce
        | Code::InsufficientScope
        | Code::InsufficientAuthorizationDetails
        | Code::InsufficientUserAuthentication => {
            let used_is_offered = match refusal.used {
                Used::Dpop => dpop,
                Used::Bearer => bearer,
                Used::None => false,
            };
            refusal.used == scheme || !used_is_offered
        }
    };
    match code {
        Code::None => Vec::new(),
        // A nonce challenge is for DPoP alone (RFC 9449 §9).
        Code::UseDpopNonce => vec![dpop_challenge(refusal, true)],
        Code::Bare
        | Code::InvalidRequest
        | Code::InvalidToken
        | Code::InvalidDpopProof
        | Code::InsufficientScope
        | Code::InsufficientAuthorizationDetails
        | Code::InsufficientUserAuthentication => {
            let mut lines = Vec::with_capacity(2);
            if dpop {
                lines.push(dpop_challenge(refusal, carries(Used::Dpop)));
            }
            if bearer {
                lines.push(bearer_challenge(refusal, carries(Used::Bearer)));
            }
            lines
        }
    }
}

fn dpop_challenge(refusal: &Refusal<'_>, with_error: bool) -> String {
    let mut line = String::from("DPoP ");
    if with_error {
        push_error(&mut line, refusal);
        line.push_str(", ");
    }
    // RFC 9449 §7.1: exactly the list that is enforced.
    let _ = write!(line, "algs=\"{}\"", refusal.algorithms);
    push_resource(&mut line, ", ", refusal);
    line
}

fn bearer_challenge(refusal: &Refusal<'_>, with_error: bool) -> String {
    let mut line = String::from("Bearer");
    if with_error {
        line.push(' ');
        push_error(&mut line, refusal);
    }
    push_resource(&mut line, if with_error { ", " } else { " " }, refusal);
    line
}

/// `resource_metadata` (RFC 9728 §5.1), on every challenge: a client that has no token yet finds out where to get one, and one that has the wrong token what
/// else to ask for. A client without a token is told the scopes too, so that it need not come three times (RFC 6750 §3).
fn push_resource(line: &mut String, separator: &str, refusal: &Refusal<'_>) {
    let Some(url) = refusal.resource_metadata else { return };
    let _ = write!(line, "{separator}resource_metadata=\"{url}\"");
    if refusal.rejection.code() == Code::Bare
        && let Some(policy) = refusal.policy
    {
        push_scope(line, policy, &[]);
    }
}

/// `error`, `error_description`, and what would have been enough: `scope` (RFC 6750 §3), or `acr_values` and `max_age` (RFC 9470 §3). All of it is the
/// gateway's own text; the operator's words were checked when the configuration was read.
fn push_error(line: &mut String, refusal: &Refusal<'_>) {
    let rejection = refusal.rejection;
    let code = rejection.code();
    let _ = write!(
        line,
        "error=\"{}\", error_description=\"{}: {}\"",
        code.error().unwrap_or("invalid_request"),
        rejection.label(),
        rejection.sentence()
    );
    let Some(policy) = refusal.policy else { return };
    match code {
        Code::InsufficientScope => push_scope(line, policy, refusal.scopes_of_call),
        // RFC 9470 §3: both, whichever of the two it was, or the client's next token would be refused for the other.
        Code::InsufficientUserAuthentication => {
            let Authentication { acr, max_age } = &policy.authentication;
            if !acr.is_empty() {
                let _ = write!(line, ", acr_values=\"{}\"", acr.join(" "));
            }
            if let Some(max_age) = max_age {
                let _ = write!(line, ", max_age=\"{max_age}\"");
            }
        }
        Code::None
        | Code::Bare
        | Code::InvalidRequest
        | Code::InvalidToken
        | Code::InvalidDpopProof
        | Code::UseDpopNonce
        | Code::InsufficientAuthorizationDetails => {}
    }
}

/// `scope` (RFC 6750 §3): what to ask for, where that is anything.
fn push_scope(line: &mut String, policy: &Policy, of_call: &[String]) {
    let mut scopes = policy.named_scopes().chain(of_call.iter().map(String::as_str));
    if let Some(first) = scopes.next() {
        let _ = write!(line, ", scope=\"{first}");
        scopes.for_each(|scope| {
            let _ = write!(line, " {scope}");
        });
        line.push('"');
    }
}

/// A JSON answer of the gateway itself, never stored by anyone.
fn problem(
    status: StatusCode,
    error: Option<&str>,
    reason: &str,
    sentence: &str,
    request_id: &HeaderValue,
) -> Response<Body> {
    // RFC 6750 §3.1 has a word for a request that is wrong before anyone's token matters; the rest have their reason alone.
    let otherwise = if status == StatusCode::BAD_REQUEST { "invalid_request" } else { reason };
    let body = serde_json::json!({
        "error": error.unwrap_or(otherwise),
        "error_description": format!("{reason}: {sentence}"),
        "reason": reason,
        "request_id": request_id.to_str().unwrap_or_default(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, request_id.clone());
    response
}

/// The body of an answer: the upstream's, passed on as it comes, or a text of ours.
#[derive(Debug)]
pub enum Body {
    /// The upstream's.
    Upstream(Download),
    /// Ours.
    Text(Full<Bytes>),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body::Text(Full::from(text))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.get_mut() {
            Body::Upstream(body) => Pin::new(body).poll_frame(cx),
            Body::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Upstream(body) => body.is_end_stream(),
            Body::Text(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Upstream(body) => body.size_hint(),
            Body::Text(body) => body.size_hint(),
        }
    }
}
