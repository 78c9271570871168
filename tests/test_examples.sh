#!/usr/bin/env bash
# Strangers build the programs of tools/examples with the compiler and pkg-config alone, against an installed heed, as each program's first
# lines say, and they do what they promise: on the host, and on the device where there is one.
# Usage: tests/test_examples.sh BUILD-DIR      CMAKE, CC name the tools
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
cc=${CC:-cc}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HEED_CACHE=off HEED_TUNE=off HEED_SELF_TEST=off

fail() {
  echo "$*" >&2
  exit 1
}

"${CMAKE:-cmake}" --install "$build" --prefix "$scratch/prefix" >/dev/null
library=$(find "$scratch/prefix" -name libheed.so)
export PKG_CONFIG_PATH=${library%/*}/pkgconfig LD_LIBRARY_PATH=${library%/*}
examples=$(find "$scratch/prefix" -type d -name examples)
diff -r "$source_dir/tools/examples" "$examples" || fail "not all examples are installed"
cd "$scratch"
read -ra flags <<<"$(pkg-config --cflags --libs heed)"
for source in "$examples"/*.c; do
  name=$(basename "$source" .c)
  grep -qF "cc -O2 $name.c \$(pkg-config --cflags --libs heed) -o $name" "$source" ||
    grep -qF "cc $name.c \$(pkg-config --cflags --libs heed) -o $name" "$source" || fail "$name.c does not say how to compile it"
  "$cc" -O2 -std=c11 -Wall -Wextra -Werror "$source" "${flags[@]}" -o "$name" || fail "$name.c does not compile"
done

# The device; none is left to try on a machine without OpenCL.
device=$("$scratch/prefix/bin/heed" devices --json | grep -oE '"id": *"[^"]*"' | cut -d'"' -f4 | grep -vx host | head -n 1 || true)
[ -n "$device" ] || [ "${HEED_REQUIRE_DEVICE:-0}" != 1 ] || fail "there is no OpenCL device"
devices=(host ${device:+"${HEED_DEVICE:-$device}"})

# ---- train_gpt: a text of few words, so that some steps suffice to learn which letters there are.
words=(the old king sat by the sea and saw ships come home in rain)
for ((i = 0; i < 3000; i++)); do printf '%s ' "${words[i * i % 13]}"; done >text
learns() { # DEVICE STEPS LEAST-FALL
  local first last
  HEED_DEVICE=$1 ./train_gpt text "$2" >seen || fail "train_gpt fails on $1: $(cat seen)"
  first=$(sed -nE 's/^validation loss ([0-9.]+):.*/\1/p' seen)
  last=$(sed -nE 's/^validation loss ([0-9.]+)$/\1/p' seen)
  awk -v first="$first" -v last="$last" -v fall="$3" 'BEGIN { exit !(first > 5.4 && first < 5.7 && last < first - fall && last > 0) }' ||
    fail "train_gpt on $1: the validation loss goes from '$first' to '$last': $(cat seen)"
  [ "$(sed -n '/^$/,$p' seen | wc -c)" -gt 400 ] || fail "train_gpt on $1 writes too little: $(cat seen)"
}
learns host 3 0.05
if [ -n "$device" ]; then
  learns "${devices[1]}" 60 2.5
  grep -qE '^The .*(the|and|sea|ships|king|rain)' seen || fail "train_gpt writes no word of its text: $(cat seen)"
fi
status=0
./train_gpt 2>seen || status=$?
[ $status -eq 2 ] && grep -q usage seen || fail "train_gpt without a file exits with $status: $(cat seen)"
head -c 300 text >short
! ./train_gpt short 2>seen && grep -q 'too short' seen || fail "train_gpt does not refuse a short text: $(cat seen)"
! ./train_gpt missing 2>seen && grep -q 'missing: No such file' seen || fail "train_gpt does not name a missing file: $(cat seen)"

# ---- the short ones
for use in "${devices[@]}"; do
  export HEED_DEVICE=$use
  ./attention >seen || fail "attention fails on $use"
  [ "$(tail -n 1 seen)" = " 1.8259 -0.7764" ] || fail "attention on $use prints: $(cat seen)"
  ./train_mlp >seen || fail "train_mlp fails on $use"
  awk '/points are right/ && $1 > 97 { right = 1 } END { exit !right }' seen || fail "train_mlp on $use prints: $(cat seen)"
  ./two_devices "$use" host >seen || fail "two_devices fails on $use: $(cat seen)"
  grep -q 'their average is the gradient of the whole batch (' seen || fail "two_devices on $use prints: $(cat seen)"
done
unset HEED_DEVICE
if [ -n "$device" ]; then
  ./own_queue >seen || fail "own_queue fails: $(cat seen)"
  [ "$(grep -c 'sum 1.000000$' seen)" -eq 4 ] || fail "own_queue prints: $(cat seen)"

  # ---- a driver's CI: a report that is well formed, and a verdict of each kind
  export HEED=$scratch/prefix/bin/heed HEED_CHECK="--tiny --op relu"
  "$examples/check_my_driver.sh" reports >seen || fail "check_my_driver.sh fails: $(cat seen)"
  grep -q '<testsuite name="heed check" .*failures="0"' reports/heed-*.xml || fail "check_my_driver.sh reports: $(cat reports/*)"
  ! HEED_CHECK="--op nonsense" "$examples/check_my_driver.sh" reports >seen 2>&1 || fail "a check that fails is no failure: $(cat seen)"
fi
status=0
OCL_ICD_VENDORS=$scratch/none HEED=$scratch/prefix/bin/heed "$examples/check_my_driver.sh" reports >seen 2>&1 || status=$?
[ $status -eq 1 ] && grep -q 'there is no OpenCL device' seen || fail "without a device check_my_driver.sh exits with $status: $(cat seen)"
echo "$(find "$examples" -name '*.c' | wc -l) programs built against the installed library, and run on ${devices[*]}"
