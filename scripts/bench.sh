#!/bin/bash
# The worker beside the frozen hand-written loop, both at full optimisation, on a broker of this run's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

# Only our own crates are built anew: the dependencies state all of their profile themselves.
full=(--config profile.dev.opt-level=3 --config profile.dev.debug-assertions=false --config profile.dev.overflow-checks=false)
cargo build --manifest-path e2e/bench/hand-loop/Cargo.toml --release --locked --target-dir "$CARGO_TARGET_DIR/hand-loop"
cargo build "${full[@]}" --package faust-bench --bins
"$CARGO_TARGET_DIR/debug/faust-bench" "$CARGO_TARGET_DIR/hand-loop/release/hand-loop" "$CARGO_TARGET_DIR/debug/bench-count"
