//! A file that holds a private key: readable by its owner alone from its first byte, and never written over another by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Read and write for the owner.
const OWNER_ONLY: u32 = 0o600;

/// Writes a new file of mode 0600.
///
/// # Errors
/// `AlreadyExists` when there is anything under that name, a dangling link too: a key that is overwritten is lost, with every
/// token bound to it. Otherwise what the system says; the file is then removed again.
pub fn create(path: &Path, contents: &str) -> io::Result<()> {
    // The mode is set as the file is made. A `chmod` afterwards would leave a moment in which others could open it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    write_all(&mut file, contents).inspect_err(|_| {
        // Half a key is none. That this may fail as well changes nothing for the caller, who is told of the first failure.
        let _ = fs::remove_file(path);
    })
}

/// Writes a file of mode 0600, in place of what is there. Whoever has the old one open keeps the old one.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, contents: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    create(path, contents)
}

fn write_all(file: &mut File, contents: &str) -> io::Result<()> {
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{create, replace};

    #[test]
    fn owner_only_and_never_over_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        create(&path, "first").expect("created");
        let mode = || fs::metadata(&path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        assert_eq!(create(&path, "second").map_err(|error| error.kind()), Err(ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).expect("read"), "first");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("made readable");
        replace(&path, "third").expect("replaced");
        assert_eq!((mode(), fs::read_to_string(&path).expect("read").as_str()), (0o600, "third"));
    }
}
