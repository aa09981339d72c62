//! `holdfast report`, the real binary: of a gateway that runs and of its log.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::house::{House, Plan};
use crate::process::{Process, wait};
use crate::report_only::unbound;
use crate::scene::Scene;
use crate::scripted;

const ROUTES: &str =
    "  - { name: old, match: { path_prefix: /old }, upstream: echo, enforcement: report-only }\n";

/// What of `/report` a log tells too.
const TOLD: [&str; 9] =
    ["route", "enforcement", "verdict", "total", "bearer", "dpop", "refused", "clients", "ready"];

/// Runs the command beside a house's files, with this on its standard input.
async fn report(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("report").args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, input) = (command.spawn().expect("the binary starts"), input.to_owned());
    let ended = tokio::task::spawn_blocking(move || {
        // It may end without reading.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    });
    ended.await.expect("no one panicked")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Of `old`, what a log tells too; times aside, since lines have those at which they end.
fn told(json: &str) -> Value {
    let report: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let routes = report["routes"].as_array().expect("routes");
    let old = routes.iter().find(|route| route["route"] == "old").expect("old");
    let mut told: Value = TOLD
        .iter()
        .map(|name| ((*name).to_owned(), old[name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for client in told["clients"].as_array_mut().expect("clients") {
        let times = ["first_bearer", "last_bearer", "last_refused", "last_bound"];
        client.as_object_mut().expect("a client").retain(|name, _| !times.contains(&name.as_str()));
    }
    told
}

/// A gateway in a process of its own, and in its directory `gateway.yaml` with its addresses and `access.log` with its lines.
async fn played() -> (House, Process, String) {
    let mut house = House::built(Plan { routes: ROUTES, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: json }").await;
    let mut requests = 0;
    for (client, is_bearer) in [
        ("app", false),
        ("app", false),
        ("evil\u{1b}[2J\r\nold [enforce]", true),
        ("batch", true),
        ("batch", true),
    ] {
        let mut scene = Scene::at(&house, "/old");
        scene.token_claims["client_id"] = json!(client);
        if is_bearer {
            unbound(&mut scene);
        }
        assert_eq!(scene.send(&house).await.status, 200);
        requests += 1;
    }
    wait("the lines are written", async || process.stdout().lines().count() >= requests).await;
    let log = process.stdout();
    let admin = format!("admin: {{ address: {} }}", house.admin);
    house.write("gateway.yaml", &house.text().replace("admin: { address: 127.0.0.1:0 }", &admin));
    house.write("access.log", &log);
    (house, process, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_and_its_log_say_the_same() {
    let (house, process, log) = played().await;
    let directory = house.directory.path();
    let url = format!("http://{}", house.admin);
    let asked = report(directory, &["--admin", &url], "").await;
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let table = text(&asked.stdout);
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table:?}");
    let about = table.lines().find(|line| line.starts_with("old ")).expect("a sentence");
    assert!(about.starts_with("old [report-only]: not ready: still a bearer: "), "{about}");
    assert!(
        about.contains("batch (2 requests, the last ") && about.contains("evil\\u{1b}[2J\\r\\n"),
        "{about}"
    );
    let row = table.lines().find(|line| line.trim_start().starts_with("batch ")).expect("a row");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>()[..4], ["batch", "2", "2", "(100.0%)"]);
    assert!(table.contains("(60.0%)") && table.contains("(40.0%)"), "{table}");
    for arguments in [&["--config", "gateway.yaml", "--json"][..], &["--admin", &url, "--json"]] {
        let asked = report(directory, arguments, "").await;
        assert_eq!(asked.status.code(), Some(0), "{asked:?}");
        let (_, answered) = house.ask_admin("/report").await;
        assert_eq!(told(text(&asked.stdout)), told(&answered));
    }
    // The lines twice are twice as many requests; what is none is told of.
    let (_, answered) = house.ask_admin("/report").await;
    let read = report(directory, &["--log", "access.log", "--json"], "").await;
    assert_eq!((read.status.code(), text(&read.stderr)), (Some(0), ""));
    assert_eq!(told(text(&read.stdout)), told(&answered));
    let mixed = format!("started\n{log}{{\"half\": \n{log}");
    let read = report(directory, &["--log", "-", "--json"], &mixed).await;
    assert!(text(&read.stderr).contains("2 lines are no access log lines"), "{read:?}");
    assert_eq!(told(text(&read.stdout))["total"], 10);
    drop(process);
    let gone = report(directory, &["--admin", &url], "").await;
    assert!(
        gone.status.code() == Some(1) && text(&gone.stderr).contains("is the gateway running"),
        "{gone:?}"
    );
}

/// The README's own commands, as they stand there.
#[tokio::test(flavor = "multi_thread")]
async fn as_the_readme_has_it() {
    let (house, _process, _) = played().await;
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## From bearer to bound\n").expect("the section");
    let (_, rest) = section.split_once("```sh\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    assert_eq!(block.lines().count(), 2, "{block}");
    let binary = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().expect("a directory");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    for line in block.lines().map(str::to_owned) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("PATH", &path).current_dir(house.directory.path()).stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || shell.output().expect("a shell"))
            .await
            .expect("no one panicked");
        let said = text(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("old [report-only]: not ready: still a bearer"),
            "{line}: {ended:?}"
        );
    }
}

/// Errors that name the mend, and no panic, whoever answers and whoever reads.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_go_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("empty.log"), "\n").expect("written");
    std::fs::write(path.join("broken.yaml"), "listeners: 1\n").expect("written");
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let angry = "HTTP/1.1 403 Forbidden\r\ncontent-length: 11\r\n\r\nnot \u{1b}[31mus";
    let hostile = {
        let body = json!({"at": i64::MAX, "quiet": u64::MAX, "routes": [{
            "route": "\u{1b}[2J\n", "enforcement": "report-only", "since": i64::MIN, "watched_since": i64::MIN, "ready": true,
            "verdict": "ready", "reason": "\u{7}", "total": 0, "bearer": u64::MAX, "dpop": u64::MAX, "mtls": 1, "both": 1, "refused": 1,
            "first_bearer": i64::MAX, "last_bearer": i64::MIN, "last_refused": null, "last_bound": null,
            "share": {"bearer": 1e308, "dpop": -1.0, "mtls": 0.0, "both": 0.0, "refused": 0.0}, "clients": []
        }]})
        .to_string();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    // What is no report is repeated in the reason.
    let riddle = hostile.replace("\"verdict\":\"ready\"", "\"verdict\":\"\\u001b\"");
    let url = |address: std::net::SocketAddr| format!("http://{address}");
    let [page, angry, hostile, riddle] = [
        url(scripted::answering(page.as_bytes()).await),
        url(scripted::answering(angry.as_bytes()).await),
        url(scripted::answering(hostile.leak().as_bytes()).await),
        url(scripted::answering(riddle.leak().as_bytes()).await),
    ];
    for (arguments, code, said) in [
        (&["--log", "none.log"][..], 1, "none.log cannot be read"),
        (&["--log", "."], 1, "cannot be read"),
        (&["--log", "empty.log"], 1, "log: { access: json }"),
        (&["--config", "broken.yaml"], 1, "broken.yaml:1:12"),
        (&["--config", "none.yaml"], 1, "there is no such file"),
        (&["--admin", "http://127.0.0.1:1"], 1, "is the gateway running"),
        (&["--admin", &page], 1, "does not answer as an admin listener does"),
        (&["--admin", &angry], 1, "403 Forbidden: not ?[31mus"),
        (&["--admin", &riddle], 1, "unknown variant `?`"),
        (&["--admin", "https://127.0.0.1:1"], 2, "http, a host and a port"),
        (&["--quiet", "soon"], 2, "such as 7d"),
        (&["--config", "a", "--log", "b"], 2, "cannot be used with"),
        (&["--admin", "http://a", "--log", "b"], 2, "cannot be used with"),
        (&["--admin", &hostile], 0, ""),
    ] {
        let ended = report(path, arguments, "").await;
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        let err = text(&ended.stderr);
        assert!(
            err.contains(said) && !err.contains("panicked") && !err.contains('\u{1b}'),
            "{arguments:?}: {err}"
        );
        assert!(!text(&ended.stdout).chars().any(|c| c.is_control() && c != '\n'), "{ended:?}");
    }
    // A pipe that nobody reads, and a standard error as well.
    let line = "{\"time\":\"2026-11-23T00:00:00Z\",\"decision\":\"forwarded\",\"route\":\"r\",\"binding\":\"dpop\"}\nx\n";
    std::fs::write(path.join("access.log"), line).expect("written");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "{ \"$0\" report --log access.log 2>&1; echo code $? >&2; } | true",
        env!("CARGO_BIN_EXE_holdfast"),
    ]);
    let ended = shell.current_dir(path).output().expect("a shell");
    assert_eq!(text(&ended.stderr), "code 0\n");
}
