//! The service behind the gateway: it answers with what it saw, and counts, so that "nothing arrived" can be told from silence.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;

use super::loopback::{self, Server, Transport};

/// What arrived of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method
    pub method: Method,
    /// The path and the query
    pub target: String,
    /// Every header line, names in lower case
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The first line of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(seen, _)| seen == name).map(|(_, value)| value.as_str())
    }
}

/// How many requests arrived, and the last of them.
#[derive(Debug, Default)]
struct Record {
    requests: u64,
    last: Option<Seen>,
}

/// The echo service. It runs until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    server: Server,
    record: Arc<Mutex<Record>>,
}

impl Upstream {
    /// Serves plain HTTP on `listener`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let record = Arc::new(Mutex::new(Record::default()));
        let shared = Arc::clone(&record);
        let server = loopback::serve(listener, Transport::Plaintext, move |request| {
            let record = Arc::clone(&shared);
            async move { echo(request, &record).await }
        })?;
        Ok(Self { server, record })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many requests have arrived.
    pub fn requests(&self) -> u64 {
        self.read(|record| record.requests)
    }

    /// The last request that arrived.
    pub fn last(&self) -> Option<Seen> {
        self.read(|record| record.last.clone())
    }

    fn read<T>(&self, what: impl FnOnce(&Record) -> T) -> T {
        // A count and a copy cannot be left half done, so a poisoned lock holds nothing wrong.
        what(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts the request as soon as its head is there, whatever becomes of its body.
async fn echo(request: Request<Incoming>, record: &Mutex<Record>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let seen = Seen {
        method: head.method,
        target: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
    };
    {
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        record.requests += 1;
        record.last = Some(seen.clone());
    }
    let mut body_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        body_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let answer = json!({
        "method": seen.method.as_str(),
        "target": seen.target,
        "headers": seen.headers,
        "body_bytes": body_bytes,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{answer:#}\n"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};
    use serde_json::{Value, json};

    use super::{Upstream, loopback};
    use crate::clock::Clock;
    use crate::demo::caller::Caller;
    use crate::demo::pki::{Authority, Validity};

    #[tokio::test]
    async fn it_counts_and_answers_with_what_it_saw() {
        let authority = Authority::new("test CA", Validity { now: Clock::system().now(), days: 1 })
            .expect("an authority");
        let caller = Caller::new(authority.roots().expect("roots"), None).expect("a client");
        let upstream = Upstream::start(loopback::bind().await.expect("a port")).expect("an upstream");
        assert_eq!((upstream.requests(), upstream.last()), (0, None));
        let url = format!("http://{}/a?b=c", upstream.address());
        let line = (HeaderName::from_static("x-test"), "1".to_owned());
        let answer = caller.send(&Method::DELETE, &url, &[line.clone(), line]).await.expect("an answer");
        let echo: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&echo["method"], &echo["target"]), (&json!("DELETE"), &json!("/a?b=c")));
        assert_eq!(
            echo["headers"],
            json!([["host", upstream.address().to_string()], ["x-test", "1"], ["x-test", "1"]])
        );
        assert_eq!(upstream.requests(), 1);
        assert_eq!(upstream.last().expect("a request").header("x-test"), Some("1"));
    }
}
