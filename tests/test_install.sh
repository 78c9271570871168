#!/usr/bin/env bash
# `cmake --install` gives what programs of others need: headers that compile alone, libraries that export heed's names and no
# others, a CMake package for C and C++, pkg-config data, man pages that tell every option, and an uninstall. The consumer is the program in README.md.
# Usage: tests/test_install.sh BUILD-DIR      CMAKE, CC, CXX name the tools
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
cmake=${CMAKE:-cmake}
cc=${CC:-cc}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HEED_DEVICE=host
prefix=$scratch/prefix

fail() {
  echo "$*" >&2
  exit 1
}

# Prints the names on stdin that do not begin with one of heed's prefixes.
foreign() { awk -v own="$1" 'NF >= 3 && $NF !~ own { print $NF }'; }

"$cmake" --install "$build" --prefix "$scratch/first" >/dev/null
mv "$scratch/first" "$prefix" # what is installed may be moved
shared=$(echo "$prefix"/lib*/libheed.so)
static=$(echo "$prefix"/lib*/libheed.a)
[ -e "$shared" ] || shared=$(find "$prefix" -name libheed.so)
[ -e "$static" ] || static=$(find "$prefix" -name libheed.a)
libdir=$(dirname "$shared")

# ---- symbols
exported=$(nm -D --defined-only "$shared")
[ -z "$(foreign '^heed_[a-z]' <<<"$exported")" ] || fail "the shared library also exports: $(foreign '^heed_[a-z]' <<<"$exported")"
defined=$(nm -g --defined-only "$static" 2>/dev/null)
[ -z "$(foreign '^heed_' <<<"$defined")" ] || fail "the static library also defines: $(foreign '^heed_' <<<"$defined")"
declared() { # HEADER ...
  cat "$@" | grep -v '^ *//' | tr '\n' ' ' | sed 's/HEED_API/\nHEED_API/g' | sed -nE 's/^HEED_API[^(]*[ *](heed_[a-z0-9_]+)\(.*/\1/p' | sort -u
}
mapfile -t headers < <(ls "$source_dir"/host/include/heed/*.h | grep -v '/mpi\.h$')
[ "$(declared "${headers[@]}" | wc -w)" -gt 50 ] || fail "only these functions were found in the headers: $(declared "${headers[@]}")"
diff <(awk '{ print $3 }' <<<"$exported" | sort) <(declared "${headers[@]}") ||
  fail "the shared library's exports (<) are not the functions that the headers declare (>)"
if [ -e "$libdir/libheed_mpi.so" ]; then # a library of its own, with a header of its own
  diff <(nm -D --defined-only "$libdir/libheed_mpi.so" | awk '{ print $3 }' | sort) <(declared "$prefix/include/heed/mpi.h") ||
    fail "the exports of heed_mpi (<) are not the functions that heed/mpi.h declares (>)"
fi

# ---- headers
for language in c:c11 c:c17 c++:c++11 c++:c++17; do
  compiler=$cc
  if [ "${language%%:*}" = c++ ]; then
    compiler=$(command -v "${CXX:-c++}" || command -v g++ || command -v clang++ || true)
    [ -n "$compiler" ] || fail "no C++ compiler to try the headers with"
  fi
  for header in "$prefix"/include/heed/*.h; do
    name=heed/${header##*/}
    printf '#include <%s>\n#include <%s>\nint heed_test_dummy;\n' "$name" "$name" |
      "$compiler" -x "${language%%:*}" -std="${language##*:}" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include" - ||
      fail "$name does not compile alone as ${language##*:}"
  done
  printf '#include <heed/heed.h>\nconst char *version(void) { return heed_version(); }\n' |
    "$compiler" -x "${language%%:*}" -std="${language##*:}" -I"$prefix/include" -c -o "$scratch/linkage.o" -
  nm "$scratch/linkage.o" | grep -q ' U heed_version$' || fail "heed_version has no C linkage in ${language##*:}"
done

# ---- consumers
awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$source_dir/README.md" |
  diff - "$source_dir/tests/consumer/main.c" || fail "the first C program of README.md (<) is not tests/consumer/main.c (>)"

expected=' 1.0000  0.0000
 0.3302  0.6698
 0.7517  0.7517
 1.8259 -0.7764'
runs() { # PROGRAM [LIBRARY-PATH]
  local output
  output=$(LD_LIBRARY_PATH=${2:-} "$1") || fail "${1##*/} fails"
  [ "$output" = "$expected" ] || fail "${1##*/} prints: $output"
}
needs_library() { [[ $(ldd "$1") == *libheed* ]]; }  # grep -q would end ldd early, which pipefail takes for a failure

"$cmake" -S "$source_dir/tests/consumer" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >"$scratch/log" ||
  fail "$(cat "$scratch/log")"
"$cmake" --build "$scratch/cmake" >"$scratch/log" || fail "$(cat "$scratch/log")"
runs "$scratch/cmake/consumer_shared"
runs "$scratch/cmake/consumer_static"
needs_library "$scratch/cmake/consumer_shared" || fail "heed::heed is not the shared library"
! needs_library "$scratch/cmake/consumer_static" || fail "heed::heed_static is not the static library"

# Also with a compiler that has no OpenMP of its own, as clang often has none.
for compiler in c++ g++ clang++; do
  command -v "$compiler" >/dev/null || continue
  "$cmake" -S "$source_dir/tests/consumer/cxx" -B "$scratch/$compiler" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" >"$scratch/log" 2>&1 ||
    fail "$(cat "$scratch/log")"
  "$cmake" --build "$scratch/$compiler" >"$scratch/log" || fail "$(cat "$scratch/log")"
  runs "$scratch/$compiler/consumer_shared"
  runs "$scratch/$compiler/consumer_static"
  ! needs_library "$scratch/$compiler/consumer_static" || fail "in C++, heed::heed_static is not the static library"
done

export PKG_CONFIG_PATH=$libdir/pkgconfig
read -ra flags <<<"$(pkg-config --cflags --libs heed)"
"$cc" -o "$scratch/pc_shared" "$source_dir/tests/consumer/main.c" "${flags[@]}"
runs "$scratch/pc_shared" "$libdir"
needs_library "$scratch/pc_shared" || fail "pkg-config heed does not give the shared library"
"$cc" -o "$scratch/pc_opencl" "$source_dir/tests/consumer/opencl.c" "${flags[@]}"
LD_LIBRARY_PATH=$libdir "$scratch/pc_opencl" || fail "a program that calls OpenCL and heed fails"
read -ra flags <<<"$(pkg-config --static --cflags --libs heed | sed 's/-lheed\b/-l:libheed.a/')"
"$cc" -o "$scratch/pc_static" "$source_dir/tests/consumer/main.c" "${flags[@]}"
runs "$scratch/pc_static"
! needs_library "$scratch/pc_static" || fail "pkg-config --static heed does not give the static library"

# ---- one version everywhere
version=$(pkg-config --modversion heed)
[ "$("$prefix/bin/heed" --version)" = "heed $version" ] || fail "the program's version is not $version"
grep -q "HEED_VERSION_STRING \"$version\"" "$prefix/include/heed/heed.h" || fail "the header's version is not $version"
soname=$(readelf -d "$shared" | sed -nE 's/.*\(SONAME\).*\[(.*)\]/\1/p')
case $version in # until 1.0 a minor version may change the ABI
0.*) promised=libheed.so.${version%.*} ;;
*) promised=libheed.so.${version%%.*} ;;
esac
[ "$soname" = "$promised" ] || fail "the shared library is called $soname, not $promised"
grep -q "^## .*$version" "$source_dir/CHANGELOG.md" || fail "CHANGELOG.md does not tell of $version"

# ---- completion
for entry in bash:bash-completion/completions/heed zsh:zsh/site-functions/_heed fish:fish/vendor_completions.d/heed.fish; do
  "$prefix/bin/heed" completion "${entry%%:*}" | cmp - "$prefix/share/${entry#*:}" || fail "the completion for ${entry%%:*} is not what heed prints"
done

# ---- man pages
man_dir=$prefix/share/man/man1
documented() { # PAGE HELP-ARGUMENTS ...
  local page=$1 options option
  shift
  options=$("$prefix/bin/heed" "$@" --help | grep -oE '(^|[ ,[])--[a-z][a-z-]*' | grep -oE '[a-z].*' | sort -u)
  [ -n "$options" ] || fail "heed $* --help lists no options"
  for option in $options; do
    grep -qF -- "\\-\\-${option//-/\\-}" "$page" || fail "${page##*/} does not tell of --$option (heed $*)"
  done
}
commands=$("$prefix/bin/heed" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p' | grep -v '^help$')
for page in heed $(sed 's/^/heed-/' <<<"$commands"); do
  [ -s "$man_dir/$page.1" ] || fail "there is no man page $page(1)"
  for section in NAME SYNOPSIS DESCRIPTION OPTIONS "EXIT STATUS" ENVIRONMENT EXAMPLES; do
    grep -qE "^\.SH \"?$section\"?$" "$man_dir/$page.1" || fail "$page(1) has no section $section"
  done
  if command -v groff >/dev/null; then
    warnings=$(groff -man -Tutf8 -ww -z "$man_dir/$page.1" 2>&1)
    [ -z "$warnings" ] || fail "$page(1): $warnings"
  fi
done
for command in $commands; do documented "$man_dir/heed-$command.1" "$command"; done
operators=$("$prefix/bin/heed" run --help | sed -nE '/^Operators:/,/^$/s/^  ([a-z_]+) .*/\1/p')
for operator in $operators; do documented "$man_dir/heed-run.1" run "$operator"; done
subcommands=$("$prefix/bin/heed" lm --help | sed -nE '/Subcommands:/,/^$/s/^  ([a-z_]+) .*/\1/p')
[ -n "$subcommands" ] || fail "heed lm --help lists no subcommands"
for subcommand in $subcommands; do documented "$man_dir/heed-lm.1" lm "$subcommand"; done

# ---- uninstall: what is not heed's stays
DESTDIR=$scratch/dest "$cmake" --install "$build" --prefix /usr >/dev/null
touch "$scratch/dest/usr/bin/other"
DESTDIR=$scratch/dest "$cmake" -P "$build/uninstall.cmake" >/dev/null || fail "uninstall fails"
left=$(cd "$scratch/dest" && find . ! -type d)
[ "$left" = ./usr/bin/other ] || fail "uninstall leaves: $left"
left=$(find "$scratch/dest" -type d -name heed)
[ -z "$left" ] || fail "uninstall leaves the folders $left"
! "$cmake" -P "$build/uninstall.cmake" >"$scratch/log" 2>&1 && grep -q 'nothing was installed' "$scratch/log" ||
  fail "a second uninstall does not say that there is nothing: $(cat "$scratch/log")"
echo "installed, compiled against, linked and run seven ways; $(declared "${headers[@]}" | wc -w) functions; $(wc -w <<<"$commands") commands have man pages"
