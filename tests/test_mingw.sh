#!/usr/bin/env bash
# heed for Windows: the library and the program build with MinGW-w64, warnings are errors, and under Wine the program lists devices, checks
# operators on the host, trains, and replaces a file. With HEED_TEST_LONG=1 alone, as it builds everything anew; skipped without the
# compiler, or without HEED_MINGW: the folder that tools/packaging/mingw/libraries has filled. Usage: tests/test_mingw.sh BUILD-DIR
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
skip() {
  echo "skipped: $*"
  exit 77
}
[ "${HEED_TEST_LONG:-0}" = 1 ] || skip "only with HEED_TEST_LONG=1"
command -v x86_64-w64-mingw32-gcc >/dev/null || skip "no MinGW-w64"
[ -d "${HEED_MINGW:-}" ] || skip "no HEED_MINGW, which tools/packaging/mingw/libraries fills"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake -S "$source" -B "$scratch/build" -G Ninja --toolchain "$source/tools/packaging/mingw/toolchain.cmake" -DCMAKE_PREFIX_PATH="$HEED_MINGW" \
  -DCMAKE_BUILD_TYPE=Release -DHEED_WERROR=ON >"$scratch/log" || { cat "$scratch/log" && exit 1; }
ninja -C "$scratch/build" heed heed_shared >"$scratch/log" || { tail -n 30 "$scratch/log" && exit 1; }

wine=$(command -v wine64 || echo /usr/lib/wine/wine64)
[ -x "$wine" ] || skip "everything builds; no Wine to run it"
export WINEPREFIX=$scratch/wine WINEDEBUG=-all DISPLAY='' HEED_TUNE=off
run() { timeout 300 "$wine" "$scratch/build/heed.exe" "$@"; }
cd "$scratch"
version=$(run --version)
[ "$version" = "heed $(sed -nE 's/^project\(heed VERSION ([0-9.]+).*/\1/p' "$source/CMakeLists.txt")" ]
run devices >devices.txt
grep -q '^[* ] host ' devices.txt
run check --tiny --device host >check.txt
grep -q 'all within tolerance' check.txt
for once in 1 2; do # the second time over the first
  run train --device host --data synthetic --max-steps 10 --batch 8 --save model.safetensors >"train$once.txt"
  run eval --device host --data synthetic --model model.safetensors >"eval$once.txt"
done
cmp eval1.txt eval2.txt
[ -z "$(find . -maxdepth 1 -name '*.tmp')" ]
