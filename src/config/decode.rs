//! From the tree to typed settings: a few readers that complain and go on.
//!
//! A setting stands once, in a [`settings!`] table, with its name, type, default and meaning. A mapping of which something is wrong is
//! still a mapping: what could be read of it is judged further, so that one mistake does not hide the next.

use std::ops::Deref;

use super::complaint::{Complaints, Span, did_you_mean, one_of, quoted};
use super::document::{Format, Key, Node, Value};

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
    ["yes", "no", "on", "off", "y", "n", "true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word))
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
            items.extend(T::decode(node, complaints).map(|value| Setting {
                value,
                span: node.span,
                written: true,
            }));
        }
        Some(Self { items, whole: complaints.len() == before })
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        T::describe(&format!("{path}[]"), into);
    }
}

/// A mapping whose keys are names that the operator gives.
#[derive(Clone, Debug)]
pub(super) struct Named<T> {
    pub(super) entries: Vec<(Key, T)>,
    /// Every name, those of entries that could not be read too.
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
        Some(Self { entries, names: nodes.iter().map(|(key, _)| key.text.clone()).collect() })
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

/// A mapping whose settings are being read.
pub(super) struct Mapping<'n> {
    entries: &'n [(Key, Node)],
    span: Span,
}

impl<'n> Mapping<'n> {
    /// Takes `node` for a mapping of `known` keys, and complains of every other.
    pub(super) fn open(
        node: &'n Node,
        known: &[&str],
        later: &[&str],
        complaints: &mut Complaints,
    ) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            return refuse_kind(node, &format!("a mapping with {}", one_of(known)), complaints);
        };
        for (key, _) in entries {
            let name = quoted(&key.text);
            if later.contains(&key.text.as_str()) {
                let message = format!("{name} is not available in this version");
                complaints.add_with(key.span, message, "leave it out: it would have no effect");
            } else if !known.contains(&key.text.as_str()) {
                let mend = did_you_mean(&key.text, known.iter().copied())
                    .unwrap_or_else(|| format!("the keys here are {}", one_of(known)));
                complaints.add_with(key.span, format!("unknown key {name}"), mend);
            }
        }
        Some(Self { entries, span: node.span })
    }

    fn find<T: Decode>(&self, name: &str, complaints: &mut Complaints) -> Option<Result<Setting<T>, Span>> {
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        if matches!(node.value, Value::Nothing) {
            complaints.add_with(
                key.span,
                format!("`{name}` has no value"),
                "give it one, or leave the key out",
            );
            return Some(Err(key.span));
        }
        let decoded = T::decode(node, complaints);
        Some(decoded.map(|value| Setting { value, span: node.span, written: true }).ok_or(node.span))
    }

    /// A setting that has to be there.
    pub(super) fn required<T: Decode>(
        &self,
        name: &str,
        meaning: &str,
        complaints: &mut Complaints,
    ) -> Option<Setting<T>> {
        match self.find(name, complaints) {
            Some(found) => found.ok(),
            None => {
                complaints.add_with(
                    self.span,
                    format!("`{name}` is missing"),
                    format!("`{name}`: {}", meaning.trim()),
                );
                None
            }
        }
    }

    /// A setting that may be left out, which means something that no value says.
    pub(super) fn optional<T: Decode>(&self, name: &str, complaints: &mut Complaints) -> Option<Setting<T>> {
        self.find(name, complaints)?.ok()
    }

    /// A setting with a default. In place of what cannot be read the default stands, so that the rest can be judged.
    pub(super) fn with_default<T: Decode>(
        &self,
        name: &str,
        default: &str,
        complaints: &mut Complaints,
    ) -> Setting<T> {
        let (span, written) = match self.find(name, complaints) {
            Some(Ok(found)) => return found,
            Some(Err(span)) => (span, true),
            None => (self.span, false),
        };
        let value = default_value(default).expect("every default in a table is readable, which a test holds");
        Setting { value, span, written }
    }
}

/// Reads a default, which is written as YAML.
pub(super) fn default_value<T: Decode>(default: &str) -> Option<T> {
    let mut complaints = Complaints::about("default");
    let node = super::document::read(default, Format::Yaml, &mut complaints)?;
    let value = T::decode(&node, &mut complaints)?;
    complaints.is_empty().then_some(value)
}

/// Declares a mapping: each setting once, with its meaning, name, type and what holds without it.
///
/// `field: Type => required;`, `field: Type => optional;` or `field: Type => default "YAML";`, with `field("key")` where the key is no name in
/// Rust. `later { … }` lists keys that are settled for later versions and refused in this one.
macro_rules! settings {
    ($(#[doc = $about:literal])* $name:ident {
        $($(#[doc = $meaning:literal])+ $field:ident $(($key:literal))? : $kind:ty => $presence:ident $($default:literal)?;)*
    } $(later { $($later:literal),* })?) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $($(#[doc = $meaning])+ pub(super) $field: settings!(@type $presence $kind),)*
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::document::Node,
                complaints: &mut $crate::config::complaint::Complaints,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$(settings!(@key $field $($key)?)),*];
                const LATER: &[&str] = &[$($($later),*)?];
                let mapping = $crate::config::decode::Mapping::open(node, KNOWN, LATER, complaints)?;
                Some(Self {
                    $($field: settings!(@read $presence mapping, complaints,
                        settings!(@key $field $($key)?), concat!($($meaning),+) $(, $default)?),)*
                })
            }

            fn describe(path: &str, into: &mut Vec<$crate::config::decode::Described>) {
                $(
                    let key = settings!(@key $field $($key)?);
                    let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    into.push($crate::config::decode::Described {
                        path: below.clone(),
                        meaning: concat!($($meaning),+).trim_ascii(),
                        default: settings!(@default $($default)?),
                    });
                    <$kind as $crate::config::decode::Decode>::describe(&below, into);
                )*
            }
        }
    };
    (@type required $kind:ty) => { Option<$crate::config::decode::Setting<$kind>> };
    (@type optional $kind:ty) => { Option<$crate::config::decode::Setting<$kind>> };
    (@type default $kind:ty) => { $crate::config::decode::Setting<$kind> };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@read required $mapping:ident, $complaints:ident, $key:expr, $meaning:expr) => {
        $mapping.required($key, $meaning, $complaints)
    };
    (@read optional $mapping:ident, $complaints:ident, $key:expr, $meaning:expr) => {
        $mapping.optional($key, $complaints)
    };
    (@read default $mapping:ident, $complaints:ident, $key:expr, $meaning:expr, $default:literal) => {
        $mapping.with_default($key, $default, $complaints)
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

pub(super) use settings;
