#!/bin/bash
# The broker to try things on and to test with: `kafka.sh up`, `down`, `status`, `tool CLASS ARGUMENTS`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
exec cargo run --quiet --package faust-testbed -- "$@"
