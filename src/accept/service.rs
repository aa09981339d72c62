//! What hyper calls for each request of a connection, and what an answer says about the connection itself.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::HttpService;

use super::activity::{Activity, InFlight, Switch};
use super::answer::Answer;
use super::body::CallerBody;
use super::connection::Session;
use super::{Handler, Reply};
use crate::config::Limits;

/// What hyper calls for each request. `began` counts it, where nothing below hyper has done so.
pub(super) fn service<H: Handler>(
    handler: Arc<H>,
    session: Arc<Session>,
    activity: Arc<Activity>,
    limits: Limits,
    began: impl Fn() + Send,
) -> impl HttpService<Incoming, ResBody = Answer<H::Body>, Error = Infallible, Future: Send> + Send {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        began();
        let in_flight = InFlight::adopt(Arc::clone(&activity));
        let (handler, session, activity) =
            (Arc::clone(&handler), Arc::clone(&session), Arc::clone(&activity));
        let is_http1 = request.version() < Version::HTTP_2;
        // The same requests behind which `framing` judges nothing.
        let asks_to_switch = request.version() == Version::HTTP_11
            && request.headers().contains_key(UPGRADE)
            && request.body().is_end_stream();
        // In a box: whatever waits between here and the upstream would keep room for it, and many do.
        let request = Box::new(request.map(|incoming| CallerBody::new(incoming, &limits)));
        let received = request.body().received();
        let has_length = request.body().size_hint().exact().is_some();
        // hyper keeps room for this beside every connection, and an idle one should not hold what a request in flight needs.
        Box::pin(async move {
            let reply = handler.handle(request, session).await;
            let spoke_early = asks_to_switch && activity.switch() == Switch::AskedAndSpoke;
            let response = match reply {
                Reply::Switch(response, tunnel) => {
                    activity.switches_to(tunnel);
                    response
                }
                Reply::Answer(mut response) => {
                    if asks_to_switch {
                        activity.switches(Switch::Declined);
                    }
                    // What nobody has read of the body stands between this request and the next one. hyper skips it if it is there already and
                    // in one piece, and otherwise closes behind the answer without a word.
                    let unread = !received.is_whole() && (activity.is_in_body() || !has_length);
                    let is_last = spoke_early || unread;
                    if is_http1 && (activity.is_broken() || activity.is_closing() || is_last) {
                        // RFC 9112 §9.6: nothing more is read, so the caller is told not to send more.
                        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
                    }
                    response
                }
            };
            Ok(response.map(|body| Answer::new(body, in_flight)))
        })
    })
}
