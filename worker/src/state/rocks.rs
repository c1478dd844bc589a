//! A store in RocksDB: one database, one column family, no write-ahead log – the changelog is the log.
//!
//! Rows and the position lie in the same column family, told apart by the first byte of the key, so that a batch reaches the disk
//! as a whole: RocksDB flushes a family in the order of its writes, but two families each in their own time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Env, LogLevel, Options, ReadOptions};
use rocksdb::{ErrorKind, IngestExternalFileOptions, SstFileWriter, WriteBatch, WriteBufferManager, WriteOptions};

use super::{KeyValue, Position, Rows, StateStore, StoreError, StoreMemory, position};

const POSITION: [u8; 1] = [0];
const ROW: u8 = 1;
const BEHIND_ROWS: [u8; 1] = [2];

/// Rows on their way into the database as one of its files. Not a name of RocksDB's, which leaves it alone.
const LOADING: &str = "loading";

/// So many files are merged into the first level at once, each time with all that is there: RocksDB's own choice, and one for a store
/// that gets file after file.
const FILES_MERGED: i32 = 4;
const FILES_MERGED_LOADING: i32 = 12;

const WRITE_BUFFER: usize = 8 << 20;
/// Per database; hundreds of them share the process's limit.
const OPEN_FILES: i32 = 32;

/// What all databases of a worker share: memory and threads.
pub(super) struct Shared {
    /// They hold the block cache, the write-buffer manager and the environment.
    options: Options,
}

pub(super) struct RocksStore {
    db: DB,
    unlogged: WriteOptions,
    options: Options,
    /// Between the first load and [`StateStore::settle`].
    loading: AtomicBool,
}

impl Shared {
    pub fn new(memory: StoreMemory) -> Result<Self, StoreError> {
        let mut env = Env::new().map_err(failed)?;
        env.set_low_priority_background_threads(2);
        env.set_high_priority_background_threads(2);

        let mut blocks = BlockBasedOptions::default();
        // One bound for both: what is written takes its room from the blocks that were read.
        let cache = Cache::new_lru_cache(memory.all() as usize);
        let write_buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(memory.write_buffers() as usize, false, cache.clone());
        blocks.set_block_cache(&cache);
        blocks.set_bloom_filter(10.0, false);
        // In the cache, or their memory would grow with the tables, outside of every bound.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_env(&env);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_zero_file_num_compaction_trigger(FILES_MERGED);
        options.set_write_buffer_manager(&write_buffers);
        options.set_write_buffer_size(WRITE_BUFFER);
        options.set_arena_block_size(64 << 10);
        options.set_max_background_jobs(4);
        options.set_max_open_files(OPEN_FILES);
        options.set_max_file_opening_threads(1);
        options.set_table_cache_num_shard_bits(2);
        options.set_skip_stats_update_on_db_open(true);
        // 4 MiB of disk per database otherwise.
        options.set_manifest_preallocation_size(64 << 10);
        options.set_log_level(LogLevel::Error);
        options.set_keep_log_file_num(1);
        options.set_max_log_file_size(1 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        Ok(Self { options })
    }

    pub fn open(&self, folder: &Path) -> Result<RocksStore, StoreError> {
        let db = DB::open(&self.options, folder).map_err(not_opened)?;
        // Of a load that a kill cut short; there is none as a rule.
        let _ = fs::remove_file(loading(&db));
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        // Batches are sorted: each row is looked for from where the one before went.
        unlogged.set_memtable_insert_hint_per_batch(true);
        let store = RocksStore { db, unlogged, options: self.options.clone(), loading: AtomicBool::new(false) };
        store.position()?;
        Ok(store)
    }
}

impl RocksStore {
    fn merge_files_from(&self, number: i32) -> Result<(), StoreError> {
        self.db.set_options(&[("level0_file_num_compaction_trigger", &number.to_string())]).map_err(failed)
    }
}

impl StateStore for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(row_key(key)).map_err(failed)
    }

    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let mut bytes = Vec::new();
        rows.each(&mut |key, value| {
            bytes.clear();
            bytes.push(ROW);
            bytes.extend_from_slice(key);
            match value {
                Some(value) => batch.put(&bytes, value),
                None => batch.delete(&bytes),
            }
        });
        batch.put(POSITION, position::encode(position));
        self.db.write_opt(batch, &self.unlogged).map_err(failed)
    }

    /// As a file of the database's own kind, which is taken in whole: that spares the rows the write buffer, its flush and most of the
    /// compactions. What the write buffer holds is flushed before, for the position lies in both.
    fn load(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        if !self.loading.load(Ordering::Relaxed) {
            self.merge_files_from(FILES_MERGED_LOADING)?;
            self.loading.store(true, Ordering::Relaxed);
        }
        let file = loading(&self.db);
        let mut writer = SstFileWriter::create(&self.options);
        let mut written = writer.open(&file).and_then(|()| writer.put(POSITION, position::encode(position)));
        let mut bytes = Vec::new();
        rows.each(&mut |key, value| {
            if written.is_ok() {
                bytes.clear();
                bytes.push(ROW);
                bytes.extend_from_slice(key);
                written = match value {
                    Some(value) => writer.put(&bytes, value),
                    None => writer.delete(&bytes),
                };
            }
        });
        written.and_then(|()| writer.finish()).map_err(failed)?;
        let mut ingestion = IngestExternalFileOptions::default();
        ingestion.set_move_files(true);
        self.db.ingest_external_file_opts(&ingestion, vec![file]).map_err(failed)
    }

    /// One that fails costs readers some time, and is tried again when it is called next.
    fn settle(&self) {
        if !self.loading.load(Ordering::Relaxed) {
            return;
        }
        match self.merge_files_from(FILES_MERGED) {
            Ok(()) => self.loading.store(false, Ordering::Relaxed),
            Err(error) => tracing::warn!("{}: the files of a restore are merged later: {error}", self.db.path().display()),
        }
    }

    fn position(&self) -> Result<Option<Position>, StoreError> {
        self.db.get(POSITION).map_err(failed)?.map(|bytes| position::decode(&bytes)).transpose()
    }

    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(BEHIND_ROWS);
        // A scan of a whole table must not push out what tasks read.
        options.fill_cache(false);
        let mut rows = Vec::new();
        let mut cursor = self.db.raw_iterator_opt(options);
        cursor.seek(row_key(from));
        while rows.len() < limit
            && let Some((key, value)) = cursor.item()
        {
            rows.push((key[1..].to_vec(), value.to_vec()));
            cursor.next();
        }
        cursor.status().map_err(failed)?;
        Ok(rows)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)
    }
}

fn loading(db: &DB) -> PathBuf {
    db.path().join(LOADING)
}

fn row_key(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(ROW);
    bytes.extend_from_slice(key);
    bytes
}

/// RocksDB tells kinds of I/O errors apart only in its message.
fn failed(error: rocksdb::Error) -> StoreError {
    let kind = error.kind();
    let why = error.into_string();
    if why.contains("No space left on device") {
        StoreError::Full(why)
    } else if why.contains("lock hold by current process") || why.contains("While lock file") {
        StoreError::InUse(why)
    } else if kind == ErrorKind::Corruption {
        StoreError::Corrupt(why)
    } else {
        StoreError::Io(why)
    }
}

/// At opening a file that the database names and that isn't there is a broken database too.
fn not_opened(error: rocksdb::Error) -> StoreError {
    match failed(error) {
        StoreError::Io(why) if why.contains("No such file or directory") => StoreError::Corrupt(why),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rocksdb::WaitForCompactOptions;
    use tempfile::TempDir;

    use super::*;
    use crate::state::NO_ROWS;
    use crate::state::conformance::{at, row, suite};

    fn open(folder: &Path) -> RocksStore {
        Shared::new(StoreMemory::default()).unwrap().open(folder).unwrap()
    }

    suite!(|| {
        let home = TempDir::new().unwrap();
        let store = open(home.path());
        (home, store)
    });

    /// What a kill at this moment would leave: the files without what is in memory.
    fn killed(folder: &Path) -> TempDir {
        let image = TempDir::new().unwrap();
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
        }
        image
    }

    #[test]
    fn a_kill_loses_what_was_not_flushed_rows_and_position_together() {
        let home = TempDir::new().unwrap();
        let store = open(home.path());
        store.apply(&[row("a", Some("1")), row("b", Some("1"))], &at(2)).unwrap();
        store.flush().unwrap();
        store.apply(&[row("a", None), row("c", Some("1"))], &at(4)).unwrap();

        let image = killed(home.path());
        let back = open(image.path());
        assert_eq!(back.position().unwrap(), Some(at(2)));
        assert_eq!(back.scan(b"", 10).unwrap(), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn what_was_loaded_survives_a_kill_with_all_that_was_before_it() {
        let home = TempDir::new().unwrap();
        let store = open(home.path());
        store.apply(&[row("a", Some("1")), row("b", Some("1"))], &at(2)).unwrap();
        store.load(&[row("a", None), row("c", Some("1"))], &at(4)).unwrap();
        fs::write(loading(&store.db), "what a kill left of another load").unwrap();

        let image = killed(home.path());
        let back = open(image.path());
        assert_eq!(back.position().unwrap(), Some(at(4)));
        assert_eq!(back.scan(b"", 10).unwrap(), [(b"b".to_vec(), b"1".to_vec()), (b"c".to_vec(), b"1".to_vec())]);
        assert!(!loading(&back.db).exists());
        back.load(&NO_ROWS, &at(5)).unwrap();
        assert_eq!(back.position().unwrap(), Some(at(5)));
    }

    #[test]
    fn files_that_are_loaded_are_merged_many_at_once_and_the_rest_when_the_loads_are_over() {
        let home = TempDir::new().unwrap();
        let store = open(home.path());
        let files = || {
            store.db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
            store.db.property_int_value("rocksdb.num-files-at-level0").unwrap()
        };
        for n in 0..FILES_MERGED_LOADING - 1 {
            store.load(&[row("a", Some(&n.to_string()))], &at(n.into())).unwrap();
        }
        // The first of them overlaps with none, and goes to the last level.
        assert_eq!(files(), Some(FILES_MERGED_LOADING as u64 - 2));
        store.settle();
        assert_eq!(files(), Some(0));
        assert_eq!(store.get(b"a").unwrap(), Some((FILES_MERGED_LOADING - 2).to_string().into_bytes()));
    }

    #[test]
    fn a_kill_while_rocksdb_flushes_by_itself_leaves_whole_batches_from_the_beginning_on() {
        let home = TempDir::new().unwrap();
        let store = open(home.path());
        let value = "x".repeat(100_000);
        let mut flushed = 0;
        for n in 0..300 {
            store.apply(&[row("last", Some(&n.to_string())), row(format!("row {n:03}"), Some(&value))], &at(n)).unwrap();
            if n % 60 == 59 {
                // The files are copied one by one: they must not change meanwhile.
                store.db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
                let image = killed(home.path());
                let back = open(image.path());
                let reached = back.position().unwrap().map_or(-1, |position| position.next_offset);
                let rows = back.scan(b"row", 1_000).unwrap();
                assert_eq!(rows.len() as i64, reached + 1, "each row up to the position, none beyond");
                assert_eq!(back.get(b"last").unwrap(), (reached >= 0).then(|| reached.to_string().into_bytes()));
                flushed = reached;
            }
        }
        assert!(flushed > 0, "30 MB fill the write buffer more than once");
    }

    #[test]
    fn a_database_that_is_open_elsewhere_is_in_use() {
        let home = TempDir::new().unwrap();
        let _first = open(home.path());
        assert!(matches!(Shared::new(StoreMemory::default()).unwrap().open(home.path()), Err(StoreError::InUse(_))));
    }
}
