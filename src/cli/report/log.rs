//! The report of access log lines: of one gateway or of many, in any order, with whatever else stands between them.
//!
//! Memory has an end, whatever the file holds: so many routes, so many clients of each, so long a line.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read as _};
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use crate::coverage::report::{Name, Report, Requests, Watched};
use crate::coverage::{CLIENTS, NAME_BYTES, Shown};
use crate::verify::enforcement::{Enforcement, Unenforced};

/// The longest line that is read. A gateway's own are shorter: paths are cut, and a name can be no longer than a token.
const LINE_BYTES: u64 = 1 << 20;
/// The most routes.
const ROUTES: usize = 10_000;

/// What of a line counts here; see [`crate::observe::access_log::Entry`].
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    decision: Cow<'l, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    route: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    client: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    binding: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    enforcement: Option<Cow<'l, str>>,
}

impl Line<'_> {
    /// When it was, in seconds since 1970.
    fn at(&self) -> Option<i64> {
        let time = humantime::parse_rfc3339(&self.time).ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(time.as_secs()).ok()
    }

    fn shown(&self) -> Option<Shown> {
        let bound = match self.binding.as_deref() {
            Some("none") => Some(Shown::Bearer),
            Some("dpop") => Some(Shown::Dpop),
            Some("mtls") => Some(Shown::Mtls),
            Some("both") => Some(Shown::Both),
            Some(_) | None => None,
        };
        let unbound =
            self.decision == "refused" && self.reason.as_deref() == Some(Unenforced::REFUSAL.label());
        bound.or(unbound.then_some(Shown::Refused))
    }

    fn name(&self) -> Name {
        match self.client.as_deref() {
            None => Name::Nameless,
            Some(client) if client.len() > NAME_BYTES => Name::Others,
            Some(client) => Name::Client(client.to_owned()),
        }
    }
}

/// One route, as far as lines tell.
#[derive(Debug)]
struct Seen {
    first: i64,
    last_enforced: Option<i64>,
    last_report_only: Option<i64>,
    clients: HashMap<Name, Requests>,
}

impl Seen {
    fn note(&mut self, line: &Line<'_>, at: i64) {
        self.first = self.first.min(at);
        let is_report_only = line.enforcement.as_deref() == Some(Enforcement::ReportOnly.name());
        let last = if is_report_only { &mut self.last_report_only } else { &mut self.last_enforced };
        *last = (*last).max(Some(at));
        let Some(shown) = line.shown() else { return };
        let name = line.name();
        let is_known = self.clients.contains_key(&name) || self.clients.len() < CLIENTS;
        self.clients.entry(if is_known { name } else { Name::Others }).or_default().note(shown, at);
    }

    /// As what the route is by now; `None` where it asks for no token, or nobody came with one.
    fn watched(self, route: String) -> Option<Watched> {
        let Self { first, last_enforced, last_report_only, clients } = self;
        let (enforcement, watched_since) = if last_report_only > last_enforced {
            // What it did while it was enforced says nothing of who stays away by choice.
            (Enforcement::ReportOnly, last_enforced.map_or(first, |last| last.max(first)))
        } else {
            (Enforcement::Enforce, first)
        };
        let says_something = enforcement == Enforcement::ReportOnly || !clients.is_empty();
        says_something.then(|| Watched {
            route,
            enforcement,
            since: first,
            watched_since,
            clients: clients.into_iter().collect(),
        })
    }
}

/// What lines tell.
#[derive(Debug, Default)]
pub(super) struct Lines {
    routes: BTreeMap<String, Seen>,
    last: Option<i64>,
    /// Lines that tell nothing.
    pub(super) passed_over: u64,
}

impl Lines {
    fn note(&mut self, line: &[u8]) {
        let understood = serde_json::from_slice::<Line<'_>>(line).ok();
        let Some((line, at)) = understood.and_then(|line| line.at().map(|at| (line, at))) else {
            self.passed_over += 1;
            return;
        };
        self.last = self.last.max(Some(at));
        let Some(route) = line.route.as_deref() else { return };
        if let Some(seen) = self.routes.get_mut(route) {
            seen.note(&line, at);
        } else if self.routes.len() < ROUTES && route.len() <= NAME_BYTES {
            let seen =
                Seen { first: at, last_enforced: None, last_report_only: None, clients: HashMap::new() };
            self.routes.entry(route.to_owned()).or_insert(seen).note(&line, at);
        } else {
            self.passed_over += 1;
        }
    }

    /// The report as of the last line: what came behind it nobody knows. `None` where there was no line.
    pub(super) fn report(self, quiet: u64) -> Option<Report> {
        let watched = self.routes.into_iter().filter_map(|(route, seen)| seen.watched(route)).collect();
        Some(Report::new(self.last?, quiet, watched))
    }
}

/// Reads lines to the end.
pub(super) fn read(mut from: impl BufRead) -> io::Result<Lines> {
    let (mut lines, mut line) = (Lines::default(), Vec::new());
    loop {
        line.clear();
        if from.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        if line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES {
            if !line.trim_ascii().is_empty() {
                lines.note(&line);
            }
        } else {
            lines.passed_over += 1;
            skip_line(&mut from)?;
        }
    }
}

/// Passes over the rest of a line.
fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = from.fill_buf()?;
        match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                from.consume(end + 1);
                return Ok(());
            }
            None if buffer.is_empty() => return Ok(()),
            None => {
                let length = buffer.len();
                from.consume(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coverage::report::Verdict;

    fn line(second: u32, rest: &str) -> String {
        format!(
            "{{\"time\":\"2026-11-23T00:00:{second:02}.500Z\",\"request_id\":\"r\",\"decision\":\"forwarded\",\"status\":200{rest}}}\n"
        )
    }

    const BEARER: &str = ",\"route\":\"old\",\"client\":\"a\",\"binding\":\"none\",\"enforcement\":\"report-only\",\"would_refuse\":\"token_unbound\"";
    const DPOP: &str =
        ",\"route\":\"old\",\"client\":\"a\",\"binding\":\"dpop\",\"enforcement\":\"report-only\"";
    const ENFORCED: &str = ",\"route\":\"old\",\"client\":\"a\",\"binding\":\"dpop\"";

    fn report(text: &str) -> Report {
        read(text.as_bytes()).expect("memory can be read").report(10).expect("a line")
    }

    #[test]
    fn lines_in_any_order_with_others_between_them() {
        let text = [
            line(9, DPOP),
            "not JSON\n\n{}\n[]\n{\"time\":\"soon\",\"decision\":\"forwarded\"}\n".to_owned(),
            line(3, BEARER),
            line(5, BEARER),
            line(7, ",\"route\":\"public\""),
            line(8, ""),
            line(4, ",\"route\":\"new\",\"client\":\"b\",\"reason\":\"token_unbound\"")
                .replace("forwarded", "refused"),
            line(4, ",\"route\":\"new\",\"client\":\"c\",\"reason\":\"token_expired\"")
                .replace("forwarded", "refused"),
        ]
        .concat();
        let lines = read(text.as_bytes()).expect("read");
        assert_eq!(lines.passed_over, 4);
        let report = lines.report(10).expect("lines");
        let names: Vec<&str> = report.routes.iter().map(|route| route.route.as_str()).collect();
        assert_eq!(names, ["new", "old"], "nobody shows anything at the third");
        let (new, old) = (&report.routes[0], &report.routes[1]);
        assert_eq!((new.verdict, new.shares.requests.refused, new.shares.total), (Verdict::Enforced, 1, 1));
        assert_eq!(
            (old.verdict, old.shares.requests.bearer, old.shares.requests.dpop),
            (Verdict::Bearers, 2, 1)
        );
        assert_eq!(old.watched_since, report.at - 6);
        assert_eq!(old.shares.requests.first_bearer, Some(report.at - 6));
    }

    #[test]
    fn what_a_route_is_by_its_last_line() {
        // Watched from the last line on in which it was enforced.
        let text = [line(0, BEARER), line(20, ENFORCED), line(31, DPOP)].concat();
        let route = report(&text).routes.remove(0);
        assert_eq!((route.enforcement, route.watched_since), (Enforcement::ReportOnly, route.since + 20));
        assert_eq!(route.verdict, Verdict::Ready);
        let text = [line(0, BEARER), line(25, ENFORCED), line(31, DPOP)].concat();
        assert_eq!(report(&text).routes[0].verdict, Verdict::WatchedTooShort);
        let text = [line(0, DPOP), line(1, ENFORCED)].concat();
        assert_eq!(report(&text).routes[0].verdict, Verdict::Enforced);
    }

    #[test]
    fn what_is_endless_is_passed_over() {
        let mut text = line(1, DPOP).into_bytes();
        text.extend(vec![b'x'; 3 * LINE_BYTES as usize]);
        text.push(b'\n');
        text.extend(line(2, DPOP).into_bytes());
        for number in 0..CLIENTS + 7 {
            text.extend(line(3, &DPOP.replace("\"a\"", &format!("\"c{number}\""))).into_bytes());
        }
        let lines = read(&text[..]).expect("read");
        assert_eq!(lines.passed_over, 1);
        let report = lines.report(1).expect("lines");
        assert_eq!(report.routes[0].shares.total, 2 + CLIENTS as u64 + 7);
        assert_eq!(report.routes[0].clients.len(), CLIENTS + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let lines = read(&bytes[..]).expect("memory can be read");
            prop_assert!(lines.passed_over <= bytes.len() as u64);
        }

        #[test]
        fn any_name_is_counted(client in any::<String>(), route in ".{1,64}") {
            let written = serde_json::json!({
                "time": "2026-11-23T00:00:00Z", "decision": "forwarded", "route": route, "client": client, "binding": "none",
                "enforcement": "report-only",
            });
            let report = report(&format!("{written}\n"));
            let counted = &report.routes[0];
            prop_assert_eq!((&counted.route, counted.shares.requests.bearer), (&route, 1));
            // And nothing of either leaves its line.
            let table = super::super::table::table(&report);
            prop_assert_eq!(table.lines().count(), 5, "{}", table);
            prop_assert!(!table.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
