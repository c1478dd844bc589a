#!/bin/bash
# Runs the parts of the tests that are named – `unit`, `kafka`, `apiserver`, `e2e` – and closes with what they came to.
#
# Everything runs, whatever failed before, so that one run tells all of it. The counts are the sum of what the test programs
# themselves report; a part that ran no test at all has failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
source scripts/env.sh

cluster=e2e/testbed/cluster/cluster
passed=0 failed=0 problems=()
logs=$CARGO_TARGET_DIR/test-logs
mkdir -p "$logs"

say() { printf '\n== %s\n' "$*"; }

check() { # WHAT COMMAND…
  local what=$1
  shift
  say "$what"
  "$@" || problems+=("$what")
}

# Tests whose output also goes to the part's log, to be counted from.
tests() { # LOG WHAT CARGO-ARGUMENTS…
  local log=$1 what=$2
  shift 2
  say "$what"
  cargo test --no-fail-fast "$@" 2>&1 | tee -a "$log" || problems+=("$what")
}

close_part() { # NAME LOG SECONDS
  local p f
  read -r p f < <(awk '/^test result: / { p += $4; f += $6 } END { print p + 0, f + 0 }' "$2")
  passed=$((passed + p)) failed=$((failed + f))
  say "$1: $((p + f)) tests run in $(($3 / 60)) min $(($3 % 60)) s, $p passed, $f failed"
  [ $((p + f)) -gt 0 ] || problems+=("$1: no test ran")
  if [ "$f" -gt 0 ]; then
    grep -E '^test .* FAILED$' "$2"
    echo "(whole output: $2)"
  fi
}

unit() {
  local log=$logs/unit.log
  : >"$log"
  check "formatting" cargo fmt --all --check
  check "lints, all features" cargo clippy --workspace --all-targets --all-features -- -D warnings
  check "lints, the library without features" cargo clippy --package faust-worker --all-targets --no-default-features -- -D warnings
  check "lints, the example without features" cargo clippy --package page-views --all-targets --no-default-features -- -D warnings
  check "building helm" "$cluster" build helm # of the charts' tests
  tests "$log" "unit and property tests" --workspace --all-targets -- --skip on_kafka --skip on_apiserver --skip on_cluster
  tests "$log" "doc tests" --workspace --doc
  close_part "unit" "$log" $((SECONDS - begin))
}

# The oldest line that runs in production without ZooKeeper. Its shared broker lives beside the usual one, in a folder of its own.
older_kafka=3.3.2
older_state=$logs/older-kafka
older() { # COMMAND…
  XDG_STATE_HOME=$older_state FAUST_TEST_KAFKA_VERSION=$older_kafka "$@"
}
# Its KRaft has no users for SCRAM, which every broker with TLS and SASL is given, and doesn't heed a topic's unclean elections.
older_lacks=(
  --skip a_connection_outlives_its_session
  --skip a_token_that_is_not_taken
  --skip who_shows_no_certificate
  --skip an_unclean_election
)
kafka() {
  local log=$logs/kafka.log
  : >"$log"
  # The scenarios run programs of other packages, which `cargo test` alone doesn't build.
  check "programs" cargo build --workspace --bins
  start_kafka
  tests "$log" "tests on Kafka" --workspace --all-targets -- on_kafka --skip on_apiserver
  started_older_kafka=yes
  check "starting Kafka $older_kafka" older scripts/kafka.sh up
  # By its address: another one may be set for the usual tests.
  FAUST_TEST_KAFKA=$(<"$older_state/faust-dev/kafka/address") \
    older tests "$log" "tests of the library on Kafka $older_kafka" --workspace --lib -- on_kafka "${older_lacks[@]}"
  stop_older_kafka
  older tests "$log" "scenarios on Kafka $older_kafka" --workspace --test on_kafka_scenario --test on_kafka_static --test on_kafka_zombie
  close_part "kafka" "$log" $((SECONDS - begin))
}

# The operator's tests want Kafka beside the API server.
apiserver() {
  local log=$logs/apiserver.log
  : >"$log"
  check "building the API server" wait_for_builds
  start_kafka
  tests "$log" "tests on the API server" --workspace --all-targets -- on_apiserver
  close_part "apiserver" "$log" $((SECONDS - begin))
}

e2e() {
  local log=$logs/e2e.log
  : >"$log"
  check "building the cluster" wait_for_builds
  if [ -z "${FAUST_E2E_IMAGES:-}" ] && ! "$cluster" status >/dev/null; then
    started_cluster=yes
    check "starting the cluster" "$cluster" up
  fi
  check "images" scripts/images.sh
  # One at a time: they share a node, and some of them do to its Kafka what the others would feel.
  tests "$log" "end-to-end tests" --workspace --all-targets -- on_cluster --test-threads 1
  stop_cluster
  close_part "e2e" "$log" $((SECONDS - begin))
}

# Go builds beside cargo from the start: both are slow when cold, and nothing when warm.
builds=
start_builds() { # PART…
  setsid "$cluster" build "$@" >"$logs/cluster-build.log" 2>&1 &
  builds=$! # and the id of its group
}
wait_for_builds() {
  [ -n "$builds" ] || return 0
  local status=0
  wait "$builds" || status=$?
  builds=
  [ $status = 0 ] || tail -20 "$logs/cluster-build.log"
  return $status
}

start_kafka() {
  if ! scripts/kafka.sh status >/dev/null; then
    started_kafka=yes
    check "starting Kafka" scripts/kafka.sh up
  fi
}

# Only what this run started; the log of a run that failed stays.
started_kafka=
stop_kafka() {
  [ -n "$started_kafka" ] || return 0
  started_kafka=
  if [ ${#problems[@]} -gt 0 ]; then
    scripts/kafka.sh status && cp "${XDG_STATE_HOME:-$HOME/.local/state}/faust-dev/kafka/kafka.log" "$logs/broker.log" &&
      echo "the shared broker's log: $logs/broker.log"
  fi
  check "stopping Kafka" scripts/kafka.sh down
}

started_older_kafka=
stop_older_kafka() {
  [ -n "$started_older_kafka" ] || return 0
  started_older_kafka=
  if [ ${#problems[@]} -gt 0 ]; then
    cp "$older_state/faust-dev/kafka/kafka.log" "$logs/older-broker.log" && echo "the older broker's log: $logs/older-broker.log"
  fi
  check "stopping Kafka $older_kafka" older scripts/kafka.sh down
}

started_cluster=
stop_cluster() {
  [ -n "$started_cluster" ] || return 0
  started_cluster=
  if [ ${#problems[@]} -gt 0 ]; then
    say "the cluster as it was at the end"
    "$cluster" state
  fi
  check "stopping the cluster" "$cluster" down
}

# However the run ends, nothing of it goes on.
stop() {
  [ -z "$builds" ] || kill -- -"$builds" 2>/dev/null
  stop_cluster
  stop_older_kafka
  stop_kafka
}

trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

case " $* " in
  *" e2e "*) start_builds ;;
  *" apiserver "*) start_builds helm node ;;
esac
for part; do
  begin=$SECONDS
  case $part in
    unit | kafka | apiserver | e2e) "$part" ;;
    *)
      echo "test.sh: no part named $part: unit, kafka, apiserver, e2e" >&2
      exit 2
      ;;
  esac
done
stop_kafka

if [ ${#problems[@]} -gt 0 ]; then
  say "failed:"
  printf '  %s\n' "${problems[@]}"
fi
echo
echo "$passed passed, $failed failed"
[ ${#problems[@]} -eq 0 ]
