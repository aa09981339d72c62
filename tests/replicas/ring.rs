//! The keys that seal nonces, which all replicas share: one file, and how its keys are replaced while the replicas run.

use std::path::{Path, PathBuf};

use holdfast::verify::jws::to_base64url;

use crate::Outcome;
use crate::dice::Dice;

/// What configurations call the file, which lies beside them.
pub(crate) const FILE: &str = "ring";

/// The keys, the one that seals first.
pub(crate) struct Ring {
    path: PathBuf,
    keys: Vec<String>,
}

impl Ring {
    /// A ring of one key, written into this directory.
    pub(crate) fn new(files: &Path, dice: &mut Dice) -> Outcome<Self> {
        let ring = Self { path: files.join(FILE), keys: vec![key(dice)] };
        ring.write()?;
        Ok(ring)
    }

    /// Another key, which opens but does not seal yet.
    pub(crate) fn add(&mut self, dice: &mut Dice) -> Outcome<()> {
        self.keys.push(key(dice));
        self.write()
    }

    /// The latest key seals from now on; the one that did opens still.
    pub(crate) fn turn(&mut self) -> Outcome<()> {
        self.keys.rotate_right(1);
        self.write()
    }

    /// The keys that do not seal are gone.
    pub(crate) fn forget(&mut self) -> Outcome<()> {
        self.keys.truncate(1);
        self.write()
    }

    /// Whole or not at all: a gateway may read it at any time.
    fn write(&self) -> Outcome<()> {
        let new = self.path.with_extension("new");
        std::fs::write(&new, self.keys.join("\n") + "\n")?;
        Ok(std::fs::rename(new, &self.path)?)
    }
}

/// 32 bytes, one line of the file. They guard nothing but this run.
fn key(dice: &mut Dice) -> String {
    let bytes: Vec<u8> = (0..32).map(|_| u8::try_from(dice.below(256)).expect("below 256")).collect();
    to_base64url(&bytes)
}
