//! The README is true: its configuration starts and serves, its table of refusals is the gateway's, its commands exist.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use holdfast::accept::refusal::Refusal;
use holdfast::caller::key::DpopKey;
use holdfast::cli::Cli;
use holdfast::clock::Clock;
use holdfast::demo::files::{self, Existing};
use holdfast::forward::Fault;
use holdfast::verify::rejection::Rejection;
use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::process::{Process, catch_up, wait};
use crate::scene::Scene;
use crate::scripted;

/// The line before the table of refusals.
const TABLE: &str = "<!-- tests/it/readme.rs compares this table with src/verify/rejection.rs -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The fenced blocks of that language.
fn blocks<'r>(readme: &'r str, language: &str) -> Vec<&'r str> {
    let start = format!("```{language}\n");
    readme
        .split(start.as_str())
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the end of a block").0)
        .collect()
}

/// What the README's table has to be.
fn table() -> String {
    let mut table = String::from("| reason | status | error | what to do |\n|---|---|---|---|\n");
    for rejection in Rejection::ALL {
        let error = rejection.code().error().map_or_else(|| "–".to_owned(), |error| format!("`{error}`"));
        // A pipe would end the cell.
        let sentence = rejection.sentence().replace('|', "\\|");
        table += &format!("| `{}` | {} | {error} | {sentence} |\n", rejection.label(), rejection.status());
    }
    table
}

/// `HOLDFAST_BLESS=1` writes it anew.
#[test]
fn the_table_of_refusals_is_the_gateways() {
    let readme = readme();
    let (before, rest) = readme.split_once(TABLE).expect("the place of the table");
    let (present, after) = rest.split_once("\n\n").expect("an empty line behind the table");
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        fs::write(root().join("README.md"), format!("{before}{TABLE}{}\n{after}", table())).expect("written");
        return;
    }
    assert_eq!(
        format!("{present}\n"),
        table(),
        "HOLDFAST_BLESS=1 cargo test --test it -- readme writes it anew"
    );
}

/// What is refused without being a request, and the trouble behind a permit, are named in the text.
#[test]
fn every_other_reason_is_named() {
    let readme = readme();
    let unheard = [
        Refusal::Malformed,
        Refusal::HostInvalid,
        Refusal::FramingAmbiguous,
        Refusal::HeadTooLarge,
        Refusal::TooManyFields,
        Refusal::TargetTooLong,
        Refusal::VersionUnknown,
        Refusal::HeadTimeout,
    ];
    let unheard = unheard.map(|refusal| (refusal.label(), refusal.status()));
    for (label, status) in unheard.into_iter().chain(Fault::ALL.map(|fault| (fault.label(), fault.status())))
    {
        let named = format!("`{label}` ({})", status.as_u16());
        assert!(readme.contains(&named) || readme.contains(&format!("| `{label}` | ")), "{named}");
    }
}

/// From the words of the README to a request that passes, through the real binary.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_starts_and_serves() {
    let readme = readme();
    // The first is whole; those behind it are sections.
    let [yaml, ..] = blocks(&readme, "yaml")[..] else { panic!("a configuration") };
    let upstream = scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    // Its ports may be taken here.
    let mut text = yaml.to_owned();
    for (from, to) in [
        ("127.0.0.1:8443", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9901", "127.0.0.1:0".to_owned()),
        ("http://127.0.0.1:9000", format!("http://{upstream}")),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("certs")).expect("a directory");
    let set = files::make(&["api.example.com"], Clock::system().now()).expect("a set");
    files::write(&set, &directory.path().join("certs"), Existing::Keep).expect("written");
    let file = directory.path().join("gateway.yaml");
    fs::write(&file, &text).expect("written");

    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .expect("the binary starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let process = Process::serve(&file);
    // A house lends its callers; its own gateway is not asked.
    let mut house = House::built(Plan::default()).await;
    (house.address, house.admin) = process.addresses().await;
    wait("it is ready", async || house.ask_admin("/readyz").await.0 == 200).await;
    let contents = |name: &str| set.iter().find(|file| file.name == name).expect(name).contents().to_owned();
    house.issuer = DpopKey::from_pem(&contents("issuer.key")).expect("the issuer's key");
    let jwks: Value = serde_json::from_str(&contents("issuer.jwks.json")).expect("a key set");
    // The fence of a restart: proofs are from after the start.
    wait("a proof passes", async || {
        catch_up(&house);
        let mut scene = Scene::at(&house, "/accounts/1");
        scene.token_header["kid"] = jwks["keys"][0]["kid"].clone();
        let answer = scene.send(&house).await;
        assert!(answer.status == 200 || answer.reason() == "proof_before_start", "{answer:?}");
        answer.status == 200
    })
    .await;
    let mut scene = Scene::at(&house, "/accounts");
    scene.credentials = Some(Vec::new());
    assert_eq!(scene.send(&house).await.status, 401);
    scene.go_to("/healthz");
    assert_eq!(scene.send(&house).await.text(), "hi");
    scene.go_to("/elsewhere");
    assert_eq!(scene.send(&house).await.status, 404);
    let mut scene = Scene::at(&house, "/accounts");
    scene.token_header["kid"] = jwks["keys"][0]["kid"].clone();
    scene.token_claims["scope"] = json!("other");
    assert_eq!(scene.send(&house).await.status, 403);
}

/// Every command that the README shows, without its comment.
fn commands(readme: &str) -> Vec<String> {
    let lines = blocks(readme, "sh").into_iter().flat_map(str::lines).map(str::to_owned);
    let inline = readme.split('`').skip(1).step_by(2).filter(|text| !text.contains('\n')).map(str::to_owned);
    lines.chain(inline).map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn the_commands_exist() {
    let readme = readme();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut seen = 0;
    for command in commands(&readme) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["holdfast", ..] if words.len() > 1 => {
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
            }
            ["cargo", "run", "--release", "--", ref rest @ ..] => {
                Cli::try_parse_from(["holdfast"].iter().chain(rest))
                    .unwrap_or_else(|error| panic!("{command}: {error}"));
            }
            ["cargo", "run", "--release", "--example", name] => {
                assert!(manifest.contains(&format!("[[example]]\nname = \"{name}\"")), "{command}");
            }
            ["cargo", ..] if words.len() > 1 => panic!("how is this checked? {command}"),
            ["tests/run"] => assert!(root().join("tests/run").is_file()),
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} commands were found");
}

/// Files that the README links to or names by path, and its own sections.
#[test]
fn the_links_lead_somewhere() {
    let readme = readme();
    let headings = readme.lines().filter_map(|line| line.strip_prefix("## "));
    let sections: Vec<String> =
        headings.map(|heading| format!("#{}", heading.to_lowercase().replace(' ', "-"))).collect();
    for link in readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
        let leads = if link.starts_with('#') {
            sections.iter().any(|section| section == link)
        } else {
            link.starts_with("https://") || root().join(link).exists()
        };
        assert!(leads, "{link}");
    }
    for path in ["src/lib.rs", "src/verify/rejection.rs", "deploy/gateway.reference.yaml"] {
        assert!(readme.contains(path) && root().join(path).exists(), "{path}");
    }
}
