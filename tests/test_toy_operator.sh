#!/usr/bin/env bash
# An operator can be added by the list in CONTRIBUTING.md alone: in a copy of the tree, `square` is put into each place that the list
# names, from tests/toy, and nowhere else; then library and program are built, the operator is checked on the host and the device, and the tree
# keeps the limits of test_layers.sh.
# tests/toy has new files as they are, and X.add for an addition to file X: first "before: " or "after: " and how the line begins beside
# which it goes. With HEED_TEST_LONG=1 every place is also left out once, which must not go unnoticed.
# Usage: tests/test_toy_operator.sh BUILD-DIR      CMAKE and CC name the tools
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
cmake=${CMAKE:-cmake}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/heed
export HEED_SELF_TEST=off HEED_TUNE=off HEED_CACHE=off CCACHE_BASEDIR=$scratch CCACHE_NOHASHDIR=1

fail() {
  echo "$*" >&2
  exit 1
}

places=$(awk '/^## / { inside = /^## Adding an operator/ } inside' "$source_dir/CONTRIBUTING.md" |
  sed -nE 's/^[0-9]+\. `([^`]+)`.*/\1/p' | sed 's/foo/square/')
[ "$(wc -l <<<"$places")" -ge 5 ] || fail "CONTRIBUTING.md lists no places under \"Adding an operator\": $places"

add() { # PLACE
  local piece=$source_dir/tests/toy/$1 where anchor
  if [ -f "$piece" ]; then
    cp "$piece" "$tree/$1"
  elif [ -f "$piece.add" ]; then
    where=$(sed -n '1s/: .*//p' "$piece.add") anchor=$(sed -n '1s/^[a-z]*: //p' "$piece.add")
    awk -v piece="$piece.add" -v where="$where" -v anchor="$anchor" '
      function insert() { while ((getline line < piece) > 0) if (++n > 1) print line }
      {
        here = !n && index($0, anchor) == 1
        if (here && where == "before") insert()
        print
        if (here && where == "after") insert()
      }
      END { exit !n }' "$source_dir/$1" >"$tree/$1" || fail "$1 has no line that begins with \"$anchor\""
  else
    fail "CONTRIBUTING.md lists $1, for which tests/toy has nothing"
  fi
}

leave_out() { # PLACE
  if [ -f "$source_dir/$1" ]; then cp "$source_dir/$1" "$tree/$1"; else rm "$tree/$1"; fi
}

# Builds and checks; what goes wrong first is in the log.
try() {
  local device=0
  "$cmake" --build "$tree/build" -j "$(nproc)" --target heed test_validate >"$scratch/log" 2>&1 || return 1
  "$tree/build/heed" check --full --op square --device host >"$scratch/log" 2>&1 || return 1
  grep -q '^square slopes .* ok ' "$scratch/log" || return 1
  "$tree/tests/test_layers.sh" "$tree/build" >"$scratch/log" 2>&1 || return 1
  [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] || return 0
  "$tree/build/heed" check --op square >"$scratch/log" 2>&1 || return 1
  "$tree/build/tests/test_validate" ops/square.cl >"$scratch/log" 2>&1 || device=$?
  [ "$device" -eq 0 ] || [ "$device" -eq 77 ]
}

mkdir "$tree"
(cd "$source_dir" && cp -r CMakeLists.txt LICENSE README.md CHANGELOG.md host kernels_cl tools tests "$tree")
for place in $places; do add "$place"; done
options=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O0 -DHEED_WERROR=ON)
if command -v ninja >/dev/null; then options+=(-G Ninja); fi
if command -v ccache >/dev/null; then options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
"$cmake" -S "$tree" -B "$tree/build" "${options[@]}" >"$scratch/log" 2>&1 || fail "$(cat "$scratch/log")"
try || fail "an operator that is added by CONTRIBUTING.md's list does not work: $(grep -E 'error|undefined|FAILED|ERROR' "$scratch/log" | head -n 20 || tail -n 20 "$scratch/log")"
echo "square, added in $(wc -l <<<"$places") files, works"

[ "${HEED_TEST_LONG:-0}" = 1 ] || exit 0
for place in $places; do
  leave_out "$place"
  ! try || fail "without $place nothing is missed: it need not be on the list"
  echo "without $place: $(grep -m 1 -oE '(error:|undefined reference|FAILED|has no defect|cannot|no kernel).{0,90}' "$scratch/log" || echo "fails")"
  add "$place"
done
