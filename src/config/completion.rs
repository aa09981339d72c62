//! What is left out of a file and has a default, put into its tree: for whoever wants to see all of it.

use super::complaint::Span;
use super::document::{Author, Key, Node, Value};
use super::profile;

/// The first of the lines at which defaults stand: behind every file that is read.
const BEHIND: usize = 1 << 32;

/// Puts defaults in, each at a line of its own that no file has, by which a complaint tells which one it is about.
#[derive(Debug)]
pub(super) struct Completion {
    next: usize,
}

impl Completion {
    pub(super) const fn new() -> Self {
        Self { next: BEHIND }
    }

    /// Whether this is the place of a default.
    pub(super) const fn is_of_default(span: Span) -> bool {
        span.line >= BEHIND
    }

    /// Completes the setting `key` of the mapping `node`, and by `below` what stands in it.
    pub(super) fn fill(
        &mut self,
        node: &mut Node,
        key: &str,
        default: Option<&str>,
        below: fn(&mut Node, &mut Self),
    ) {
        let Value::Mapping(entries) = &mut node.value else { return };
        if let Some((_, written)) = entries.iter_mut().find(|(written, _)| written.text == key) {
            below(written, self);
        } else if let Some(default) = default {
            let span = Span { line: self.next, column: 1, length: 1 };
            self.next += 1;
            let mut value = profile::read(default, span);
            below(&mut value, self);
            entries.push((Key { text: key.to_owned(), span, author: Author::Default }, value));
        }
    }

    /// Puts the settings of a mapping into the order in which they are `known`, however they are written.
    pub(super) fn order(node: &mut Node, known: &[&str]) {
        if let Value::Mapping(entries) = &mut node.value {
            entries.sort_by_key(|(key, _)| known.iter().position(|name| *name == key.text));
        }
    }
}
