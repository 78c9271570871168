#!/usr/bin/env bash
# Every kernel under Oclgrind, on the tiny cases of each operator: no access out of bounds, no race, no use of undefined memory, no barrier that a part
# of a work-group misses, no wrong argument of an OpenCL call. Names the kernels that were not reached. With HEED_TEST_LONG=1 also
# `heed check` of each operator, for races, bounds and API calls.
# Usage: tests/test_oclgrind.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
sources=$(cd "$(dirname "$0")/../kernels_cl" && pwd)
if ! command -v oclgrind >/dev/null; then
  echo "oclgrind is not installed" >&2
  [ "${CI:-}" != true ] || exit 1
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HEED_DEVICE=oclgrind HEED_CACHE=off
unset RUSTICL_ENABLE
failures=0

# What Oclgrind 21.10 cannot do, and what stands here in its place:
# - its check for undefined memory knows no `freeze`, which clang's optimiser writes: kernels are compiled without it;
# - a write of a part of a buffer makes it take the rest for undefined, and what only kernels wrote is never defined to it: kernel_tour
#   writes whole buffers first, so that this check is of private and local memory; `heed check`, which writes into the middle of its
#   guard bands, runs without it.
oclgrind_run() { # NAME OPTIONS -- COMMAND ...
  local name=$1 status=0 options=()
  shift
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  oclgrind --data-races --check-api --max-errors 20 "${options[@]}" --log "$name.log" "$@" >"$name.out" 2>"$name.err" || status=$?
  if [ "$status" -ne 0 ] || [ -s "$name.log" ]; then
    head -n 60 "$name.log" >&2
    tail -n 5 "$name.err" >&2
    echo "FAILED $name: exit status $status, $(grep -c 'Kernel:' "$name.log") reports" >&2
    failures=$((failures + 1))
  fi
}

start=$SECONDS
oclgrind_run kernel_tour --uninitialized --build-options -cl-opt-disable -- "$build/tests/kernel_tour"

# Not reached, each for a reason.
cat >allowed <<'END'
attention_tensor_begin
attention_tensor_forward
attention_tensor_keys_bwd
attention_tensor_queries_bwd
epilogue
peak_copy
peak_fma
END
# peak.cl measures a device's speed, and loops for what a real one does in a tenth of a second; tensor cores are emulated with a barrier
# a product, and test_attention_tensor does so on a real device; epilogue follows CLBlast's products, whose kernels are not heed's.
grep -hoE '^(__kernel|ROW_GROUP|ITEMS_GROUP|ONE_ITEM).*[a-z_0-9]+\(' "$sources"/*.cl "$sources"/*/*.cl >heads
grep -hA3 '^__attribute__' "$sources"/gemm/panels.cl | grep -oE '__kernel void [a-z_0-9]+\(' >>heads || true
sed -nE 's/.*[^a-z_0-9]([a-z][a-z_0-9]*)\($/\1/p' heads | grep -v '^__attribute__$' | sort -u >all
sort -u kernel_tour.out >reached
echo "kernel_tour: $(comm -12 all reached | wc -l) of $(wc -l <all) kernels in $((SECONDS - start)) s"
comm -23 all reached | comm -23 - allowed >missed
if [ -s missed ]; then
  echo "not reached: $(tr '\n' ' ' <missed)" >&2
  failures=$((failures + 1))
fi

if [ "${HEED_TEST_LONG:-0}" = 1 ]; then
  "$build/heed" check --tiny --json --device host | sed -n 's/^ *"op": "\([a-z_]*\)",*$/\1/p' >operators
  [ -s operators ]
  while read -r op; do
    start=$SECONDS
    oclgrind_run "check_$op" -- timeout 3600 "$build/heed" check --quick --serial --op "$op"
    echo "heed check --quick --op $op: $((SECONDS - start)) s"
  done <operators
fi
[ "$failures" -eq 0 ] || exit 1
