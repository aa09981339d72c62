//! Hears of changes to files: to the file itself, and to each link on the way to it.
//!
//! A file is seldom changed in place. Editors write another and rename it; Kubernetes mounts `tls.crt -> ..data/tls.crt` and renames `..data`
//! above it; others point a link elsewhere. So it is directories that are watched, those of the file and of each link on the way to it, for the names
//! that matter. What is heard is only that something may have changed: the files' content decides.
//!
//! A directory above that is no link may be renamed as well, and another put in its place. The watch stays with the one it was set on and hears nothing of that;
//! it is found by looking, every `reload.poll`.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::config::Files;

/// A change is looked at when nothing more has happened for this long: what belongs together seldom comes at once.
const QUIET: Duration = Duration::from_millis(200);
/// And after this time however much goes on.
const AT_LATEST: Duration = Duration::from_secs(5);
/// Links that are followed in one path; the system follows as many.
const MOST_LINKS: usize = 40;

/// Watches until it is dropped.
pub(super) struct FileWatch {
    heard: Arc<Notify>,
    /// `None` where the system cannot: then only looking helps.
    _watcher: Option<RecommendedWatcher>,
}

impl FileWatch {
    /// Watches these files, present or not.
    pub(super) fn new(files: &Files) -> Self {
        let heard = Arc::new(Notify::new());
        let entries: HashSet<PathBuf> = files.paths().flat_map(entries).collect();
        let watcher = watch(&entries, Arc::clone(&heard));
        if let Err(error) = &watcher {
            warn!(%error, "files are not watched, only looked at every `reload.poll`");
        }
        Self { heard, _watcher: watcher.ok() }
    }

    /// Waits until something may have changed, and then until it is quiet again.
    pub(super) async fn changed(&self) {
        self.heard.notified().await;
        let at_latest = Instant::now() + AT_LATEST;
        loop {
            let quiet = (Instant::now() + QUIET).min(at_latest);
            if timeout_at(quiet, self.heard.notified()).await.is_err() {
                return;
            }
        }
    }
}

fn watch(entries: &HashSet<PathBuf>, heard: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let names = entries.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let matters = match event {
            // To read a file is no change of it, and we do.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            // No path: the system has lost count of what happened.
            Ok(event) => event.paths.is_empty() || event.paths.iter().any(|path| names.contains(path)),
            Err(_) => true,
        };
        if matters {
            heard.notify_one();
        }
    })?;
    let directories: BTreeSet<&Path> = entries.iter().filter_map(|entry| entry.parent()).collect();
    for directory in directories {
        // One that is not there is noticed by looking.
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            warn!(directory = %directory.display(), %error, "a directory is not watched");
        }
    }
    Ok(watcher)
}

/// Every directory entry that decides what stands at `path`: the file's own, and that of each link on the way.
fn entries(path: &Path) -> Vec<PathBuf> {
    let mut entries = Vec::new();
    let mut walked = std::env::current_dir().unwrap_or_default();
    let mut ahead: Vec<PathBuf> = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == OsStr::new("..") {
            walked.pop();
            continue;
        }
        // An absolute step takes the place of what was walked.
        let here = walked.join(&step);
        match std::fs::read_link(&here) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                entries.push(here);
                ahead.extend(steps(&target));
            }
            _ => {
                if ahead.is_empty() {
                    entries.push(here.clone());
                }
                walked = here;
            }
        }
    }
    entries
}

/// The steps of a path, the last first.
fn steps(path: &Path) -> Vec<PathBuf> {
    let step = |component: Component<'_>| match component {
        Component::CurDir => None,
        other => Some(PathBuf::from(other.as_os_str())),
    };
    path.components().rev().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::entries;

    /// As Kubernetes mounts it, below a directory that is a link itself.
    #[test]
    fn every_link_on_the_way_matters() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join("mount/..2026_1")).expect("made");
        std::fs::write(root.join("mount/..2026_1/tls.crt"), "1").expect("written");
        symlink("..2026_1", root.join("mount/..data")).expect("linked");
        symlink("..data/tls.crt", root.join("mount/tls.crt")).expect("linked");
        symlink(root.join("mount"), root.join("certs")).expect("linked");
        symlink("round", root.join("round")).expect("linked");
        let at = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
        assert_eq!(
            entries(&root.join("certs/../certs/tls.crt"))[1..],
            at(&["certs", "mount/tls.crt", "mount/..data", "mount/..2026_1/tls.crt"])
        );
        assert_eq!(entries(&root.join("none/at-all")), at(&["none/at-all"]));
        assert!(entries(&root.join("round")).len() < 50, "it ends");
    }
}
