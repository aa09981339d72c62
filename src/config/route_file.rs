//! `routes` as they are written: every setting once, as in `file.rs`.

use http::HeaderName;

use super::cors::PageOrigin;
use super::credentials;
use super::decode::{List, Named, Setting};
use super::fields::FieldName;
use super::profile::Profile;
use super::require::WrittenLiteral;
use super::table::settings;
use super::values::{
    AcrValue, Bytes, Count, McpVersion, Millis, Name, PerTime, Scope, Seconds, Text, UpgradeToken,
};
use super::words::{Identity, Reported};
use super::{Host, LimitBy};
use crate::verify::enforcement::Enforcement;
use crate::verify::htu::Origin;
use crate::verify::policy::{BindingRule, NonceRule};

const DAY: u64 = 24 * 60 * 60_000;
const TIB: u64 = 1 << 40;

settings! {
    /// One of `routes`.
    Route {
        /// names the route in logs and metrics
        name: Name => required;
        /// which requests it is for
        matches("match"): RouteMatch => required;
        /// a name of `upstreams`
        upstream: Name => required;
        /// a preset for this route, in the place of the file's; left out, that one
        profile: Profile => optional;
        /// what a caller must show
        require: Require => default "{}";
        /// what becomes of a token that is bound to nothing: `enforce` refuses it, `report-only` lets it through and records it
        enforcement: Enforcement => default "enforce";
        /// the only way to reach an upstream without a token
        public: bool => default "false";
        /// what the upstream gets
        forward: Forward => default "{}";
        /// which pages of other origins may call it; left out, browsers let none
        cors: Cors => optional;
        /// what its metadata says, and that of all routes below it (RFC 9728); left out, there is none
        resource: Resource => optional;
        /// how many requests one caller may make; left out, any number
        limits: RouteLimits => optional;
    }
}

settings! {
    /// `match` of a route.
    RouteMatch {
        /// a host of `public_urls`; left out, every host
        host: Text => optional;
        /// this path and no other; {name} stands for one segment
        path: Text => optional;
        /// this path and all below it, by whole segments
        path_prefix: Text => optional;
        /// left out, all methods
        methods: List<http::Method, 1> => optional;
        /// `//` in a path is not refused
        allow_empty_segments: bool => default "false";
        /// `%2F` in a path is not refused
        allow_encoded_slash: bool => default "false";
    }
}

settings! {
    /// `require` of a route.
    Require {
        /// `any` (as the token's cnf says), `dpop`, `mtls` or `both`
        binding: BindingRule => default "any";
        /// all of them
        scopes: List<Scope> => default "[]";
        /// narrows the issuer's list; empty, it does not
        audiences: List<Text> => default "[]";
        /// left out, as `dpop.nonce` says
        nonce: NonceRule => optional;
        /// only tokens of this one of `issuers`; it is asked about tokens that are not JWTs
        issuer: Text => optional;
        /// one of them
        any_scopes: List<Scope, 1> => optional;
        /// `client_id` is one of them
        clients: List<Text, 1> => optional;
        /// `sub` is one of them
        subjects: List<Text, 1> => optional;
        /// what other claims must be, all of it
        claims: List<Claim, 1> => optional;
        /// the token has `authorization_details` of all these types (RFC 9396)
        authorization_details: List<Text, 1> => optional;
        /// `acr` is one of them, the preferred first (RFC 9470)
        acr: List<AcrValue, 1> => optional;
        /// how long ago the user may have authenticated (RFC 9470)
        max_age: Seconds<1, 31_536_000> => optional;
        /// the origins whose pages may send requests; left out, `Origin` is not looked at
        origins: List<Origin> => optional;
        /// what of MCP is let through, by its headers; left out, these are not looked at
        mcp: Mcp => optional;
        /// a condition on token and request, in the Common Expression Language; in builds with the feature `cel`
        cel: Text => optional;
    }
}

settings! {
    /// `mcp` of a route.
    Mcp {
        /// the revisions that may be spoken: those in which servers compare the headers with the body
        versions: List<McpVersion, 1> => default "['2026-07-28']";
        /// what is allowed; the first entry that fits decides
        allow: List<McpAllowed, 1> => required;
    }
}

settings! {
    /// One of `allow`.
    McpAllowed {
        /// `Mcp-Method` is one of them
        methods: List<Text, 1> => required;
        /// `Mcp-Name` is one of them: tools, prompts, or URIs of resources; left out, any
        names: List<Text, 1> => optional;
        /// the token must have all of them, besides those of the route
        scopes: List<Scope> => default "[]";
    }
}

settings! {
    /// `forward` of a route.
    Forward {
        /// what the upstream gets of the caller's credentials: `strip` (nothing), `keep` (token and proof), a list of `authorization` and `dpop`, or `exchange`
        credentials: credentials::Written => default "strip";
        /// with `credentials: exchange`: what the token is exchanged for (RFC 8693)
        exchange: Exchange => optional;
        /// how it is told who is calling
        identity: Identity => default "none";
        /// other names for the headers it is told in; one that is left out keeps its own
        identity_headers: IdentityHeaders => default "{}";
        /// claims that it is told as well: the name of a header, and a claim's name or a JSON pointer (RFC 6901)
        claims: Named<Setting<Text>> => optional;
        /// whom an assertion is for: its `aud`
        audience: Text => optional;
        /// `Host` at the upstream: `caller` (the public name that was called), `upstream` (the server's own), or a name
        host: Host => default "caller";
        /// another path for the upstream than the one that was authorised
        rewrite: Rewrite => optional;
        /// what it is told of the caller and the request, in headers
        report: List<Reported> => default "[x-forwarded, x-request-id]";
        /// whether `x-fapi-interaction-id` goes along: in the answer, to the upstream and in the log, the caller's UUID or a new one
        interaction_id: bool => default "false";
        /// the protocols that a connection may switch to, such as `websocket`
        upgrade: List<UpgradeToken> => default "[]";
        /// how long a body, or both sides of an upgraded connection, may be silent; left out, `limits.idle_timeout`
        idle_timeout: Millis<10, DAY> => optional;
        /// of a request's body; left out, `limits.body_bytes`
        body_bytes: Bytes<1, TIB> => optional;
        /// whether what is still streaming ends when the token does
        end_at_expiry: bool => default "false";
    }
}

settings! {
    /// `exchange` of a route.
    Exchange {
        /// the upstream's URL, as the issuer knows it
        resource: Text => optional;
        /// the upstream's name at the issuer
        audience: Text => optional;
        /// what the new token is to be good for; left out, as the issuer sees fit
        scopes: List<Scope, 1> => optional;
    }
}

settings! {
    /// `identity_headers` of a route.
    IdentityHeaders {
        /// for `X-Auth-Subject`
        subject: FieldName => optional;
        /// for `X-Auth-Client-Id`
        client_id: FieldName => optional;
        /// for `X-Auth-Scope`
        scope: FieldName => optional;
        /// for `X-Auth-Issuer`
        issuer: FieldName => optional;
        /// for `X-Auth-Binding`
        binding: FieldName => optional;
        /// for `X-Auth-Key-Thumbprint`
        key_thumbprint: FieldName => optional;
    }
}

settings! {
    /// One of `claims`.
    Claim {
        /// its name, or a JSON pointer (RFC 6901) to a member of it: `/realm_access/roles`
        claim: Text => required;
        /// this value: a text, a number, `true` or `false`
        equals: WrittenLiteral => optional;
        /// one of these values
        one_of: List<WrittenLiteral, 1> => optional;
        /// a pattern for the whole of a text, in the syntax of the `regex` crate
        matches: Text => optional;
    }
}

settings! {
    /// `rewrite` of a route.
    Rewrite {
        /// the whole segments that are taken from the start of the path; the match has to begin with them
        strip_prefix: Text => required;
        /// the segments that are put in their place; left out, none
        replace: Text => optional;
    }
}

settings! {
    /// `resource` of a route.
    Resource {
        /// the path of the resource's identifier, behind each public URL of the route; `match` has to begin with it; `/` for the URL alone
        path: Text => required;
        /// the scopes that callers are told of; left out, those of every route below it
        scopes: List<Scope, 1> => optional;
    }
}

settings! {
    /// `cors` of a route.
    Cors {
        /// the origins of the pages, exactly; or `*` alone
        origins: List<PageOrigin, 1> => required;
        /// the request headers that pages may set, besides `Authorization` and `DPoP` where a token is required
        headers: List<HeaderName> => default "[content-type]";
        /// the answer headers that pages may read, besides those of the protocol
        expose: List<HeaderName> => default "[]";
        /// whether requests may come with cookies and client certificates
        credentials: bool => default "false";
        /// how long a browser may go without asking again
        max_age: Seconds<0, 86_400> => default "10m";
    }
}

settings! {
    /// `limits` of a route.
    RouteLimits {
        /// requests and a time, `10/s`, `100/m` or `1000/h`: how fast an allowance grows again
        rate: PerTime => required;
        /// requests at once, which is an allowance that is whole
        burst: Count<1, 1_000_000> => required;
        /// whose requests are counted together: `client`, `key` or `address`
        by: LimitBy => required;
        /// whether all replicas with the same `replay.redis` count together
        shared: bool => default "false";
    }
}
