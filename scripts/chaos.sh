#!/bin/bash
# Real faults for some minutes, the workers at full optimisation, on three brokers of this run's own. A seed of one's own repeats a run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

minutes=${MINUTES:-30}
seed=${SEED:-$(date +%s)}
# Only our own crates are built anew: the dependencies state all of their profile themselves.
full=(--config profile.dev.opt-level=3 --config profile.dev.overflow-checks=false)
cargo build "${full[@]}" --workspace --bin e2e-chaos --bin e2e-chaos-worker
mkdir -p "$CARGO_TARGET_DIR/chaos"
"$CARGO_TARGET_DIR/debug/e2e-chaos" "$minutes" "$seed" "$CARGO_TARGET_DIR/chaos/report.md"
