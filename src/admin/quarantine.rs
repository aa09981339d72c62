//! Shutting keys and clients out, and letting them back in: `POST`, `DELETE` and `GET /quarantine`.

use bytes::Bytes;
use http::header::ORIGIN;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::text;
use crate::gateway::Gateway;
use crate::quarantine::{MOST, NotShut, Outcast};
use crate::verify::time::UnixTime;

/// The most bytes of a request's body: a name and a duration.
const BODY_BYTES: usize = 4096;
/// The longest anyone is shut out, in seconds: a year, after which no token of today is good.
const LONGEST: u64 = 365 * 24 * 3600;

/// What an operator asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: Option<String>,
    key: Option<String>,
    /// A duration, `90s` or `1h`.
    r#for: Option<String>,
}

/// What is wrong with a request, for whoever sent it.
struct Wrong(StatusCode, String);

impl Wrong {
    fn new(what: &str) -> Self {
        Self(
            StatusCode::BAD_REQUEST,
            format!(
                "{what}: {{\"client\": ID}} or {{\"key\": THUMBPRINT}}, and \"for\": \"1h\" to shut out\n"
            ),
        )
    }
}

/// Answers a request for `/quarantine`.
pub(super) async fn answer(request: Request<Incoming>, gateway: &Gateway) -> Response<Full<Bytes>> {
    // A page in a browser on this machine can reach this address; what it sends has an Origin, and an operator's tool sends none.
    if request.headers().contains_key(ORIGIN) {
        return text(StatusCode::FORBIDDEN, "text/plain", "not for pages\n".into());
    }
    let now = gateway.clock.now();
    let done = match *request.method() {
        Method::POST => shut(request, gateway, now).await,
        Method::DELETE => lift(request, gateway, now).await,
        _ => Ok(()),
    };
    match done {
        Ok(()) => text(StatusCode::OK, "application/json", list(gateway, now)),
        Err(Wrong(status, why)) => text(status, "text/plain; charset=utf-8", why),
    }
}

async fn shut(request: Request<Incoming>, gateway: &Gateway, now: UnixTime) -> Result<(), Wrong> {
    let (outcast, length) = read(request).await?;
    let length = length.ok_or_else(|| Wrong::new("without \"for\" nobody is shut out"))?;
    let seconds = humantime::parse_duration(&length).ok().map(|length| length.as_secs());
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = seconds.ok_or_else(|| Wrong::new("\"for\" is a duration of 1s to a year"))?;
    gateway.quarantine.shut(&outcast, now.plus(seconds), now).map_err(|why| match why {
        NotShut::NoThumbprint => {
            Wrong::new("a key is a thumbprint of 43 characters, as jkt and x5t#S256 are")
        }
        NotShut::Full => {
            Wrong(StatusCode::INSUFFICIENT_STORAGE, format!("there are {MOST} entries: lift some\n"))
        }
    })?;
    // Names come from operators; what shuts callers out has to be found in the log.
    tracing::warn!(?outcast, seconds, "shut out");
    Ok(())
}

async fn lift(request: Request<Incoming>, gateway: &Gateway, now: UnixTime) -> Result<(), Wrong> {
    let (outcast, length) = read(request).await?;
    if length.is_some() {
        return Err(Wrong::new("who is let back in is so at once, without \"for\""));
    }
    if !gateway.quarantine.lift(&outcast, now) {
        return Err(Wrong(StatusCode::NOT_FOUND, "nobody of this name is shut out\n".to_owned()));
    }
    tracing::warn!(?outcast, "let back in");
    Ok(())
}

async fn read(request: Request<Incoming>) -> Result<(Outcast, Option<String>), Wrong> {
    let body = Limited::new(request.into_body(), BODY_BYTES).collect().await;
    let body = body.map_err(|_| Wrong::new("the body is too long or broken"))?.to_bytes();
    let asked: Asked =
        serde_json::from_slice(&body).map_err(|_| Wrong::new("the body is not what is asked for"))?;
    let outcast = match (asked.client, asked.key) {
        (Some(client), None) if !client.is_empty() => Outcast::Client(client),
        (None, Some(key)) => Outcast::Key(key),
        (Some(_), _) | (None, None) => return Err(Wrong::new("exactly one of a client and a key")),
    };
    Ok((outcast, asked.r#for))
}

/// Everyone who is shut out, and the second since 1970 in which they are no longer.
fn list(gateway: &Gateway, now: UnixTime) -> String {
    let entries: Vec<serde_json::Value> = gateway
        .quarantine
        .list(now)
        .into_iter()
        .map(|(outcast, until)| match outcast {
            Outcast::Client(client) => serde_json::json!({"client": client, "until": until.seconds()}),
            Outcast::Key(key) => serde_json::json!({"key": key, "until": until.seconds()}),
        })
        .collect();
    format!("{}\n", serde_json::json!({ "quarantine": entries }))
}
