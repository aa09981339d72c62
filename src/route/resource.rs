//! What the gateway says about its protected resources by itself: the metadata of RFC 9728, and which resource a challenge points to.
//!
//! Every document is written once, when the configuration is put in force, from what is enforced and nothing else. A caller chooses among the finished ones
//! by the public URL that it called, as everywhere, so no header can change a word in them; and nothing at these paths ever reaches an upstream, which could
//! answer there in the gateway's name and send callers to an authorization server of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method};
use serde_json::json;

use crate::config::{
    Access, ClientCertificateHeader, ClientCertificates, Config, Cors, CorsOrigins, Listener, ListenerTls,
    Resource, Route, WELL_KNOWN,
};
use crate::cors::CrossOrigin;
use crate::verify::enforcement::Enforcement;
use crate::verify::htu::Origin;
use crate::verify::policy::Policy;
use crate::verify::rejection::Rejection;
use crate::verify::request::Target;

/// Methods that the metadata takes; a page may use them too.
const METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// Seconds for which a browser need not ask again whether it may read metadata.
const PREFLIGHT_AGE: i64 = 600;

/// The metadata of one resource at one public URL.
#[derive(Debug)]
pub struct Metadata {
    listener: Arc<str>,
    origin: Arc<Origin>,
    /// Of the resource, in normal form; empty for the whole origin.
    path: String,
    /// Where this document is.
    url: String,
    document: Bytes,
}

impl Metadata {
    /// The document's absolute URL, as `resource_metadata` of a challenge (RFC 9728 §5.1). Characters of a URL only.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The document: JSON.
    pub const fn document(&self) -> &Bytes {
        &self.document
    }

    fn is_at(&self, target: &Target, listener: &str) -> bool {
        *self.listener == *listener && *self.origin == *target.origin
    }
}

/// The metadata of all resources.
#[derive(Debug)]
pub struct Resources {
    /// The longest paths first.
    all: Vec<Metadata>,
    pages: CrossOrigin,
}

impl Resources {
    /// Writes the documents of a configuration that still has its routes.
    pub fn new(config: &Config) -> Self {
        let mut all = Vec::new();
        for listener in &config.listeners {
            let name: Arc<str> = Arc::from(listener.name.as_str());
            for origin in &listener.origins {
                let here = || config.routes.iter().filter(|route| is_on(route, origin));
                for resource in here().filter_map(|route| route.resource.as_ref()) {
                    let nearest = |route: &&Route| {
                        let above = here().filter_map(|other| other.resource.as_ref());
                        let above = above.filter(|other| route.matches.is_below(&other.path));
                        above.max_by_key(|other| other.path.len()) == Some(resource)
                    };
                    let routes: Vec<&Route> = here().filter(nearest).collect();
                    let policies: Vec<&Policy> =
                        routes.iter().filter_map(|route| policy(&route.access)).collect();
                    all.push(Metadata {
                        listener: Arc::clone(&name),
                        origin: Arc::clone(origin),
                        path: resource.path.clone(),
                        url: format!("{origin}{WELL_KNOWN}{}", resource.path),
                        document: document(
                            config,
                            listener,
                            origin,
                            resource,
                            (&policies, issuers(config, &routes)),
                        ),
                    });
                }
            }
        }
        all.sort_by_key(|metadata| std::cmp::Reverse(metadata.path.len()));
        Self::of(all)
    }

    /// None at all.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::of(Vec::new())
    }

    fn of(all: Vec<Metadata>) -> Self {
        // RFC 9728 §3.1 leaves it open; browsers fetch it from any page, and there is nothing in it that is anyone's. Pages send headers of their
        // libraries along, such as MCP-Protocol-Version.
        let cors = Cors {
            origins: CorsOrigins::Any,
            headers: vec![HeaderName::from_static("*")],
            expose: Vec::new(),
            credentials: false,
            max_age: PREFLIGHT_AGE,
        };
        Self { all, pages: CrossOrigin::new(&cors, &METHODS, &Access::Public) }
    }

    /// Whether a request is one for metadata, which the gateway answers and nobody else. Where no resource is at this public URL, the path is
    /// like any other.
    ///
    /// # Errors
    /// [`Rejection::PathAmbiguous`] for a path that an upstream could take for one of them, and we not.
    pub fn own(&self, target: &Target, listener: &str) -> Result<bool, Rejection> {
        // Nearly every request is told apart here.
        let segments = target.path.as_str().trim_start_matches('/');
        if !segments.starts_with(".well-known") || !self.all.iter().any(|one| one.is_at(target, listener)) {
            return Ok(false);
        }
        let path = target.path.as_str();
        if below(path, WELL_KNOWN).is_some() {
            return Ok(true);
        }
        // As lenient upstreams read it: without parameters, and with slashes merged.
        let lenient = segments.split('/').map(super::lenient).filter(|segment| !segment.is_empty());
        if lenient.take(2).eq(WELL_KNOWN[1..].split('/')) { Err(Rejection::PathAmbiguous) } else { Ok(false) }
    }

    /// The metadata that a request for metadata is for.
    ///
    /// # Errors
    /// [`Rejection::RouteUnknown`] where there is no such resource; [`Rejection::MethodUnknown`] for anything but GET and HEAD.
    pub fn find(&self, target: &Target, listener: &str, method: &Method) -> Result<&Metadata, Rejection> {
        let path = below(target.path.as_str(), WELL_KNOWN).ok_or(Rejection::RouteUnknown)?;
        let mut here = self.all.iter().filter(|one| one.is_at(target, listener));
        let found = here.find(|one| one.path == path).ok_or(Rejection::RouteUnknown)?;
        if METHODS.contains(method) { Ok(found) } else { Err(Rejection::MethodUnknown) }
    }

    /// The methods that metadata takes.
    pub const fn methods(&self) -> &[Method] {
        &METHODS
    }

    /// Which pages may read it: all.
    pub const fn pages(&self) -> &CrossOrigin {
        &self.pages
    }

    /// The metadata that a challenge of a route points to: of the deepest resource that all its requests are below, at the public URL that was called. A deeper
    /// one, which this one request happens to be below, has a document of what other routes enforce.
    pub fn above(&self, route: &super::Route, target: &Target, listener: &str) -> Option<&Metadata> {
        self.all.iter().find(|one| one.is_at(target, listener) && route.matches.is_below(&one.path))
    }
}

/// What is left of `path` below `top`, by whole segments: nothing, or a path.
fn below<'p>(path: &'p str, top: &str) -> Option<&'p str> {
    path.strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a route has requests at this public URL.
fn is_on(route: &Route, origin: &Origin) -> bool {
    route.matches.host.as_deref().is_none_or(|host| host == origin.host())
}

const fn policy(access: &Access) -> Option<&Policy> {
    match access {
        Access::Public => None,
        Access::Bound(policy) => Some(policy),
    }
}

/// The issuers whose tokens one of these routes takes: all, unless each names one.
fn issuers<'c>(config: &'c Config, routes: &[&Route]) -> Vec<&'c str> {
    let bound = || routes.iter().filter(|route| policy(&route.access).is_some());
    let takes = |at: usize| bound().any(|route| route.issuer.is_none_or(|of| of == at));
    let names = config.issuers.iter().map(|issuer| issuer.rules.issuer.as_str()).enumerate();
    names.filter(|(at, _)| takes(*at)).map(|(_, name)| name).collect()
}

/// Whether a caller's certificate can become known here.
fn has_certificates(listener: &Listener) -> bool {
    let asked = match &listener.tls {
        ListenerTls::Plaintext => false,
        ListenerTls::Tls(tls) => tls.client_certificates != ClientCertificates::None,
    };
    asked || listener.client_certificate_header != ClientCertificateHeader::None
}

/// One document (RFC 9728 §2), of the policies of the routes that are this resource's.
fn document(
    config: &Config,
    listener: &Listener,
    origin: &Origin,
    resource: &Resource,
    (policies, issuers): (&[&Policy], Vec<&str>),
) -> Bytes {
    let certificates = has_certificates(listener);
    let takes_dpop = policies.iter().any(|policy| policy.binding.offers_dpop());
    // Any binding means DPoP alone where no certificate can be shown; a route that only reports what is unbound requires no binding of anyone.
    let takes_only_dpop = policies.iter().all(|policy| match policy.enforcement {
        Enforcement::Enforce => !policy.binding.offers_bearer() || !certificates,
        Enforcement::ReportOnly => false,
    });
    let takes_certificates =
        certificates && policies.iter().any(|policy| policy.binding.takes_certificates());
    let scopes = resource.scopes.clone().unwrap_or_else(|| {
        let mut scopes: Vec<String> = Vec::new();
        for scope in policies.iter().flat_map(|policy| policy.named_scopes()) {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    });
    let mut document = json!({
        "resource": format!("{origin}{}", resource.path),
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "dpop_bound_access_tokens_required": takes_dpop && takes_only_dpop,
        "tls_client_certificate_bound_access_tokens": takes_certificates,
    });
    let mut details: Vec<&str> =
        policies.iter().flat_map(|policy| &policy.authorization_details).map(String::as_str).collect();
    details.sort_unstable();
    details.dedup();
    // RFC 9728 §2: what has no values is left out.
    if !details.is_empty() {
        document["authorization_details_types_supported"] = json!(details);
    }
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    if takes_dpop {
        let names = config.dpop.algorithms.to_string();
        document["dpop_signing_alg_values_supported"] = names.split(' ').collect();
    }
    Bytes::from(document.to_string())
}
