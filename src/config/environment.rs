//! `${NAME}` and `${NAME:-default}` in scalars, after parsing: what comes from the environment is text in its place and never structure.

use super::complaint::{Complaints, Span, quoted};
use super::document::{Node, Scalar, Value};

/// The environment: the value of a variable, where it is set.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Replaces in every scalar of the tree. Keys are left as they are: a key from the environment would be structure.
pub(super) fn replace(node: &mut Node, environment: Environment<'_>, complaints: &mut Complaints) {
    match &mut node.value {
        Value::Nothing | Value::Refused => {}
        Value::Scalar(scalar) => {
            if replace_in(scalar, node.span, environment, complaints).is_none() {
                node.value = Value::Refused;
            }
        }
        Value::Sequence(items) => {
            for item in items {
                replace(item, environment, complaints);
            }
        }
        Value::Mapping(entries) => {
            for (_, value) in entries {
                replace(value, environment, complaints);
            }
        }
    }
}

/// `None` when something could not be replaced, which is complained of.
fn replace_in(
    scalar: &mut Scalar,
    span: Span,
    environment: Environment<'_>,
    complaints: &mut Complaints,
) -> Option<()> {
    if !scalar.text.contains("${") {
        return Some(());
    }
    let mut complete = Some(());
    let mut replaced = String::with_capacity(scalar.text.len());
    let mut rest = scalar.text.as_str();
    while let Some((before, behind)) = rest.split_once("${") {
        replaced.push_str(before);
        let Some((inside, after)) = behind.split_once('}') else {
            complaints.add(span, "`${` without a `}` behind it");
            return None;
        };
        rest = after;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) || default.is_some_and(|default| default.contains("${")) {
            let written = quoted(&format!("${{{inside}}}"));
            complaints.add_with(
                span,
                format!("{written} is no variable"),
                "it is `${NAME}` or `${NAME:-default}`",
            );
            complete = None;
            continue;
        }
        // As a shell has it, `:-` stands in for a variable that is empty too.
        match (environment(name), default) {
            (Some(value), None) => replaced.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => replaced.push_str(&value),
            (_, Some(default)) => replaced.push_str(default),
            (None, None) => {
                complaints.add_with(
                    span,
                    format!("the environment has no `{name}`"),
                    format!("set it, or give a default: `${{{name}:-…}}`"),
                );
                complete = None;
            }
        }
    }
    replaced.push_str(rest);
    scalar.before_replacement = Some(std::mem::replace(&mut scalar.text, replaced));
    scalar.plain = false;
    complete
}

/// What a shell takes for a variable's name.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Complaints, Scalar, Span, replace_in};

    fn replaced(text: &str) -> Result<String, String> {
        let environment = |name: &str| match name {
            "HOST" => Some("api.example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${HOST}: [a, b]".to_owned()),
            _ => None,
        };
        let mut scalar = Scalar { text: text.to_owned(), plain: true, before_replacement: None };
        let mut complaints = Complaints::about("f");
        let complete = replace_in(&mut scalar, Span::default(), &environment, &mut complaints);
        assert_eq!(complete.is_none(), !complaints.is_empty(), "{text}");
        complaints.into_error().map_err(|complaints| complaints.to_string())?;
        Ok(scalar.text)
    }

    #[test]
    fn variables_are_replaced_once_and_stay_text() {
        for (text, expected) in [
            ("https://${HOST}", "https://api.example.com"),
            ("${HOST}:${PORT:-8443}", "api.example.com:8443"),
            ("${PORT:-}", ""),
            ("a${EMPTY}b${EMPTY:-c}", "abc"),
            ("${TRICKY}", "${HOST}: [a, b]"),
            ("$HOST {HOST}", "$HOST {HOST}"),
        ] {
            assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_a_complaint() {
        for text in ["${UNSET}", "${HOST", "${}", "${1A}", "${A B:-c}", "${UNSET:-${HOST}}", "${HOST-x}"] {
            assert!(replaced(text).is_err(), "{text}");
        }
    }
}
