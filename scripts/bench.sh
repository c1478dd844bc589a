#!/bin/bash
# The worker beside the frozen hand-written loop, both at full optimisation, on a broker of this run's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

# Only our own crates are built anew: the dependencies state all of their profile themselves.
full=(--config profile.dev.opt-level=3 --config profile.dev.debug-assertions=false --config profile.dev.overflow-checks=false)
# The frozen loop has a lock file of its own and no say in ours: cargo takes whatever lies below a member for a part of the workspace.
loop=$CARGO_TARGET_DIR/hand-loop
mkdir -p "$loop"
cp -r e2e/bench/hand-loop/. "$loop/source"
cargo build --manifest-path "$loop/source/Cargo.toml" --release --locked --target-dir "$loop"
cargo build "${full[@]}" --package faust-bench --bins
"$CARGO_TARGET_DIR/debug/faust-bench" "$loop/release/hand-loop" "$CARGO_TARGET_DIR/debug/bench-count"
