//! The claims that nothing here gives a type, as policies see them: any JSON value, kept for as long as its token is.
//!
//! What they mean is agreed between issuer and operator alone. They are read by the same strict reader as the others, so no name stands twice in an object;
//! and they take memory in proportion to the token, whose size is limited, which a cache of tokens counts ([`ClaimValue::memory`]).

use super::json::{Object, Value};

/// The largest number that is one integer alone: a larger double is the nearest one to several.
pub const EXACT: f64 = 9_007_199_254_740_991.0;

/// A claim's value, of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// `null`: as good as absent, for a policy.
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number, as the nearest double.
    Number(f64),
    /// A string.
    Text(Box<str>),
    /// An array.
    List(Box<[ClaimValue]>),
    /// An object.
    Members(Box<[(Box<str>, ClaimValue)]>),
}

impl ClaimValue {
    /// The value that was read.
    pub fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => ClaimValue::Null,
            Value::Bool(value) => ClaimValue::Boolean(*value),
            Value::Number(number) => ClaimValue::Number(*number),
            Value::String(text) => ClaimValue::Text(text.as_ref().into()),
            Value::Array(elements) => ClaimValue::List(elements.iter().map(ClaimValue::of).collect()),
            Value::Object(object) => ClaimValue::Members(members(object)),
        }
    }

    /// About how many bytes it takes beside itself.
    pub fn memory(&self) -> usize {
        match self {
            ClaimValue::Null | ClaimValue::Boolean(_) | ClaimValue::Number(_) => 0,
            ClaimValue::Text(text) => text.len(),
            ClaimValue::List(elements) => {
                elements.iter().map(|element| size_of::<Self>() + element.memory()).sum()
            }
            ClaimValue::Members(members) => memory(members),
        }
    }

    /// The member of this name, of an object.
    pub fn member(&self, name: &str) -> Option<&ClaimValue> {
        match self {
            ClaimValue::Members(members) => find(members, name),
            ClaimValue::Null
            | ClaimValue::Boolean(_)
            | ClaimValue::Number(_)
            | ClaimValue::Text(_)
            | ClaimValue::List(_) => None,
        }
    }
}

/// An object's members, as they stood.
fn members(object: &Object<'_>) -> Box<[(Box<str>, ClaimValue)]> {
    object.members().map(|(name, value)| (name.into(), ClaimValue::of(value))).collect()
}

/// The member of this name.
pub(super) fn find<'v>(members: &'v [(Box<str>, ClaimValue)], name: &str) -> Option<&'v ClaimValue> {
    members.iter().find(|(member, _)| **member == *name).map(|(_, value)| value)
}

/// About how many bytes members take.
pub(super) fn memory(members: &[(Box<str>, ClaimValue)]) -> usize {
    members
        .iter()
        .map(|(name, value)| size_of::<(Box<str>, ClaimValue)>() + name.len() + value.memory())
        .sum()
}

/// Where a claim is: its name, or the names on the way to a member of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    name: Box<str>,
    below: Box<[Box<str>]>,
}

impl ClaimPath {
    /// Reads a name, which may hold anything, or a JSON pointer (RFC 6901 §3), which begins with a slash. Numbers in it are names too: policies look into objects, and at all
    /// elements of an array, never at one. `None` for `~` that escapes nothing, and for a pointer to the whole.
    pub fn read(text: &str) -> Option<Self> {
        let Some(pointer) = text.strip_prefix('/') else {
            return (!text.is_empty()).then(|| Self { name: text.into(), below: Box::default() });
        };
        let mut names = pointer.split('/').map(unescaped);
        let name = names.next()??;
        let below = names.collect::<Option<_>>()?;
        Some(Self { name, below })
    }

    /// The claim's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value there, in the claim of that name.
    pub fn follow<'v>(&self, claim: &'v ClaimValue) -> Option<&'v ClaimValue> {
        self.below.iter().try_fold(claim, |value, name| value.member(name))
    }
}

/// RFC 6901 §4: `~1` is a slash and `~0` a tilde, in that order.
fn unescaped(token: &str) -> Option<Box<str>> {
    let plain = token.replace("~1", "/").replace("~0", "~");
    let escapes = token.matches("~1").count() + token.matches("~0").count();
    (token.matches('~').count() == escapes).then(|| plain.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::{ClaimPath, ClaimValue};
    use crate::verify::json::Object;

    fn at(path: &str) -> Option<ClaimValue> {
        let text = br#"{"a":{"b":{"c/d":[1,"x"],"~":true}},"/":2,"https://x/roles":"r","n":null}"#;
        let object = Object::read(text).expect("JSON");
        let path = ClaimPath::read(path)?;
        path.follow(&ClaimValue::of(object.get(path.name())?)).cloned()
    }

    #[test]
    fn names_and_pointers() {
        assert_eq!(at("/a/b/~0"), Some(ClaimValue::Boolean(true)));
        assert!(matches!(at("/a/b/c~1d"), Some(ClaimValue::List(list)) if list.len() == 2));
        assert_eq!(at("/~1"), Some(ClaimValue::Number(2.0)));
        assert_eq!(at("https://x/roles"), Some(ClaimValue::Text("r".into())));
        assert_eq!(at("n"), Some(ClaimValue::Null));
        for absent in ["", "a/b", "/a/c", "/a/b/c~1d/0", "/a~2", "/a/~", "b", "/a/b/c/d"] {
            assert_eq!(at(absent), None, "{absent}");
        }
        for wrong in ["", "/a~2", "/a/~", "/~", "/~~0", "/a/b~"] {
            assert_eq!(ClaimPath::read(wrong), None, "{wrong}");
        }
        // RFC 6901 §4: `~01` is `~1` and never a slash, which the other order would make of it.
        assert_eq!(ClaimPath::read("/~01").map(|path| path.name().to_owned()).as_deref(), Some("~1"));
    }

    #[test]
    fn memory_grows_with_the_value() {
        let of = |text: &str| {
            let text = format!("{{\"a\":{text}}}");
            let object = Object::read(text.as_bytes()).expect("JSON");
            object.get("a").map(ClaimValue::of).expect("a claim").memory()
        };
        assert_eq!(of("1"), 0);
        assert_eq!(of("\"abc\""), 3);
        assert_eq!(of("[1,2]"), 2 * size_of::<ClaimValue>());
        assert!(of("{\"name\":\"value\"}") > 9 + size_of::<ClaimValue>());
    }
}
