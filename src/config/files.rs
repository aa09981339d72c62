//! Which files a configuration was read from, and whether they are still the same.
//!
//! Told by content and not by date: a rename brings an old date along, and a tool that writes what was there before changes nothing. Only
//! digests are kept, since some of the files hold secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::material::read_bounded;

/// Files as they were at one time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, File>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    /// More bytes than this are not read.
    largest: u64,
    /// `None`: it could not be read.
    content: Option<[u8; 32]>,
}

impl Files {
    /// Reads a file of at most `largest` bytes and remembers it, also where it cannot be read: once it can, that is a change.
    pub(super) fn read(&mut self, path: &Path, largest: u64) -> Result<Vec<u8>, String> {
        let read = read_bounded(path, largest);
        self.0.insert(path.to_owned(), File { largest, content: read.as_deref().ok().map(fingerprint) });
        read
    }

    /// The same files as they are now. It blocks, on small files.
    pub fn look_again(&self) -> Self {
        let look = |(path, file): (&PathBuf, &File)| {
            let content = read_bounded(path, file.largest).as_deref().ok().map(fingerprint);
            (path.clone(), File { largest: file.largest, content })
        };
        Self(self.0.iter().map(look).collect())
    }

    /// The files that are not the same in `other`, those included that only one of them has.
    pub fn differing<'f>(&'f self, other: &'f Self) -> Vec<&'f Path> {
        let changed = self.0.iter().filter(|(path, file)| other.0.get(*path) != Some(file));
        let added = other.0.iter().filter(|(path, _)| !self.0.contains_key(*path));
        changed.chain(added).map(|(path, _)| path.as_path()).collect()
    }

    /// Where they are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Those of `others` too that are not among these.
    pub fn extend(&mut self, others: &Self) {
        for (path, file) in &others.0 {
            self.0.entry(path.clone()).or_insert(*file);
        }
    }
}

fn fingerprint(content: &[u8]) -> [u8; 32] {
    digest(&SHA256, content).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Files;

    #[test]
    fn content_counts_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "1").expect("written");
        let mut files = Files::default();
        assert_eq!(files.read(&at("a"), 10).as_deref(), Ok(&b"1"[..]));
        assert!(files.read(&at("b"), 10).is_err());
        assert_eq!(files.look_again(), files);
        fs::write(at("c"), "1").expect("written");
        fs::rename(at("c"), at("a")).expect("renamed");
        assert_eq!(files.look_again(), files, "another file with the same content");
        fs::write(at("b"), "here now").expect("written");
        assert_eq!(files.differing(&files.look_again()), [at("b")]);
        fs::write(at("a"), "longer than ten bytes").expect("written");
        assert_eq!(files.differing(&files.look_again()), [at("a"), at("b")]);
        let mut more = Files::default();
        let _ = more.read(&at("d"), 10);
        assert_eq!(files.differing(&more), [at("a"), at("b"), at("d")]);
    }
}
