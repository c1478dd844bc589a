//! The folder that one server lives in, and what becomes of it: gone with its owner, kept for a test that failed, swept up by
//! the next one when the owner was killed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const PREFIX: &str = "faust-testbed-";
const OWNED: &str = "owned";

/// A folder of our own, removed when dropped.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    _owned: File,
}

impl Folder {
    pub fn new() -> io::Result<Folder> {
        sweep()?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let mut owned = File::create(folder.path().join(OWNED))?;
        owned.lock()?;
        // Only a file with something in it can be swept, so nobody sweeps this one before it is locked.
        owned.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Folder { folder, _owned: owned })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves it where it is.
    pub fn keep(self) -> PathBuf {
        let folder = self.folder.keep();
        let _ = fs::remove_file(folder.join(OWNED));
        folder
    }
}

/// Removes the folders whose owners were killed: their locks are free.
fn sweep() -> io::Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(owned) = File::open(entry.path().join(OWNED)) else { continue };
        if owned.metadata()?.len() > 0 && owned.try_lock().is_ok() {
            // Another sweeper may be at it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
