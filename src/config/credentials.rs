//! `forward.credentials` of a route: what of the caller's credentials goes on to the upstream, and what is wrong with that.

use std::sync::Arc;

use super::complaint::Complaints;
use super::decode::{Decode, List, refuse_kind};
use super::document::{Node, Value};
use super::exchange::{self, ExchangeTarget};
use super::{issuer_file, route_file};

/// What an upstream gets of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// `strip`, `keep` or a list: these of the caller's, and no others
    Kept(Vec<Credential>),
    /// `exchange`: a token of its own, in place of the caller's
    Exchanged(Arc<ExchangeTarget>),
}

/// A header that a caller shows who it is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `authorization`: the token
    Authorization,
    /// `dpop`: the proof
    Dpop,
}

impl Credential {
    const ALL: [Self; 2] = [Self::Authorization, Self::Dpop];
}

impl Credentials {
    /// Whether the caller's header goes on as it came.
    pub fn keeps(&self, credential: Credential) -> bool {
        match self {
            Credentials::Kept(kept) => kept.contains(&credential),
            Credentials::Exchanged(_) => false,
        }
    }
}

/// `credentials` as it is written.
#[derive(Clone, Debug)]
pub(super) enum Written {
    Strip,
    Keep,
    Exchange,
    These(List<Credential, 1>),
}

impl Written {
    /// Whether the token is exchanged.
    pub(super) const fn is_exchange(&self) -> bool {
        matches!(self, Written::Exchange)
    }
}

/// The ways to write it that are one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Strip,
    Keep,
    Exchange,
}

impl Decode for Written {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => Word::decode(node, complaints).map(|word| match word {
                Word::Strip => Written::Strip,
                Word::Keep => Written::Keep,
                Word::Exchange => Written::Exchange,
            }),
            Value::Sequence(_) => List::decode(node, complaints).map(Written::These),
            Value::Nothing | Value::Refused | Value::Mapping(_) => {
                refuse_kind(node, "a word, or a list of headers,", complaints)
            }
        }
    }
}

/// What a route's upstream gets of credentials.
pub(super) fn credentials(
    route: &route_file::Route,
    issuers: &List<issuer_file::Issuer>,
    complaints: &mut Complaints,
) -> Credentials {
    if let Some(exchange) = &route.forward.exchange
        && !route.forward.credentials.is_exchange()
    {
        let mend = "write `credentials: exchange`, or leave it out";
        complaints.add_with(exchange.span, "nothing is exchanged here, so this has no effect", mend);
    }
    match &route.forward.credentials.value {
        Written::Strip => Credentials::Kept(Vec::new()),
        Written::Keep => Credentials::Kept(Credential::ALL.to_vec()),
        Written::Exchange => match exchange::target(route, issuers, complaints) {
            Some(target) => Credentials::Exchanged(Arc::new(target)),
            // It was complained of.
            None => Credentials::Kept(Vec::new()),
        },
        Written::These(list) => {
            for (position, item) in list.items.iter().enumerate() {
                if list.items[..position].iter().any(|before| before.value == item.value) {
                    complaints.add(item.span, "this stands here twice");
                }
            }
            Credentials::Kept(list.values())
        }
    }
}
