//! The files of a development set-up: which there are, what each is for, and that none is lost by making them again.
//!
//! Their names are those of the sample configuration, so that it starts with them as it stands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::pki::{Authority, Identity, PkiError, Validity};
use super::token::{IssuerKey, MintError};
use crate::caller::private_file;
use crate::verify::time::UnixTime;

/// How long the certificates last: long enough not to surprise anyone in the middle of something, short enough for clients that refuse more than 825 days.
const DAYS: u16 = 365;

/// The names a development server answers to, besides those that are asked for.
pub const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Anyone.
    Public,
    /// Its owner: mode 0600, never committed.
    Private,
}

/// One file.
pub struct DevelopmentFile {
    /// Its name, without a directory.
    pub name: &'static str,
    /// What it is for, one line.
    pub purpose: &'static str,
    /// Who may read it.
    pub secrecy: Secrecy,
    contents: String,
}

impl DevelopmentFile {
    /// What is in it. Secret where `secrecy` says so.
    pub fn contents(&self) -> &str {
        &self.contents
    }
}

/// Why the files are not there.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The issuer's key cannot be made.
    #[error(transparent)]
    Issuer(#[from] MintError),
    /// Files are there already. Nothing was written.
    #[error("already there, nothing was written: {}; --force replaces them all", .0.join(", "))]
    Exists(Vec<&'static str>),
    /// One cannot be written.
    #[error("cannot write {path}: {1}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Makes the whole set, for a server with `names` besides [`SERVER_NAMES`]. Nothing is written yet.
///
/// Two authorities sign them, one for servers and one for clients, so that trusting the one is not trusting the other. The keys of
/// both are dropped: a development root that cannot sign any more is harmless in a trust store.
///
/// # Errors
/// [`FilesError::Pki`] when a name is none, [`FilesError::Issuer`].
pub fn make(names: &[&str], now: UnixTime) -> Result<Vec<DevelopmentFile>, FilesError> {
    let validity = Validity { now, days: DAYS };
    let servers = Authority::new("holdfast development CA for servers", validity)?;
    let clients = Authority::new("holdfast development CA for clients", validity)?;
    let server = servers.server(&[&SERVER_NAMES, names].concat())?;
    let (client, other) = (clients.client("client")?, clients.client("other-client")?);
    let issuer = IssuerKey::generate()?;

    let public =
        |name, purpose, contents| DevelopmentFile { name, purpose, secrecy: Secrecy::Public, contents };
    let private =
        |name, purpose, contents| DevelopmentFile { name, purpose, secrecy: Secrecy::Private, contents };
    let key = |name, purpose, of: &Identity| private(name, purpose, of.key_pem());
    Ok(vec![
        public("ca.pem", "whom callers trust: curl --cacert certs/ca.pem", servers.certificate_pem()),
        public("server.pem", "the gateway's certificate", server.certificate_pem()),
        key("server.key", "its key", &server),
        public(
            "clients-ca.pem",
            "whom the gateway trusts: client_certificates.trust.ca",
            clients.certificate_pem(),
        ),
        public("client.pem", "a caller's certificate", client.certificate_pem()),
        key("client.key", "its key", &client),
        public(
            "other-client.pem",
            "another caller's certificate, to be refused with",
            other.certificate_pem(),
        ),
        key("other-client.key", "its key", &other),
        public(
            "issuer.jwks.json",
            "the issuer's public key: issuers[].keys.jwks_file",
            format!("{}\n", issuer.jwks()),
        ),
        private(
            "issuer.key",
            "the key that signs access tokens (ES256, PKCS#8)",
            issuer.to_pkcs8_pem().to_string(),
        ),
    ])
}

/// What to do with files that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave them, and write nothing at all: half an old and half a new set fits nowhere.
    Keep,
    /// Replace them.
    Replace,
}

/// Writes the set into `directory`.
///
/// # Errors
/// [`FilesError::Exists`], [`FilesError::Write`].
pub fn write(files: &[DevelopmentFile], directory: &Path, existing: Existing) -> Result<(), FilesError> {
    if existing == Existing::Keep {
        let there: Vec<_> = files
            .iter()
            .filter(|file| directory.join(file.name).symlink_metadata().is_ok())
            .map(|file| file.name)
            .collect();
        if !there.is_empty() {
            return Err(FilesError::Exists(there));
        }
    }
    for file in files {
        let path = directory.join(file.name);
        match file.secrecy {
            Secrecy::Public => fs::write(&path, &file.contents),
            Secrecy::Private => private_file::replace(&path, &file.contents),
        }
        .map_err(|error| FilesError::Write(path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::{DevelopmentFile, Existing, FilesError, IssuerKey, Secrecy, UnixTime, make, write};

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn set() -> Vec<DevelopmentFile> {
        make(&["api.example.com"], NOW).expect("a set")
    }

    #[test]
    fn each_file_is_what_its_name_says() {
        let directory = tempfile::tempdir().expect("a directory");
        write(&set(), directory.path(), Existing::Keep).expect("written");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for (certificate, key) in [
            ("server.pem", "server.key"),
            ("client.pem", "client.key"),
            ("other-client.pem", "other-client.key"),
        ] {
            let chain =
                vec![CertificateDer::from_pem_slice(read(certificate).as_bytes()).expect(certificate)];
            let key = PrivateKeyDer::from_pem_slice(read(key).as_bytes()).expect(key);
            rustls::sign::CertifiedKey::from_der(chain, key, &provider)
                .expect("usable")
                .keys_match()
                .expect("one pair");
        }
        for ca in ["ca.pem", "clients-ca.pem"] {
            let der = CertificateDer::from_pem_slice(read(ca).as_bytes()).expect(ca);
            rustls::RootCertStore::empty().add(der).expect(ca);
        }
        let issuer = IssuerKey::from_pem(&read("issuer.key")).expect("the issuer's key");
        assert_eq!(read("issuer.jwks.json").trim_end(), issuer.jwks());
    }

    #[test]
    fn only_the_owner_reads_what_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let set = set();
        write(&set, directory.path(), Existing::Keep).expect("written");
        for file in &set {
            let secret = file.contents().contains("PRIVATE KEY");
            assert_eq!(file.secrecy == Secrecy::Private, secret, "{}", file.name);
            let mode = fs::metadata(directory.path().join(file.name)).expect(file.name).permissions().mode();
            assert!(!secret || mode & 0o777 == 0o600, "{}", file.name);
        }
    }

    #[test]
    fn nothing_is_replaced_unless_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let server = directory.path().join("server.pem");
        fs::write(&server, "mine").expect("written");
        let refused = write(&set(), directory.path(), Existing::Keep);
        assert!(matches!(refused, Err(FilesError::Exists(names)) if names == ["server.pem"]));
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing was written");
        write(&set(), directory.path(), Existing::Replace).expect("replaced");
        assert_ne!(fs::read_to_string(&server).expect("read"), "mine");
    }

    /// The sample configuration and these files must not drift apart, nor may git take one of them.
    #[test]
    fn git_ignores_every_file() {
        let ignored = include_str!("../../.gitignore");
        for file in set() {
            let ending = file.name.rsplit('.').next().expect("an ending");
            assert!(ignored.lines().any(|line| line == format!("/certs/*.{ending}")), "{}", file.name);
        }
    }
}
