//! Rust source as text: enough to see who imports whom, and needs no compiler of its own.
//!
//! Comments, strings and unit tests are taken out first, so that what is left and looks like an import is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The text as it stands.
    pub(crate) text: String,
    /// Without comments, strings and unit tests; empty for a file that is one.
    pub(crate) code: String,
    /// Without comments and strings.
    bare: String,
}

impl Source {
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        let bare = without_comments_and_strings(&text);
        let code = without_tests(&bare);
        Self { path, text, code, bare }
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The path of modules that the file is: `src/a/b.rs` and `src/a/b/mod.rs` are `a`, `b`; the root is none.
    pub(crate) fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src").unwrap_or(&self.path).with_extension("");
        let mut names: Vec<String> = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        if names.last().is_some_and(|name| name == "mod" || name == "lib") {
            names.pop();
        }
        names
    }

    /// The modules in files of their own that it has for its tests.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.bare.split("#[cfg(test)]").skip(1).filter_map(|item| {
            let (before, rest) = item.split_once("mod ")?;
            let (name, _) = rest.split_once(';')?;
            let is_visibility = matches!(before.trim(), "" | "pub" | "pub(crate)" | "pub(super)");
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            (is_visibility && is_name).then(|| name.to_owned())
        });
        declared.map(|name| [self.module(), vec![name]].concat()).collect()
    }

    /// Whether all of it is tests.
    pub(crate) fn is_test(&self) -> bool {
        self.code.is_empty()
    }

    /// The top-level modules of ours that it names.
    pub(crate) fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for root in ["crate::", "holdfast::"] {
            for (at, _) in self.code.match_indices(root).filter(|(at, _)| starts_a_word(&self.code, *at)) {
                found.extend(first_segments(&self.code[at + root.len()..]));
            }
        }
        // As many `super` as the module is deep lead to the root as well.
        let climb = "super::".repeat(self.module().len());
        if !climb.is_empty() {
            for (at, _) in self.code.match_indices(&climb).filter(|(at, _)| starts_a_word(&self.code, *at)) {
                found.extend(first_segments(&self.code[at + climb.len()..]));
            }
        }
        found
    }
}

/// Whether what begins at `at` is not the rest of a longer name or path.
pub(crate) fn starts_a_word(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The first names of a path or of a group in braces: `a::b` has `a`; `{a::{b, c}, d}` has `a` and `d`.
fn first_segments(path: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut rest) = (0, vec![name(group)], group);
    while let Some(at) = rest.find(['{', '}', ',']) {
        let mark = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match mark {
            b'{' => depth += 1,
            b'}' if depth == 0 => break,
            b'}' => depth -= 1,
            _ if depth == 0 => names.push(name(rest)),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

/// The text with comments, strings and character literals as spaces; lines stay lines.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest, out.chars().last()) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[skipped..];
    }
    out
}

/// The number of `#` of a raw string that begins here; its `b`, if any, has passed.
fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let word = before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_');
    (body.starts_with('"') && !word).then(|| hashes.len() - body.len())
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether this apostrophe begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// Without every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let brace = item.find('{').unwrap_or(item.len());
        let end = match item.find(';') {
            Some(semicolon) if semicolon < brace => semicolon + 1,
            _ => brace + block(&item[brace..]).len(),
        };
        rest = &item[end..];
    }
    kept + rest
}

/// The text from an opening brace to the one that closes it, both included.
pub(crate) fn block(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
    }
    text
}

/// The patterns of a `match` whose block this is, guards included.
pub(crate) fn patterns(arms: &str) -> Vec<String> {
    let inside = arms.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let (mut patterns, mut rest) = (Vec::new(), inside);
    while let Some(arrow) = top_level(rest, "=>") {
        patterns.push(rest[..arrow].trim().trim_start_matches([',', '}']).trim().to_owned());
        rest = rest[arrow + 2..].trim_start();
        let end = if rest.starts_with('{') {
            block(rest).len()
        } else {
            top_level(rest, ",").unwrap_or(rest.len())
        };
        rest = &rest[end..];
    }
    patterns
}

/// Where `mark` stands outside any bracket.
pub(crate) fn top_level(text: &str, mark: &str) -> Option<usize> {
    let mut depth = 0_i32;
    text.char_indices().find_map(|(at, c)| {
        let found = depth == 0 && text[at..].starts_with(mark);
        depth += i32::from(matches!(c, '{' | '(' | '[')) - i32::from(matches!(c, '}' | ')' | ']'));
        found.then_some(at)
    })
}

/// Every Rust file below a folder of the package.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push(Source::new(path.strip_prefix(root).expect("inside").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources under {folder}");
    let tests: Vec<_> = found.iter().flat_map(Source::test_modules).collect();
    for source in &mut found {
        if !source.path.starts_with("src") || tests.iter().any(|test| source.module().starts_with(test)) {
            source.code.clear();
        }
    }
    found
}

/// `word` as a whole word, so that `unsafe_code` is not `unsafe`.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let after = code[at + word.len()..].chars().next();
        let before = code[..at].chars().last();
        let part_of_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part_of_a_name(before) && (!part_of_a_name(after) || word.ends_with(|c: char| !c.is_alphanumeric()))
    })
}
