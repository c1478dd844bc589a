#!/bin/bash
# Where cargo builds: `source` it for the variables, run it for lines to `eval`.
#
# One target directory per checkout, outside of it. Cargo tells what is fresh by modification times, and a crate of the
# workspace is the same crate to it in every checkout: two checkouts that share a directory may run each other's code. A new
# directory starts as a copy of the newest other one, so that RocksDB, most of a cold build, is built once per machine; the
# files of this checkout are touched then, so that the workspace's own crates are built from them.

targets=${XDG_CACHE_HOME:-$HOME/.cache}/faust-dev/target
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# The other target directories, best first: those that hold RocksDB, then the newest.
seeds() {
  local dir rank
  for dir in "$targets"/*/; do
    [ -d "$dir/debug/.fingerprint" ] || continue
    rank=0
    if compgen -G "$dir/debug/deps/liblibrocksdb_sys-*.rlib" >/dev/null; then rank=1; fi
    printf '%s %s %s\n' "$rank" "$(stat -c %Y "$dir/debug/deps")" "${dir%/}"
  done | sort -k1,1nr -k2,2nr
}

touch_checkout() {
  if git -C "$checkout" rev-parse >/dev/null 2>&1; then
    (cd "$checkout" && git ls-files -z | xargs -0 touch -c --)
  else
    find "$checkout" -type f -exec touch {} +
  fi
}

# Copies a directory while no cargo builds in it: cargo holds this lock exclusively. One that has RocksDB is worth waiting for.
copy_seed() { # RANK FROM TO
  local wait=--nonblock
  [ "$1" = 0 ] || wait=--wait=600
  flock --shared "$wait" "$2/debug/.cargo-lock" cp -a --reflink=auto "$2" "$3"
}

make_target() { # DIR
  mkdir -p "$targets"
  (
    flock 9
    [ ! -d "$1" ] || exit 0
    rm -rf "$targets"/.new-* # of one that was killed
    new=$(mktemp -d "$targets/.new-XXXXXX")
    trap 'rm -rf "$new"' EXIT
    while read -r rank _ seed; do
      echo "taking what is built already from $seed" >&2
      if copy_seed "$rank" "$seed" "$new/target"; then break; fi
      echo "that can't be copied now, trying the next" >&2
      rm -rf "$new/target"
    done < <(seeds)
    mkdir -p "$new/target"
    touch_checkout
    mv "$new/target" "$1"
  ) 9>"$targets/.lock"
}

if [ -z "${CARGO_TARGET_DIR:-}" ]; then
  CARGO_TARGET_DIR=$targets/$(basename "$checkout")-$(printf %s "$checkout" | cksum | cut -d' ' -f1)
  [ -d "$CARGO_TARGET_DIR" ] || make_target "$CARGO_TARGET_DIR"
fi
export CARGO_TARGET_DIR

# A shell that was open while cargo or go was installed doesn't know it yet.
command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export PATH

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  printf 'export CARGO_TARGET_DIR=%q\n' "$CARGO_TARGET_DIR"
fi
