//! What is known of a request while it is decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue, Method, Request, Response};
use sha2::{Digest as _, Sha256};

use super::Gateway;
use super::journey::Journey;
use super::record::Record;
use super::tally::Tally;
use crate::accept::Reply;
use crate::accept::connection::Session;
use crate::accept::tunnel::Tunnel;
use crate::clock::Deadline;
use crate::cors::Readers;
use crate::forward::{Answer, INTERACTION_ID};
use crate::observe::access_log::Decision;
use crate::respond::{self, Body};
use crate::route::Route;
use crate::verify::field::only;

/// Names requests: a random part of the process and a counter, so that ids do not repeat across restarts and replicas.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of the process with this random number.
    pub const fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> HeaderValue {
        let id = format!("{:016x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("0"))
    }

    /// A UUID in the place of one that a caller did not send: the hash of the process and the counter, in the form of version 4 (RFC 9562 §5.4). It need not be
    /// a secret; that nobody else makes the same is all that is asked of it.
    pub(super) fn next_uuid(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let hash = Sha256::new().chain_update(self.process.to_be_bytes()).chain_update(number.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        let bits = u128::from_be_bytes(bytes);
        let (high, low) = (bits >> 64, bits & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000);
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("00000000-0000-0000-0000-000000000000"))
    }
}

/// The UUID by which a caller names its request (FAPI 1.0 Baseline §6.2.1 number 11, which FAPI 2.0 ecosystems go on with). What is none is not passed on: it would be in
/// the log, and in the answer, as if it were.
pub(super) fn interaction_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = only(headers, &INTERACTION_ID)?;
    let is_uuid = id.len() == 36
        && id.as_bytes().iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then_some(id)
}

/// One request on its way: what of it borrows from the gateway, and the record that outlives its handler.
pub(super) struct Course<'g> {
    /// What is written of it in the end.
    pub(super) record: Box<Record>,
    /// Its route, once one is found.
    pub(super) route: Option<&'g Route>,
    /// Which pages may read the answer, where the route says so.
    pub(super) readers: Option<Readers<'g>>,
    /// When whatever still streams must end, where the route says so.
    pub(super) deadline: Option<Deadline>,
    /// What the caller has left of its allowance, where the route gives it one.
    pub(super) tally: Tally,
}

impl<'g> Course<'g> {
    pub(super) fn new<B>(gateway: &Gateway, request: &Request<B>, session: &Arc<Session>) -> Self {
        let record = Box::new(Record::new(gateway, request, session));
        Self { record, route: None, readers: None, deadline: None, tally: Tally::default() }
    }

    /// The gateway answers by itself.
    pub(super) fn ends(
        mut self,
        decision: Decision,
        reason: Option<&'static str>,
        response: Response<Body>,
    ) -> Reply<Journey> {
        self.record.ends(decision, reason, response.status());
        let response =
            if *self.record.method() == Method::HEAD { respond::without_body(response) } else { response };
        Reply::Answer(response.map(Journey::of_ours))
    }

    /// The upstream has answered. The record stays open until the last of that has gone.
    pub(super) fn goes_on_with(self, answer: Answer) -> Reply<Journey> {
        let Self { mut record, route, deadline, .. } = self;
        match answer {
            Answer::Http(response) => {
                record.is_answered(response.status());
                Reply::Answer(
                    response.map(|body| Journey::of_upstream(Body::Upstream(body), record, deadline)),
                )
            }
            Answer::Switched(head, switched) => {
                record.is_answered(head.status());
                let tunnel = Tunnel {
                    upstream: Box::new(switched),
                    idle_timeout: route.and_then(|route| route.streams.idle_timeout),
                    deadline,
                    ended: Box::new(move |ended| record.has_carried(ended)),
                };
                Reply::Switch(head.map(|()| Journey::of_ours(Body::from(String::new()))), tunnel)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(INTERACTION_ID, HeaderValue::from_static(line));
        }
        interaction_id(&headers).map(|id| id.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_callers_uuid_is_one_line_in_its_one_form() {
        let good = "C770aef3-6784-41f7-8e0e-ff5f97bddb3a";
        assert_eq!(read(&[good]).as_deref(), Some(good));
        for lines in [
            &[][..],
            &[""],
            &[good, good],
            &["c770aef3-6784-41f7-8e0e-ff5f97bddb3"],
            &["c770aef3-6784-41f7-8e0e-ff5f97bddb3a1"],
            &["c770aef3678441f78e0eff5f97bddb3a"],
            &["{c770aef3-6784-41f7-8e0e-ff5f97bddb}"],
            &["c770aef3-6784-41f7-8e0e-ff5f97bddb3g"],
            &["c770aef3-6784-41f7-8e0e_ff5f97bddb3a"],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn uuids_of_ours_are_version_4_and_differ() {
        let ids = RequestIds::new(7);
        let made: std::collections::HashSet<HeaderValue> = (0..1000).map(|_| ids.next_uuid()).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            let text = id.to_str().unwrap().to_owned();
            let headers = HeaderMap::from_iter([(INTERACTION_ID, id)]);
            assert!(interaction_id(&headers).is_some(), "{text}");
            assert!(&text[14..15] == "4" && matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        }
    }
}
