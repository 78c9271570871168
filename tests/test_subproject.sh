#!/usr/bin/env bash
# heed as a part of another project: heed::heed and heed::heed_static by add_subdirectory and by FetchContent, without a change to the
# parent's settings. Also the parts that can be left out: without CLBlast and OpenMP, and without OpenCL.
# Usage: tests/test_subproject.sh BUILD-DIR      CMAKE and CC name the tools
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
cmake=${CMAKE:-cmake}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HEED_SELF_TEST=off HEED_TUNE=off HEED_CACHE=off CCACHE_BASEDIR=$scratch CCACHE_NOHASHDIR=1

fail() {
  echo "$*" >&2
  exit 1
}

generator=()
if command -v ninja >/dev/null; then generator+=(-G Ninja); fi
if command -v ccache >/dev/null; then generator+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
configure() { # NAME OPTION ...
  local name=$1
  shift
  "$cmake" -S "$source_dir/tests/consumer/subproject" -B "$scratch/$name" "${generator[@]}" -DHEED_SOURCE="$source_dir" \
    -DCMAKE_C_COMPILER="${CC:-cc}" "$@" >"$scratch/log" 2>&1 || fail "$name: $(cat "$scratch/log")"
}
builds() { # NAME TARGET ...
  local name=$1
  shift
  "$cmake" --build "$scratch/$name" -j "$(nproc)" --target "$@" >"$scratch/log" 2>&1 ||
    fail "$name: $(grep -E 'error|undefined|FAILED' "$scratch/log" | head -n 20 || tail -n 20 "$scratch/log")"
}
expected=$(awk '/^    \$ cc main.c/ { inside = 1; next } /^$/ { inside = 0 } inside { sub("^    ", ""); print }' "$source_dir/README.md")
runs() { # NAME PROGRAM
  local output
  output=$(HEED_DEVICE=host "$scratch/$1/$2") || fail "$1: $2 fails"
  [ "$output" = "$expected" ] || fail "$1: $2 prints: $output"
}

# Every default, by FetchContent: the parent has no build type and no tests, and keeps it so.
configure fetched -DBY_FETCH_CONTENT=ON -DEXPECTED_BUILD_TYPE=
grep -q '^HEED_CLBLAST:STRING=AUTO' "$scratch/fetched/CMakeCache.txt" || fail "HEED_CLBLAST is no option"

options=(-DEXPECTED_BUILD_TYPE=Debug -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O0 -DHEED_WERROR=ON)
configure bare "${options[@]}" -DHEED_CLBLAST=OFF -DHEED_OPENMP=OFF -DHEED_PROGRAM=ON
builds bare consumer consumer_static heed
runs bare consumer
runs bare consumer_static
program=$(find "$scratch/bare" -name heed -type f -perm -u+x)
needed=$(ldd "$program") # grep -q would end ldd early, which pipefail takes for a failure
[[ $needed != *clblast* && $needed != *libgomp* && $needed != *libomp* ]] || fail "without CLBlast and OpenMP the program needs: $needed"
if [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] && "$program" devices | grep -q '^[* ] [0-9]'; then
  "$program" check --tiny --op gemm >"$scratch/log" 2>&1 || fail "without CLBlast, gemm fails: $(cat "$scratch/log")"
  ! HEED_GEMM=clblast "$program" check --tiny --op gemm >"$scratch/log" 2>&1 || fail "HEED_GEMM=clblast is taken by a build without CLBlast"
  grep -q 'this build of heed has no CLBlast' "$scratch/log" || fail "HEED_GEMM=clblast without CLBlast: $(cat "$scratch/log")"
fi

configure host "${options[@]}" -DHEED_OPENCL=OFF -DHEED_PROGRAM=ON
builds host consumer consumer_static heed
runs host consumer
runs host consumer_static
program=$(find "$scratch/host" -name heed -type f -perm -u+x)
"$program" devices >"$scratch/log"
grep -q 'built without OpenCL' "$scratch/log" && ! grep -q '^[* ] [0-9]' "$scratch/log" || fail "without OpenCL, heed devices prints: $(cat "$scratch/log")"
"$program" check --device host --tiny --op softmax >"$scratch/log" 2>&1 || fail "without OpenCL, heed check fails: $(cat "$scratch/log")"
needed=$(ldd "$scratch/host/consumer_static")
[[ $needed != *OpenCL* ]] || fail "without OpenCL the program needs: $needed"
echo "as a subproject: every default, without CLBlast and OpenMP, without OpenCL"
