//! What is counted, in words for people.
//!
//! A `client_id` is whatever its issuer let somebody choose. On a terminal it must not move the cursor, turn the text around or seem to be another line, so what cannot be
//! seen is written as an escape.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Name, Route, Verdict, seconds_between};

/// The most characters of a name that are shown.
const NAME_CHARACTERS: usize = 48;
/// The most characters of a line that are shown.
const LINE_CHARACTERS: usize = 200;
/// The most names in one sentence.
const NAMES: usize = 3;

/// Whom a name stands for.
pub fn name(name: &Name) -> String {
    match name {
        Name::Client(client) => printable(client),
        Name::Nameless => "(no client_id)".to_owned(),
        Name::Others => "(all others)".to_owned(),
    }
}

/// A text that somebody else chose: within a line, and in quotes where it could be taken for something else.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(NAME_CHARACTERS) {
        match character {
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    let is_plain = !shown.is_empty() && !shown.contains(' ') && !shown.starts_with(['(', '"']);
    if is_plain { shown } else { format!("\"{shown}\"") }
}

/// A line that somebody else wrote, without what cannot be seen.
pub fn line(text: &str) -> String {
    let escaped = |character: char| if character.is_control() { '?' } else { character };
    text.chars().take(LINE_CHARACTERS).map(escaped).collect()
}

/// How long this is, by its two largest units.
pub fn duration(seconds: u64) -> String {
    let whole = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

/// Whether the route can be enforced and why, as one sentence.
pub fn reason(route: &Route, at: i64, quiet: u64) -> String {
    let ago = |time: i64| duration(seconds_between(time, at));
    let watched = ago(route.watched_since);
    let requests = route.shares.requests;
    match route.verdict {
        Verdict::Enforced => match requests.last_refused {
            None => "enforced".to_owned(),
            Some(last) => format!("enforced; an unbound token was last refused {} ago", ago(last)),
        },
        Verdict::Ready => match requests.last_bearer {
            None => format!("ready to be enforced: no bearer in the {watched} that it was watched"),
            Some(last) => format!("ready to be enforced: the last bearer was {} ago", ago(last)),
        },
        Verdict::NoTraffic => {
            format!(
                "not ready: no bound token was seen in the {watched} that it was watched, so who would be refused is not known"
            )
        }
        Verdict::WatchedTooShort => {
            format!(
                "not ready: no bearer in the {watched} that it was watched, which is less than {}",
                duration(quiet)
            )
        }
        Verdict::Bearers => {
            let bearers = || {
                route.clients.iter().filter_map(|client| Some((client, client.shares.requests.last_bearer?)))
            };
            let mut text = "not ready: still a bearer".to_owned();
            for (number, (client, last)) in bearers().take(NAMES).enumerate() {
                let separator = if number == 0 { ":" } else { "," };
                // Writing to a string cannot fail.
                let number = client.shares.requests.bearer;
                let plural = if number == 1 { "" } else { "s" };
                let _ = write!(
                    text,
                    "{separator} {} ({number} request{plural}, the last {} ago)",
                    name(&client.name),
                    ago(last)
                );
            }
            match bearers().count().saturating_sub(NAMES) {
                0 => {}
                more => {
                    let _ = write!(text, ", and {more} more");
                }
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Report, Requests, Watched};
    use super::*;
    use crate::verify::enforcement::Enforcement;

    const DAY: i64 = 86_400;
    const AT: i64 = 1_700_000_000;

    #[test]
    fn names_stay_in_their_line() {
        for (text, shown) in [
            ("app", "app"),
            ("https://app.example.com/id", "https://app.example.com/id"),
            ("o'brien", "o'brien"),
            ("élodie", "élodie"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("(all others)", "\"(all others)\""),
            ("a\nb", "a\\nb"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("a\\nb", "a\\\\nb"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let long = printable(&"x".repeat(1000));
        assert_eq!(long, format!("{}…", "x".repeat(NAME_CHARACTERS)));
    }

    fn client(name: &str, requests: Requests) -> (Name, Requests) {
        (Name::Client(name.to_owned()), requests)
    }

    fn bearer(ago: i64) -> Requests {
        Requests { bearer: 2, last_bearer: Some(AT - ago), ..Requests::default() }
    }

    fn bound(ago: i64) -> Requests {
        Requests { dpop: 1, last_bound: Some(AT - ago), ..Requests::default() }
    }

    fn judged(
        enforcement: Enforcement,
        watched: i64,
        clients: Vec<(Name, Requests)>,
    ) -> (Verdict, bool, String) {
        let watched = Watched {
            route: "r".into(),
            enforcement,
            since: AT - 100 * DAY,
            watched_since: AT - watched,
            clients,
        };
        let route = Report::new(AT, 7 * 86_400, vec![watched]).routes.remove(0);
        (route.verdict, route.ready, route.reason)
    }

    #[test]
    fn when_a_route_is_ready() {
        const LAX: Enforcement = Enforcement::ReportOnly;
        for (enforcement, watched, clients, verdict, reason) in [
            (LAX, 8 * DAY, vec![client("a", bound(5))], Verdict::Ready, "no bearer in the 8days that"),
            (LAX, 7 * DAY, vec![client("a", bound(5))], Verdict::Ready, "no bearer in the 7days that"),
            (LAX, 7 * DAY - 1, vec![client("a", bound(5))], Verdict::WatchedTooShort, "less than 7days"),
            (LAX, 8 * DAY, vec![], Verdict::NoTraffic, "not known"),
            (LAX, 8 * DAY, vec![client("a", bound(9 * DAY))], Verdict::NoTraffic, "not known"),
            (LAX, 9 * DAY, vec![client("a", bearer(8 * DAY))], Verdict::NoTraffic, "not known"),
            (
                LAX,
                9 * DAY,
                vec![client("a", bearer(7 * DAY)), client("b", bound(1))],
                Verdict::Ready,
                "was 7days ago",
            ),
            (
                LAX,
                9 * DAY,
                vec![client("a", bearer(7 * DAY - 1)), client("b", bound(1))],
                Verdict::Bearers,
                "a (2 requests, the last 6days 23h ago)",
            ),
            // Who is refused already loses nothing.
            (
                LAX,
                9 * DAY,
                vec![client("b", Requests { refused: 1, last_refused: Some(AT), ..bound(1) })],
                Verdict::Ready,
                "no bearer",
            ),
            (Enforcement::Enforce, 9 * DAY, vec![client("a", bound(1))], Verdict::Enforced, "enforced"),
            // A clock that is ahead is no reason to look away.
            (
                LAX,
                9 * DAY,
                vec![client("a", bearer(-60)), client("b", bound(1))],
                Verdict::Bearers,
                "the last 0s ago",
            ),
        ] {
            let (found, ready, said) = judged(enforcement, watched, clients);
            assert_eq!((found, ready), (verdict, verdict == Verdict::Ready), "{said}");
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn the_latest_bearers_are_named() {
        let clients = (1..=5).map(|number| client(&format!("c{number}"), bearer(60 * number))).collect();
        let (_, _, said) = judged(Enforcement::ReportOnly, DAY, clients);
        assert_eq!(
            said,
            "not ready: still a bearer: c1 (2 requests, the last 1m ago), c2 (2 requests, the last 2m ago), c3 (2 requests, the last 3m ago), and 2 more"
        );
    }
}
