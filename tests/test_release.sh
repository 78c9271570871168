#!/usr/bin/env bash
# What must agree before a release: the version, wherever it stands.
# Usage: tests/test_release.sh
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
fail() {
  echo "$*" >&2
  failed=1
}

# ---- the version
version=$(sed -nE 's/^project\(heed VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)
[ -n "$version" ] || fail "CMakeLists.txt names no version"
# says FILE PATTERN: the first line of FILE that matches the extended expression PATTERN (a group holds the version) has this version.
says() {
  local found
  found=$(sed -nE "s/$2/\1/p" "$1" | head -n 1)
  [ "$found" = "$version" ] || fail "$1 says version '$found', and CMakeLists.txt '$version'"
}
says host/include/heed/heed.h '^#define HEED_VERSION_STRING "(.*)"$'
says CITATION.cff '^version: (.*)$'
says CHANGELOG.md '^## ([0-9.]+).*$'
for page in tools/man/*.1; do says "$page" '^\.TH .* "heed ([0-9.]+)".*$'; done
says tools/man/heed-tune.1 '^ *"heed": "([0-9.]+)",$'
# Tables that tell another version are refused before they are read any further.
for table in tests/fuzz/corpus/tune_file/*; do
  if grep -q '"heed": "' "$table"; then says "$table" '^.*"heed": "([0-9.]+)".*$'; fi
done
grep -qF "libheed.so.${version%.*}" CHANGELOG.md || fail "CHANGELOG.md does not name libheed.so.${version%.*}"

exit "$failed"
