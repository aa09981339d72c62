//! Every way to say no, in one table.
//!
//! A rejection carries nothing: no text a caller sent can reach a header, a label or a log through it. What depends on the
//! route (realm, `algs`, scope) is added where it is rendered, in `respond`. A new refusal is one row here, and the tests
//! in `tests/it/refusals.rs` fail until some scene hears it.

/// The OAuth error code a refusal is answered with, and which challenges it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No code: the request was refused before anyone's credentials mattered, or for a reason of ours.
    None,
    /// The request has no authentication at all: challenges without `error` (RFC 6750 §3.1, RFC 9449 Figure 15).
    Bare,
    /// `invalid_request` (RFC 6750 §3.1); on every challenge (RFC 9449 Figure 19).
    InvalidRequest,
    /// `invalid_token` (RFC 6750 §3.1).
    InvalidToken,
    /// `invalid_dpop_proof` (RFC 9449 §7.1).
    InvalidDpopProof,
    /// `use_dpop_nonce` (RFC 9449 §9).
    UseDpopNonce,
    /// `insufficient_scope` (RFC 6750 §3.1).
    InsufficientScope,
    /// `insufficient_authorization_details`: as `insufficient_scope`, for RFC 9396, which has no word for it.
    InsufficientAuthorizationDetails,
    /// `insufficient_user_authentication` (RFC 9470 §3).
    InsufficientUserAuthentication,
}

impl Code {
    /// The value of the `error` attribute, where there is one.
    pub const fn error(self) -> Option<&'static str> {
        match self {
            Code::None | Code::Bare => None,
            Code::InvalidRequest => Some("invalid_request"),
            Code::InvalidToken => Some("invalid_token"),
            Code::InvalidDpopProof => Some("invalid_dpop_proof"),
            Code::UseDpopNonce => Some("use_dpop_nonce"),
            Code::InsufficientScope => Some("insufficient_scope"),
            Code::InsufficientAuthorizationDetails => Some("insufficient_authorization_details"),
            Code::InsufficientUserAuthentication => Some("insufficient_user_authentication"),
        }
    }
}

macro_rules! rejections {
    ($($(#[doc = $doc:literal])+ $name:ident: $status:literal $code:ident $label:literal $sentence:literal;)+) => {
        /// Why a request is refused. See each row for what it means; `sentence` says what the caller's developer can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rejection { $($(#[doc = $doc])+ $name,)+ }

        impl Rejection {
            /// Every rejection there is, in the order of the table.
            pub const ALL: &'static [Rejection] = &[$(Rejection::$name,)+];

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Rejection::$name => $status,)+ }
            }

            /// The OAuth code.
            pub const fn code(self) -> Code {
                match self { $(Rejection::$name => Code::$code,)+ }
            }

            /// The stable reason: in `error_description`, the log and the metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Rejection::$name => $label,)+ }
            }

            /// What is wrong and what to do, for the caller's developer. Within the characters of RFC 6750 §3.
            pub const fn sentence(self) -> &'static str {
                match self { $(Rejection::$name => $sentence,)+ }
            }
        }
    };
}

rejections! {
    // The request itself, before any credential is looked at.

    /// Host is missing, repeated, malformed, or differs from `:authority` (RFC 9112 §3.2, RFC 9113 §8.3.1).
    HostInvalid: 400 None "host_invalid" "Send exactly one valid Host that agrees with the request target.";
    /// Host is not one of the listener's `public_urls` (RFC 9110 §15.5.20).
    HostUnknown: 421 None "host_unknown" "This host is not served here; check the URL.";
    /// The TLS server name and Host disagree (RFC 9110 §7.4).
    SniMismatch: 421 None "sni_mismatch" "Open a connection of its own for this host; the TLS server name must agree with Host.";
    /// The certificate that the connection was opened with has expired since (RFC 5280 §4.1.2.5), where a CA has to vouch for it.
    CertificateExpired: 421 None "certificate_expired" "The client certificate of this TLS session has expired; open a new connection with one that is valid.";
    /// A path that two readers could understand differently: dot segments, `//`, `\`, `%2F`, `%5C`, NUL.
    PathAmbiguous: 400 None "path_ambiguous" "Send the path without dot segments, empty segments, backslashes or encoded slashes.";
    /// A path that RFC 3986 §3.3 does not allow.
    PathInvalid: 400 None "path_invalid" "Send a path of the characters that RFC 3986 allows, others percent-encoded.";
    /// CONNECT, TRACE, or a target form that no route can have: nothing here supports it (RFC 9110 §15.6.2).
    MethodRefused: 501 None "method_refused" "CONNECT, TRACE and targets without a path are not served.";
    /// `_method` in the query: a second method beside the one the proof is for (R-A-13).
    MethodOverridden: 400 None "method_overridden" "Send the method itself; _method in the query is not taken here.";
    /// No route matches host and path.
    RouteUnknown: 404 None "route_unknown" "Nothing is served at this path.";
    /// A route matches host and path, none the method.
    MethodUnknown: 405 None "method_unknown" "This path does not take this method.";
    /// A preflight of a page whose origin the route's `cors` does not name (Fetch §3.2.2).
    OriginRefused: 403 None "origin_refused" "Pages of this origin may not call this route; its cors.origins does not list it.";
    /// A request of a page, and the route's `require.origins` does not list its origin (MCP, Streamable HTTP: DNS rebinding).
    OriginUnlisted: 403 None "origin_unlisted" "Requests of pages of this origin are not taken here; its require.origins does not list it.";
    /// `Client-Cert` from a trusted proxy is not what RFC 9440 §2.2 says, or `X-Forwarded-Client-Cert` not one element of one certificate.
    ClientCertInvalid: 400 None "client_cert_invalid" "The proxy in front sent a client certificate that cannot be read: one RFC 9440 byte sequence, or one XFCC element, as configured.";
    /// What a trusted proxy says of address, host or scheme is malformed or repeated.
    ForwardedInvalid: 400 None "forwarded_invalid" "The proxy in front sent a malformed or repeated X-Forwarded or Forwarded field.";
    /// More than 100 fields, in HTTP/2; in HTTP/1 such a head is refused before it is a request.
    FieldsTooMany: 431 None "header_too_many_fields" "Send fewer header fields; 100 are read.";
    /// The body is declared larger than `limits.body_bytes`, or the route's `forward.body_bytes`.
    BodyTooLarge: 413 None "body_too_large" "Send a smaller body.";

    // What was presented (RFC 6750 §2, RFC 9449 §7).

    /// No Authorization, or a scheme we do not speak.
    CredentialsMissing: 401 Bare "credentials_missing" "Send an access token in Authorization, with the DPoP or the Bearer scheme.";
    /// More than one Authorization, or several credentials in one.
    CredentialsRepeated: 400 InvalidRequest "credentials_repeated" "Send exactly one Authorization header with one token.";
    /// A scheme without a token, or no space between them (RFC 6750 §2.1, RFC 9449 §7.1).
    CredentialsMalformed: 400 InvalidRequest "credentials_malformed" "Authorization must be a scheme, a space and one token.";
    /// `access_token` in the query (RFC 6750 §2.3, refused by FAPI 2.0 §5.3.4).
    TokenInQuery: 400 InvalidRequest "token_in_query" "Send the token in Authorization, never in the URL, where logs keep it.";

    // The DPoP proof (RFC 9449 §4.3), cheap checks first.

    /// The DPoP scheme without a proof.
    ProofMissing: 401 InvalidDpopProof "proof_missing" "The DPoP scheme needs a DPoP header with a proof.";
    /// More than one proof (check 1).
    ProofRepeated: 401 InvalidDpopProof "proof_repeated" "Send exactly one DPoP header with one proof.";
    /// Longer than `limits.proof_bytes`.
    ProofTooLarge: 401 InvalidDpopProof "proof_too_large" "The proof is longer than this server reads.";
    /// Not a compact JWS of two JSON objects (check 2).
    ProofMalformed: 401 InvalidDpopProof "proof_malformed" "The proof must be one compact JWS: three base64url parts, two JSON objects without duplicate members.";
    /// `typ` is not `dpop+jwt` (check 4).
    ProofTyp: 401 InvalidDpopProof "proof_typ" "The typ of a proof must be dpop+jwt.";
    /// `alg` is not one of those the challenge lists (check 5).
    ProofAlg: 401 InvalidDpopProof "proof_alg" "Sign the proof with one of the algorithms that algs lists.";
    /// `crit`, `b64`, or a reference to a key elsewhere (RFC 7515 §4.1.11, RFC 8725 §3.10).
    ProofHeader: 401 InvalidDpopProof "proof_header" "The proof header must not have crit, b64, jku, x5u or x5c.";
    /// `jwk` is missing or no usable public key for `alg`.
    ProofKey: 401 InvalidDpopProof "proof_key" "The jwk must be a public key that fits alg, in its canonical form.";
    /// `jwk` has a private member (check 7).
    ProofKeyPrivate: 401 InvalidDpopProof "proof_key_private" "The jwk holds a private member: that key is no longer secret, make a new one.";
    /// A required claim is missing or has the wrong type (check 3).
    ProofClaims: 401 InvalidDpopProof "proof_claims" "A proof needs jti, htm, htu and ath as strings and iat as a number.";
    /// `jti` is empty or too long.
    ProofJti: 401 InvalidDpopProof "proof_jti" "The jti must have 1 to 256 bytes.";
    /// `htm` is another method (check 8).
    ProofHtm: 401 InvalidDpopProof "proof_htm" "The htm is not the method of this request; methods are compared exactly.";
    /// `htu` is another URL (check 9).
    ProofHtu: 401 InvalidDpopProof "proof_htu" "The htu is not the URL of this request as its public name has it, query and fragment aside.";
    /// `iat` is older than the window (check 11).
    ProofTooOld: 401 InvalidDpopProof "proof_too_old" "The proof is too old; make one for each request and compare your clock with Date.";
    /// `iat` is too far ahead (check 11).
    ProofInFuture: 401 InvalidDpopProof "proof_in_future" "The iat is ahead of this server's clock; compare yours with Date.";
    /// `exp` of the proof has passed, or `nbf` has not come.
    ProofOutsideItsTime: 401 InvalidDpopProof "proof_outside_its_time" "The proof's own exp or nbf does not allow it now.";
    /// `iat` lies before this process started, when proofs may have been used that we no longer know of.
    ProofBeforeStart: 401 InvalidDpopProof "proof_before_start" "The proof was made before this server started; make a new one.";
    /// `ath` is not the hash of this token (check 12).
    ProofAth: 401 InvalidDpopProof "proof_ath" "The ath is not the base64url SHA-256 of the access token in this request.";
    /// The signature does not verify (check 6).
    ProofSignature: 401 InvalidDpopProof "proof_signature" "The proof's signature does not verify with its jwk.";
    /// The proof was used before (RFC 9449 §11.1).
    ProofReplayed: 401 InvalidDpopProof "proof_replayed" "This proof was used before; make a new one, with a new jti, for each request.";
    /// A nonce is required and the proof has none (check 10).
    NonceMissing: 401 UseDpopNonce "nonce_missing" "Repeat the request with the nonce of the DPoP-Nonce header in the proof.";
    /// The nonce is not one of ours for this key, or too old (check 10).
    NonceStale: 401 UseDpopNonce "nonce_stale" "Repeat the request with the nonce of the DPoP-Nonce header in the proof.";
    /// The replay store cannot be asked, and this process alone vouches for proofs with a nonce that it sealed itself.
    NonceElsewhere: 401 UseDpopNonce "nonce_elsewhere" "Repeat the request with the nonce of the DPoP-Nonce header in the proof.";
    /// The replay store has lost its memory of the time in which this proof may have been used.
    ProofBeforeMemory: 401 UseDpopNonce "proof_before_memory" "Repeat the request with a new proof that has the nonce of the DPoP-Nonce header.";

    // The access token (RFC 9068 §4, RFC 8725).

    /// Longer than `limits.token_bytes`.
    TokenTooLarge: 401 InvalidToken "token_too_large" "The access token is longer than this server reads.";
    /// No token68 (RFC 6750 §2.1), not a compact JWS of two JSON objects, or a claim of the wrong type.
    TokenMalformed: 401 InvalidToken "token_malformed" "The access token is not one this server understands.";
    /// `typ` is not `at+jwt`: another kind of JWT (RFC 9068 §4).
    TokenTyp: 401 InvalidToken "token_typ" "This is not an access token: its typ is not at+jwt.";
    /// `alg` is not on the issuer's list.
    TokenAlg: 401 InvalidToken "token_alg" "The access token is signed with an algorithm that is not accepted from its issuer.";
    /// It is encrypted, and not to a key of this server's, or not in a way it takes (RFC 9068 §4).
    TokenUndecryptable: 401 InvalidToken "token_undecryptable" "The access token cannot be decrypted here.";
    /// Its issuer encrypts its tokens, and this one is not (RFC 9068 §4).
    TokenUnencrypted: 401 InvalidToken "token_unencrypted" "The access token is not encrypted, as those of its issuer are.";
    /// `crit` or `b64` in the token's header.
    TokenHeader: 401 InvalidToken "token_header" "The access token's header demands an extension that is not supported.";
    /// `iss` is none of the configured issuers.
    TokenIssuer: 401 InvalidToken "token_issuer" "The access token's issuer is not accepted here.";
    /// No key of the issuer fits `kid` and `alg`.
    TokenKeyUnknown: 401 InvalidToken "token_key_unknown" "The access token is signed with a key its issuer does not publish.";
    /// The issuer's signature does not verify.
    TokenSignature: 401 InvalidToken "token_signature" "The access token's signature does not verify.";
    /// A required claim is missing (RFC 9068 §2.2).
    TokenClaimMissing: 401 InvalidToken "token_claim_missing" "The access token lacks a claim that is required here.";
    /// `aud` does not name this resource.
    TokenAudience: 401 InvalidToken "token_audience" "The access token is for another audience.";
    /// `exp` has passed.
    TokenExpired: 401 InvalidToken "token_expired" "The access token has expired.";
    /// More time lies between `iat` and `exp` than the issuer's `max_lifetime`.
    TokenLifetime: 401 InvalidToken "token_lifetime" "The access token is good for longer than is accepted from its issuer; ask for one that lives shorter.";
    /// `nbf` has not come, or `iat` lies far ahead.
    TokenNotYetValid: 401 InvalidToken "token_not_yet_valid" "The access token is not valid yet.";
    /// Its issuer says that it is not active (RFC 7662 §2.2).
    TokenInactive: 401 InvalidToken "token_inactive" "The access token is expired, revoked, or not one of its issuer's.";
    /// The issuer's answer has no `active` that is true or false (RFC 7662 §2.2).
    TokenActivityUnclear: 401 InvalidToken "token_activity_unclear" "The issuer does not say plainly that the access token is active.";
    /// `token_type` in the issuer's answer is not what `cnf` makes of the token (RFC 9449 §6.2, RFC 8705 §3).
    TokenTypeMismatch: 401 InvalidToken "token_type_mismatch" "The access token's type and its binding contradict each other.";
    /// `cnf` is no object, has a member of the wrong form, or nothing that can be checked (RFC 7800 §3.1).
    TokenConfirmation: 401 InvalidToken "token_confirmation" "The access token is bound in a way this server cannot check.";

    // Who may present it (RFC 9449 §7, RFC 8705 §3).

    /// No `cnf`: anyone could present it.
    TokenUnbound: 401 InvalidToken "token_unbound" "The access token is not bound to a key; ask for one that is, with DPoP or a client certificate.";
    /// A DPoP-bound token under the Bearer scheme (RFC 9449 §7.2).
    BearerForDpop: 401 InvalidToken "bearer_for_dpop" "The access token is bound to a DPoP key; send it with the DPoP scheme and a proof.";
    /// A token bound to a certificate alone under the DPoP scheme.
    DpopForCertificate: 401 InvalidToken "dpop_for_certificate" "The access token is bound to a certificate and not to a DPoP key; send it with the Bearer scheme.";
    /// The proof's key is not the token's `jkt` (RFC 9449 Figure 16).
    KeyMismatch: 401 InvalidToken "key_mismatch" "Invalid DPoP key binding: the proof is signed with another key than the token is bound to.";
    /// The token is bound to a certificate, the connection has none.
    CertificateMissing: 401 InvalidToken "certificate_missing" "The access token is bound to a client certificate; present it in the TLS handshake.";
    /// The connection's certificate is not the token's.
    CertificateMismatch: 401 InvalidToken "certificate_mismatch" "The access token is bound to another client certificate; after a renewal, get a new token.";

    // What the route asks (DESIGN.md §2 step 5).

    /// The route wants another binding than the token has.
    BindingInsufficient: 401 InvalidToken "binding_insufficient" "This resource asks for a token that is bound in another way.";
    /// The route wants a narrower audience.
    RouteAudience: 401 InvalidToken "route_audience" "The access token is for another resource of this server.";
    /// `client_id` is not on the route's list. No other token of this client would help, so there is no challenge.
    ClientRefused: 403 None "client_refused" "This resource is not for this client.";
    /// `sub` is not on the route's list.
    SubjectRefused: 403 None "subject_refused" "This resource is not for the subject of this access token.";
    /// A claim is not what the route asks for.
    ClaimRefused: 403 None "claim_refused" "The claims of this access token are not what this resource asks for.";
    /// The route's condition is not true of this token and request.
    ConditionRefused: 403 None "condition_refused" "This request, with this access token, is not what this resource's condition asks for.";
    /// A scope is missing (RFC 6750 §3.1).
    ScopeInsufficient: 403 InsufficientScope "scope_insufficient" "The access token lacks a scope this resource needs.";
    /// Authorization details of a type are missing (RFC 9396 §2.2).
    DetailsInsufficient: 403 InsufficientAuthorizationDetails "details_insufficient" "The access token lacks authorization_details of a type this resource needs.";
    /// `acr` is none of those the route asks for (RFC 9470 §3).
    AcrInsufficient: 401 InsufficientUserAuthentication "acr_insufficient" "The user must authenticate in one of the ways that acr_values lists; ask for a token with them.";
    /// `auth_time` lies too far back, or is missing (RFC 9470 §3).
    AuthenticationTooOld: 401 InsufficientUserAuthentication "authentication_too_old" "The user must authenticate again; ask for a token with max_age.";

    // What MCP says of a request in its headers (MCP 2026-07-28, Streamable HTTP, Request Metadata).

    /// `MCP-Protocol-Version` is missing, repeated, or a revision in which nobody compares the other headers with the body.
    McpVersion: 400 None "mcp_version" "This resource takes MCP of revisions that bind the headers to the body: send MCP-Protocol-Version once, with one it accepts.";
    /// `Mcp-Method`, or `Mcp-Name` where the method has one, is missing, repeated, malformed, or named in `Connection`.
    McpHeaders: 400 None "mcp_headers" "Send Mcp-Method once, and Mcp-Name once for tools/call, resources/read and prompts/get, as the body has them.";
    /// No entry of the route's `require.mcp` allows this method, or this name with it.
    McpRefused: 403 None "mcp_refused" "This MCP method, or the tool, resource or prompt it names, is not allowed here.";

    // What the operator has set, whoever is right.

    /// The client or the key is in quarantine.
    Quarantined: 403 None "quarantined" "This client or key is shut out for now; ask the operator.";
    /// More requests than the route's `limits` allow this client, key or address.
    RateExceeded: 429 None "rate_exceeded" "Too many requests in a short time; wait as long as Retry-After says.";

    // Ours, not the caller's: no challenge, since a good token must not be thrown away.

    /// One key holds its whole share of the replay store.
    KeyShareExhausted: 429 None "key_share_exhausted" "This key has made too many requests in a short time; wait and repeat with a new proof.";
    /// The replay store is full.
    ReplayStoreFull: 503 None "replay_store_full" "The server cannot take the request now; repeat it later with a new proof.";
    /// The shared replay store cannot be asked whether the proof was used.
    ReplayStoreUnavailable: 503 None "replay_store_unavailable" "The server cannot take the request now; repeat it later with a new proof.";
    /// The issuer's keys cannot be had.
    IssuerUnavailable: 503 None "issuer_unavailable" "The server cannot check the access token now; repeat the request later.";
    /// The issuer's introspection endpoint cannot be reached over verified TLS, or breaks off.
    IntrospectionUnreachable: 503 None "introspection_unreachable" "The issuer cannot be asked about the access token now; repeat the request later.";
    /// The issuer takes too long to answer.
    IntrospectionTooSlow: 503 None "introspection_too_slow" "The issuer takes too long to answer about the access token; repeat the request later.";
    /// The issuer answers with another status than 200, a redirect for example.
    IntrospectionRefused: 503 None "introspection_refused" "The issuer does not answer this server about the access token; repeat the request later.";
    /// The issuer's answer is larger than any is.
    IntrospectionTooLarge: 503 None "introspection_too_large" "The issuer's answer about the access token cannot be used; repeat the request later.";
    /// The issuer's answer is not what was asked for: another content type, no JSON object, a member twice.
    IntrospectionMalformed: 503 None "introspection_malformed" "The issuer's answer about the access token cannot be read; repeat the request later.";
    /// The issuer's answer is a JWT that is not its own, not for this server, or not of now (RFC 9701 §5).
    IntrospectionUntrusted: 503 None "introspection_untrusted" "The issuer's answer about the access token cannot be trusted; repeat the request later.";
    /// More tokens that nobody knows than the issuer may be asked about.
    IntrospectionBusy: 503 None "introspection_busy" "Too many unknown access tokens are being checked; repeat the request later.";
    /// The issuer's endpoint has failed so often that it is left alone for a moment.
    IntrospectionPaused: 503 None "introspection_paused" "The issuer has failed to answer about access tokens; repeat the request later.";

    // The exchange of the token for one of the upstream's (RFC 8693). The proof is spent by then.

    /// The issuer refuses the token itself (`invalid_grant`): it was revoked, say.
    ExchangeTokenRefused: 401 InvalidToken "exchange_token_refused" "The issuer does not take this access token any more; get a new one.";
    /// The issuer gives no token for the upstream for this one (`invalid_request`, `invalid_target`, `invalid_scope`; RFC 8693 §2.2.2).
    ExchangeDenied: 403 None "exchange_denied" "The issuer does not exchange this access token for one of the service behind this server; ask for access to it.";
    /// The issuer's token endpoint cannot be reached.
    ExchangeUnreachable: 503 None "exchange_unreachable" "The access token cannot be exchanged now; repeat the request later, with a new proof.";
    /// The issuer takes too long to exchange the token.
    ExchangeTooSlow: 503 None "exchange_too_slow" "The issuer takes too long to exchange the access token; repeat the request later, with a new proof.";
    /// The issuer refuses the gateway (`invalid_client`), or answers with another status than 200 or 400.
    ExchangeRefused: 503 None "exchange_refused" "The issuer does not exchange access tokens for this server; repeat the request later, with a new proof.";
    /// The issuer's answer is larger than any is.
    ExchangeTooLarge: 503 None "exchange_too_large" "The issuer's answer to the exchange is too large; repeat the request later, with a new proof.";
    /// The issuer's answer is no JSON object with what RFC 8693 §2.2.1 wants in it.
    ExchangeMalformed: 503 None "exchange_malformed" "The issuer's answer to the exchange cannot be read; repeat the request later, with a new proof.";
    /// The issuer's new token is none that can be sent on: bound to a key, of another kind, expired, the caller's own, or too long.
    ExchangeUnusable: 503 None "exchange_unusable" "The issuer's new token cannot be used; repeat the request later, with a new proof.";
    /// More tokens have to be exchanged than the issuer may be asked for.
    ExchangeBusy: 503 None "exchange_busy" "Too many access tokens are being exchanged; repeat the request later, with a new proof.";
    /// The issuer's token endpoint has failed so often that it is left alone for a moment.
    ExchangePaused: 503 None "exchange_paused" "The issuer has failed to exchange access tokens; repeat the request later, with a new proof.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Code, Rejection};

    #[test]
    fn labels_are_unique_and_statuses_follow_the_codes() {
        let mut labels = HashSet::new();
        for rejection in Rejection::ALL {
            assert!(labels.insert(rejection.label()), "{} twice", rejection.label());
            let expected: &[u16] = match rejection.code() {
                Code::None => &[400, 403, 404, 405, 413, 421, 429, 431, 501, 503],
                Code::InvalidRequest => &[400],
                Code::Bare
                | Code::InvalidToken
                | Code::InvalidDpopProof
                | Code::UseDpopNonce
                | Code::InsufficientUserAuthentication => &[401],
                Code::InsufficientScope | Code::InsufficientAuthorizationDetails => &[403],
            };
            assert!(expected.contains(&rejection.status()), "{rejection:?}");
        }
    }

    /// RFC 6750 §3: error_description may only hold %x20-21 / %x23-5B / %x5D-7E.
    #[test]
    fn sentences_fit_in_a_quoted_string() {
        for rejection in Rejection::ALL {
            for text in [rejection.label(), rejection.sentence()] {
                assert!(text.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
            }
        }
    }
}
