//! Fields of which a request may have one line and no more.
//!
//! `HeaderMap::get` shows the first of several lines as if it were the only one, and another reader takes the last. So what decides something is read here,
//! and each caller says what several lines mean to it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// How many lines of a field there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'h> {
    /// None.
    Absent,
    /// One, which may be empty.
    One(&'h HeaderValue),
    /// More than one; whether they say the same is nobody's business.
    Several,
}

/// The line of a field that may have only one.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Line<'h> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Line::Absent,
        (Some(line), None) => Line::One(line),
        (Some(_), Some(_)) => Line::Several,
    }
}

/// The same, where several lines say no more than none.
pub fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    match single(headers, name) {
        Line::One(line) => Some(line),
        Line::Absent | Line::Several => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, ORIGIN};

    use super::*;

    #[test]
    fn two_lines_are_not_one() {
        let mut headers = HeaderMap::new();
        assert_eq!((single(&headers, &HOST), only(&headers, &HOST)), (Line::Absent, None));
        let value = HeaderValue::from_static("a");
        headers.append(HOST, value.clone());
        headers.append(ORIGIN, HeaderValue::from_static(""));
        assert_eq!((single(&headers, &HOST), only(&headers, &HOST)), (Line::One(&value), Some(&value)));
        assert!(matches!(single(&headers, &ORIGIN), Line::One(line) if line.is_empty()));
        // The same twice is twice.
        headers.append(HOST, value.clone());
        assert_eq!((single(&headers, &HOST), only(&headers, &HOST)), (Line::Several, None));
    }
}
