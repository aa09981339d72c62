//! Whose key opens whose tokens: an issuer encrypts to the keys that it was given, and what was encrypted to another's is not its doing.

use josekit::jwe::{self, ECDH_ES, JweHeader};
use josekit::jwk::{Jwk, P_256};

use super::server::KeyServer;
use super::*;
use crate::config::{Encryption, SealedTokens};
use crate::verify::jwe::DecryptionKey;
use crate::verify::jwks::signing::{ISSUER, key_set};

const OTHER: &str = "https://other.example.com";
const PLAIN: &str = "https://plain.example.com";

fn sealed(token: &str, to: &Jwk, kid: Option<&str>) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_content_type("JWT");
    if let Some(kid) = kid {
        header.set_key_id(kid);
    }
    let encrypter = ECDH_ES.encrypter_from_jwk(to).unwrap();
    jwe::serialize_compact(token.as_bytes(), &header, &encrypter).unwrap()
}

#[tokio::test]
async fn an_issuer_encrypts_to_its_own_keys() {
    let server = KeyServer::https().await;
    let key = key("k");
    server.publish("/jwks", key_set(&[key.public()]));
    let [first, second] = [0; 2].map(|_| Jwk::generate_ec_key(P_256).unwrap());
    let known = |name: &str, own: Option<(&Jwk, &str)>| Issuer {
        encryption: own.map(|(own, kid)| Encryption {
            keys: vec![Arc::new(DecryptionKey::new(own.clone(), Some(kid.into())).unwrap())],
            tokens: SealedTokens::Optional,
        }),
        ..issuer(name, server.key_source("/jwks"), Some(server.roots()))
    };
    let running = Running::new(&[
        known(ISSUER, Some((&first, "first"))),
        known(OTHER, Some((&second, "second"))),
        known(PLAIN, None),
    ]);
    let of = async |token: &str, of| running.tokens.verify(raw(&bearer(token)), of, NOW).await.map(drop);
    let [own, others, plain] = [ISSUER, OTHER, PLAIN].map(|name| key.token(&claims_of(name)));
    let refused = Err(Rejection::TokenUndecryptable);
    for (token, to, kid, expected) in [
        (&own, &first, "first", Ok(())),
        (&others, &second, "second", Ok(())),
        (&own, &second, "second", refused),
        (&others, &first, "first", refused),
        (&plain, &first, "first", refused),
    ] {
        assert_eq!(of(&sealed(token, to, Some(kid)), None).await, expected, "{kid}");
    }
    // On a route of one issuer no other one's key is tried, whether the token names it or not.
    assert_eq!(of(&sealed(&own, &first, None), Some(0)).await, Ok(()));
    assert_eq!(of(&sealed(&others, &second, None), Some(1)).await, Ok(()));
    for kid in [None, Some("second")] {
        assert_eq!(of(&sealed(&others, &second, kid), Some(0)).await, refused, "{kid:?}");
    }
    assert_eq!(of(&sealed(&own, &first, None), Some(2)).await, Err(Rejection::TokenMalformed));
}
