//! What is known of a request while it is decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Method, Request, Response};

use super::Gateway;
use super::journey::Journey;
use super::record::Record;
use super::tally::Tally;
use crate::accept::Reply;
use crate::accept::connection::Session;
use crate::accept::tunnel::Tunnel;
use crate::clock::Deadline;
use crate::cors::Readers;
use crate::forward::Answer;
use crate::observe::access_log::Decision;
use crate::respond::{self, Body};
use crate::route::Route;

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
