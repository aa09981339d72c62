//! The configuration file as a small tree with places: what the YAML, TOML and JSON readers agree on.
//!
//! A tree is bounded before anything looks at it: in bytes, in depth, and, since there are no references, in what a byte can grow to.

use super::complaint::{Complaints, Span};
use super::profile::Profile;
use super::{toml, yaml};

/// The largest file that is read, in bytes. A configuration of a thousand routes is a fifth of this.
pub(super) const LARGEST: usize = 1 << 20;

/// The deepest that mappings and sequences may stand in each other. The deepest setting stands at 5.
pub(super) const DEEPEST: usize = 16;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`: the documented form
    Yaml,
    /// `.toml`
    Toml,
    /// `.json`
    Json,
}

impl Format {
    /// The format that a file's ending says.
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A key with nothing behind it, or `null`.
    Nothing,
    /// Something that was complained of already: whoever decodes it stays silent.
    Refused,
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order they are written. A repeated key was complained of and is kept.
    Mapping(Vec<(Key, Node)>),
}

impl Value {
    /// What it is, for a complaint.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Value::Nothing | Value::Refused => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// A string, number, boolean or date, as text: what it means is up to the setting it stands for.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it is written without quotes: a number, a boolean, a date, or YAML's words, where `no` is a boolean to some readers.
    pub(super) plain: bool,
    /// As it stands in the file, where the environment was put into it: what came from there is not repeated in complaints.
    pub(super) before_replacement: Option<String>,
}

/// A mapping's key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) span: Span,
    pub(super) author: Author,
}

/// Who has set a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// It is written in the file.
    Operator,
    /// The file does not say it, and its profile does.
    Profile(Profile),
    /// Neither says it.
    Default,
    /// The same, where it would have no effect and may not be written: it is shown and never read.
    NoOne,
}

/// Reads `text`. `None` when it is no document; a document with repeated keys is read and complained of.
pub(super) fn read(text: &str, format: Format, complaints: &mut Complaints) -> Option<Node> {
    // YAML allows no control characters, and its reader takes a NUL for the end of the file: what stands behind would be ignored.
    for (row, line) in text.lines().enumerate() {
        if let Some(at) = line.chars().position(|c| c.is_control() && !matches!(c, '\t' | '\r')) {
            complaints
                .add(Span { line: row + 1, column: at + 1, length: 1 }, "a control character in the file");
            return None;
        }
    }
    match format {
        Format::Yaml => yaml::read(text, complaints),
        Format::Toml => toml::read(text, complaints),
        Format::Json => {
            // YAML holds nearly all of JSON and much that is not JSON, so a JSON reader judges first; the other one knows places.
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
                let span = Span { line: error.line(), column: error.column().max(1), length: 1 };
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default();
                complaints.add(span, format!("this is not JSON: {reason}"));
                return None;
            }
            // Between JSON's tokens a tab is white space, inside its strings there is none; YAML does not indent with it.
            yaml::read(&text.replace('\t', " "), complaints)
        }
    }
}

/// Complains of keys that stand more than once in one mapping: one of the two values would be silently ignored.
pub(super) fn refuse_repeated(entries: &[(Key, Node)], complaints: &mut Complaints) {
    let mut first_at = std::collections::HashMap::new();
    for (key, _) in entries {
        if let Some(line) = first_at.get(key.text.as_str()) {
            complaints.add_with(
                key.span,
                format!("{} stands here for the second time", super::complaint::quoted(&key.text)),
                format!("the first is on line {line}"),
            );
        } else {
            first_at.insert(key.text.as_str(), key.span.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Complaints, Format, Node, Value, read};

    /// The tree in a form that can be compared.
    fn shape(node: &Node) -> String {
        match &node.value {
            Value::Nothing | Value::Refused => "~".to_owned(),
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::Sequence(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(" ")),
            Value::Mapping(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}={}", key.text, shape(value))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    fn read_shape(text: &str, format: Format) -> Result<String, String> {
        let mut complaints = Complaints::about("f");
        let node = read(text, format, &mut complaints);
        complaints.into_error().map_err(|complaints| {
            complaints
                .iter()
                .map(|c| format!("{}:{} {}", c.span.line, c.span.column, c.message))
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        Ok(shape(&node.expect("a document without complaints is read")))
    }

    #[test]
    fn the_three_formats_make_one_tree() {
        let yaml = "a: 1.20\nb: [x, \"y z\"]\nc:\n  - { d: true }\n  - e: 'f'\n";
        let json = "{\"a\": 1.20, \"b\":[\"x\",\"y z\"],\n\t\"c\": [{\"d\":true},{\"e\":\"f\"}]}";
        let toml = "a = 1.20\nb = [\"x\", \"y z\"]\n[[c]]\nd = true\n[[c]]\ne = 'f'\n";
        let tree = "{a=\"1.20\" b=[\"x\" \"y z\"] c=[{d=\"true\"} {e=\"f\"}]}";
        for (text, format) in [(yaml, Format::Yaml), (json, Format::Json), (toml, Format::Toml)] {
            assert_eq!(read_shape(text, format).as_deref(), Ok(tree), "{format:?}");
        }
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_no_document() {
        for (text, format, complaint) in [
            ("a: 1\nb: 2\na: 3\n", Format::Yaml, "3:1 `a` stands here for the second time"),
            ("{\"a\": 1, \"a\": 3}", Format::Json, "1:10 `a` stands here for the second time"),
            ("a = 1\na = 3\n", Format::Toml, "2:1 this is not TOML: duplicate key"),
            ("a: &x [1]\n", Format::Yaml, "1:4 an anchor"),
            ("a: *x\n", Format::Yaml, "1:4 this is not YAML: while parsing node, found unknown anchor"),
            ("a: 1\n---\nb: 2\n", Format::Yaml, "2:1 a second document"),
            ("a: !!str 1\n", Format::Yaml, "1:4 a tag"),
            ("a: b\0c\n", Format::Yaml, "1:5 a control character in the file"),
            ("a: [1\n", Format::Yaml, "2:1 this is not YAML"),
            ("? [1]\n: 2\n", Format::Yaml, "1:3 a key that is not a single value"),
            ("{a: 1}", Format::Json, "1:2 this is not JSON: key must be a string"),
            ("{\"a\": 1} x", Format::Json, "1:10 this is not JSON: trailing characters"),
            ("a = \n", Format::Toml, "1:5 this is not TOML"),
        ] {
            let said = read_shape(text, format).expect_err(text);
            assert!(said.starts_with(complaint), "{text:?}: {said}");
        }
    }

    /// No billion laughs (there are no aliases) and no stack that a file can exhaust.
    #[test]
    fn depth_is_bounded() {
        for (deep, format) in [
            ("[".repeat(100_000), Format::Yaml),
            ("- ".repeat(100_000), Format::Yaml),
            ("a: {".repeat(50_000), Format::Yaml),
            (format!("{}{}", "[".repeat(100), "]".repeat(100)), Format::Json),
            (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Json),
            (format!("a={}{}", "[".repeat(70), "]".repeat(70)), Format::Toml),
            (format!("a={}{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Toml),
            (format!("{}x = 1", "a.".repeat(100_000)), Format::Toml),
        ] {
            assert!(read_shape(&deep, format).is_err(), "{}…", &deep[..20]);
        }
    }
}
