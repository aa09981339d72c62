//! Of which pages a route takes requests: the guard that MCP demands against DNS rebinding (MCP 2026-07-28, Streamable HTTP, "Security").

use http::HeaderMap;
use http::header::ORIGIN;

use super::super::field::{Line, single};
use super::super::rejection::Rejection;

/// Of which pages a route takes requests (`require.origins`). A browser says in `Origin` whose page it is that asks; nobody else has to say anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Of any: it is not looked at.
    Any,
    /// Of these origins, as browsers write them; there may be none. Guards a server from pages that reach it by a name pointed at its address.
    Of(Box<[String]>),
}

impl Pages {
    /// Judges the `Origin` of a request with these headers. One without is no page's. More than one, `null` and a list are the word of none that is listed.
    ///
    /// # Errors
    /// [`Rejection::OriginUnlisted`]
    pub fn judge(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let Pages::Of(listed) = self else { return Ok(()) };
        match single(headers, &ORIGIN) {
            Line::Absent => Ok(()),
            // Byte for byte: a suffix would let https://evil-app.example.com in.
            Line::One(origin) if listed.iter().any(|one| one.as_bytes() == origin.as_bytes()) => Ok(()),
            Line::One(_) | Line::Several => Err(Rejection::OriginUnlisted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_whole_origin() {
        let judged = |pages: &Pages, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ORIGIN, line.parse().unwrap());
            }
            pages.judge(&headers)
        };
        let listed = Pages::Of(["https://app.example.com".to_owned()].into());
        let none = Pages::Of([].into());
        assert_eq!((judged(&listed, &[]), judged(&none, &[])), (Ok(()), Ok(())));
        assert_eq!(judged(&listed, &["https://app.example.com"]), Ok(()));
        assert_eq!(judged(&Pages::Any, &["https://evil.example"]), Ok(()));
        for lines in [
            &["null"][..],
            &[""],
            &["https://app.example.com.evil.example"],
            &["https://evil-app.example.com"],
            &["http://app.example.com"],
            &["https://app.example.com:8443"],
            &["HTTPS://APP.EXAMPLE.COM"],
            &["https://app.example.com https://evil.example"],
            &["https://app.example.com", "https://app.example.com"],
        ] {
            assert_eq!(judged(&listed, lines), Err(Rejection::OriginUnlisted), "{lines:?}");
        }
        assert_eq!(judged(&none, &["https://app.example.com"]), Err(Rejection::OriginUnlisted));
    }
}
