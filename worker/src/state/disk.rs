//! The data folder: `<datadir>/v1/<table>/<partition>/`, beside each store a note of where it is, and a lock on it all for as long as
//! this process has it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::rocks::{RocksStore, Shared};
use super::{Position, StoreError, StoreId, StoreMemory, position};

/// The layout's version. Another layout gets another folder: stores are rebuilt from their changelogs, never migrated.
const LAYOUT: &str = "v1";
const LOCK: &str = "lock";
/// Beside a store's folder: where it was when it was flushed last.
const NOTE: &str = "position";
const WRITING: &str = "position-new";

pub(super) struct Disk {
    root: PathBuf,
    shared: Shared,
    /// The lock ends with the file, also when the process is killed.
    _lock: File,
}

impl Disk {
    pub fn open(datadir: &Path, memory: StoreMemory) -> Result<Self, StoreError> {
        let root = datadir.join(LAYOUT);
        fs::create_dir_all(&root).map_err(|error| failed("create", &root, &error))?;
        let lock = lock(datadir)?;
        Ok(Self { root, shared: Shared::new(memory)?, _lock: lock })
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
        match fs::remove_file(folder.with_extension(NOTE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove the note of", &folder, &error)),
            _ => {}
        }
        match fs::rename(&folder, &discarded) {
            Ok(()) => remove(&discarded),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("rename", &folder, &error)),
        }
    }

    /// Notes where the store is, beside it. It decides about nothing but who is asked to open it, so it need not survive a power cut.
    pub fn note(&self, table: &str, partition: u32, position: Option<Position>) {
        let (Ok(folder), Some(position)) = (self.folder(table, partition), position) else { return };
        let (written, whole) = (folder.with_extension(WRITING), folder.with_extension(NOTE));
        let noted = fs::write(&written, position::encode(&position)).and_then(|()| fs::rename(&written, &whole));
        if let Err(error) = noted {
            tracing::debug!("`{}` is not written: {error}", whole.display());
        }
    }

    /// All notes that can be read and have a store beside them.
    pub fn notes(&self) -> BTreeMap<StoreId, Position> {
        let mut notes = BTreeMap::new();
        for table in entries(&self.root) {
            let Some(name) = table.file_name().and_then(|name| name.to_str()).map(str::to_string) else { continue };
            for folder in entries(&table) {
                let partition = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                let note = fs::read(folder.with_extension(NOTE)).ok().and_then(|bytes| position::decode(&bytes).ok());
                if let (Some(partition), Some(position)) = (partition, note) {
                    notes.insert(StoreId { table: name.clone(), partition }, position);
                }
            }
        }
        notes
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

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use crate::log::Row;
    use crate::state::conformance::{at, row};
    use crate::state::stores::Opened;
    use crate::state::{Applied, FlushLimits, FlushPolicy, Place, StoreError, StoreMemory, Stores, WipeReason};

    use super::*;

    fn stores(datadir: &TempDir) -> std::sync::Arc<Stores> {
        Stores::open(&Place::Disk(datadir.path().to_path_buf(), StoreMemory::default())).unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
    }

    #[test]
    fn a_store_that_was_closed_comes_back_whole() {
        let datadir = TempDir::new().unwrap();
        let store = stores(&datadir).store("counts", 3).unwrap().store;
        store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
        drop(store);
        let opened = stores(&datadir).store("counts", 3).unwrap();
        assert_eq!((opened.store.get(b"a"), opened.store.position()), (Ok(Some(b"1".to_vec())), Ok(Some(at(1)))));
        assert_eq!(opened.wiped, None);
        assert!(datadir.path().join("v1/counts/3").is_dir());
    }

    #[test]
    fn a_data_folder_has_one_owner_until_the_last_store_is_closed() {
        let datadir = TempDir::new().unwrap();
        let first = stores(&datadir);
        let store = first.store("counts", 0).unwrap().store;
        drop(first);
        let place = Place::Disk(datadir.path().to_path_buf(), StoreMemory::default());
        let Err(StoreError::InUse(why)) = Stores::open(&place).map(drop) else { panic!("the store is open") };
        assert!(why.contains("lock"), "{why}");
        drop(store);
        Stores::open(&place).unwrap();
    }

    #[test]
    fn what_earlier_processes_have_left_is_known_without_opening_it() {
        let datadir = TempDir::new().unwrap();
        let all = stores(&datadir);
        let (closed, killed) = (all.store("counts", 3).unwrap().store, all.store("counts", 10).unwrap().store);
        let wiped = all.store("sums", 3).unwrap().store;
        for store in [&closed, &killed, &wiped] {
            store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
            store.flush().unwrap();
            store.apply(&[row("b", Some("1"))], &at(2)).unwrap();
        }
        drop(closed);
        all.wipe("sums", 3).unwrap();
        // Without the drops of those that are open, as a kill leaves it.
        let left = all.left_behind();
        let id = |partition| StoreId { table: "counts".into(), partition };
        assert_eq!(left, BTreeMap::from([(id(3), at(2)), (id(10), at(1))]));
        fs::write(datadir.path().join("v1/counts/10.position"), b"garbage").unwrap();
        assert_eq!(all.left_behind().into_keys().collect::<Vec<_>>(), [id(3)]);
    }

    #[test]
    fn a_wiped_store_is_empty_for_whoever_holds_it_and_on_disk() {
        let datadir = TempDir::new().unwrap();
        let all = stores(&datadir);
        let (wiped, other) = (all.store("counts", 0).unwrap().store, all.store("counts", 1).unwrap().store);
        for store in [&wiped, &other] {
            store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
            store.flush().unwrap();
        }
        all.wipe("counts", 0).unwrap();
        assert_eq!((wiped.get(b"a"), wiped.position()), (Ok(None), Ok(None)));
        wiped.apply(&[row("b", Some("2"))], &at(5)).unwrap();
        drop(wiped);
        all.wipe("counts", 0).unwrap();
        assert_eq!(all.store("counts", 0).unwrap().store.position(), Ok(None));
        assert_eq!(other.position(), Ok(Some(at(1))));
    }

    #[test]
    fn a_broken_store_is_wiped_and_says_why() {
        type Breakage = fn(&Path);
        let breakages: [(&str, Breakage); 4] = [
            ("a table file is gone", |folder| each(folder, "sst", |file| fs::remove_file(file).unwrap())),
            ("a table file is cut", |folder| each(folder, "sst", |file| fs::write(file, b"cut").unwrap())),
            ("CURRENT is garbage", |folder| fs::write(folder.join("CURRENT"), b"garbage").unwrap()),
            ("the manifest is gone", |folder| {
                let manifests = files(folder).into_iter().filter(|file| file.to_string_lossy().contains("MANIFEST"));
                manifests.for_each(|file| fs::remove_file(file).unwrap());
            }),
        ];
        for (name, breakage) in breakages {
            let datadir = TempDir::new().unwrap();
            let store = stores(&datadir).store("counts", 0).unwrap().store;
            store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
            drop(store);
            breakage(&datadir.path().join("v1/counts/0"));
            let opened = stores(&datadir).store("counts", 0).unwrap();
            assert_eq!(opened.wiped, Some(WipeReason::Corrupt), "{name}");
            assert_eq!((opened.store.get(b"a"), opened.store.position()), (Ok(None), Ok(None)), "{name}");
        }
    }

    #[test]
    fn a_store_that_turns_out_broken_when_it_is_read_can_be_wiped() {
        let datadir = TempDir::new().unwrap();
        let store = stores(&datadir).store("counts", 0).unwrap().store;
        let value: String = (1..2_000u64).map(|n| format!("{:x}", n * n * n)).collect();
        store.apply(&["a", "b", "c", "d", "e"].map(|key| row(key, Some(&value))), &at(1)).unwrap();
        drop(store);
        each(&datadir.path().join("v1/counts/0"), "sst", |file| {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        });
        let all = stores(&datadir);
        let Opened { store, wiped } = all.store("counts", 0).unwrap();
        assert_eq!(wiped, None);
        assert!(matches!(store.scan(b"", 10), Err(StoreError::Corrupt(_))));
        all.wipe("counts", 0).unwrap();
        assert_eq!((store.scan(b"", 10), store.position()), (Ok(vec![]), Ok(None)));
    }

    fn each(folder: &Path, extension: &str, act: fn(PathBuf)) {
        let matching: Vec<_> = files(folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == extension)).collect();
        assert!(!matching.is_empty(), "a closed store has .{extension} files");
        matching.into_iter().for_each(act);
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let datadir = TempDir::new().unwrap();
        let stores = stores(&datadir);
        for name in ["", ".", "..", "a/b", "../a", ".hidden", "a\0b", "gr\u{fc}n"] {
            assert!(matches!(stores.store(name, 0), Err(StoreError::Io(_))), "{name:?}");
        }
        stores.store("page_counts.v2-x", 0).unwrap();
    }

    #[test]
    fn a_hundred_stores_need_a_bounded_number_of_files_and_threads() {
        let datadir = TempDir::new().unwrap();
        let all = stores(&datadir);
        let opened: Vec<_> = (0..100).map(|partition| all.store("counts", partition).unwrap().store).collect();
        // Four flushes make a compaction worth while, so each has several table files at some time.
        for n in 0..5 {
            for store in &opened {
                store.apply(&[row(format!("{n}"), Some("x"))], &at(n)).unwrap();
                store.flush().unwrap();
            }
        }
        let (files, threads) = (open_files(datadir.path()), rocksdb_threads());
        assert!(files < 100 * 16, "{files} files");
        assert!(threads <= 8, "{threads} threads");
    }

    /// In a process of its own, whose memory is nobody else's.
    #[test]
    fn four_hundred_stores_stay_within_their_memory() {
        const NAME: &str = "state::disk::tests::four_hundred_stores_stay_within_their_memory";
        const CHILD: &str = "FAUST_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            return fill_four_hundred();
        }
        let program = std::env::current_exe().unwrap();
        let child = std::process::Command::new(program).args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success(), "{out}{err}");
    }

    fn fill_four_hundred() {
        const STORES: u32 = 400;
        const ROUNDS: i64 = 8;
        const MEMORY: u64 = 24 << 20;
        /// What a database costs beside: handles, options, versions, the smallest write buffer.
        const EACH: u64 = 320 << 10;
        let datadir = TempDir::new().unwrap();
        let memory = StoreMemory::new(MEMORY);
        let limits = FlushLimits { records: u64::MAX, interval: crate::time::hours(1), bytes: memory.unflushed() };
        let mut policy = FlushPolicy::new(limits);
        let before = resident_bytes();
        let all = Stores::open(&Place::Disk(datadir.path().to_path_buf(), memory)).unwrap();
        let opened: Vec<_> = (0..STORES).map(|partition| all.store("counts", partition).unwrap().store).collect();
        let id = |partition| StoreId { table: "counts".into(), partition };
        (0..STORES).for_each(|partition| policy.opened(id(partition), None));
        let mut written = 0;
        for round in 0..ROUNDS {
            for (partition, store) in (0..).zip(&opened) {
                let value =
                    format!("{:x}", (u64::from(partition) * ROUNDS as u64 + round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                        .repeat(8);
                let rows: Vec<Row> = (0..200).map(|n| row(format!("{n:03} {round}"), Some(&value))).collect();
                store.apply(&rows, &at(round)).unwrap();
                let applied = Applied::of(&rows);
                written += applied.bytes();
                policy.note(&id(partition), applied, crate::rt::now());
                for due in policy.due(crate::rt::now()) {
                    let position = opened[due.partition as usize].flush_position().unwrap();
                    policy.flushed(&due, position.as_ref());
                }
                assert!(store.get(b"000 0").unwrap().is_some());
            }
        }
        let (grown, files) = (resident_bytes() - before, open_files(datadir.path()));
        let bound = MEMORY + u64::from(STORES) * EACH;
        println!("{} MiB written, {} MiB resident, {files} files", written >> 20, grown >> 20);
        assert!(written > 4 * MEMORY, "{written} bytes");
        assert!(grown < bound, "{grown} bytes, {bound} are allowed");
        assert!(files < STORES as usize * 16, "{files} files");
    }

    fn resident_bytes() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    /// Other tests of this process have files open too, but not these.
    fn open_files(folder: &Path) -> usize {
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        links.filter(|target| target.starts_with(folder)).count()
    }

    fn rocksdb_threads() -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("rocksdb")).count()
    }
}
