//! A request's path and authority.

#![no_main]

use holdfast::verify::htu::{self, Authority, Origin, Path, Scheme};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = Path::read(text) {
        assert_eq!(Path::read(path.as_str()).as_ref(), Ok(&path), "normal already");
        assert!(!path.as_str().split('/').any(|segment| segment == "." || segment == ".."), "{text}");
        let origin = Origin::read("https://a").expect("an origin");
        assert!(htu::matches(&format!("https://a{text}"), &origin, &path), "{text}");
    }
    if let Some(authority) = Authority::read(text) {
        let origin = Origin::new(Scheme::Https, &authority);
        assert_eq!(Origin::read(&origin.to_string()).as_ref(), Some(&origin), "{text}");
        assert!(origin.is_at(&authority), "{text}");
    }
});
