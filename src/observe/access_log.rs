//! One JSON line a request, on standard output.
//!
//! Requests never wait for the log: lines go to a thread of its own, and when too many wait they are dropped and counted. What a caller sent (method, host, path) is in the line as a JSON string, so it cannot break out of it (R-L-10).

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::lines::Lines;
use crate::verify::digest::{Certificate, Digest, Key};
use crate::verify::enforcement::Enforcement;

/// The longest method and path that are written whole, in bytes. A head may have a megabyte of either, and thousands of lines may wait.
const LONGEST: usize = 1024;

/// One request.
#[derive(Debug, Serialize)]
pub struct Entry<'e> {
    /// When it arrived: RFC 3339, UTC, milliseconds.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Its id, as in `X-Request-Id`; empty, like the method and the path, for what was refused before it was a request.
    pub request_id: &'e str,
    /// `x-fapi-interaction-id`, on routes that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<&'e str>,
    /// `forwarded`, `refused`, `answered` when the gateway itself had the answer, `failed` when the upstream could not answer, or `abandoned` when the caller went away.
    pub decision: Decision,
    /// The label of the rejection or fault. With `forwarded`, why the answer broke off before its end: a fault, `caller_left`, `token_expired`;
    /// `drained` where `shutdown.grace` cut it; for an upgraded connection `stream_idle` as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status the caller got.
    pub status: u16,
    /// The route's name; absent when none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'e str>,
    /// The method; one that is too long ends with `…`.
    #[serde(serialize_with = "shortened")]
    pub method: &'e str,
    /// The public host it was made to; absent when it is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'e str>,
    /// The path without its query, which may hold secrets; one that is too long ends with `…`.
    #[serde(serialize_with = "shortened")]
    pub path: &'e str,
    /// The caller's address.
    pub peer: std::net::IpAddr,
    /// `client_id` of the token, once it is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'e str>,
    /// `dpop`, `mtls` or `both`, once it is proven; `none` for an unbound token that a report-only route has let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<&'static str>,
    /// `report-only` on such a route, whatever became of the request; absent on all others.
    #[serde(skip_serializing_if = "is_enforced", serialize_with = "enforcement")]
    pub enforcement: Enforcement,
    /// The label of the rejection, where a report-only route has let through what another would have refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<&'static str>,
    /// The thumbprint of the proven key.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "thumbprint")]
    pub jkt: Option<Digest<Key>>,
    /// The thumbprint of the proven certificate.
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none", serialize_with = "thumbprint")]
    pub certificate: Option<Digest<Certificate>>,
    /// Milliseconds until the verdict.
    #[serde(serialize_with = "milliseconds")]
    pub verify_ms: Duration,
    /// Milliseconds until the head of the upstream's answer; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_milliseconds")]
    pub head_ms: Option<Duration>,
    /// Milliseconds until the end of the answer, or of the upgraded connection.
    #[serde(serialize_with = "milliseconds")]
    pub total_ms: Duration,
    /// Bytes of the request's body that were read; of an upgraded connection, those that the upstream took. Absent without an answer
    /// of the upstream's, as is the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's body that were passed on; of an upgraded connection, those that the caller took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It went to the upstream, and its answer to the caller.
    Forwarded,
    /// It was refused and nothing of it reached the upstream.
    Refused,
    /// The gateway answered it itself: a preflight.
    Answered,
    /// It was let through, and then the upstream or the caller's body failed.
    Failed,
    /// The caller went away before there was an answer.
    Abandoned,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn shortened<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.len() <= LONGEST {
        return serializer.serialize_str(text);
    }
    serializer.collect_str(&format_args!("{}…", &text[..text.floor_char_boundary(LONGEST)]))
}

const fn is_enforced(enforcement: &Enforcement) -> bool {
    match enforcement {
        Enforcement::Enforce => true,
        Enforcement::ReportOnly => false,
    }
}

fn enforcement<S: Serializer>(enforcement: &Enforcement, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(enforcement.name())
}

fn thumbprint<S: Serializer, Of>(digest: &Option<Digest<Of>>, serializer: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => serializer.collect_str(digest),
        None => serializer.serialize_none(),
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

fn maybe_milliseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// The way to the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: Option<Arc<Lines>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// `log.access: none`.
    pub fn none() -> Self {
        Self { lines: None, dropped: Arc::default() }
    }

    /// A log that a thread of its own writes to `out`. When the last clone is dropped, so is the thread, behind the last line.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self { lines: Some(Arc::new(Lines::to(out)?)), dropped: Arc::default() })
    }

    /// Hands a line over, or drops it when too many wait.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut line = Vec::with_capacity(512);
        // Every field is a plain string or number; there is nothing that could fail to be written into memory.
        if serde_json::to_writer(&mut line, entry).is_err() {
            return;
        }
        line.push(b'\n');
        if lines.push(&line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_cut_between_characters() {
        let path = format!("/{}", "é".repeat(LONGEST));
        let mut line = Vec::new();
        shortened(&path, &mut serde_json::Serializer::new(&mut line)).expect("serialises");
        let line = String::from_utf8(line).expect("whole characters");
        assert!(line.ends_with("é…\"") && line.len() < LONGEST + 8, "{}", line.len());
    }

    #[test]
    fn a_line_holds_what_a_caller_sent_as_a_string() {
        let entry = Entry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_562_262_618_007),
            request_id: "r1",
            interaction_id: None,
            decision: Decision::Refused,
            reason: Some("host_unknown"),
            status: 421,
            route: None,
            method: "GET\"\r\n",
            host: None,
            path: "/",
            peer: [127, 0, 0, 1].into(),
            client: None,
            binding: None,
            enforcement: Enforcement::Enforce,
            would_refuse: None,
            jkt: None,
            certificate: None,
            verify_ms: Duration::from_micros(1500),
            head_ms: None,
            total_ms: Duration::from_nanos(2_000_100),
            request_bytes: None,
            response_bytes: None,
        };
        assert_eq!(
            serde_json::to_string(&entry).expect("serialises"),
            r#"{"time":"2019-07-04T17:50:18.007Z","request_id":"r1","decision":"refused","reason":"host_unknown","status":421,"method":"GET\"\r\n","path":"/","peer":"127.0.0.1","verify_ms":1.5,"total_ms":2.0}"#
        );
    }
}
