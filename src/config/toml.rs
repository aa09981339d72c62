//! TOML into the tree.

use std::ops::Range;

use toml_edit::{Document, Item, Table, TableLike};

use super::complaint::{Complaints, Span};
use super::document::{Author, DEEPEST, Key, Node, Scalar, Value};

/// Reads a TOML document. Repeated keys are no TOML, and its reader bounds the depth before ours does.
pub(super) fn read(text: &str, complaints: &mut Complaints) -> Option<Node> {
    let lines = Lines::of(text);
    match Document::parse(text) {
        Ok(document) => Some(lines.table(document.as_table(), lines.span(Some(0..1)), 0, complaints)),
        Err(error) => {
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            complaints.add(lines.span(error.span()), format!("this is not TOML: {message}"));
            None
        }
    }
}

/// Where lines begin: toml_edit tells bytes, people read lines.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The place of these bytes. toml_edit gives every parsed item its bytes; without, it is the file.
    fn span(&self, bytes: Option<Range<usize>>) -> Span {
        let Some(Range { start, end }) = bytes else { return Span::default() };
        let line = self.starts.partition_point(|&begins| begins <= start);
        let begins = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(begins..start).map_or(0, |before| before.chars().count());
        let meant = self.text.get(start..end).and_then(|meant| meant.lines().next());
        Span { line, column: column + 1, length: meant.map_or(1, |meant| meant.chars().count()).max(1) }
    }

    fn table(&self, table: &dyn TableLike, span: Span, depth: usize, complaints: &mut Complaints) -> Node {
        let entries = table
            .iter()
            .filter_map(|(name, item)| {
                let at = self.span(table.key(name).and_then(toml_edit::Key::span));
                let key = Key { text: name.to_owned(), span: at, author: Author::Operator };
                Some((key, self.item(item, at, depth + 1, complaints)?))
            })
            .collect();
        Node { value: Value::Mapping(entries), span }
    }

    /// `key` is where the item's key stands, for items of no place of their own: tables that only their children name.
    fn item(&self, item: &Item, key: Span, depth: usize, complaints: &mut Complaints) -> Option<Node> {
        let span = item.span().map_or(key, |bytes| self.span(Some(bytes)));
        if depth > DEEPEST {
            complaints.add(span, format!("more than {DEEPEST} levels deep"));
            return None;
        }
        match item {
            Item::None => None,
            Item::Value(value) => self.value(value, span, depth, complaints),
            Item::Table(table) => Some(self.table(table, span, depth, complaints)),
            Item::ArrayOfTables(tables) => {
                let each = |table: &Table, complaints: &mut Complaints| {
                    let span = table.span().map_or(span, |bytes| self.span(Some(bytes)));
                    self.table(table, span, depth + 1, complaints)
                };
                let items = tables.iter().map(|table| each(table, complaints)).collect();
                Some(Node { value: Value::Sequence(items), span })
            }
        }
    }

    fn value(
        &self,
        value: &toml_edit::Value,
        span: Span,
        depth: usize,
        complaints: &mut Complaints,
    ) -> Option<Node> {
        if depth > DEEPEST {
            complaints.add(span, format!("more than {DEEPEST} levels deep"));
            return None;
        }
        let text = match value {
            toml_edit::Value::String(text) => text.value().clone(),
            toml_edit::Value::Integer(number) => number.value().to_string(),
            // As it is written: `1.20` is a version to whoever writes it.
            toml_edit::Value::Float(number) => {
                let written = value.span().and_then(|bytes| self.text.get(bytes));
                written.map_or_else(|| number.value().to_string(), str::to_owned)
            }
            toml_edit::Value::Boolean(boolean) => boolean.value().to_string(),
            toml_edit::Value::Datetime(date) => date.value().to_string(),
            toml_edit::Value::Array(array) => {
                let items = array
                    .iter()
                    .filter_map(|item| self.value(item, self.span(item.span()), depth + 1, complaints))
                    .collect();
                return Some(Node { value: Value::Sequence(items), span });
            }
            toml_edit::Value::InlineTable(table) => return Some(self.table(table, span, depth, complaints)),
        };
        let plain = !matches!(value, toml_edit::Value::String(_));
        let scalar = Scalar { text, plain, before_replacement: None };
        Some(Node { value: Value::Scalar(scalar), span })
    }
}
