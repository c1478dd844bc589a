//! `docs/reference/settings.md`, written from the table; a test holds the two together.

use super::properties::{PATH, SECRET};
use super::table::{PASSTHROUGH, TABLE};

const INTRODUCTION: &str = "\
# Settings

<!-- Generated from worker/src/settings/table.rs; edit that, then: FAUST_DEV_BLESS=1 cargo test -p faust-worker reference -->

Every setting is a flag of `worker`, an environment variable, a key of the configuration file (`settings:` in the file that `--config`
names) and a method of `faust::Settings`. A flag wins over the environment, the environment over the file, the file over the code, the
code over the default; `worker --print-config` shows what won, and where it came from. What doesn't parse or doesn't exist is refused: the worker says so in one sentence
and ends with exit code 78.

- Durations are written as in Go and Kubernetes: `1h30m`, `250ms`, `1.5s`.
- Sizes are bytes, or have a binary unit: `64MiB`, `256KiB`.
- `FAUST_*` variables that are no setting are refused, but for `FAUST_TEST_*`, `FAUST_DEV_*` and those that Kubernetes makes for services
  whose name begins with `faust`.

| flag | environment | value | default | meaning |
|---|---|---|---|---|
";

fn closing() -> String {
    let secret = SECRET.map(|word| format!("*{word}*")).join(", ");
    let path = PATH.map(|end| format!("`{end}`")).join(" or ");
    format!(
        "
Properties of the client that the worker's correctness depends on (`group.id`, `enable.auto.commit`, `auto.offset.reset`, …) are refused by
`kafka`, with the setting to use instead. A secret's setting is the path of a file that holds it. Values of properties whose names contain one of
{secret} are never shown, except where the name ends in {path}: that is a path.
TLS and SASL: [kafka.md](kafka.md).
"
    )
}

fn rendered() -> String {
    let row = |name, variable, placeholder: &str, default, help| {
        format!("| `--{name}` | `{variable}` | {} | {default} | {help} |\n", placeholder.replace('|', ", "))
    };
    let mut text = INTRODUCTION.to_string();
    for setting in TABLE {
        let default = format!("`{}`", setting.default);
        text += &row(setting.name, setting.variable(), setting.placeholder, default, setting.help);
    }
    text += &row(PASSTHROUGH.name, PASSTHROUGH.variable(), PASSTHROUGH.placeholder, "none".into(), PASSTHROUGH.help);
    text + &closing()
}

#[test]
fn the_reference_of_settings_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/settings.md");
    if std::env::var_os("FAUST_DEV_BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, rendered()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == rendered(),
        "docs/reference/settings.md is not what the table of settings says; write it anew with \
         `FAUST_DEV_BLESS=1 cargo test -p faust-worker reference`"
    );
}
