//! The data folder: `<datadir>/v1/<table>/<partition>/`, and a lock on it for as long as this process has it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::rocks::{RocksStore, Shared};

/// The layout's version. Another layout gets another folder: stores are rebuilt from their changelogs, never migrated.
const LAYOUT: &str = "v1";
const LOCK: &str = "lock";

pub(super) struct Disk {
    root: PathBuf,
    shared: Shared,
    /// The lock ends with the file, also when the process is killed.
    _lock: File,
}

impl Disk {
    pub fn open(datadir: &Path) -> Result<Self, StoreError> {
        let root = datadir.join(LAYOUT);
        fs::create_dir_all(&root).map_err(|error| failed("create", &root, &error))?;
        let lock = lock(datadir)?;
        Ok(Self { root, shared: Shared::new()?, _lock: lock })
    }

    pub fn store(&self, table: &str, partition: u32) -> Result<RocksStore, StoreError> {
        let folder = self.folder(table, partition)?;
        remove(&discarded(&folder))?;
        fs::create_dir_all(&folder).map_err(|error| failed("create", &folder, &error))?;
        self.shared.open(&folder)
    }

    /// Removes the store's files. Renamed first: a store of which a kill left some files might still open, with rows missing.
    pub fn remove(&self, table: &str, partition: u32) -> Result<(), StoreError> {
        let folder = self.folder(table, partition)?;
        let discarded = discarded(&folder);
        remove(&discarded)?;
        match fs::rename(&folder, &discarded) {
            Ok(()) => remove(&discarded),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("rename", &folder, &error)),
        }
    }

    fn folder(&self, table: &str, partition: u32) -> Result<PathBuf, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if table.is_empty() || table.starts_with('.') || table.len() > 249 || !table.bytes().all(plain) {
            return Err(StoreError::Io(format!(
                "the table name {table:?} can't name a folder; use up to 249 letters, digits, `-`, `_` and `.`, not beginning with `.`"
            )));
        }
        Ok(self.root.join(table).join(partition.to_string()))
    }
}

fn lock(datadir: &Path) -> Result<File, StoreError> {
    let path = datadir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| failed("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(format!("`{}` is locked", path.display()))),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path, &error)),
    }
}

fn discarded(folder: &Path) -> PathBuf {
    folder.with_extension("discarded")
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", folder, &error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let why = format!("can't {what} `{}`: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(why),
        _ => StoreError::Io(why),
    }
}
