//! The answers of last resort: to what is not a request, so that no handler can be asked about it.
//!
//! They say little, and nothing that the peer sent: a stable label, and the headers that every answer of ours has.

use std::time::SystemTime;

/// Why a head is refused before hyper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not the grammar of RFC 9112: a bare LF or CR, a control character, obs-fold, a space before a colon, a name that is no token.
    Malformed,
    /// No Host in HTTP/1.1, or more than one.
    HostInvalid,
    /// Two readers could disagree about where the request ends (RFC 9112 §6.3).
    FramingAmbiguous,
    /// The head is longer than `limits.header_bytes`.
    HeadTooLarge,
    /// The head has more than 100 fields.
    TooManyFields,
    /// The request target is longer than can be read.
    TargetTooLong,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    VersionUnknown,
    /// The head took longer than `limits.header_timeout`.
    HeadTimeout,
}

impl Refusal {
    /// The stable reason: in the answer, the log and the metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::Malformed => "request_malformed",
            Refusal::HostInvalid => "host_invalid",
            Refusal::FramingAmbiguous => "framing_ambiguous",
            Refusal::HeadTooLarge => "header_too_large",
            Refusal::TooManyFields => "header_too_many_fields",
            Refusal::TargetTooLong => "target_too_long",
            Refusal::VersionUnknown => "version_unknown",
            Refusal::HeadTimeout => "header_timeout",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> http::StatusCode {
        match self {
            Refusal::Malformed | Refusal::HostInvalid | Refusal::FramingAmbiguous => {
                http::StatusCode::BAD_REQUEST
            }
            Refusal::HeadTooLarge | Refusal::TooManyFields => {
                http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Refusal::TargetTooLong => http::StatusCode::URI_TOO_LONG,
            Refusal::VersionUnknown => http::StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::HeadTimeout => http::StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The whole answer as it goes on the wire. The connection ends behind it, since where the next request begins is not known.
    pub(super) fn answer(self, now: SystemTime) -> String {
        let status = self.status();
        // The members that every refusal has; there is no request yet that could have an id.
        let body = format!(r#"{{"error":"invalid_request","reason":"{}"}}"#, self.label());
        format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            status.as_u16(),
            status.canonical_reason().unwrap_or("Refused"),
            httpdate::fmt_http_date(now),
            body.len(),
        )
    }
}
