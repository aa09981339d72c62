//! What the answer to an exchange says: a token that can be sent on (RFC 8693 §2.2.1), or why there is none (§2.2.2).
//!
//! A wrong yes is fatal: the gateway sends what it takes for a bearer token under its own name. A wrong no is a 503.

use http::HeaderValue;
use thiserror::Error;

use super::super::client::{Answer, JSON, is_type};
use super::{ACCESS_TOKEN, Subject};
use crate::verify::credential::is_token68;
use crate::verify::json::{Object, Value};
use crate::verify::rejection::Rejection;

/// The other identifier of what can be sent as `Bearer` (RFC 8693 §3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The longest that an issuer is believed a token to be good for: a year. More is no promise that anyone keeps.
const LONGEST: f64 = 31_536_000.0;

/// A token of the issuer's.
pub(super) struct Issued {
    /// `Bearer` and the token; never printed
    pub(super) authorization: HeaderValue,
    /// `expires_in`, in seconds
    pub(super) lifetime: Option<i64>,
}

/// Why an answer of 200 has no token that can be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unfit {
    #[error("is no JSON object, each member once")]
    Json,
    #[error("has no {0} of the right type")]
    Member(&'static str),
    #[error("has an access_token that cannot stand in a header, or is longer than limits.token_bytes")]
    Token,
    #[error("has the token that was given, which is for its holder and not for the upstream")]
    Same,
    #[error("has another issued_token_type than an access token or a JWT")]
    IssuedType,
    #[error(
        "has a token of the type DPoP, which is bound to a key that the gateway does not have: let the issuer bind no token of this client"
    )]
    Dpop,
    #[error("has another token_type than Bearer")]
    TokenType,
    #[error("has a token that has expired")]
    Expired,
}

impl Issued {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// [`Unfit`]. What the token itself says is not looked at: it is for the upstream.
    pub(super) fn read(body: &[u8], subject: &Subject) -> Result<Self, Unfit> {
        let object = Object::read(body).ok_or(Unfit::Json)?;
        let text = |name| object.get(name).and_then(Value::as_str).ok_or(Unfit::Member(name));
        let token = text("access_token")?;
        // Whatever else it is, it is none of the kinds that a resource server takes from an Authorization header.
        if ![ACCESS_TOKEN, JWT].contains(&text("issued_token_type")?) {
            return Err(Unfit::IssuedType);
        }
        // RFC 6749 §5.1: compared without regard to case. `N_A` says that the token is not to be used as an access token at all.
        let token_type = text("token_type")?;
        if token_type.eq_ignore_ascii_case("DPoP") {
            return Err(Unfit::Dpop);
        }
        if !token_type.eq_ignore_ascii_case("Bearer") {
            return Err(Unfit::TokenType);
        }
        if !is_token68(token) || token.len() > subject.most_bytes {
            return Err(Unfit::Token);
        }
        // R-B-13: an issuer that hands the token back has exchanged nothing, and the upstream would hold what the caller holds.
        if token == &*subject.token {
            return Err(Unfit::Same);
        }
        let lifetime = match object.get("expires_in") {
            None => None,
            Some(Value::Number(seconds)) if *seconds >= 1.0 => Some(whole(seconds.min(LONGEST))),
            Some(Value::Number(_)) => return Err(Unfit::Expired),
            Some(_) => return Err(Unfit::Member("expires_in")),
        };
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Unfit::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { authorization, lifetime })
    }
}

/// The whole seconds of a number of 1 to [`LONGEST`].
#[expect(clippy::cast_possible_truncation, reason = "the part behind the point, of a number that fits")]
const fn whole(seconds: f64) -> i64 {
    seconds as i64
}

/// What an issuer says when it refuses (RFC 6749 §5.2, RFC 8693 §2.2.2), as far as it decides what the caller hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Denial {
    /// The caller's token is no good any more: a new one may be. Some servers have a word of RFC 6750 for it.
    #[error("invalid_grant or invalid_token: the caller's token is refused")]
    Token,
    /// The caller's token is not to be exchanged, or not for this; also what RFC 8693 has for a token that is refused for any reason, so the caller's is
    /// not thrown away for it.
    #[error("{0}")]
    Exchange(&'static str),
    /// The gateway is refused, whoever's token it is.
    #[error("{0}: the gateway itself is refused")]
    Gateway(&'static str),
    /// A word that RFC 8693 leaves to servers. What it is about is not known, so it may be the token: whoever has such a one must not have the endpoint left alone
    /// for everyone.
    #[error("a word that is not known here")]
    Unknown,
}

impl Denial {
    /// Reads the body of a 400 or 403. `None` where it has no such word.
    pub(super) fn read(answer: &Answer) -> Option<Self> {
        let object = Object::read(&answer.body).filter(|_| is_type(answer.content_type.as_ref(), JSON))?;
        // The words that are known, and never the issuer's own text: it may repeat what it was given.
        Some(match object.get("error")?.as_str()? {
            "invalid_grant" | "invalid_token" => Denial::Token,
            "invalid_request" => Denial::Exchange("invalid_request"),
            "invalid_target" => Denial::Exchange("invalid_target"),
            "invalid_scope" => Denial::Exchange("invalid_scope"),
            "access_denied" => Denial::Exchange("access_denied"),
            "interaction_required" => Denial::Exchange("interaction_required"),
            "invalid_client" => Denial::Gateway("invalid_client"),
            "unauthorized_client" => Denial::Gateway("unauthorized_client"),
            "unsupported_grant_type" => Denial::Gateway("unsupported_grant_type"),
            _ => Denial::Unknown,
        })
    }

    /// What the caller hears.
    pub(super) const fn rejection(self) -> Rejection {
        match self {
            Denial::Token => Rejection::ExchangeTokenRefused,
            Denial::Exchange(_) => Rejection::ExchangeDenied,
            Denial::Gateway(_) | Denial::Unknown => Rejection::ExchangeRefused,
        }
    }

    /// Whether it says nothing of other tokens.
    pub(super) const fn is_about_the_token(self) -> bool {
        match self {
            Denial::Token | Denial::Exchange(_) | Denial::Unknown => true,
            Denial::Gateway(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::verify::time::UnixTime;

    fn subject() -> Subject {
        Subject { token: "the-callers".into(), expires: UnixTime::from_seconds(1_000), most_bytes: 20 }
    }

    fn good() -> Json {
        json!({"access_token": "new.token", "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 60})
    }

    fn read(answer: &Json) -> Result<Option<i64>, Unfit> {
        let issued = Issued::read(answer.to_string().as_bytes(), &subject())?;
        assert!(issued.authorization.is_sensitive());
        assert_eq!(issued.authorization, "Bearer new.token");
        Ok(issued.lifetime)
    }

    #[test]
    fn what_can_be_sent_on() {
        assert_eq!(read(&good()), Ok(Some(60)));
        for (name, value, lifetime) in [
            ("issued_token_type", json!(JWT), Some(60)),
            ("token_type", json!("bearer"), Some(60)),
            ("expires_in", json!(1.9), Some(1)),
            ("expires_in", json!(1e300), Some(31_536_000)),
            ("refresh_token", json!("x"), Some(60)),
        ] {
            let mut answer = good();
            answer[name] = value;
            assert_eq!(read(&answer), Ok(lifetime), "{name}");
        }
        let mut answer = good();
        answer.as_object_mut().unwrap().remove("expires_in");
        assert_eq!(read(&answer), Ok(None));
    }

    #[test]
    fn what_cannot() {
        for (name, value, unfit) in [
            ("access_token", json!("a b"), Unfit::Token),
            ("access_token", json!(""), Unfit::Token),
            ("access_token", json!("a\r\nX-Evil: b"), Unfit::Token),
            ("access_token", json!("a,b"), Unfit::Token),
            ("access_token", json!("a".repeat(21)), Unfit::Token),
            ("access_token", json!("the-callers"), Unfit::Same),
            ("access_token", json!(7), Unfit::Member("access_token")),
            ("access_token", json!(null), Unfit::Member("access_token")),
            ("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token"), Unfit::IssuedType),
            ("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token"), Unfit::IssuedType),
            ("issued_token_type", json!([ACCESS_TOKEN]), Unfit::Member("issued_token_type")),
            ("token_type", json!("DPoP"), Unfit::Dpop),
            ("token_type", json!("dpop"), Unfit::Dpop),
            ("token_type", json!("N_A"), Unfit::TokenType),
            ("token_type", json!("mac"), Unfit::TokenType),
            ("token_type", json!(true), Unfit::Member("token_type")),
            ("expires_in", json!(0), Unfit::Expired),
            ("expires_in", json!(-1), Unfit::Expired),
            ("expires_in", json!("60"), Unfit::Member("expires_in")),
            ("expires_in", json!(null), Unfit::Member("expires_in")),
        ] {
            let mut answer = good();
            answer[name] = value.clone();
            assert_eq!(read(&answer), Err(unfit), "{name}: {value}");
        }
        for name in ["access_token", "issued_token_type", "token_type"] {
            let mut answer = good();
            answer.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&answer), Err(Unfit::Member(name)), "no {name}");
        }
        let twice = good().to_string().replacen('{', "{\"access_token\":\"other\",", 1);
        for text in ["", "[]", "{", &twice, "access_token=new.token&token_type=Bearer"] {
            let read = Issued::read(text.as_bytes(), &subject()).map(|issued| issued.lifetime);
            assert_eq!(read, Err(Unfit::Json), "{text}");
        }
    }

    #[test]
    fn whose_fault_a_refusal_is() {
        let denial = |kind: &'static str, body: &str| {
            let content_type = Some(HeaderValue::from_static(kind));
            let body = Bytes::copy_from_slice(body.as_bytes());
            Denial::read(&Answer { status: StatusCode::BAD_REQUEST, content_type, body })
        };
        for (word, rejection, remembered) in [
            ("invalid_grant", Rejection::ExchangeTokenRefused, true),
            ("invalid_request", Rejection::ExchangeDenied, true),
            ("invalid_target", Rejection::ExchangeDenied, true),
            ("invalid_scope", Rejection::ExchangeDenied, true),
            ("invalid_client", Rejection::ExchangeRefused, false),
            ("unsupported_grant_type", Rejection::ExchangeRefused, false),
            ("access_denied", Rejection::ExchangeDenied, true),
            ("INVALID_GRANT", Rejection::ExchangeRefused, true),
            ("consent_required", Rejection::ExchangeRefused, true),
        ] {
            let denial = denial(JSON, &json!({"error": word}).to_string()).unwrap();
            assert_eq!((denial.rejection(), denial.is_about_the_token()), (rejection, remembered), "{word}");
        }
        for (kind, body) in [
            ("text/html", "{\"error\":\"invalid_grant\"}"),
            (JSON, "{}"),
            (JSON, "{\"error\":1}"),
            (JSON, ""),
        ] {
            assert_eq!(denial(kind, body), None, "{kind} {body}");
        }
    }
}
