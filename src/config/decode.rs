//! From the tree to typed settings: a few readers that complain and go on.
//!
//! What could be read is judged further even where something beside it is wrong, so that one mistake does not hide the next. Mappings
//! are read by the tables of `table.rs`.

use std::ops::Deref;

use super::complaint::{Complaints, Span, did_you_mean, one_of, quoted};
use super::completion::Completion;
use super::document::{Key, Node, Value};

/// A setting's value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    /// Where it is written; for a default, where it could be.
    pub(super) span: Span,
    /// Whether it is in the file rather than a default: a setting that is written and has no effect stops the start.
    pub(super) written: bool,
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Setting<T> {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        T::decode(node, complaints).map(|value| Self { value, span: node.span, written: true })
    }

    fn complete(node: &mut Node, completion: &mut Completion) {
        T::complete(node, completion);
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        T::describe(path, into);
    }
}

/// One setting as the reference and a schema need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its keys from the top, as in `routes[].match.path`; `upstreams.*` is any name
    pub path: String,
    /// What it means
    pub meaning: &'static str,
    /// What holds when it is left out, written as YAML; `None` where there is no default
    pub default: Option<&'static str>,
}

/// What can be read from a node.
pub(super) trait Decode: Sized {
    /// The value, or `None` after a complaint.
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self>;

    /// Puts what is left out and has a default into a node that can be decoded.
    fn complete(_node: &mut Node, _completion: &mut Completion) {}

    /// Adds the settings that stand below `path`.
    fn describe(_path: &str, _into: &mut Vec<Described>) {}
}

/// Why a text is not a value: it continues a sentence that begins with the text.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) mend: String,
    /// Whether the text may hold a password, and is neither repeated nor shown.
    pub(super) secret: bool,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into(), secret: false }
    }
}

/// What is written as a single value.
pub(super) trait FromText: Sized {
    /// Whether any word is a value. Then `no` without quotes is a word to us and `false` to YAML 1.1 tools, and is refused.
    const ANY_WORD: bool = false;

    fn from_text(text: &str) -> Result<Self, Wrong>;
}

impl<T: FromText> Decode for T {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        let Value::Scalar(scalar) = &node.value else {
            return refuse_kind(node, "a single value", complaints);
        };
        if T::ANY_WORD && scalar.plain && is_boolean_somewhere(&scalar.text) {
            complaints.add_with(
                node.span,
                format!("{} is a boolean to some YAML readers and a word to others", quoted(&scalar.text)),
                format!("put it in quotes: \"{}\"", scalar.text),
            );
            return None;
        }
        match T::from_text(&scalar.text) {
            Ok(value) => Some(value),
            Err(Wrong { what, mend, secret }) => {
                if secret {
                    complaints.hide(node.span);
                    complaints.add_with(node.span, format!("this {what}"), mend);
                } else if let Some(written) = &scalar.before_replacement {
                    // What the environment held may be anything, so only what the file says is repeated.
                    complaints.add_with(node.span, format!("{}, replaced, {what}", quoted(written)), mend);
                } else {
                    complaints.add_with(node.span, format!("{} {what}", quoted(&scalar.text)), mend);
                }
                None
            }
        }
    }
}

fn is_boolean_somewhere(text: &str) -> bool {
    ["yes", "no", "on", "off", "true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// One of a few words.
pub(super) trait Words: Copy + 'static {
    /// The words and what they mean.
    const WORDS: &'static [(&'static str, Self)];
    /// Words that are settled for a later version.
    const LATER: &'static [&'static str] = &[];
}

impl<T: Words> FromText for T {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        if T::LATER.contains(&text) {
            return Err(Wrong::new(
                "is not available in this version",
                format!("it can be {}", one_of(&words)),
            ));
        }
        let mut mend = format!("it can be {}", one_of(&words));
        if let Some(guess) = did_you_mean(text, words) {
            mend = format!("{mend}; {guess}");
        }
        Err(Wrong::new("is none of the words for this", mend))
    }
}

/// A list of at least `LEAST`.
#[derive(Clone, Debug)]
pub(super) struct List<T, const LEAST: usize = 0> {
    pub(super) items: Vec<Setting<T>>,
    /// Whether all of it was read without a complaint. Where not, what seems to be missing may be what could not be read.
    pub(super) whole: bool,
}

impl<T, const LEAST: usize> List<T, LEAST> {
    /// The values without their places.
    pub(super) fn values(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.items.iter().map(|item| item.value.clone()).collect()
    }
}

impl<T: Decode, const LEAST: usize> Decode for List<T, LEAST> {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        let Value::Sequence(nodes) = &node.value else {
            return refuse_kind(node, "a list", complaints);
        };
        let before = complaints.len();
        if nodes.len() < LEAST {
            complaints.add(node.span, "an empty list: at least one is needed here");
        }
        let mut items = Vec::with_capacity(nodes.len());
        for node in nodes {
            items.extend(Setting::decode(node, complaints));
        }
        Some(Self { items, whole: complaints.len() == before })
    }

    fn complete(node: &mut Node, completion: &mut Completion) {
        if let Value::Sequence(items) = &mut node.value {
            items.iter_mut().for_each(|item| T::complete(item, completion));
        }
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        T::describe(&format!("{path}[]"), into);
    }
}

/// A mapping whose settings rely on each other.
#[derive(Clone, Debug)]
pub(super) struct Whole<T> {
    pub(super) settings: T,
    /// Whether all of it was read without a complaint. Where not, what seems to be missing or without effect may be what could not be read.
    pub(super) whole: bool,
}

impl<T: Decode> Decode for Whole<T> {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        let before = complaints.len();
        let settings = T::decode(node, complaints)?;
        Some(Self { settings, whole: complaints.len() == before })
    }

    fn complete(node: &mut Node, completion: &mut Completion) {
        T::complete(node, completion);
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        T::describe(path, into);
    }
}

/// A mapping whose keys are names that the operator gives.
#[derive(Clone, Debug)]
pub(super) struct Named<T> {
    pub(super) entries: Vec<(Key, T)>,
    /// Every name in order, those of entries that could not be read too.
    pub(super) names: Vec<String>,
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        let Value::Mapping(nodes) = &node.value else {
            return refuse_kind(node, "a mapping of names", complaints);
        };
        if nodes.is_empty() {
            complaints.add(node.span, "an empty mapping: at least one is needed here");
        }
        let mut entries = Vec::with_capacity(nodes.len());
        for (key, node) in nodes {
            if let Err(Wrong { what, mend, .. }) = super::values::Name::from_text(&key.text) {
                complaints.add_with(key.span, format!("{} {what}", quoted(&key.text)), mend);
            }
            if matches!(node.value, Value::Nothing) {
                complaints.add(key.span, format!("{} has no value", quoted(&key.text)));
            } else {
                entries.extend(T::decode(node, complaints).map(|value| (key.clone(), value)));
            }
        }
        let mut names: Vec<String> = nodes.iter().map(|(key, _)| key.text.clone()).collect();
        names.sort_unstable();
        Some(Self { entries, names })
    }

    fn complete(node: &mut Node, completion: &mut Completion) {
        if let Value::Mapping(entries) = &mut node.value {
            entries.iter_mut().for_each(|(_, one)| T::complete(one, completion));
        }
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        T::describe(&format!("{path}.*"), into);
    }
}

/// Complains that `node` is not `wanted`; says nothing where something was said already.
pub(super) fn refuse_kind<T>(node: &Node, wanted: &str, complaints: &mut Complaints) -> Option<T> {
    if !matches!(node.value, Value::Refused) {
        complaints.add(node.span, format!("{} where {wanted} is expected", node.value.kind()));
    }
    None
}
