//! The shape of the source, held by reading it: who imports whom, what `verify` must not touch, and how long a file may be.

use crate::source::{Source, block, has_word, patterns, sources, starts_a_word, top_level};

/// The modules from the bottom up. A module imports only from lower rows; those of one row never import each other.
const TIERS: &[&[&str]] = &[
    &["verify"],
    &["config", "clock", "keepalive", "patience", "seldom"],
    &["cors", "coverage", "quarantine", "rate"],
    &["authority", "replay", "observe", "route"],
    &["accept", "forward"],
    &["respond"],
    &["gateway"],
    &["admin", "doors"],
    &["app"],
    &["caller"],
    &["demo"],
    &["cli"],
    &["main"],
];

/// A source file is comfortable at 100 to 300 lines; its unit tests may stand below it.
const CODE_LINES: usize = 400;
/// With its tests, or being one.
const FILE_LINES: usize = 500;

/// `verify` does no IO, reads no clock, takes no lock (DESIGN.md §4, invariant 1).
const NOT_IN_VERIFY: &[&str] = &[
    "SystemTime",
    "Instant",
    "Mutex",
    "RwLock",
    "RefCell",
    "OnceLock",
    "thread_local",
    "tokio",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "dashmap",
    "hyper",
    "rustls",
    "tracing",
    "println",
    "eprintln",
];

/// Whether a pattern takes whatever is left: `_`, a name, or one of these in `Err` or `Some`.
fn is_catch_all(pattern: &str) -> bool {
    let pattern = pattern.split(" if ").next().unwrap_or(pattern).trim();
    let inner = ["Err", "Some"]
        .iter()
        .find_map(|name| pattern.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')'));
    let name = inner.unwrap_or(pattern);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn tier(module: &str) -> Option<usize> {
    TIERS.iter().position(|row| row.contains(&module))
}

/// What is wrong with the imports of one file.
fn imports_against_the_direction(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(top) = module.first() else { return Vec::new() };
    let Some(own) = tier(top) else { return vec![format!("{}: {top} has no row in TIERS", source.name())] };
    let wrong = source.imports().into_iter().filter(|name| name != top);
    wrong
        .filter(|name| tier(name).is_none_or(|tier| tier >= own))
        .map(|name| format!("{}: {top} imports {name}", source.name()))
        .collect()
}

/// What is wrong with the `match`es over `Rejection` of one file.
fn catch_alls_over_rejection(source: &Source) -> Vec<String> {
    let code = &source.code;
    let mut wrong = Vec::new();
    for (at, _) in code.match_indices("match ").filter(|(at, _)| starts_a_word(code, *at)) {
        let patterns =
            top_level(&code[at..], "{").map_or(Vec::new(), |brace| patterns(block(&code[at + brace..])));
        if patterns.iter().any(|pattern| pattern.contains("Rejection::"))
            && let Some(pattern) = patterns.iter().find(|pattern| is_catch_all(pattern))
        {
            wrong.push(format!("{}: `{pattern}` in a match over Rejection", source.name()));
        }
    }
    wrong
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn imports_go_one_way() {
    assert_none(sources("src").iter().flat_map(imports_against_the_direction).collect());
}

/// Invariant 1.
#[test]
fn verify_does_no_io_reads_no_clock_and_takes_no_lock() {
    let verify = sources("src")
        .into_iter()
        .filter(|source| source.module().first().is_some_and(|top| top == "verify"));
    let wrong = verify.flat_map(|source| {
        let found = NOT_IN_VERIFY.iter().filter(|word| has_word(&source.code, word));
        found.map(|word| format!("{}: {word}", source.name())).collect::<Vec<_>>()
    });
    assert_none(wrong.collect());
}

/// Maps with guards are used in two files, where no guard lives across an await (`clippy.toml` says so as well).
#[test]
fn maps_with_guards_are_used_in_two_places() {
    let known = ["replay/memory.rs", "accept/room.rs"];
    let others =
        sources("src").into_iter().filter(|source| !known.iter().any(|known| source.path.ends_with(known)));
    assert_none(
        others.filter(|source| has_word(&source.code, "dashmap")).map(|source| source.name()).collect(),
    );
}

#[test]
fn nothing_unsafe_and_nothing_unwrapped() {
    let wrong = sources("src").into_iter().flat_map(|source| {
        let mut wrong = Vec::new();
        if has_word(&source.code, "unsafe") {
            wrong.push(format!("{}: unsafe", source.name()));
        }
        if source.code.contains(".unwrap()") {
            wrong.push(format!("{}: .unwrap()", source.name()));
        }
        wrong
    });
    assert_none(wrong.collect());
}

/// A new refusal must stop the build at each place that has to decide.
#[test]
fn no_match_over_rejection_has_a_catch_all() {
    assert_none(sources("src").iter().flat_map(catch_alls_over_rejection).collect());
}

#[test]
fn files_can_be_read_in_one_go() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        let tests = source.text.find("#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
        let own = if source.is_test() { 0 } else { source.text[..tests].lines().count() };
        if lines > FILE_LINES || own > CODE_LINES {
            wrong.push(format!("{}: {own} lines, {lines} with tests", source.name()));
        }
    }
    assert_none(wrong);
}

/// The checks themselves: each finds what it is for, and is not misled by comments, strings and tests.
mod of_the_checks {
    use super::{Source, catch_alls_over_rejection, has_word, imports_against_the_direction};

    fn source(path: &str, text: &str) -> Source {
        Source::new(path.into(), text.to_owned())
    }

    #[test]
    fn imports() {
        for (path, text) in [
            ("src/verify/a.rs", "use crate::config::Config;"),
            ("src/verify/a.rs", "fn f() { crate::config::f() }"),
            ("src/verify/a.rs", "use super::super::config::Config;"),
            ("src/verify/mod.rs", "use super::config::Config;"),
            ("src/replay/memory.rs", "use crate::authority::Tokens;"),
            ("src/accept/mod.rs", "use crate::{verify::{jwk, jws}, forward};"),
            ("src/forward/a/b.rs", "use crate::{\n    accept,\n};"),
            ("src/gateway.rs", "use super::app;"),
            ("src/config/mod.rs", "use crate::replay;"),
            ("src/cli/dpop.rs", "use holdfast::main;"),
            ("src/new.rs", "fn nothing() {}"),
        ] {
            assert!(!imports_against_the_direction(&source(path, text)).is_empty(), "{path}: {text}");
        }
        for (path, text) in [
            ("src/lib.rs", "pub mod verify; use crate::app::App;"),
            ("src/verify/a.rs", "use super::jwk; use crate::verify::jws; // use crate::config;"),
            ("src/verify/a.rs", "const A: &str = \"crate::config\"; const B: &str = r#\"\"crate::config\"#;"),
            ("src/verify/a.rs", "fn f<'a>(c: char) -> bool { c == '\"' } /* crate::config \" */"),
            ("src/verify/a.rs", "#[cfg(test)]\nmod tests { use crate::config::Config; }"),
            ("src/verify/a/b.rs", "use super::super::jwk;"),
            ("src/replay/memory.rs", "use crate::{config::ReplayMemory, verify::{jwk, replay}};"),
            ("src/main.rs", "use holdfast::cli;"),
        ] {
            assert_eq!(
                imports_against_the_direction(&source(path, text)),
                Vec::<String>::new(),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn catch_alls() {
        for arms in [
            "Rejection::ProofAth => 1, _ => 2",
            "Rejection::ProofAth => { match 3 { x => x } } other => 2",
            "Err(Rejection::ProofAth) => 1, Err(_) => 2, Ok(()) => 3",
            "_ if f(1) => 1, Rejection::ProofAth => 1",
        ] {
            let text = format!("fn f() {{ match g(|| {{ 1 }}) {{ {arms} }} }}");
            assert!(!catch_alls_over_rejection(&source("src/respond.rs", &text)).is_empty(), "{arms}");
        }
        for arms in [
            "Rejection::ProofAth | Rejection::ProofHtu => 1, Rejection::ProofHtm => 2",
            "1 => Rejection::ProofAth, _ => Rejection::ProofHtm",
            "Rejection::ProofAth => match 3 { 3 => 1, _ => 2 }, Rejection::ProofHtm => 2",
        ] {
            let text = format!("fn f() {{ match x {{ {arms} }} }}");
            assert_eq!(
                catch_alls_over_rejection(&source("src/respond.rs", &text)),
                Vec::<String>::new(),
                "{arms}"
            );
        }
    }

    #[test]
    fn words() {
        assert!(has_word("unsafe { }", "unsafe") && has_word("use std::fs;", "std::fs"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe") && !has_word("Instantly", "Instant"));
        assert!(
            source("src/a.rs", "x.unwrap()\n// y\n#[cfg(test)]\nmod tests;\nfn f() { z.unwrap() }")
                .code
                .contains("z")
        );
    }
}
