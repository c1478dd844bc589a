#!/bin/bash
# cargo with this checkout's target directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
exec cargo "$@"
