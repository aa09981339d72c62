//! What is wrong with issuers that are asked about tokens: rows as in `broken.rs`.

use super::broken::judge;
use super::fixture::{EXAMPLE, REFERENCE};

const SECRET: &str = "client_secret: { file: secrets/introspection }      # or";
const KEY: &str = "client_key: { file: secrets/client-key.pem }";

#[test]
fn how_the_gateway_shows_who_it_is() {
    judge(
        REFERENCE,
        &[
            (SECRET, "#", "client_secret_basic\n", "`client_secret` is missing: this `authentication` needs"),
            (KEY, "#", "private_key_jwt\n", "`client_key` is missing"),
            (
                "authentication: private_key_jwt",
                "authentication: client_secret_jwt",
                "client_secret_jwt",
                "`client_secret_jwt` is none of the words",
            ),
            (
                SECRET,
                "client_secret: hunter2 #",
                "hunter2",
                "a secret is never written into the configuration",
            ),
            (SECRET, "client_secret: { env: EMPTY } #", "{ env: EMPTY }", "this secret is empty"),
            (SECRET, "client_secret: { file: secrets/none } #", "{ file: secrets/none }", "`"),
            (
                SECRET,
                "client_secret: { file: secrets/introspection }\n      client_key_id: x #",
                "x #",
                "`client_key_id` has no effect with this",
            ),
            (
                SECRET,
                "client_secret: { file: secrets/introspection }\n      assertion_audience: issuer #",
                "issuer #",
                "`assertion_audience` has no effect",
            ),
            (
                KEY,
                "client_key: { file: secrets/client-key.pem }\n      client_secret: { file: secrets/introspection }",
                "{ file: secrets/introspection }\n      client_key_id",
                "`client_secret` has no effect",
            ),
            (
                KEY,
                "client_key: { file: secrets/introspection }",
                "{ file: secrets/introspection }\n      client_key_id",
                "no usable private key in this secret",
            ),
            (
                "client_key_algorithm: ES256",
                "client_key_algorithm: PS256",
                "PS256  ",
                "`client_key` cannot sign with this algorithm",
            ),
            (
                "      client_certificate:                 #",
                "      client_key: { file: secrets/client-key.pem }\n      client_certificate: #",
                "{ file: secrets/client-key.pem }\n      client_certificate",
                "`client_key` has no effect",
            ),
            (
                "url: https://as.example.com/introspect",
                "url: http://as.example.com/introspect",
                "http://as.example.com/introspect",
                "`http://as.example.com/introspect` is neither https nor a loopback address",
            ),
            (
                "authentication: tls                 #",
                "url: http://127.0.0.1:9/introspect\n      authentication: tls #",
                "http://127.0.0.1:9",
                "a client certificate is shown over https only",
            ),
            (
                "      answer: json",
                "      answer: encrypted-jwt",
                "encrypted-jwt\n      # default 30s",
                "there is no key to decrypt",
            ),
            (
                "key: { file: secrets/decryption-key.pem }",
                "key: { file: secrets/introspection }",
                "{ file: secrets/introspection }     #",
                "no private key in this secret that decrypts",
            ),
            ("calls: 64 ", "calls: 0 ", "0  ", "`0` is out of range"),
            ("cache: 30s", "cache: 500ms", "500ms", "`500ms` is not whole seconds"),
            (
                "      issuer: https://as.example.com\n",
                "      issuer: https://as.example.com/\n",
                "https://as.example.com/\n",
                "there is no issuer `https://as.example.com/`",
            ),
        ],
    );
}

/// Keys in a file and nobody asked: then there is nobody to trust.
#[test]
fn trust_is_for_what_is_asked() {
    judge(
        EXAMPLE,
        &[(
            "    # trust: { ca: certs/issuer-ca.pem }  #",
            "    trust: { ca: certs/issuer-ca.pem }  #",
            "{ ca: certs/issuer-ca.pem }",
            "nothing is fetched from this issuer",
        )],
    );
}
