//! The claim: a caller's text, only ever compared. It is normalised generously and compared for equality: never prefix, never pattern (R-A-16).

use super::origin::{Origin, split_origin};
use super::path::{Path, normalised};

/// Whether the claim `htu` names this request (RFC 9449 §4.3 check 9): an absolute http or https URI, equal after normalisation, query and fragment aside.
pub fn matches(htu: &str, origin: &Origin, path: &Path) -> bool {
    // The spelling nearly every client sends, without an allocation.
    if htu.strip_prefix(origin.as_str()) == Some(path.as_str()) {
        return true;
    }
    let Some((claimed, rest)) = split_origin(htu) else { return false };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (claimed_path, ignored) = rest.split_at(end);
    // What is ignored must still be a URI's: control characters, spaces and backslashes make the whole claim none.
    if claimed != *origin || !ignored.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return false;
    }
    let claimed_path = if claimed_path.is_empty() { "/" } else { claimed_path };
    normalised(claimed_path).is_some_and(|claimed| without_dot_segments(&claimed) == path.as_str())
}

/// RFC 3986 §5.2.4, for a path that starts with `/`.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Origin, Path, matches};

    fn origin() -> Origin {
        Origin::read("https://api.example.com").expect("an origin")
    }

    fn path(raw: &str) -> Path {
        Path::read(raw).expect(raw)
    }

    /// R-A-14 to R-A-16, T-HTU.
    #[test]
    fn claims_that_name_the_request() {
        for (claim, request) in [
            ("https://api.example.com/resource", "/resource"),
            ("https://api.example.com/resource?a=b#c", "/resource"),
            ("HTTPS://API.EXAMPLE.COM/resource", "/resource"),
            ("https://api.example.com:443/resource", "/resource"),
            ("https://api.example.com:/resource", "/resource"),
            ("https://api.example.com", "/"),
            ("https://api.example.com?x", "/"),
            ("https://api.example.com/%7Euser", "/~user"),
            ("https://api.example.com/~user", "/%7euser"),
            ("https://api.example.com/%4d", "/M"),
            ("https://api.example.com/a%2fb", "/a%2Fb"),
            ("https://api.example.com/a/./b/../c", "/a/c"),
            ("https://api.example.com/a/..", "/"),
            ("https://api.example.com/a;v=1", "/a;v=1"),
            ("https://api.example.com//x", "//x"),
        ] {
            assert!(matches(claim, &origin(), &path(request)), "{claim}");
        }
        let v6 = Origin::read("https://[::1]:8443").expect("an origin");
        assert!(matches("https://[0:0:0:0:0:0:0:1]:8443/x", &v6, &path("/x")));
        let tricky = Origin::read("https://[fe80::443]").expect("an origin");
        assert!(matches("https://[fe80::443]/x", &tricky, &path("/x")));
        assert!(!matches("https://[fe80::]/x", &tricky, &path("/x")));
    }

    #[test]
    fn claims_that_name_something_else() {
        for claim in [
            "",
            "/resource",
            "//api.example.com/resource",
            "https://api.example.com:8443/resource",
            "http://api.example.com/resource",
            "https://api.example.com/Resource",
            "https://api.example.com/resource/",
            "https://api.example.com/resourceohnonotagain",
            "https://api.example.com/res",
            "https://api.example.com//resource",
            "https://api.example.com.evil/resource",
            "https://api.example.com./resource",
            "https://u:p@api.example.com/resource",
            "https://api.example.com:65536/resource",
            "https://api.example.com:abc/resource",
            "https://api.example.com:+443/resource",
            "ftp://api.example.com/resource",
            " https://api.example.com/resource",
            "https://api.example.com/resource ",
            "https://api.example.com\\resource",
            "https://api.example.com/resource\t",
            "https:/api.example.com/resource",
            "https://api.example.com/res%6fu",
            "https://api.example.com/resource?a b",
            "https://api.example.com/%zz",
            "javascript:alert(1)",
            "https://[::1/resource",
            "https://api.example.com%2Fresource",
            "https://api.exämple.com/resource",
        ] {
            assert!(!matches(claim, &origin(), &path("/resource")), "{claim}");
        }
    }
}
