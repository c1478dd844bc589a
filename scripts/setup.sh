#!/bin/bash
# Brings what a command needs on this machine and skips what is there: `setup.sh demo`, `kafka`,
# `test`, `bench` or `cluster`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  printf 'set-up: %s\n' "$*" >&2
  exit 1
}

# What is asked for is the ability, not the package: it may have come another way.
has_command() { command -v "$1" >/dev/null; }
has_python_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }
has_c_header() { echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1; }
has_cxx_header() { echo "#include <$1>" | clang++ -E -x c++ - >/dev/null 2>&1; }
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib*/llvm*/lib*/libclang.so*' >/dev/null ||
    compgen -G '/usr/lib*/libclang.so*' >/dev/null || compgen -G '/usr/lib/*/libclang-[0-9]*.so*' >/dev/null
}

missing=()
need() { # PACKAGE CHECK…
  local package=$1
  shift
  "$@" || missing+=("$package")
}

need_compiler() {
  need gcc has_command cc
  need libc6-dev has_c_header stdlib.h
}
need_kafka() {
  need openjdk-17-jre-headless has_command java
  need maven has_command mvn
}
# RocksDB and librdkafka are C++ and C.
need_native_libraries() {
  need clang has_command clang
  need g++ has_cxx_header vector
  need libclang-dev has_libclang
  need cmake has_command cmake
  need make has_command make
  need pkg-config has_command pkg-config
  need zlib1g-dev has_c_header zlib.h
  need libssl-dev has_c_header openssl/ssl.h
  need openssl has_command openssl # of the tests' certificates
}

# What the benchmark compares with: Kafka Streams and faust-streaming.
need_peers() {
  need openjdk-17-jdk-headless has_command javac
  need python3-venv has_python_venv
}

# The judge of metrics, and nothing else of the package: its server is not wanted.
need_promtool() {
  need prometheus has_command promtool
}
stop_prometheus() {
  case " ${missing[*]} " in
    *' prometheus '*) [ ! -d /run/systemd/system ] || "${root[@]}" systemctl disable --now prometheus || true ;;
  esac
}

install_missing() {
  [ ${#missing[@]} -gt 0 ] || return 0
  has_command apt-get || die "this is no Debian, so please install what these Debian packages hold: ${missing[*]}"
  local root=()
  if [ "$(id -u)" != 0 ]; then
    has_command sudo || die "neither root nor sudo, so please have these packages installed: ${missing[*]}"
    root=(sudo)
    # Without a terminal nobody can type a password.
    [ -t 0 ] || root=(sudo -n)
  fi
  echo "installing with apt-get: ${missing[*]}" >&2
  local log
  log=$(mktemp)
  if ! { "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -20 "$log" >&2
    die "apt-get could not install ${missing[*]}; its output is above and in $log"
  fi
  rm -f "$log"
  stop_prometheus
}

at_least() { # WANTED FOUND
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]
}

check_rust() {
  local wanted found how="get it with rustup, https://rustup.rs (a distribution's own is often older)"
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  has_command cargo || PATH=$PATH:$HOME/.cargo/bin
  has_command cargo || die "there is no cargo: Rust $wanted or later is needed; $how"
  found=$(rustc --version | cut -d' ' -f2)
  at_least "$wanted" "$found" || die "Rust $found is too old, $wanted or later is needed; $how"
}

check_java() {
  local found
  found=$(java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
  [ "${found:-0}" -ge 17 ] || die "Java ${found:-of an unknown version} is too old for Kafka: 17 or later is needed (Debian package openjdk-17-jre-headless)"
}

# Kubernetes, its DNS and helm come as Go modules.
check_go() {
  local wanted=1.26 found how="get it from https://go.dev/dl (a distribution's own is often older)"
  has_command go || PATH=$PATH:/usr/local/go/bin
  has_command go || die "there is no go: Go $wanted or later is needed; $how"
  found=$(go env GOVERSION)
  # From 1.21 on, a go that may fetches the toolchain that a module asks for.
  [ "$(go env GOTOOLCHAIN)" = local ] || wanted=1.21
  at_least "go$wanted" "$found" || die "$found is too old, go$wanted or later is needed; $how"
}

check_components() { # COMPONENT…
  local component
  for component; do
    if ! cargo "${component#rust}" --version >/dev/null 2>&1; then
      has_command rustup || die "cargo has no ${component#rust}: please install $component"
      echo "adding $component to the Rust toolchain" >&2
      rustup --quiet component add "$component" || die "rustup could not add $component"
    fi
  done
}

case ${1:-} in
  demo)
    need_compiler
    install_missing
    check_rust
    ;;
  kafka)
    need_compiler
    need_kafka
    install_missing
    check_rust
    check_java
    ;;
  test | bench)
    need_compiler
    need_kafka
    need_native_libraries
    need_promtool
    [ "$1" = test ] || need_peers
    install_missing
    check_rust
    check_java
    check_go
    check_components rustfmt clippy
    ;;
  cluster) # the cluster's own script installs what its parts need
    need_compiler
    need_kafka
    install_missing
    check_rust
    check_java
    check_go
    ;;
  *) die "for which command? demo, kafka, test, bench or cluster" ;;
esac
