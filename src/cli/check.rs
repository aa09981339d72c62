//! `holdfast check`: judges a configuration without starting anything, and says what it comes to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{
    self, Access, ClientCertificates, ClientTrust, Config, Environment, Listener, ListenerTls, PathMatch,
    Route, RouteMatch, Segment,
};
use crate::verify::enforcement::Enforcement;
use crate::verify::policy::{BindingRule, NonceRule};
use crate::verify::time::UnixTime;

/// Reads the configuration at `path` as `serve` would. Exit code 0 and a summary on standard output, or 1 and every complaint on standard
/// error. It tells nothing of whether the addresses are free or anything else is reachable.
pub fn run(path: &Path) -> ExitCode {
    // Before 1970 nothing has expired.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = UnixTime::from_seconds(i64::try_from(now).unwrap_or(i64::MAX));
    let verdict = judge(path, &|name| std::env::var(name).ok(), now);
    // Nobody reads a closed pipe, and the exit code says it all: `check | head` is no reason to panic.
    let _ = std::io::stdout().write_all(verdict.out.as_bytes());
    let _ = std::io::stderr().write_all(verdict.err.as_bytes());
    verdict.exit
}

/// Prints the configuration at `path` as it is in force. Exit code 0, or 1 and every complaint on standard error.
pub fn print(path: &Path) -> ExitCode {
    match config::print(path, &|name| std::env::var(name).ok()) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(complaints) => {
            let _ = writeln!(std::io::stderr(), "{complaints}");
            ExitCode::FAILURE
        }
    }
}

/// What the command ends with and prints.
struct Verdict {
    exit: ExitCode,
    out: String,
    err: String,
}

fn judge(path: &Path, environment: Environment<'_>, now: UnixTime) -> Verdict {
    match config::load(path, environment) {
        Ok(config) => Verdict {
            exit: ExitCode::SUCCESS,
            out: format!("{}: ok\n{}", path.display(), summary(&config)),
            err: warnings(&config, now),
        },
        Err(complaints) => {
            let mistakes = if complaints.len() == 1 { "mistake" } else { "mistakes" };
            let err = format!("{complaints}\n\n{}: {} {mistakes}\n", path.display(), complaints.len());
            Verdict { exit: ExitCode::FAILURE, out: String::new(), err }
        }
    }
}

/// What the configuration comes to: a line for each listener, issuer and route.
fn summary(config: &Config) -> String {
    let mut text = String::new();
    for (profile, routes) in config.profiles() {
        line(&mut text, "profile", profile.name(), &format!("on {}", routes.join(", ")));
    }
    for listener in &config.listeners {
        line(&mut text, "listener", &listener.name, &listener_text(listener));
    }
    for issuer in &config.issuers {
        let audiences = issuer.rules.audiences.join(", ");
        line(
            &mut text,
            "issuer",
            &issuer.rules.issuer,
            &format!("for {audiences}; {}", issuer.rules.algorithms),
        );
    }
    for route in &config.routes {
        let upstream = config.upstreams.get(route.upstream).map_or("", |upstream| &upstream.name);
        let matched = match_text(&route.matches);
        let becomes = rewrite_text(route);
        let access = access_text(route);
        line(&mut text, "route", &route.name, &format!("{matched} -> {upstream}{becomes}; {access}"));
    }
    match &config.admin {
        Some(admin) => line(&mut text, "admin", &admin.address.to_string(), "/livez, /readyz, /metrics"),
        None => line(&mut text, "admin", "none", "no health checks and no metrics"),
    }
    text
}

fn line(text: &mut String, kind: &str, name: &str, rest: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {kind:<8} {name}  {rest}");
}

fn listener_text(listener: &Listener) -> String {
    let origins: Vec<String> = listener.origins.iter().map(ToString::to_string).collect();
    let tls = match &listener.tls {
        ListenerTls::Plaintext => "plaintext".to_owned(),
        ListenerTls::Tls(settings) => {
            let version = if settings.only_tls13 { "TLS 1.3" } else { "TLS 1.2 and 1.3" };
            match &settings.client_certificates {
                ClientCertificates::None => format!("{version}, no client certificates"),
                ClientCertificates::Asked { required, trust } => {
                    let asked = if *required { "required" } else { "optional" };
                    let trusted = match trust {
                        ClientTrust::Any => "any".to_owned(),
                        ClientTrust::Ca(roots) => format!("from {} CAs", roots.len()),
                    };
                    format!("{version}, client certificates {asked}, {trusted}")
                }
            }
        }
    };
    format!("{} as {}; {tls}", listener.address, origins.join(", "))
}

fn match_text(matches: &RouteMatch) -> String {
    let (segments, rest) = match &matches.path {
        PathMatch::Exact(segments) => (segments, ""),
        PathMatch::Prefix(segments) => (segments, "/…"),
    };
    let path = path_text(segments);
    let methods: Vec<&str> = matches.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(", ") };
    format!("{methods} {}{path}{rest}", matches.host.as_deref().unwrap_or_default())
}

fn path_text(segments: &[Segment]) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Any => "/{}".to_owned(),
    };
    segments.iter().map(text).collect()
}

/// What the upstream sees of the path, where that is not what callers ask for.
fn rewrite_text(route: &Route) -> String {
    let Some(rewrite) = &route.onward.rewrite else { return String::new() };
    let (PathMatch::Exact(segments) | PathMatch::Prefix(segments)) = &route.matches.path;
    let stripped = path_text(segments.get(..rewrite.strip).unwrap_or_default());
    match (stripped.as_str(), rewrite.replace.as_str()) {
        (stripped, "") => format!(" without {stripped}"),
        ("", front) => format!(" with {front} in front"),
        (stripped, replace) => format!(" with {replace} for {stripped}"),
    }
}

fn access_text(route: &Route) -> String {
    let policy = match &route.access {
        Access::Public => return "public: no token".to_owned(),
        Access::Bound(policy) => policy,
    };
    let mut text = match policy.enforcement {
        Enforcement::Enforce => String::new(),
        Enforcement::ReportOnly => "report-only: an unbound token, or ".to_owned(),
    };
    text.push_str(match policy.binding {
        BindingRule::Any => "a bound token",
        BindingRule::Dpop => "a token bound to a DPoP key",
        BindingRule::Mtls => "a token bound to a certificate alone",
        BindingRule::Both => "a token bound to a DPoP key and a certificate",
    });
    if policy.nonce == NonceRule::Required && policy.binding.offers_dpop() {
        text.push_str(", a nonce in its proof");
    }
    for (what, values) in [("scopes", &policy.scopes), ("one of the audiences", &policy.audiences)] {
        if !values.is_empty() {
            let _ = write!(text, ", {what} {}", values.join(" "));
        }
    }
    text
}

/// How many seconds before a certificate ends its end is worth a warning: two weeks, which a renewal that fails takes to be noticed.
const SOON: i64 = 14 * 86_400;

/// What does not keep a gateway from starting and still wants a look.
fn warnings(config: &Config, now: UnixTime) -> String {
    let mut text = String::new();
    for listener in &config.listeners {
        let ListenerTls::Tls(settings) = &listener.tls else { continue };
        for certificate in &settings.certificates {
            let left = certificate.expires().map(|expires| expires.since(now));
            let which =
                format!("listener {}: the certificate for {}", listener.name, certificate.names.join(", "));
            // Writing to a string cannot fail.
            let _ = match left {
                Some(seconds) if seconds < 0 => writeln!(text, "warning: {which} has expired"),
                Some(seconds) if seconds < SOON => {
                    writeln!(text, "warning: {which} expires in {} hours", seconds / 3600)
                }
                Some(_) | None => Ok(()),
            };
        }
    }
    for route in &config.routes {
        match &route.access {
            Access::Bound(policy) if policy.enforcement == Enforcement::ReportOnly => {
                let _ = writeln!(
                    text,
                    "warning: route {} is report-only: whoever holds a token that is bound to nothing is let through",
                    route.name
                );
            }
            Access::Bound(_) | Access::Public => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::{UnixTime, judge, summary, warnings};
    use crate::config::{Config, Format, read};

    fn config(directory: &std::path::Path) -> Config {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["api.example.com".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        std::fs::write(directory.join("a.pem"), certificate.pem() + &key.serialize_pem()).expect("written");
        let text = "
listeners:
  - name: public
    address: 127.0.0.1:8443
    public_urls: [https://api.example.com]
    tls: { certificates: [{ chain: a.pem, key: a.pem }], client_certificates: { trust: any } }
issuers: [{ issuer: https://as.example.com, audiences: [a], algorithms: [ES256], keys: { discovery: true } }]
upstreams: { u: { servers: [http://127.0.0.1:2] } }
routes:
  - { name: r, match: { path_prefix: /, host: api.example.com }, upstream: u, require: { scopes: [x, y], nonce: required } }
  - { name: old, match: { path_prefix: /old }, upstream: u, enforcement: report-only }
  - { name: health, match: { path: '/h/{id}', methods: [GET] }, upstream: u, public: true }
  - { name: a, match: { path_prefix: '/a/{id}' }, upstream: u, public: true, forward: { rewrite: { strip_prefix: '/a/{id}' } } }
  - { name: b, match: { path_prefix: /b }, upstream: u, public: true, forward: { rewrite: { strip_prefix: /b, replace: /v2/b } } }
  - { name: c, match: { path_prefix: /c }, upstream: u, public: true, forward: { rewrite: { strip_prefix: /, replace: /v2 } } }
";
        let name = directory.join("gateway.yaml");
        std::fs::write(&name, text).expect("written");
        read(text, Format::Yaml, "gateway.yaml", directory, &|_| None)
            .unwrap_or_else(|complaints| panic!("{complaints}"))
    }

    #[test]
    fn the_summary_says_what_each_route_requires() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(
            summary(&config(directory.path())),
            "  listener public  127.0.0.1:8443 as https://api.example.com; TLS 1.2 and 1.3, client certificates optional, any\n\
             \x20 issuer   https://as.example.com  for a; ES256\n\
             \x20 route    r  any method api.example.com/… -> u; a bound token, a nonce in its proof, scopes x y\n\
             \x20 route    old  any method /old/… -> u; report-only: an unbound token, or a bound token\n\
             \x20 route    health  GET /h/{} -> u; public: no token\n\
             \x20 route    a  any method /a/{}/… -> u without /a/{}; public: no token\n\
             \x20 route    b  any method /b/… -> u with /v2/b for /b; public: no token\n\
             \x20 route    c  any method /c/… -> u with /v2 in front; public: no token\n\
             \x20 admin    none  no health checks and no metrics\n"
        );
    }

    #[test]
    fn a_route_that_lets_bearers_through_is_a_warning() {
        let directory = tempfile::tempdir().expect("a directory");
        let warned = warnings(&config(directory.path()), UnixTime::from_seconds(0));
        assert_eq!(
            warned,
            "warning: route old is report-only: whoever holds a token that is bound to nothing is let through\n"
        );
    }

    #[test]
    fn an_expired_certificate_is_a_warning() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config(directory.path());
        let warned = |at| {
            let warned = warnings(&config, UnixTime::from_seconds(at));
            let certificates = warned.lines().filter(|line| line.contains("certificate"));
            certificates.map(|line| format!("{line}\n")).collect::<String>()
        };
        // The certificate ends 2030-01-01T00:00:00Z.
        let end = 1_893_456_000;
        assert_eq!(warned(end - 15 * 86_400), "");
        assert!(warned(end - 86_400).ends_with("api.example.com expires in 24 hours\n"));
        assert!(warned(end + 1).ends_with("api.example.com has expired\n"));
    }

    #[test]
    fn the_exit_code_is_the_answer_and_the_count_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let _ = config(directory.path());
        let judged = |name: &str| judge(&directory.path().join(name), &|_| None, UnixTime::from_seconds(0));
        let good = judged("gateway.yaml");
        assert_eq!(good.exit, ExitCode::SUCCESS);
        assert!(
            good.out.contains("gateway.yaml: ok\n  listener public")
                && good.err.starts_with("warning: route old"),
            "{}",
            good.out
        );
        std::fs::write(directory.path().join("latin.yaml"), b"a: 1\nb: \xe9").expect("written");
        std::fs::write(directory.path().join("empty.json"), b"{}").expect("written");
        std::fs::create_dir(directory.path().join("directory.yaml")).expect("made");
        for (broken, said) in [
            ("none.yaml", "there is no such file"),
            ("a.pem", "the format is told by the ending"),
            ("latin.yaml", "latin.yaml:2:1: this line is not UTF-8"),
            ("directory.yaml", "it is not a file"),
            ("empty.json", "empty.json: 3 mistakes\n"),
        ] {
            let verdict = judged(broken);
            assert_eq!(verdict.exit, ExitCode::FAILURE, "{broken}");
            assert!(verdict.out.is_empty() && verdict.err.contains(said), "{}", verdict.err);
        }
    }
}
