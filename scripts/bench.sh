#!/bin/bash
# The worker beside its peers, all at full optimisation, on brokers of this run's own. What is measured is in the environment:
#
#   BENCH_RECORDS=8000000 BENCH_ROUNDS=5 make bench     what figures are quoted from; takes hours
#   BENCH_PARTS="count restore" make bench              some of count, partitions, keys, restore
#   BENCH_PEERS="streams" make bench                    some of streams, faust; none without a way to get them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

cache=${XDG_CACHE_HOME:-$HOME/.cache}/faust-dev
peers=" ${BENCH_PEERS-streams faust} "

# Only our own crates are built anew: the dependencies state all of their profile themselves.
full=(--config profile.dev.opt-level=3 --config profile.dev.debug-assertions=false --config profile.dev.overflow-checks=false
  --config profile.dev.codegen-units=16 --config profile.dev.incremental=false)
# The frozen loop has a lock file of its own and no say in ours: cargo takes whatever lies below a member for a part of the workspace.
loop=$CARGO_TARGET_DIR/hand-loop
mkdir -p "$loop"
cp -r e2e/bench/hand-loop/. "$loop/source"
cargo build --manifest-path "$loop/source/Cargo.toml" --release --locked --target-dir "$loop"
cargo build "${full[@]}" --workspace --bin faust-bench --bin bench-count --bin bench-read

# A peer that can't be had now – no network, no JDK, no Python of its age – is left out, and the run says so.
streams=
build_streams() {
  local own=$cache/bench-streams
  mkdir -p "$own/restore"
  cp -r e2e/bench/kafka-streams/. "$own/"
  (cd "$own" && mvn -q compile dependency:copy-dependencies) || return 1
  javac --release 17 -cp "$own/target/classes:$own/target/dependency/*" -d "$own/restore" e2e/bench/streams-restore/bench/Restore.java || return 1
  streams="$own/target/classes:$own/restore:$own/target/dependency/*"
}
faust=
build_faust() {
  local own=$cache/bench-faust
  [ -x "$own/bin/python" ] || python3 -m venv "$own" || return 1
  "$own/bin/pip" install --quiet --disable-pip-version-check -r e2e/bench/faust-streaming/requirements.txt || return 1
  faust=$own/bin/python
}
case $peers in *" streams "*) build_streams || echo "Kafka Streams can't be built here" >&2 ;; esac
case $peers in *" faust "*) build_faust || echo "faust-streaming can't be installed here" >&2 ;; esac

built=$CARGO_TARGET_DIR/debug
export BENCH_FILE=${BENCH_FILE:-$CARGO_TARGET_DIR/bench.md}
"$built/faust-bench" "$loop/release/hand-loop" "$built/bench-count" "$built/bench-read" "$streams" "$faust"
cargo test "${full[@]}" --workspace --lib -- --ignored --nocapture how_long_a_plan_takes
