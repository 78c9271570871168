#!/usr/bin/env bash
# Mixed work in one process with steady memory: ten seconds, or an hour with HEED_TEST_LONG=1, or HEED_SOAK_SECONDS.
# Usage: tests/test_soak.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
source "$(dirname "$0")/support_images.sh"
seconds=10
[ "${HEED_TEST_LONG:-0}" != 1 ] || seconds=3600
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
# One OpenMP thread: the other stacks of libgomp come and go on their own account. The cache stays the usual one: the first pass
# over the cases would else build kernels for minutes.
export OMP_NUM_THREADS=1
[ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] || export HEED_DEVICE=host
make_images digits 64
LD_PRELOAD=$build/tests/libfault_shim.so "$build/tests/soak" "${HEED_SOAK_SECONDS:-$seconds}" digits 2>soak.log || {
  tail -n 20 soak.log >&2
  exit 1
}
