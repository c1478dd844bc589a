#!/bin/bash
# Simulates many clusters, at full optimisation, and says what came of them; or one, and says what happened in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

# Only our own crates are built anew: the dependencies state all of their profile themselves. Overflows and assertions are looked for.
cargo test --config profile.dev.opt-level=3 --workspace --lib --no-run
cargo test --config profile.dev.opt-level=3 --workspace --lib --quiet -- --ignored --nocapture --exact sim::tests::simulate
