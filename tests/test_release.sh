#!/usr/bin/env bash
# What a release needs: the same version wherever it stands, pages whose links lead somewhere, a tarball that CMake takes without git, and recipes that say what is in it.
# Usage: tests/test_release.sh      CMAKE names the tool; tools/packaging/release --check also builds from the tarball
set -euo pipefail
cd "$(dirname "$0")/.."
cmake=${CMAKE:-cmake}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

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
for consumer in tests/consumer tests/consumer/cxx; do
  grep -qF "find_package(heed ${version%.*} " $consumer/CMakeLists.txt || fail "$consumer does not ask for heed ${version%.*}"
done
# Tables that tell another version are refused before they are read any further.
for table in tests/fuzz/corpus/tune_file/*; do
  if grep -q '"heed": "' "$table"; then says "$table" '^.*"heed": "([0-9.]+)".*$'; fi
done
grep -qF "libheed.so.${version%.*}" CHANGELOG.md || fail "CHANGELOG.md does not name libheed.so.${version%.*}"

# ---- the pages
[ "$(wc -l <README.md)" -lt 250 ] || fail "README.md has 250 lines or more; docs/ holds what is longer"
while read -r page; do
  # Links to files, without what follows #; those to headings must name one, in GitHub's spelling.
  while read -r link; do
    target=$(dirname "$page")/${link%%#*}
    [ -n "${link%%#*}" ] || target=$page
    [ -e "$target" ] || fail "$page: there is no $link"
    case $link in *.md#* | '#'*)
      sed -nE 's/^#+ //p' "$target" | tr '[:upper:] ' '[:lower:]-' | tr -d ',.:`()' | grep -qxF -- "${link#*#}" || fail "$page: $link names no heading"
      ;;
    esac
  done < <(grep -oE '\]\([^)]+\)' "$page" | sed -E 's/^\]\((.*)\)$/\1/' | grep -vE '^(https?|mailto):')
done < <(find . -maxdepth 3 -name '*.md' -not -path './build*' -not -path './tests/*')

# ---- the reference
if command -v doxygen >/dev/null; then
  mkdir "$scratch/doc"
  sed -e "s|@CMAKE_CURRENT_SOURCE_DIR@|$PWD|g; s|@CMAKE_CURRENT_BINARY_DIR@|$scratch/doc|g; s|@PROJECT_VERSION@|$version|g" tools/cmake/Doxyfile.in >"$scratch/doc/Doxyfile"
  doxygen "$scratch/doc/Doxyfile" >"$scratch/log" 2>&1 || fail "doxygen does not understand a comment of a header: $(cat "$scratch/log")"
  while read -r name; do
    [ -s "$scratch/doc/reference/man/man3/$name.3" ] || fail "the reference has no $name"
  done < <(sed -nE 's/^HEED_API .*[ *](heed_[a-z0-9_]+)\(.*/\1/p' host/include/heed/*.h)
fi

# ---- the tarball and the recipes
if command -v git >/dev/null && git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
  packed=$(git show HEAD:CMakeLists.txt | sed -nE 's/^project\(heed VERSION ([0-9.]+) .*/\1/p')
  tarball=$scratch/release/heed-$packed.tar.gz
  HEED_URL=https://example.invalid/heed.tar.gz tools/packaging/release "$scratch/release" >"$scratch/log" 2>&1 || fail "release fails: $(cat "$scratch/log")"
  sum=$(sha256sum <"$tarball" | cut -d' ' -f1)
  grep -qF "$sum" "$scratch/log" || fail "release prints another checksum than the tarball's: $(cat "$scratch/log")"
  ! tools/packaging/release "$scratch/release" >"$scratch/log" 2>&1 || fail "release replaces a tarball"
  tools/packaging/release "$scratch/again" >"$scratch/log" 2>&1 && cmp "$tarball" "$scratch/again/heed-$packed.tar.gz" ||
    fail "the same commit gives two tarballs"
  tar -C "$scratch" -xzf "$tarball"
  GIT_DIR=/nonexistent "$cmake" -S "$scratch/heed-$packed" -B "$scratch/build" -DBUILD_TESTING=OFF >"$scratch/log" 2>&1 ||
    fail "the tarball cannot be configured: $(cat "$scratch/log")"
  for recipe in heed.rb vcpkg/portfile.cmake vcpkg/vcpkg.json; do
    grep -qF "$packed" "$scratch/release/$recipe" || fail "$recipe does not name version $packed"
    ! grep -q '@[A-Z0-9]*@' "$scratch/release/$recipe" || fail "$recipe is not filled in"
  done
  grep -qF "sha256 \"$sum\"" "$scratch/release/heed.rb" || fail "heed.rb has not the tarball's checksum"
  grep -qF "SHA512 $(sha512sum <"$tarball" | cut -d' ' -f1))" "$scratch/release/vcpkg/portfile.cmake" || fail "portfile.cmake has not the tarball's checksum"
  if command -v ruby >/dev/null; then ruby -c "$scratch/release/heed.rb" >/dev/null || fail "heed.rb is no Ruby"; fi
  cat >"$scratch/json.cmake" <<'END'
file(READ ${FILE} text)
string(JSON name GET "${text}" name)
string(JSON version GET "${text}" version)
if(NOT "${name} ${version}" STREQUAL "heed ${VERSION}")
  message(FATAL_ERROR "${name} ${version}")
endif()
END
  "$cmake" -DFILE="$scratch/release/vcpkg/vcpkg.json" -DVERSION="$packed" -P "$scratch/json.cmake" >"$scratch/log" 2>&1 || fail "vcpkg.json: $(cat "$scratch/log")"
fi

exit "$failed"
