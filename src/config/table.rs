//! Mappings, as tables: each setting once, with its name, type, default and meaning.
//!
//! A mapping of which something is wrong is still a mapping: the settings that could be read are there, the others are `None` or their
//! default, and a complaint was made of each.

use super::complaint::{Complaints, Span, did_you_mean, one_of, quoted};
use super::decode::{Decode, Setting, refuse_kind};
use super::document::{Author, Format, Key, Node, Value};

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
            if complaints.is_full() {
                break;
            }
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
        Some(
            decoded
                .map(|value| Setting { value, span: node.span, written: key.author == Author::Operator })
                .ok_or(node.span),
        )
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
/// `field: Type => required;`, `field: Type => optional;` or `field: Type => default "YAML";`, with `field("key")` where the key is no name
/// in Rust. `later { … }` lists keys that are settled for later versions and refused in this one.
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
                let mapping = $crate::config::table::Mapping::open(node, KNOWN, LATER, complaints)?;
                Some(Self {
                    $($field: settings!(@read $presence mapping, complaints,
                        settings!(@key $field $($key)?), concat!($($meaning),+) $(, $default)?),)*
                })
            }

            fn complete(
                node: &mut $crate::config::document::Node,
                completion: &mut $crate::config::completion::Completion,
            ) {
                const KNOWN: &[&str] = &[$(settings!(@key $field $($key)?)),*];
                $(
                    completion.fill(
                        node,
                        settings!(@key $field $($key)?),
                        settings!(@default $($default)?),
                        <$kind as $crate::config::decode::Decode>::complete,
                    );
                )*
                $crate::config::completion::Completion::order(node, KNOWN);
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
