//! A token its issuer was asked about (RFC 7662): what the answer makes of it.
//!
//! The answer came from the issuer over verified TLS, or signed by it; that is `authority`'s to make sure of, and nothing here can. What it says is then
//! judged as a JWT's claims are, by the same judge: an issuer that says `active` has not looked at who asks, for which resource, or at our clock.

use std::sync::Arc;

use super::super::confirmation::Confirmation;
use super::super::json::{Object, Value};
use super::super::rejection::Rejection;
use super::super::time::UnixTime;
use super::claims::Claims;
use super::{TokenRules, VerifiedToken};

impl VerifiedToken {
    /// The token that `answer` describes. `required_claims` does not apply: what an issuer leaves out of an answer is not missing from a token. `aud` and
    /// `exp` must be there all the same, since no setting makes a token good for everyone or for ever.
    ///
    /// # Errors
    /// [`Rejection::TokenInactive`], [`Rejection::TokenActivityUnclear`], [`Rejection::TokenTypeMismatch`], and those of a JWT's claims.
    pub(crate) fn introspected(
        answer: &Object<'_>,
        rules: &TokenRules,
        now: UnixTime,
    ) -> Result<Self, Rejection> {
        // RFC 7662 §2.2: a boolean. `"true"` and 1 are some other program's idea of one, and taking them is how `"false"` becomes true.
        match answer.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(Rejection::TokenInactive),
            Some(_) | None => return Err(Rejection::TokenActivityUnclear),
        }
        let claims = Claims::read_of(answer, Some(&rules.issuer))?;
        if claims.is_of_another_kind() {
            return Err(Rejection::TokenTyp);
        }
        judge_type(answer, claims.confirmation)?;
        claims.judge(rules, now)?;
        Ok(Self { claims: Arc::new(claims), leeway: rules.leeway })
    }
}

/// `token_type`, where it is given, must be what `cnf` makes of the token: `DPoP` where a key is demanded (RFC 9449 §6.2), `Bearer` where a
/// certificate alone is (RFC 8705 §3). It is compared without regard to case (RFC 6749 §5.1). Whatever else it says, `refresh_token` for example, the
/// token is none to present here.
fn judge_type(answer: &Object<'_>, confirmation: Confirmation) -> Result<(), Rejection> {
    let Some(given) = answer.get("token_type") else { return Ok(()) };
    let expected = match confirmation {
        Confirmation::Key(_) | Confirmation::Both(..) => "DPoP",
        Confirmation::Certificate(_) | Confirmation::Unbound => "Bearer",
    };
    let given = given.as_str().ok_or(Rejection::TokenMalformed)?;
    if given.eq_ignore_ascii_case(expected) { Ok(()) } else { Err(Rejection::TokenTypeMismatch) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::{Form, TokenType};
    use super::{Rejection, TokenRules, VerifiedToken};
    use crate::verify::algorithm::{Algorithm, Algorithms};
    use crate::verify::json::Object;
    use crate::verify::jwks::signing::{AUDIENCE, ISSUER, JKT, NOW, bearer, claims, raw};

    const X5T: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dgw";

    fn rules() -> TokenRules {
        TokenRules {
            issuer: ISSUER.into(),
            audiences: vec![AUDIENCE.into()],
            algorithms: Algorithms::new(&[Algorithm::Es256]),
            token_type: TokenType::AtJwt,
            required_claims: vec!["sub".into(), "jti".into()],
            leeway: 5,
            max_lifetime: None,
        }
    }

    fn judged(answer: &Json) -> Result<VerifiedToken, Rejection> {
        judged_by(answer, &rules())
    }

    fn judged_by(answer: &Json, rules: &TokenRules) -> Result<VerifiedToken, Rejection> {
        let text = answer.to_string();
        VerifiedToken::introspected(&Object::read(text.as_bytes()).unwrap(), rules, NOW)
    }

    fn active() -> Json {
        let mut answer = claims();
        answer["active"] = json!(true);
        answer
    }

    #[test]
    fn an_answer_is_judged_like_a_token() {
        let token = judged(&active()).unwrap();
        assert_eq!((token.issuer(), token.subject()), (ISSUER, Some("alice")));
        // What RFC 7662 leaves to the issuer may be missing.
        let mut bare = active();
        for name in ["iss", "sub", "jti", "iat", "client_id", "scope"] {
            bare.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(judged(&bare).unwrap().issuer(), ISSUER);
    }

    /// T-INT-02, T-INT-03, T-INT-07, T-INT-08; R-I-02, R-I-03.
    #[test]
    fn one_thing_wrong() {
        let now = NOW.seconds();
        for (name, value, rejection) in [
            ("active", json!(false), Rejection::TokenInactive),
            ("active", json!("true"), Rejection::TokenActivityUnclear),
            ("active", json!(1), Rejection::TokenActivityUnclear),
            ("active", json!(null), Rejection::TokenActivityUnclear),
            ("active", json!([true]), Rejection::TokenActivityUnclear),
            ("iss", json!("https://as.example.com/"), Rejection::TokenIssuer),
            ("iss", json!(["https://as.example.com"]), Rejection::TokenMalformed),
            ("aud", json!("https://other.example.com"), Rejection::TokenAudience),
            ("aud", json!([]), Rejection::TokenAudience),
            ("exp", json!(now - 5), Rejection::TokenExpired),
            ("exp", json!("never"), Rejection::TokenMalformed),
            ("nbf", json!(now + 6), Rejection::TokenNotYetValid),
            ("iat", json!(now + 66), Rejection::TokenNotYetValid),
            ("cnf", json!({}), Rejection::TokenConfirmation),
            ("cnf", json!({"jkt": 1}), Rejection::TokenConfirmation),
            ("token_type", json!("Bearer"), Rejection::TokenTypeMismatch),
            ("token_type", json!("refresh_token"), Rejection::TokenTypeMismatch),
            ("token_type", json!(1), Rejection::TokenMalformed),
            ("token_introspection", json!({}), Rejection::TokenTyp),
        ] {
            let mut answer = active();
            answer[name] = value.clone();
            assert_eq!(judged(&answer).map(|_| ()), Err(rejection), "{name}: {value}");
        }
        for (name, rejection) in [
            ("active", Rejection::TokenActivityUnclear),
            ("aud", Rejection::TokenClaimMissing),
            ("exp", Rejection::TokenClaimMissing),
        ] {
            let mut answer = active();
            answer.as_object_mut().unwrap().remove(name);
            assert_eq!(judged(&answer).map(|_| ()), Err(rejection), "no {name}");
        }
    }

    /// FAPI 2.0: tokens live shortly, and one that does not say since when is not known to.
    #[test]
    fn a_token_may_be_good_for_so_long_and_no_longer() {
        let mut rules = rules();
        rules.max_lifetime = Some(300);
        let now = NOW.seconds();
        for (iat, exp, expected) in [
            (json!(now), now + 300, Ok(())),
            (json!(now), now + 301, Err(Rejection::TokenLifetime)),
            (json!(now - 400), now + 10, Err(Rejection::TokenLifetime)),
            (json!(now - 290), now + 10, Ok(())),
            (json!(0), now + 10, Err(Rejection::TokenLifetime)),
        ] {
            let mut answer = active();
            (answer["iat"], answer["exp"]) = (iat, json!(exp));
            assert_eq!(judged_by(&answer, &rules).map(|_| ()), expected, "{answer}");
        }
        let mut undated = active();
        undated.as_object_mut().unwrap().remove("iat");
        assert_eq!(judged_by(&undated, &rules).map(|_| ()), Err(Rejection::TokenClaimMissing));
    }

    /// T-INT-04, T-INT-06, R-B-06, R-F-06.
    #[test]
    fn the_type_follows_the_binding() {
        let (key, certificate) = (json!({"jkt": JKT}), json!({"x5t#S256": X5T}));
        let both = json!({"jkt": JKT, "x5t#S256": X5T});
        for (cnf, token_type, fits) in [
            (&key, "DPoP", true),
            (&key, "dpop", true),
            (&key, "Bearer", false),
            (&certificate, "Bearer", true),
            (&certificate, "bearer", true),
            (&certificate, "DPoP", false),
            (&both, "DPoP", true),
            (&both, "Bearer", false),
        ] {
            let mut answer = active();
            answer["cnf"] = cnf.clone();
            answer["token_type"] = json!(token_type);
            assert_eq!(judged(&answer).is_ok(), fits, "{cnf} {token_type}");
        }
    }

    #[test]
    fn what_begins_like_jose_is_never_opaque() {
        let form = |token: &str| Form::of(raw(&bearer(token)));
        for token in ["e30.e30.AA", "e30.x", "e30.a.b.c.d.e", "e30.a.b", "eyJhbGciOiJub25lIn0.", "e30.."] {
            assert_eq!(form(token), Form::Jose, "{token}");
        }
        assert_eq!(form("e30.a.b.c.d"), Form::Encrypted);
        for token in [
            "opaque",
            "e30",
            "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
            "a.b.c",
            "AAAA.e30.AA",
            "v4.public.eyJ9",
        ] {
            assert_eq!(form(token), Form::Opaque, "{token}");
        }
    }
}
