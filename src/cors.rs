//! Which pages of other origins may call a route and read its answers: CORS, by the Fetch standard (§3.2).
//!
//! CORS opens what browsers keep shut; it shuts nothing itself. A page that it does not name can still have its request sent, and who may do what is decided by
//! token and proof alone. So an origin too many lets a page read answers to tokens that it already holds; an answer without these headers breaks the page, which then
//! cannot tell an expired token from a dead network. That is why they go on every answer of the route, refusals first of all.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, DATE, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use crate::config::{Access, Cors, CorsOrigins};
use crate::verify::credential::DPOP;
use crate::verify::field::only;
use crate::verify::nonce::DPOP_NONCE;
use crate::verify::rejection::Rejection;

/// What a caller has to read to go on after a refusal (RFC 9449 §8, RFC 6750 §3): the nonce, the challenge, the time to wait, the clock to compare its own with, and the
/// name to ask the operator by. Browsers hide all of them from a page unless they are listed (Fetch §3.2.5).
const ALWAYS_EXPOSED: [HeaderName; 7] = [
    DPOP_NONCE,
    WWW_AUTHENTICATE,
    RETRY_AFTER,
    DATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
];

/// How the names of all headers of this protocol begin.
const PREFIX: &str = "access-control-";

/// One route's `cors`, with its answers written out once.
#[derive(Debug)]
pub struct CrossOrigin {
    origins: Origins,
    /// The methods of the route; `None` where it takes all.
    methods: Option<HeaderValue>,
    headers: HeaderValue,
    expose: HeaderValue,
    credentials: bool,
    max_age: HeaderValue,
}

/// Whose pages may read.
#[derive(Debug)]
enum Origins {
    Any,
    /// As browsers write them in `Origin`.
    Listed(Vec<HeaderValue>),
}

/// An OPTIONS request by which a browser asks whether it may send another (Fetch §3.2.2). Only [`Preflight::read`] makes one.
#[derive(Debug)]
pub struct Preflight {
    method: Method,
    origin: Option<HeaderValue>,
}

/// What a page may do: the answer to a preflight. Only [`CrossOrigin::allow`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Allowed<'r> {
    rules: &'r CrossOrigin,
    methods: HeaderValue,
    readers: Readers<'r>,
}

/// Who may read an answer of a route, which each of its answers has to say: [`Readers::label`].
#[derive(Debug)]
#[must_use]
pub enum Readers<'r> {
    /// Pages of every origin.
    All(&'r CrossOrigin),
    /// Pages of this origin, and for another one the answer would be labelled otherwise.
    PagesOf(&'r CrossOrigin, HeaderValue),
    /// No page: the request names no origin, or one that is not listed. Named, the answer would be labelled otherwise.
    NoPage,
}

impl Preflight {
    /// The preflight that a request is. `None` for every other request, an OPTIONS without these headers among them. A name that comes twice is no
    /// browser's, and neither are the methods that no page may ask for (Fetch §2.2.1) and that no route takes.
    pub fn read<B>(request: &Request<B>) -> Option<Self> {
        if *request.method() != Method::OPTIONS || !request.headers().contains_key(ORIGIN) {
            return None;
        }
        let method = only(request.headers(), &ACCESS_CONTROL_REQUEST_METHOD)?;
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let possible = method != Method::CONNECT && method != Method::TRACE;
        possible.then(|| Self { method, origin: only(request.headers(), &ORIGIN).cloned() })
    }

    /// The method that the browser would use, by which the route is found.
    pub const fn method(&self) -> &Method {
        &self.method
    }
}

impl CrossOrigin {
    /// The rules of a route that takes `methods` (none: all).
    pub fn new(cors: &Cors, methods: &[Method], access: &Access) -> Self {
        let origins = match &cors.origins {
            CorsOrigins::Any => Origins::Any,
            CorsOrigins::Listed(origins) => {
                Origins::Listed(origins.iter().filter_map(|origin| value(&origin.to_string())).collect())
            }
        };
        // A page that may not send its token and proof can do nothing on a protected route.
        let needed: &[HeaderName] = match access {
            Access::Bound(_) => &[AUTHORIZATION, DPOP],
            Access::Public => &[],
        };
        Self {
            origins,
            methods: Some(methods).filter(|methods| !methods.is_empty()).map(|methods| {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                value(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
            }),
            headers: list(needed, &cors.headers),
            expose: list(&ALWAYS_EXPOSED, &cors.expose),
            credentials: cors.credentials,
            max_age: HeaderValue::from(cors.max_age),
        }
    }

    /// Who may read the answer to a request with these headers.
    pub fn readers(&self, headers: &HeaderMap) -> Readers<'_> {
        self.readers_at(only(headers, &ORIGIN))
    }

    fn readers_at(&self, origin: Option<&HeaderValue>) -> Readers<'_> {
        match &self.origins {
            Origins::Any => Readers::All(self),
            // Byte for byte: a prefix or a suffix would let https://app.example.com.evil.example in. `null`, which every sandboxed page says, is no
            // origin that could be listed.
            Origins::Listed(listed) => match origin.filter(|origin| listed.contains(origin)) {
                Some(origin) => Readers::PagesOf(self, origin.clone()),
                None => Readers::NoPage,
            },
        }
    }

    /// Answers a preflight. Whether the headers that it names are allowed is for the browser to see from the list (Fetch §4.8).
    ///
    /// # Errors
    /// [`Rejection::OriginRefused`]
    pub fn allow(&self, preflight: Preflight) -> Result<Allowed<'_>, Rejection> {
        let readers = self.readers_at(preflight.origin.as_ref());
        if matches!(readers, Readers::NoPage) {
            return Err(Rejection::OriginRefused);
        }
        // A route for all methods took the one that was asked for; `*` would not hold for a request with credentials.
        let asked = value(preflight.method.as_str()).ok_or(Rejection::MethodUnknown)?;
        Ok(Allowed { rules: self, methods: self.methods.clone().unwrap_or(asked), readers })
    }
}

impl Allowed<'_> {
    /// Says so in the answer to the preflight.
    pub fn write(self, headers: &mut HeaderMap) {
        self.readers.label(headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.rules.headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.rules.max_age.clone());
        headers.append(
            VARY,
            HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
    }
}

impl Readers<'_> {
    /// Says in an answer who may read it. Strips, then sets: what the upstream says of CORS goes, since two `Access-Control-Allow-Origin` are to a browser as good
    /// as none, and since an upstream that allows `*` must not open what the operator has not.
    pub fn label(self, headers: &mut HeaderMap) {
        let foreign: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
        for name in foreign {
            headers.remove(name);
        }
        let rules = match self {
            Readers::All(rules) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                rules
            }
            Readers::PagesOf(rules, origin) => {
                // Fetch §3.2 "CORS protocol and HTTP caches": or a cache gives one page the answer that is labelled for another.
                headers.append(VARY, HeaderValue::from_static("Origin"));
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                rules
            }
            Readers::NoPage => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
        };
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, rules.expose.clone());
        if rules.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Names, each once, as one value.
fn list(first: &[HeaderName], more: &[HeaderName]) -> HeaderValue {
    let mut names: Vec<&str> = Vec::with_capacity(first.len() + more.len());
    for name in first.iter().chain(more) {
        if !names.contains(&name.as_str()) {
            names.push(name.as_str());
        }
    }
    value(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// A text as a header's value: names, methods and origins always are one.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}
