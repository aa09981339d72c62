//! What a rig left behind that was killed at once: its namespaces, its cables and its directories. Its programs have ended with it.
//!
//! Each has the number of the rig's process in its name, so that rigs which run at once leave each other alone.

use std::path::Path;

use crate::program::run;

/// What names of network namespaces and directories begin with, in front of the number of the rig's process and another `-`.
pub(crate) const NAMESPACE: &str = "holdfast-";
pub(crate) const DIRECTORY: &str = "holdfast-replicas-";
/// The same of a cable's end.
pub(crate) const CABLE: &str = "hf";

/// Removes what rigs have left that run no longer. What cannot be removed stays: it is no reason not to play.
pub(crate) fn remove() {
    let namespaces = run(&["ip", "netns", "list"], &[]).unwrap_or_default();
    for name in namespaces.lines().filter_map(|line| line.split_whitespace().next()) {
        if is_left(name, NAMESPACE) {
            let _ = run(&["ip", "netns", "delete", name], &[]);
        }
    }
    // A cable goes with its namespace, unless making that failed half-way.
    let cables = run(&["ip", "-brief", "link"], &[]).unwrap_or_default();
    for name in cables.lines().filter_map(|line| line.split(['@', ' ']).next()) {
        if is_left(name, CABLE) {
            let _ = run(&["ip", "link", "delete", name], &[]);
        }
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| is_left(name, DIRECTORY)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether this is the name of something whose rig has ended.
fn is_left(name: &str, beginning: &str) -> bool {
    number(name, beginning).is_some_and(|process| !is_rig(process))
}

/// The number of the process in `BEGINNING-NUMBER-REST`.
fn number(name: &str, beginning: &str) -> Option<u32> {
    name.strip_prefix(beginning)?.split_once('-')?.0.parse().ok()
}

/// Whether a rig of this number runs. Numbers are given again, so the program's name has to be ours too.
fn is_rig(process: u32) -> bool {
    let name = |process: &str| std::fs::read_to_string(Path::new("/proc").join(process).join("comm")).ok();
    let theirs = name(&process.to_string());
    theirs.is_some() && theirs == name("self")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_rig_owns_is_removed() {
        assert_eq!(number("holdfast-71-left", NAMESPACE), Some(71));
        assert_eq!(number("hf71-1", CABLE), Some(71));
        for foreign in ["holdfast-left", "holdfast-", "other-71-left", "holdfast-x-left", "holdfast-71"] {
            assert_eq!(number(foreign, NAMESPACE), None, "{foreign}");
        }
        assert!(is_rig(std::process::id()) && !is_rig(1) && !is_rig(u32::MAX));
    }
}
