//! What is wrong with a configuration, where, and how to mend it.
//!
//! Reading never stops at the first mistake: every part writes its complaints here and goes on, so that an operator mends a file
//! once. The line is shown as it is written, except where a secret stands on it.

use std::fmt;

/// Where something stands in the configuration file. A complaint about something that is missing points at what it is missing from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters, on the first line, are meant.
    pub length: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// Where
    pub span: Span,
    /// What is wrong, as a sentence without a full stop
    pub message: String,
    /// What to do about it
    pub mend: Option<String>,
}

/// Everything that is wrong with a configuration. As text: for each, `file:line:column`, the line with a caret, and the mend.
#[derive(Debug)]
pub struct Complaints {
    file: String,
    source: String,
    list: Vec<Complaint>,
    hidden: Vec<Span>,
}

impl Complaints {
    /// The most that are kept. A file of a megabyte can hold more mistakes than anyone reads.
    const MOST: usize = 200;

    /// None yet, about the file of that name.
    pub(super) fn about(file: &str) -> Self {
        Self { file: file.to_owned(), source: String::new(), list: Vec::new(), hidden: Vec::new() }
    }

    /// The text that spans point into.
    pub(super) fn quote_from(&mut self, source: &str) {
        source.clone_into(&mut self.source);
    }

    /// One more.
    pub(super) fn add(&mut self, span: Span, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    /// One more, with what to do about it.
    pub(super) fn add_with(&mut self, span: Span, message: impl Into<String>, mend: impl Into<String>) {
        self.push(span, message.into(), Some(mend.into()));
    }

    /// Whether no more are kept, so that looking for more is work for nothing.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    fn push(&mut self, span: Span, message: String, mend: Option<String>) {
        let complaint = Complaint { span, message, mend };
        if !self.is_full() && !self.list.contains(&complaint) {
            self.list.push(complaint);
        }
    }

    /// Keeps what stands at `span`, and everything behind it on its line, out of every snippet: a secret was written there, and
    /// complaints end up in logs.
    pub(super) fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// These, in the order of their places, if there are any.
    pub(super) fn into_error(mut self) -> Result<(), Self> {
        self.list.sort();
        if self.list.is_empty() { Ok(()) } else { Err(self) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Complaint> {
        self.list.iter()
    }

    /// All of it on one line, without the text of the file: for a log.
    pub fn in_one_line(&self) -> String {
        let one = |Complaint { span, message, mend }: &Complaint| {
            let place = if span.line > 0 { format!(":{}:{}", span.line, span.column) } else { String::new() };
            let mend = mend.as_ref().map_or_else(String::new, |mend| format!(" ({mend})"));
            format!("{}{place}: {message}{mend}", self.file)
        };
        self.list.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// The line at `span` and a caret under the place, cut to what a terminal is wide.
    fn snippet(&self, f: &mut fmt::Formatter<'_>, span: Span) -> fmt::Result {
        const WIDTH: usize = 100;
        let Some(line) = span.line.checked_sub(1).and_then(|above| self.source.lines().nth(above)) else {
            return Ok(());
        };
        let hidden_from =
            self.hidden.iter().filter(|hidden| hidden.line == span.line).map(|hidden| hidden.column);
        // A URL may have a user and a password in it, also where none is expected.
        let in_url = line.find("://").filter(|at| line[*at..].contains('@'));
        let in_url = in_url.map(|at| line[..at].chars().count() + "://".len() + 1);
        let hidden_from = hidden_from.chain(in_url).min();
        let at = span.column.saturating_sub(1);
        let first = if at < WIDTH { 0 } else { at - WIDTH / 2 };
        write!(f, "\n{:>5} | ", span.line)?;
        for (column, character) in line.chars().enumerate().skip(first).take(WIDTH) {
            if hidden_from.is_some_and(|from| column + 1 >= from) {
                f.write_str("…")?;
                break;
            }
            // A control character in the file must not reach the terminal as one, and a tab would move the caret.
            let shown = match character {
                '\t' => ' ',
                control if control.is_control() => '\u{fffd}',
                plain => plain,
            };
            write!(f, "{shown}")?;
        }
        let carets = span.length.clamp(1, (first + WIDTH).saturating_sub(at).max(1));
        write!(f, "\n      | {:indent$}{}", "", "^".repeat(carets), indent = at - first)
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, complaint) in self.list.iter().enumerate() {
            if position > 0 {
                f.write_str("\n\n")?;
            }
            let Complaint { span, message, mend } = complaint;
            if span.line > 0 {
                write!(f, "{}:{}:{}: {message}", self.file, span.line, span.column)?;
            } else {
                write!(f, "{}: {message}", self.file)?;
            }
            self.snippet(f, *span)?;
            if let Some(mend) = mend {
                write!(f, "\n      = {mend}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}

/// `text` between backquotes, fit for a message: short, on one line, without control characters.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The one of `known` that `written` was most likely meant to be, as a mend.
pub(super) fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let written = written.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &name.to_lowercase().replace('-', "_")), name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// `words` as a list for a sentence: `a, b or c`, each between backquotes.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Complaints, Span, did_you_mean, one_of, quoted};

    #[test]
    fn each_has_its_place_its_line_a_caret_and_a_mend() {
        let mut complaints = Complaints::about("gateway.yaml");
        complaints.quote_from("a: 1\n  bé\tf: \u{1b}[31m\n");
        complaints.add_with(Span { line: 2, column: 6, length: 1 }, "unknown key `f`", "leave it out");
        complaints.add(Span { line: 1, column: 1, length: 1 }, "no");
        let complaints = complaints.into_error().expect_err("two complaints");
        assert_eq!(
            complaints.to_string(),
            "gateway.yaml:1:1: no\n    1 | a: 1\n      | ^\n\n\
             gateway.yaml:2:6: unknown key `f`\n    2 |   bé f: \u{fffd}[31m\n      |      ^\n      = leave it out"
        );
        assert_eq!(
            complaints.in_one_line(),
            "gateway.yaml:1:1: no; gateway.yaml:2:6: unknown key `f` (leave it out)"
        );
    }

    #[test]
    fn a_hidden_secret_is_in_no_snippet_and_a_long_line_is_cut() {
        let mut complaints = Complaints::about("f");
        complaints.quote_from(&format!("nonce_keys: hunter2\n{}x", " ".repeat(500)));
        complaints.hide(Span { line: 1, column: 13, length: 7 });
        complaints.add(Span { line: 1, column: 1, length: 10 }, "first");
        complaints.add(Span { line: 2, column: 501, length: 900 }, "second");
        let shown = complaints.to_string();
        assert!(shown.contains("nonce_keys: …\n") && !shown.contains("hunter2"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() < 120), "{shown}");
    }

    #[test]
    fn guesses_are_near_or_not_made() {
        assert_eq!(did_you_mean("adress", ["name", "address"]).as_deref(), Some("did you mean `address`?"));
        assert_eq!(
            did_you_mean("public-urls", ["public_urls"]).as_deref(),
            Some("did you mean `public_urls`?")
        );
        assert_eq!(did_you_mean("certificate", ["address", "name"]), None);
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(quoted("a\nb"), "`a\\nb`");
    }
}
