#!/bin/bash
# The images of the end-to-end tests, from programs that cargo has built outside of them, into the cluster; their sizes.
#
# With FAUST_E2E_IMAGES=REGISTRY/PATH they are pushed there instead. Debian's base can't be pulled everywhere, so the testbed's
# own one, made from the same packages, stands in for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh

cluster=e2e/testbed/cluster/cluster
prefix=${FAUST_E2E_IMAGES:-localhost/faust}
how=build-image
[ -z "${FAUST_E2E_IMAGES:-}" ] || how=push-image

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

image() { # NAME:TAG DOCKERFILE [buildah options]; the context is one for all
  local name=$1 dockerfile=$2
  shift 2
  "$cluster" "$how" "$prefix/$name" "$context" --file "$dockerfile" "$@"
}

# All of them, as the tests build them: a part of the workspace would have other features, and so be built anew.
cargo build --workspace --bins
for program in page-views faust-operator; do
  strip -o "$context/$program" "$CARGO_TARGET_DIR/debug/$program"
done
# Looks at things from inside a pod: DNS, Kafka, its volume.
(cd e2e/testbed/cluster/images/probe && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$context/probe" .)

image worker:dev worker/Dockerfile
for tag in dev next; do # two, for an application to be rolled from one to the other
  image "page-views:$tag" examples/page_views/Dockerfile --build-arg "BASE=$prefix/worker:dev"
done
image operator:dev operator/Dockerfile
image probe:dev e2e/testbed/cluster/images/probe/Dockerfile
[ "$how" != build-image ] || "$cluster" images | grep "^$prefix/"
