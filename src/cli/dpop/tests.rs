//! `key` and `proof` as they are used: a key into a file, a proof out of it.

use std::fs;

use clap::Parser;

use super::{DpopCommand, DpopError, key, proof, read_text};
use crate::caller::key::DpopKey;
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::jws::{self, Compact};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: DpopCommand,
}

/// Runs `dpop` with these arguments; what it prints.
fn run(arguments: &[&str]) -> Result<String, DpopError> {
    let mut out = Vec::new();
    match Line::try_parse_from([&["dpop"], arguments].concat()).expect("arguments").command {
        DpopCommand::Key(arguments) => key(&arguments, &mut out)?,
        DpopCommand::Proof(arguments) => proof(&arguments, &mut out)?,
        DpopCommand::Curl(_) => panic!("curl has tests of its own"),
    }
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn a_key_is_written_once_and_its_thumbprint_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key.pem");
    let out = path.to_str().expect("a name");
    let shown = run(&["key", "--out", out]).expect("a key");
    let key = DpopKey::from_pem(&fs::read_to_string(&path).expect("written")).expect("a key");
    assert!(shown.contains(&key.thumbprint().to_string()) && shown.contains(&key.public_jwk()));
    assert!(!shown.contains("PRIVATE"));
    assert!(matches!(run(&["key", "--out", out]), Err(DpopError::Write(..))), "never over another");
    assert!(DpopKey::from_pem(&run(&["key"]).expect("a key on standard output")).is_ok());
}

#[test]
fn a_proof_is_for_the_token_in_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (key, token) = (directory.path().join("key.pem"), directory.path().join("token"));
    let (key, token) = (key.to_str().expect("a name"), token.to_str().expect("a name"));
    run(&["key", "--out", key]).expect("a key");
    // As `echo` and most editors leave it.
    fs::write(token, "abc.def\n").expect("written");
    let url = "https://api.example.com/x?y=z";
    let printed = run(&[
        "proof",
        "--key",
        key,
        "--url",
        url,
        "--token-file",
        token,
        "--nonce",
        "n1",
        "--method",
        "POST",
    ])
    .expect("a proof");
    let line = printed.strip_suffix('\n').expect("one line");
    let jws = Compact::read(line).expect("a proof and nothing else");
    let claims = jws.claims().expect("claims");
    let claim = |name| jws::string(&claims, name);
    assert_eq!(claim("ath"), Some(Digest::<AccessToken>::of(b"abc.def").to_base64url().as_str()));
    assert_eq!(claim("htm"), Some("POST"));
    assert_eq!(claim("htu"), Some("https://api.example.com/x"));
    assert_eq!(claim("nonce"), Some("n1"));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key.pem");
    let key = key.to_str().expect("a name");
    run(&["key", "--out", key]).expect("a key");
    let url = "https://api.example.com/";
    for token in ["", " ", "two tokens", "caf\u{e9}", "line\nbreak"] {
        let proof = run(&["proof", "--key", key, "--url", url, "--token", token]);
        assert!(matches!(proof, Err(DpopError::Token)), "{token:?}");
    }
    assert!(matches!(run(&["proof", "--key", key, "--url", "/x"]), Err(DpopError::Url(..))));
    assert!(matches!(run(&["proof", "--key", "/nowhere", "--url", url]), Err(DpopError::Read(..))));
    let both = ["dpop", "proof", "--key", key, "--url", url, "--token", "a", "--token-file", "b"];
    assert!(Line::try_parse_from(both).is_err(), "one token, from one place");
    assert!(!format!("{:?}", Line::try_parse_from(&both[..8]).expect("arguments")).contains("\"a\""));
}

/// A file that is cut would be another token, or half a body, and nobody would say so.
#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    for (bytes, fits) in [(65_536, true), (65_537, false), (200_000, false)] {
        fs::write(&path, "x".repeat(bytes)).expect("written");
        let read = read_text(&path);
        assert_eq!(read.is_ok_and(|text| text.len() == bytes), fits, "{bytes}");
    }
}
