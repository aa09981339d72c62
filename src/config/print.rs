//! A configuration as it is in force: every setting, with its value and who has set it, as a file that can be read again.
//!
//! What is printed is the tree that was judged, never the values that came of it: of a secret there is the place, and of what the environment holds the name, as the
//! operator wrote them.

use std::fmt::Write as _;
use std::path::Path;

use super::complaint::Complaints;
use super::completion::Completion;
use super::document::{Author, Key, Node, Scalar, Value};
use super::environment::Environment;
use super::file;
use super::load;

/// Where the words on who has set a setting begin, if there is room.
const COMMENTS: usize = 56;

/// The longest list that stands on one line.
const LIST: usize = 100;

/// The configuration file at `path` as YAML. It says the same as the file, and can be put in its place: paths are relative to the same directory.
///
/// A default that may not be written where it stands, since it has no effect there, is a comment.
///
/// # Errors
/// Everything that is wrong with the file, as [`load`](super::load) says it.
pub fn print(path: &Path, environment: Environment<'_>) -> Result<String, Complaints> {
    let mut tree = load::tree(path, environment)?;
    file::complete(&mut tree, &mut Completion::new());
    silence_without_effect(&mut tree, path, environment);
    let mut page = Page { text: String::new() };
    let _ = writeln!(
        page.text,
        "# {} as holdfast {} understands it: every setting that has a value, and who has set it.",
        path.display(),
        env!("CARGO_PKG_VERSION")
    );
    page.mapping(&tree, 0, false);
    Ok(page.text)
}

/// Takes back the defaults that would be complained of if they were written. The judges themselves say which: one list of them here would be wrong by the next setting.
fn silence_without_effect(tree: &mut Node, path: &Path, environment: Environment<'_>) {
    loop {
        let mut complaints = Complaints::about("");
        let mut written = tree.clone();
        drop_silent(&mut written);
        load::rejudge(&written, path, environment, &mut complaints);
        let lines: Vec<usize> = complaints
            .iter()
            .filter(|complaint| Completion::is_of_default(complaint.span))
            .map(|complaint| complaint.span.line)
            .collect();
        if complaints.is_empty() {
            return;
        }
        if silence(tree, &|line| lines.contains(&line)) == 0 {
            // Two that are wrong together, and neither is a default: without any default it is the file, which was right.
            silence(tree, &|_| true);
            return;
        }
    }
}

/// Makes comments of the defaults at these lines. Gives how many.
fn silence(node: &mut Node, at: &dyn Fn(usize) -> bool) -> usize {
    match &mut node.value {
        Value::Nothing | Value::Refused | Value::Scalar(_) => 0,
        Value::Sequence(items) => items.iter_mut().map(|item| silence(item, at)).sum(),
        Value::Mapping(entries) => entries
            .iter_mut()
            .map(|(key, value)| {
                if key.author == Author::Default && at(key.span.line) {
                    key.author = Author::NoOne;
                    return 1;
                }
                silence(value, at)
            })
            .sum(),
    }
}

/// The tree as a reader of the printed file has it.
fn drop_silent(node: &mut Node) {
    match &mut node.value {
        Value::Nothing | Value::Refused | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(drop_silent),
        Value::Mapping(entries) => {
            entries.retain(|(key, _)| key.author != Author::NoOne);
            for (key, value) in entries {
                key.author = Author::Operator;
                drop_silent(value);
            }
        }
    }
}

/// What was printed so far.
struct Page {
    text: String,
}

impl Page {
    /// The entries of a mapping. `silent`: all of it is a comment. The first line goes on where a list item has begun.
    fn mapping(&mut self, node: &Node, depth: usize, silent: bool) {
        let Value::Mapping(entries) = &node.value else { return };
        for (key, value) in entries {
            self.entry(key, value, depth, silent || key.author == Author::NoOne);
        }
    }

    fn entry(&mut self, key: &Key, value: &Node, depth: usize, silent: bool) {
        let author = match key.author {
            Author::Operator => format!("line {}", key.span.line),
            Author::Profile(profile) => format!("profile {}", profile.name()),
            Author::Default => "default".to_owned(),
            Author::NoOne => "default, without effect here".to_owned(),
        };
        let name = &key.text;
        match &value.value {
            Value::Nothing | Value::Refused => {}
            Value::Scalar(one) => self.line(depth, silent, &format!("{name}: {}", scalar(one)), &author),
            Value::Sequence(items) => match on_one_line(items) {
                Some(list) => self.line(depth, silent, &format!("{name}: {list}"), &author),
                None => {
                    self.line(depth, silent, &format!("{name}:"), &author);
                    items.iter().for_each(|item| self.item(item, depth + 1, silent));
                }
            },
            Value::Mapping(entries) if entries.iter().all(|(key, _)| key.author == Author::NoOne) => {
                self.line(depth, silent, &format!("{name}: {{}}"), &author);
                self.mapping(value, depth + 1, true);
            }
            Value::Mapping(_) => {
                self.line(depth, silent, &format!("{name}:"), &author);
                self.mapping(value, depth + 1, silent);
            }
        }
    }

    fn item(&mut self, item: &Node, depth: usize, silent: bool) {
        match &item.value {
            Value::Nothing | Value::Refused | Value::Sequence(_) => {}
            Value::Scalar(one) => self.line(depth, silent, &format!("- {}", scalar(one)), ""),
            Value::Mapping(_) => {
                // A dash of its own line, so that whatever is a comment in here leaves an item behind.
                self.line(depth, silent, "-", "");
                self.mapping(item, depth + 1, silent);
            }
        }
    }

    fn line(&mut self, depth: usize, silent: bool, text: &str, author: &str) {
        let hash = if silent { "# " } else { "" };
        let line = format!("{:indent$}{hash}{text}", "", indent = depth * 2);
        // Writing to a string cannot fail.
        let _ = match author {
            "" => writeln!(self.text, "{line}"),
            author => writeln!(self.text, "{line:<COMMENTS$} # {author}"),
        };
    }
}

/// A list of single values that fits on a line.
fn on_one_line(items: &[Node]) -> Option<String> {
    let values: Option<Vec<String>> = items
        .iter()
        .map(|item| match &item.value {
            Value::Scalar(one) => Some(scalar(one)),
            Value::Nothing | Value::Refused | Value::Sequence(_) | Value::Mapping(_) => None,
        })
        .collect();
    values.map(|values| format!("[{}]", values.join(", "))).filter(|list| list.len() <= LIST)
}

/// A single value: without quotes where it was written so and is plain to every reader, since `2` and `"2"` are two values of a claim.
fn scalar(one: &Scalar) -> String {
    let text = one.before_replacement.as_ref().unwrap_or(&one.text);
    let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        || text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    // A colon with something behind it is one of the text's own.
    let colons = !text.ends_with(':') && text.chars().all(|c| plain(c) || c == ':') && !text.contains("::");
    if one.plain && one.before_replacement.is_none() && starts && colons {
        return text.clone();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() => quoted.push(c),
            // YAML breaks lines at more characters than it seems.
            c => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}
