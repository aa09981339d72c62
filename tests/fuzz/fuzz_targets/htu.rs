//! A proof's `htu` against one request.

#![no_main]

use holdfast::verify::htu::{self, Origin, Path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|claim: &str| {
    let (origin, path) = (Origin::read("https://a").expect("an origin"), Path::read("/b").expect("a path"));
    if htu::matches(claim, &origin, &path) {
        assert!(claim.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("https://a")), "{claim}");
        assert!(htu::matches(&format!("{claim}?q"), &origin, &path) || claim.contains('#'), "{claim}");
        assert!(!htu::matches(claim, &origin, &Path::read("/c").expect("a path")), "{claim}");
    }
});
