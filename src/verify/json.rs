//! A strict reading of the JSON inside a JWS.
//!
//! Two readers that disagree about one text are how a checked token becomes another one, so what could be read in two
//! ways is refused: a duplicate member at any depth (RFC 7515 §4, RFC 7519 §4), a NUL in a string, a byte order mark, invalid
//! UTF-8, numbers out of range, anything after the end. Depth and the number of members are bounded.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most members one object, or elements one array, may have.
const MOST_MEMBERS: usize = 512;

/// A JSON value that borrows from the text wherever a string has no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as the nearest double.
    Number(f64),
    /// A string without NUL.
    String(Cow<'t, str>),
    /// An array.
    Array(Vec<Value<'t>>),
    /// An object.
    Object(Object<'t>),
}

impl<'t> Value<'t> {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object<'t>> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value<'t>]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// The members of an object, each name once, in the order they stood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'t>(Vec<(Cow<'t, str>, Value<'t>)>);

impl<'t> Object<'t> {
    /// Reads one JSON object and nothing beside it. `None` for any other text; why is not told, since the text is a caller's.
    pub fn read(text: &'t [u8]) -> Option<Self> {
        // UTF-8 is checked over the whole text first: the deserializer would skip over it in places.
        let text = std::str::from_utf8(text).ok()?;
        match serde_json::from_str(text).ok()? {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The value of the member `name`.
    pub fn get(&self, name: &str) -> Option<&Value<'t>> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// Whether there is a member `name`, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The members, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value<'t>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// A string of a member name or a value.
struct Text<'t>(Cow<'t, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ValueVisitor)? {
            Value::String(text) => Ok(Text(text)),
            _ => Err(de::Error::custom("a member name is a string")),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        without_nul(text)?;
        Ok(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        without_nul(text)?;
        Ok(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            if elements.len() == MOST_MEMBERS {
                return Err(de::Error::custom("too many elements"));
            }
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some((Text(name), value)) = access.next_entry::<Text<'de>, Value<'de>>()? {
            if members.len() == MOST_MEMBERS {
                return Err(de::Error::custom("too many members"));
            }
            members.push((name, value));
        }
        if has_duplicate(&members) {
            return Err(de::Error::custom("a duplicate member"));
        }
        Ok(Value::Object(Object(members)))
    }
}

fn without_nul<E: de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom("NUL in a string")) } else { Ok(()) }
}

/// Small objects, which are nearly all, are compared pairwise: that is faster than hashing and allocates nothing.
fn has_duplicate(members: &[(Cow<'_, str>, Value<'_>)]) -> bool {
    if members.len() <= 16 {
        return members.iter().enumerate().any(|(i, (name, _))| members[..i].iter().any(|(n, _)| n == name));
    }
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(name, _)| seen.insert(name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::{Object, Value};

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let refused: [&[u8]; 14] = [
            b"",
            b"[]",
            b"\"x\"",
            b"{\"a\":1,\"a\":2}",
            b"{\"a\":1,\"\\u0061\":2}",
            b"{\"a\":{\"b\":1,\"b\":2}}",
            b"{\"a\":[{\"b\":1,\"b\":2}]}",
            b"{\"a\":1} x",
            b"{\"a\":1}{}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\u0000\"}",
            b"{\"a\":1e400}",
            b"{\"a\":\"\\ud800\"}",
        ];
        for text in refused {
            assert_eq!(Object::read(text), None, "{}", String::from_utf8_lossy(text));
        }
        let many =
            format!("{{{}}}", (0..20).map(|i| format!("\"m{}\":0", i % 19)).collect::<Vec<_>>().join(","));
        assert_eq!(Object::read(many.as_bytes()), None, "a duplicate among many");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Object::read(deep.as_bytes()), None);
        let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(600));
        assert_eq!(Object::read(wide.as_bytes()), None);
    }

    #[test]
    fn members_are_found_by_name() {
        let object = Object::read(br#" {"a":"x\ny","b":null,"c":1.5,"d":[true],"e":{}} "#).expect("valid");
        assert_eq!(object.get("a").and_then(Value::as_str), Some("x\ny"));
        assert!(object.has("b"));
        assert_eq!(object.get("c").and_then(Value::as_number), Some(1.5));
        assert_eq!(object.get("d").and_then(Value::as_array).map(<[_]>::len), Some(1));
        assert!(object.get("e").and_then(Value::as_object).is_some_and(Object::is_empty));
        assert!(!object.has("f"));
    }
}
