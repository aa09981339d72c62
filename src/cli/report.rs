//! `holdfast report`: who is a bearer still, by route and client, and which routes can be enforced. Of a running gateway, or of access log lines, which outlive
//! restarts and can be those of many replicas.
//!
//! Exit code 0 when there is a report, whatever it says; 1 when there is none, and why on standard error.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::{StatusCode, Uri};
use thiserror::Error;

use crate::config::{self, Complaints};
use crate::coverage::report::{LONGEST_QUIET, Report};

mod asked;
mod log;
mod table;

/// Where a gateway's admin listener is, where nobody says otherwise.
const ADMIN: &str = "http://127.0.0.1:9901";

/// `holdfast report`
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Ask the running gateway of this configuration, at its `admin.address`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "log"])]
    config: Option<PathBuf>,
    /// Ask the admin listener at this URL; by default http://127.0.0.1:9901
    #[arg(long, value_name = "URL", conflicts_with = "log", value_parser = admin)]
    admin: Option<Uri>,
    /// Read access log lines (log.access: json) from a file instead; `-` is standard input
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long nobody may have been a bearer before a route counts as ready
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = quiet)]
    quiet: u64,
    /// Print JSON, as GET /report answers it
    #[arg(long)]
    json: bool,
}

/// Why there is no report.
#[derive(Debug, Error)]
enum NoReport {
    #[error("{0}")]
    Configuration(Complaints),
    #[error("{} has no `admin`, so its gateway cannot be asked: add `admin: {{ address: 127.0.0.1:9901 }}`, or read its log with --log", .0.display())]
    NoAdmin(PathBuf),
    #[error("nobody answers at {0} ({1}): is the gateway running, and is that its admin listener (--admin)?")]
    Unreachable(String, io::Error),
    #[error("{0} does not answer as an admin listener does ({1}): give its address with --admin")]
    Unreadable(String, String),
    #[error("{0} says {1}: {2}")]
    Says(String, StatusCode, String),
    #[error("{0} has not answered within {1} s")]
    Late(String, u64),
    #[error("{path} cannot be read: {1}", path = .0.display())]
    Log(PathBuf, io::Error),
    #[error("there is no access log line in {}: `log: {{ access: json }}` has the gateway write them to its standard output", .0.display())]
    NoLines(PathBuf),
    #[error("the report cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Reads an admin listener's URL.
fn admin(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "not a URL such as http://127.0.0.1:9901".to_owned())?;
    let has_authority = uri.host().is_some_and(|host| !host.is_empty());
    // The admin listener speaks nothing else; a path would not be the one that is asked.
    if uri.scheme_str() != Some("http")
        || !has_authority
        || !matches!(uri.path(), "" | "/")
        || uri.query().is_some()
    {
        return Err("not a URL such as http://127.0.0.1:9901: http, a host and a port".to_owned());
    }
    Ok(uri)
}

/// Reads `--quiet`, as seconds.
fn quiet(text: &str) -> Result<u64, String> {
    let seconds = humantime::parse_duration(text).ok().map(|duration| duration.as_secs());
    let seconds = seconds.filter(|seconds| (1..=LONGEST_QUIET).contains(seconds));
    seconds.ok_or_else(|| "a duration of 1s to 365d, such as 7d".to_owned())
}

impl ReportArguments {
    /// Makes the report and prints it.
    pub async fn run(self) -> ExitCode {
        match self.text().await {
            Ok(text) => {
                // Nobody reads a closed pipe: `report | head` is no reason to panic.
                let _ = io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(reason) => {
                let _ = writeln!(io::stderr(), "holdfast report: {reason}");
                ExitCode::FAILURE
            }
        }
    }

    async fn text(&self) -> Result<String, NoReport> {
        let report = match (&self.log, &self.config, &self.admin) {
            (Some(path), _, _) => self.of_log(path)?,
            (None, Some(path), _) => asked::ask(&admin_of(path)?, self.quiet).await?,
            (None, None, Some(admin)) => asked::ask(admin, self.quiet).await?,
            (None, None, None) => asked::ask(&Uri::from_static(ADMIN), self.quiet).await?,
        };
        if self.json { Ok(serde_json::to_string(&report)? + "\n") } else { Ok(table::table(&report)) }
    }

    fn of_log(&self, path: &Path) -> Result<Report, NoReport> {
        let cannot = |error| NoReport::Log(path.to_owned(), error);
        let read = if path == Path::new("-") {
            log::read(io::stdin().lock())
        } else {
            log::read(io::BufReader::new(std::fs::File::open(path).map_err(cannot)?))
        };
        let read = read.map_err(cannot)?;
        if read.passed_over > 0 {
            let _ = writeln!(
                io::stderr(),
                "holdfast report: {} lines are no access log lines, or are beyond what is counted, and were passed over",
                read.passed_over
            );
        }
        read.report(self.quiet).ok_or_else(|| NoReport::NoLines(path.to_owned()))
    }
}

/// The admin listener's URL by a configuration.
fn admin_of(path: &Path) -> Result<Uri, NoReport> {
    let config = config::load(path, &|name| std::env::var(name).ok()).map_err(NoReport::Configuration)?;
    let mut address = config.admin.ok_or_else(|| NoReport::NoAdmin(path.to_owned()))?.address;
    if address.ip().is_unspecified() {
        // It listens on every address, and one of them is ours.
        address.set_ip(match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let url = format!("http://{address}");
    url.parse().map_err(|_| NoReport::Unreadable(url, "no URL".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{admin, quiet};

    #[test]
    fn urls_of_an_admin_listener() {
        for right in ["http://127.0.0.1:9901", "http://[::1]:9901/", "http://gateway.internal:9901"] {
            assert!(admin(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "127.0.0.1:9901",
            "https://a:1",
            "http://a:1/report",
            "http://a:1/?quiet=1d",
            "ftp://a",
            "http://",
            "/x",
        ] {
            assert!(admin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quiet_times() {
        assert_eq!(quiet("7d"), Ok(7 * 86_400));
        for wrong in ["0s", "366d", "500ms", "week", ""] {
            assert!(quiet(wrong).is_err(), "{wrong}");
        }
    }
}
