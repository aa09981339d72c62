//! What is written below a route, beside what it matches, requires and forwards: see `file.rs`.

use http::HeaderName;

use super::cors::PageOrigin;
use super::decode::List;
use super::require::WrittenLiteral;
use super::table::settings;
use super::values::{Scope, Seconds, Text};

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
