//! What a route asks of a token's claims: rules that are compiled once and decided without an allocation.
//!
//! A claim that is absent, `null`, an object or of another type than the rule's value meets no rule. An array meets a rule when one of its elements does, since that is how
//! issuers write roles and groups; so a rule can only ever ask for something, never forbid it.

use regex::{Regex, RegexBuilder};

use super::super::claim_value::{ClaimPath, ClaimValue};
use super::super::token::VerifiedToken;

/// The most bytes a compiled pattern may take, and what it remembers while it matches: a pattern of a few characters can stand for millions of states.
const PATTERN_BYTES: usize = 1 << 20;

/// A value that a claim may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `true` or `false`
    Boolean(bool),
    /// A number. Below 2^53, or two different integers would be equal.
    Number(f64),
    /// A string, compared byte for byte.
    Text(String),
}

impl Literal {
    fn is(&self, value: &ClaimValue) -> bool {
        match (self, value) {
            (Literal::Boolean(wanted), ClaimValue::Boolean(found)) => wanted == found,
            (Literal::Number(wanted), ClaimValue::Number(found)) => wanted == found,
            (Literal::Text(wanted), ClaimValue::Text(found)) => **wanted == **found,
            // A number is never the string that is written alike: which of the two an issuer writes is part of what it says.
            (Literal::Boolean(_) | Literal::Number(_) | Literal::Text(_), _) => false,
        }
    }
}

/// A pattern for the whole of a string. It takes time in proportion to the string, whatever the pattern (no backtracking).
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words of the `regex` crate.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let compiled = |text: &str| {
            RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build()
        };
        // By itself first: `a)|(?:b` would otherwise end the group that the anchors are outside of, and match anywhere.
        let whole = compiled(pattern).and_then(|_| compiled(&format!(r"\A(?:{pattern})\z")));
        whole.map(Self).map_err(|error| error.to_string())
    }

    fn is(&self, value: &ClaimValue) -> bool {
        matches!(value, ClaimValue::Text(text) if self.0.is_match(text))
    }
}

/// What a claim must be.
#[derive(Clone, Debug)]
pub enum ClaimTest {
    /// `equals`, or `one_of`.
    OneOf(Vec<Literal>),
    /// `matches`
    Matches(Pattern),
}

/// One of `require.claims`.
#[derive(Clone, Debug)]
pub struct ClaimRule {
    /// `claim`
    pub path: ClaimPath,
    /// `equals`, `one_of` or `matches`
    pub test: ClaimTest,
}

impl ClaimRule {
    /// Whether a token meets the rule.
    pub fn holds(&self, token: &VerifiedToken) -> bool {
        match token.claim(&self.path) {
            None => false,
            Some(ClaimValue::List(elements)) => elements.iter().any(|element| self.test.is(element)),
            Some(value) => self.test.is(value),
        }
    }
}

impl ClaimTest {
    fn is(&self, value: &ClaimValue) -> bool {
        match self {
            ClaimTest::OneOf(literals) => literals.iter().any(|literal| literal.is(value)),
            ClaimTest::Matches(pattern) => pattern.is(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClaimTest, ClaimValue, Literal, Pattern};

    fn text(text: &str) -> ClaimValue {
        ClaimValue::Text(text.into())
    }

    #[test]
    fn values_are_of_one_type() {
        let test =
            ClaimTest::OneOf(vec![Literal::Number(1.0), Literal::Text("a".into()), Literal::Boolean(true)]);
        for value in [ClaimValue::Number(1.0), text("a"), ClaimValue::Boolean(true)] {
            assert!(test.is(&value), "{value:?}");
        }
        let none = ClaimValue::List(Box::new([text("a")]));
        for value in
            [ClaimValue::Number(1.5), text("1"), text("true"), text("A"), text(""), ClaimValue::Null, none]
        {
            assert!(!test.is(&value), "{value:?}");
        }
    }

    /// A pattern is for the whole string, and nothing in it can make it be for less.
    #[test]
    fn patterns_are_anchored() {
        let matches = |pattern: &str, value: &str| Pattern::new(pattern).ok().map(|p| p.is(&text(value)));
        assert_eq!(matches("a|b", "b"), Some(true));
        for value in ["xa", "ax", "b\n", "a\n", "", "ab"] {
            assert_eq!(matches("a|b", value), Some(false), "{value:?}");
        }
        // In these modes `^`, `$` and comments mean something else; the anchors outside do not.
        assert_eq!(matches("(?m)^a$", "a\nb"), Some(false));
        assert_eq!(matches("(?m)^a$", "a"), Some(true));
        assert_eq!(matches("(?i)a", "A"), Some(true));
        for wrong in ["a)|(?:b", "(", "(?x)a #", "\\w{1000}{1000}", "a(?=b)", "[z-a]"] {
            assert_eq!(matches(wrong, "a"), None, "{wrong}");
        }
    }

    /// A pattern that makes a backtracking matcher take for ever.
    #[test]
    fn patterns_take_linear_time() {
        let pattern = Pattern::new("(a*)*(a|aa)+b?").expect("a pattern");
        assert!(!pattern.is(&text(&("a".repeat(10_000) + "c"))));
    }
}
