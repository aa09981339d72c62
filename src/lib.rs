//! holdfast: a reverse proxy that lets an access token through only together with proof of the key it is bound to.
//!
//! **accept → verify → forward.** A connection becomes a request whose facts we know; the facts become a permit or a rejection; a
//! permit becomes an upstream response. [`gateway`] is that sentence as one function.
//!
//! # The map
//!
//! | module | what it is for | what it may import |
//! |---|---|---|
//! | [`verify`] | facts → a permit or a rejection; no IO, no clock, no locks | nothing of ours |
//! | [`config`] | what the operator wrote, checked and immutable | `verify` |
//! | [`clock`], [`patience`], [`keepalive`], [`seldom`] | the wall clock, as an argument; how long one side may keep the other waiting; whether it is still there; how often a thing is said | `verify` |
//! | [`cors`] | which pages of other origins may call a route and read its answers | `config`, `verify` |
//! | [`coverage`] | who presents bound tokens and who does not, by route and client, and which routes can be enforced | `verify` |
//! | [`rate`] | how many requests one client, key or address may make | `config` |
//! | [`quarantine`] | keys and clients that an operator has shut out | `verify` |
//! | [`authority`] | issuers' keys, what they say of opaque tokens, and the cache of verified tokens | `config`, `verify` |
//! | [`replay`] | which proofs were used | `config`, `verify` |
//! | [`observe`] | log lines and numbers | `config`, `verify` |
//! | [`route`] | which route a request belongs to, and what is said of its resource | `config`, `cors`, `coverage`, `rate`, `verify` |
//! | [`accept`] | bytes → a request we know the facts about | those above |
//! | [`forward`] | permit → upstream response | those above, not `accept` |
//! | [`respond`] | rejection, fault or upstream response → what the caller receives | those above, not `accept` |
//! | [`gateway`] | one request, top to bottom | all of these |
//! | [`admin`], [`app`] | health, numbers, asking for a reload; builds, wires, replaces, stops | all of these |
//! | [`caller`], [`demo`], [`cli`] | the other side of the protocol; the demo; the commands | all of these |
//!
//! # Invariants
//!
//! Things that are deliberately absent, and the test in `tests/it` that notices when one appears.
//!
//! 1. `verify` does no IO, reads no clock, takes no lock: `layering.rs`.
//! 2. No request reaches an upstream without a [`verify::replay::Permit`] or the operator's word that its route is public: the types, and `refusals.rs`, which looks
//!    at the upstream after each refusal.
//! 3. No header supplies a client certificate, a scheme, a host or an identity, unless it came from a trusted peer: `forwarding.rs`, `origin.rs`.
//! 4. No configuration turns off issuer, audience, expiry, signature or binding: there is no key for it; `config` refuses an issuer without audience. A route's
//!    `enforcement: report-only` is about tokens that are bound to nothing, and never loosens one that is bound: `binding.rs`, `report_only.rs`.
//! 5. No live replay claim is ever evicted; a store that is full, cannot be asked, or may have forgotten refuses: `replay_model.rs`, `refusals.rs`, `shared_store.rs`, `redis/`,
//!    and `tests/replicas`.
//! 6. Nothing a caller sent is a metric label; a token or proof is never logged: `secrecy.rs`.
//! 7. The bytes that are authorised are the bytes that are forwarded, one [`verify::request::Target`] for routing, `htu` and upstream: `origin.rs`. Only the operator's
//!    `forward.rewrite` gives the upstream another path, and never the policy: `upstreams.rs`.
//! 8. A setting that has no effect, or that nobody reads, stops the start: the tests of `config`.

pub mod accept;
pub mod admin;
pub mod app;
pub mod authority;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cors;
pub mod coverage;
pub mod demo;
pub mod forward;
pub mod gateway;
pub mod keepalive;
pub mod observe;
pub mod patience;
pub mod quarantine;
pub mod rate;
pub mod replay;
pub mod respond;
pub mod route;
pub mod seldom;
pub mod verify;
