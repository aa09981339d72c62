//! YAML (and JSON, once it is known to be JSON) into the tree.
//!
//! Only what the settings need: one document of mappings, sequences and scalars. Anchors, aliases and tags are refused, which
//! is also what keeps a small file from growing into a large tree.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::complaint::{Complaints, Span};
use super::document::{Author, DEEPEST, Key, Node, Scalar, Value, refuse_repeated};

/// A collection that has begun and not ended.
enum Open {
    Sequence { span: Span, items: Vec<Node> },
    Mapping { span: Span, entries: Vec<(Key, Node)>, key: Option<Key> },
}

/// Reads one YAML document. An empty one is an empty mapping: what is missing in it is told by its settings.
pub(super) fn read(text: &str, complaints: &mut Complaints) -> Option<Node> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let (event, at) = match next {
            Ok(next) => next,
            Err(error) => {
                let at = error.marker();
                complaints.add(place(at.line(), at.col(), 1), format!("this is not YAML: {}", error.info()));
                return None;
            }
        };
        let length = if at.end.line() == at.start.line() { at.len() } else { 1 };
        let span = place(at.start.line(), at.start.col(), length);
        let refused = match &event {
            Event::Alias(_) => Some("an alias"),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if *anchor > 0 =>
            {
                Some("an anchor")
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Some("a tag"),
            _ => None,
        };
        if let Some(refused) = refused {
            complaints.add_with(span, format!("{refused} is not supported here"), "write the value out");
            return None;
        }
        let finished = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    complaints.add(span, "a second document in the file");
                    return None;
                }
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open::Sequence { span, items: Vec::new() });
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping { span, entries: Vec::new(), key: None });
                None
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let nothing = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if nothing && !expects_key(&open) {
                    Value::Nothing
                } else {
                    Value::Scalar(Scalar { text: text.into_owned(), plain, before_replacement: None })
                };
                Some(Node { value, span })
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|ended| ended.finish(complaints)),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Alias(_) => {
                continue;
            }
        };
        if open.len() > DEEPEST {
            complaints.add(span, format!("more than {DEEPEST} levels deep"));
            return None;
        }
        let Some(node) = finished else {
            if begins_key(&open) {
                complaints.add(span, "a key that is not a single value");
                return None;
            }
            continue;
        };
        match open.last_mut() {
            None => root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => match (key.take(), node.value) {
                (Some(key), value) => entries.push((key, Node { value, span: node.span })),
                (None, Value::Scalar(scalar)) => {
                    *key = Some(Key { text: scalar.text, span: node.span, author: Author::Operator })
                }
                (None, _) => {
                    complaints.add(node.span, "a key that is not a single value");
                    return None;
                }
            },
        }
    }
    match root {
        Some(Node { value: Value::Nothing, span }) => Some(Node { value: Value::Mapping(Vec::new()), span }),
        None => Some(Node { value: Value::Mapping(Vec::new()), span: place(1, 0, 1) }),
        root => root,
    }
}

impl Open {
    fn finish(self, complaints: &mut Complaints) -> Node {
        match self {
            Open::Sequence { span, items } => Node { value: Value::Sequence(items), span },
            Open::Mapping { span, entries, .. } => {
                refuse_repeated(&entries, complaints);
                Node { value: Value::Mapping(entries), span }
            }
        }
    }
}

/// Whether the next scalar is a key.
fn expects_key(open: &[Open]) -> bool {
    matches!(open.last(), Some(Open::Mapping { key: None, .. }))
}

/// Whether the collection that has just begun stands where a key belongs.
fn begins_key(open: &[Open]) -> bool {
    open.split_last().is_some_and(|(_, outer)| expects_key(outer))
}

/// saphyr counts lines from 1 and columns from 0.
fn place(line: usize, column: usize, length: usize) -> Span {
    Span { line, column: column + 1, length: length.max(1) }
}
