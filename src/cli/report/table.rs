//! A report for people: of each route one sentence, and a table of its clients.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::coverage::report::{Report, Requests, Route, Shares, seconds_between};
use crate::coverage::wording;

/// The most clients of a route that are shown.
const ROWS: usize = 50;

/// The end of the year 9999, behind which a date has no form. Whoever answers in an admin listener's place may say anything.
const LAST: u64 = 253_402_300_799;

const COLUMNS: [&str; 8] = ["client", "requests", "bearer", "dpop", "mtls", "both", "refused", "last bearer"];

/// The report as text. Nothing in it that somebody else has named leaves its place.
pub(super) fn table(report: &Report) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(report.at).unwrap_or(0).min(LAST));
    let mut text = format!(
        "as of {}; ready is a route without a bearer for {}\n",
        humantime::format_rfc3339_seconds(at),
        wording::duration(report.quiet)
    );
    if report.routes.is_empty() {
        text.push_str("no route asks for a token\n");
    }
    for route in &report.routes {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} [{}]: {}",
            wording::printable(&route.route),
            route.enforcement.name(),
            wording::reason(route, report.at, report.quiet)
        );
        rows(&mut text, route, report.at);
    }
    text
}

fn rows(text: &mut String, route: &Route, at: i64) {
    if route.clients.is_empty() {
        return;
    }
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.push(cells("all".to_owned(), &route.shares, at));
    let shown = route.clients.iter().take(ROWS);
    lines.extend(shown.map(|client| cells(wording::name(&client.name), &client.shares, at)));
    let mut widths = [0; COLUMNS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in &lines {
        let mut row = String::from(" ");
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // The name stands at the left, numbers at the right.
            let _ =
                if column == 0 { write!(row, " {cell:<width$}") } else { write!(row, "  {cell:>width$}") };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    if let Some(more) = route.clients.len().checked_sub(ROWS).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} clients more: --json has them all");
    }
}

fn cells(name: String, shares: &Shares, at: i64) -> [String; COLUMNS.len()] {
    let requests = shares.requests;
    let number = |number: u64| match number {
        0 => "-".to_owned(),
        _ => format!("{number} ({:.1}%)", 100.0 * requests.share(number)),
    };
    let Requests { bearer, dpop, mtls, both, refused, last_bearer, .. } = requests;
    let last = last_bearer.map_or_else(
        || "-".to_owned(),
        |last| format!("{} ago", wording::duration(seconds_between(last, at))),
    );
    [
        name,
        requests.total().to_string(),
        number(bearer),
        number(dpop),
        number(mtls),
        number(both),
        number(refused),
        last,
    ]
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::coverage::report::{Name, Report, Requests, Watched};
    use crate::verify::enforcement::Enforcement;

    #[test]
    fn a_table_a_person_can_read() {
        const AT: i64 = 1_700_000_000;
        let bearer = Requests {
            bearer: 3,
            dpop: 1,
            first_bearer: Some(AT - 500),
            last_bearer: Some(AT - 90),
            last_bound: Some(AT),
            ..Requests::default()
        };
        let bound = Requests { mtls: 96, last_bound: Some(AT), ..Requests::default() };
        let watched = Watched {
            route: "old".into(),
            enforcement: Enforcement::ReportOnly,
            since: AT - 600,
            watched_since: AT - 600,
            clients: vec![(Name::Nameless, bound), (Name::Client("\u{1b}[1mapp\r".into()), bearer)],
        };
        let quiet = Watched { route: "quiet".into(), clients: Vec::new(), ..watched.clone() };
        assert_eq!(
            table(&Report::new(AT, 86_400, vec![watched, quiet])),
            "as of 2023-11-14T22:13:20Z; ready is a route without a bearer for 1day\n\
             old [report-only]: not ready: still a bearer: \\u{1b}[1mapp\\r (3 requests, the last 1m 30s ago)\n\
             \x20 client          requests     bearer       dpop         mtls  both  refused  last bearer\n\
             \x20 all                  100   3 (3.0%)   1 (1.0%)   96 (96.0%)     -        -   1m 30s ago\n\
             \x20 \\u{1b}[1mapp\\r         4  3 (75.0%)  1 (25.0%)            -     -        -   1m 30s ago\n\
             \x20 (no client_id)        96          -          -  96 (100.0%)     -        -            -\n\
             quiet [report-only]: not ready: no bound token was seen in the 10m that it was watched, so who would be refused is not known\n"
        );
        assert!(table(&Report::new(i64::MAX, u64::MAX, Vec::new())).starts_with("as of 9999"));
        assert!(table(&Report::new(AT, 1, Vec::new())).ends_with("no route asks for a token\n"));
    }

    #[test]
    fn a_crowd_is_cut() {
        let clients = (0..60)
            .map(|number| (Name::Client(format!("c{number}")), Requests { dpop: 1, ..Requests::default() }));
        let watched = Watched {
            route: "r".into(),
            enforcement: Enforcement::Enforce,
            since: 0,
            watched_since: 0,
            clients: clients.collect(),
        };
        let text = table(&Report::new(0, 1, vec![watched]));
        assert!(text.ends_with("  and 10 clients more: --json has them all\n"), "{text}");
        assert_eq!(text.lines().count(), 2 + 2 + 50 + 1);
    }
}
