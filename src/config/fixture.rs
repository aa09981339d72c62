//! A directory with the files that the samples name, for tests.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Complaints, Config, Format, read};

/// The operator's example, as it is written.
pub(super) const EXAMPLE: &str = include_str!("../../deploy/gateway.example.yaml");

/// Every setting there is.
pub(super) const REFERENCE: &str = include_str!("../../deploy/gateway.reference.yaml");

/// The files; they are gone with the value.
pub(super) struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    /// Makes the files that the example and the reference name, and some that are wrong.
    pub(super) fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().expect("a directory") };
        let names = ["API.example.com".to_owned(), "*.example.com".to_owned(), "127.0.0.1".to_owned()];
        let server = rcgen::generate_simple_self_signed(names).expect("a certificate");
        fixture.write("certs/server.pem", server.cert.pem().as_bytes());
        fixture.write("certs/server.key", server.signing_key.serialize_pem().as_bytes());
        fixture
            .write("certs/other.key", rcgen::KeyPair::generate().expect("a key").serialize_pem().as_bytes());
        for ca in
            ["certs/clients-ca.pem", "certs/issuer-ca.pem", "certs/upstream-ca.pem", "certs/redis-ca.pem"]
        {
            fixture.write(ca, server.cert.pem().as_bytes());
        }
        // For ES256 and for EdDSA, so that a configuration can leave either out.
        let jwks = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
        fixture.write("certs/issuer.jwks.json", jwks);
        fixture.write("certs/empty.jwks.json", br#"{"keys":[]}"#);
        fixture.write("certs/unfit.jwks.json", br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"short"}]}"#);
        let keys = [[1; 32], [2; 32]].map(|key| URL_SAFE_NO_PAD.encode(key)).join("\n");
        fixture.write("secrets/introspection", b"hunter2\n");
        fixture.write("secrets/redis", b"hunter3\n");
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        fixture.write("secrets/client-key.pem", key.as_bytes());
        fixture.write("secrets/decryption-key.pem", key.as_bytes());
        fixture.write("secrets/nonce-keys", format!("{keys}\n").as_bytes());
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        fixture.write("secrets/assertion-keys.pem", key.as_bytes());
        fixture
    }

    /// The directory that paths are relative to.
    pub(super) fn base(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, content: &[u8]) {
        let path = self.base().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    /// The environment that configurations are read in.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        match name {
            "NONCE_KEYS" => Some(URL_SAFE_NO_PAD.encode([3; 32])),
            "CLIENT_KEY" => std::fs::read_to_string(self.base().join("secrets/client-key.pem")).ok(),
            "EMPTY" => Some("\n".to_owned()),
            "LEVEL" => Some("loud".to_owned()),
            "HOST" => Some("api.example.com".to_owned()),
            _ => None,
        }
    }

    /// Reads a configuration that stands in the directory.
    pub(super) fn read(&self, text: &str, format: Format) -> Result<Config, Complaints> {
        read(text, format, "gateway.yaml", self.base(), &|name| self.environment(name))
    }

    /// The example with `from` replaced by `to`, which must be in it.
    pub(super) fn example_with(from: &str, to: &str) -> String {
        assert_eq!(EXAMPLE.matches(from).count(), 1, "{from:?} is not in the example exactly once");
        EXAMPLE.replace(from, to)
    }
}
