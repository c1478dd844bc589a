//! Files that a test's result is compared with; `FAUST_DEV_BLESS=1` writes them anew.

use std::path::Path;

/// `file` is relative to the operator's folder.
pub fn assert(file: &str, is: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("FAUST_DEV_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).unwrap();
        std::fs::write(&path, is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "{file} is not what the code makes; look at the difference: `FAUST_DEV_BLESS=1 cargo test -p faust-operator`\n{is}");
}
