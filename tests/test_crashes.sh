#!/usr/bin/env bash
# A driver that crashes in a kernel or when it is opened: heed check names the operator and the cases, goes on with the others, writes its
# reports and gives its verdict. The crash is fault_shim's. And what heed bench says of a device that nobody has tested, or that failed.
# Usage: tests/test_crashes.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed shim=$build/tests/libfault_shim.so
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off HEED_TUNE=off OMP_NUM_THREADS=1
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

"$heed" sqrt 2 -v >seen 2>&1 || true
if [ "${HEED_TEST_HOST_ONLY:-0}" = 1 ] || [ "${HEED_DEVICE:-}" = host ] || grep -q ' on host' seen; then
  [ "${HEED_REQUIRE_DEVICE:-0}" != 1 ] || fail "no OpenCL device, but HEED_REQUIRE_DEVICE=1"
  [ "$failures" -eq 0 ] || exit 1
  echo "no OpenCL device"
  exit 77
fi

crashing() { # WHERE OPTIONS ...
  local where=$1
  shift
  status=0
  timeout 300 env FAULT_CRASH="$where" LD_PRELOAD="$shim" "$heed" check --tiny --junit report.xml "$@" >out 2>err || status=$?
}
# The number of cases of an operator, and how many of them failed, in the JSON object on standard output.
counts() {
  python3 -c 'import json, sys
for o in json.load(open("out"))["operators"]:
    if o["op"] == sys.argv[1]: print(o["cases"], o["failed"])' "$1"
}

# ---- one kernel: softmax fails, the operators before and after it do not
"$heed" check --tiny --json >out 2>err || fail "the driver itself fails: $(tail -n 1 err)"
total=$(grep -oE '"cases": [0-9]+' out | head -n 1)
softmax=$(counts softmax)
crashing softmax_rows --json
[ "$status" -eq 1 ] || fail "a crash in a kernel: exit status $status: $(tail -n 1 err)"
grep -qE '^heed check: FAILED softmax [a-z0-9_]+: signal 11 \(.*\) ended its process' err || fail "a crash in a kernel is not told: $(cat err)"
grep -qE 'repeat it with: heed check --device .*--case ' err || fail "no command repeats the crash: $(cat err)"
[ "$(grep -oE '"cases": [0-9]+' out | head -n 1)" = "$total" ] || fail "cases are lost: $total without the crash: $(head -n 30 out)"
grep -q '"verdict": "failed"' out || fail "the verdict of a crash: $(head -n 30 out)"
set -- $(counts softmax)
[ "$1" = "${softmax% *}" ] && [ "$2" -ge 1 ] || fail "softmax, which crashes: $1 cases, $2 failed"
for op in relu gemm sgd; do
  set -- $(counts $op)
  [ "$1" -ge 1 ] && [ "$2" -eq 0 ] || fail "$op, which does not crash: $1 cases, $2 failed"
done
[ "$(grep -c 'not run' err)" -le 1 ] || fail "cases that are not run are told one by one: $(cat err)"
grep -q '</testsuites>' report.xml && grep -q 'signal 11' report.xml || fail "the JUnit report of a crash: $(cat report.xml)"

# ---- the same of one operator, and of one case, which are not split among processes
crashing softmax_rows --op softmax
[ "$status" -eq 1 ] || fail "a crash of --op softmax: exit status $status: $(tail -n 1 err)"
grep -qE '^softmax +[0-9]+ +[1-9][0-9]* +- +FAILED +[a-z0-9_]+$' out || fail "no table of the crash of --op softmax: $(cat out)"
crashing softmax_rows --op relu
[ "$status" -eq 0 ] || fail "relu, which does not crash: exit status $status: $(tail -n 1 err)"

# ---- everywhere: three cases of each operator, and then the next one
crashing clEnqueueNDRangeKernel --json
[ "$status" -eq 1 ] || fail "a crash in every launch: exit status $status: $(tail -n 1 err)"
grep -q 'not run: other cases of this operator ended their processes' err || fail "a crash in every launch is tried in every case: $(cat err)"
[ "$(grep -oE '"cases": [0-9]+' out | head -n 1)" = "$total" ] || fail "cases are lost where every launch crashes: $(head -n 30 out)"

# ---- before there is a device
crashing clCreateContext --json
[ "$status" -eq 1 ] || fail "a crash at opening: exit status $status: $(tail -n 1 err)"
grep -qE 'the device could not be opened: signal 11' err || fail "a crash at opening is not told: $(cat err)"
grep -qE '"error": "the device could not be opened: signal 11' out || fail "no JSON of a crash at opening: $(cat out)"
grep -q 'signal 11' report.xml || fail "no JUnit report of a crash at opening: $(cat report.xml)"

# ---- in one process there is nobody to tell
crashing softmax_rows --op softmax --serial
[ "$status" -eq 139 ] || fail "--serial runs another process: exit status $status"

# ---- heed bench times a device that is untested or computes wrong, and says so
export HEED_CACHE=$scratch/verdicts
unset HEED_SELF_TEST
bench() { "$heed" bench gemm --m 4 --n 4 --k 4 --runs 1 "$@" >out 2>err || fail "heed bench: $(tail -n 1 err)"; }
bench
grep -q 'this device is untested; heed check' err || fail "heed bench does not say that a device is untested: $(cat err)"
mkdir -p kernels/ops
for file in cross_entropy cross_entropy_narrow; do echo '#error of this test' >kernels/ops/$file.cl; done
device=$("$heed" sqrt 2 --json | sed -n 's/^ *"id": "\(.*\)",*$/\1/p' | head -n 1)
! HEED_KERNELS=kernels HEED_SELF_TEST=on "$heed" sqrt 2 --device "$device" >out 2>err || fail "kernels that do not build pass the self-test"
HEED_KERNELS=kernels bench --device "$device"
grep -q "FAILED heed's self-test.*of this test" err || fail "heed bench does not say that a device has failed: $(cat err)"
[ "$failures" -eq 0 ] || exit 1
echo "a driver that crashes in a kernel, in every launch and at opening: all told"
