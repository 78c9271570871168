#!/usr/bin/env bash
# `cpack` makes a tarball and three Debian packages: what each holds and needs, and what Debian asks of a package. With HEED_TEST_LONG=1
# they are installed in a clean system (debootstrap, as root), where the programs of tests/consumer are built and run.
# Usage: tests/test_package.sh BUILD-DIR      CMAKE names the tool
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
cmake=${CMAKE:-cmake}
cpack=$(dirname "$(command -v "$cmake")")/cpack
for program in dpkg-deb dpkg-shlibdeps file; do
  command -v "$program" >/dev/null || {
    echo "$program is not installed" >&2
    [ "${CI:-}" != true ] || exit 1
    exit 77
  }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "$*" >&2
  exit 1
}

(umask 022 && cd "$scratch" && "$cpack" --config "$build/CPackConfig.cmake" -B "$scratch" >"$scratch/log" 2>&1) || fail "cpack fails: $(cat "$scratch/log")"
version=$("$build/heed" --version | sed 's/^heed //')
deb() { echo "$scratch/$1"_"$version"-1_*.deb; }
field() { dpkg-deb -f "$(deb "$1")" "$2"; }
holds() { # PACKAGE PATH-PATTERN ...
  local package=$1 pattern files
  shift
  files=$(dpkg-deb -c "$(deb "$package")" | awk '{ print $6 }')
  for pattern in "$@"; do grep -qE "^\./usr/$pattern$" <<<"$files" || fail "$package has no $pattern: $files"; done
}

# ---- what is where
packages=(heed libheed libheed-dev)
[ ! -e "$build/heed_mpi.pc" ] || packages+=(libheed-mpi)
for package in "${packages[@]}"; do
  [ -f "$(deb "$package")" ] || fail "there is no package $package: $(ls "$scratch")"
  [ "$(field "$package" Package)" = "$package" ] && [ "$(field "$package" Version)" = "$version-1" ] || fail "$package is called otherwise"
  for name in Maintainer Section Priority Architecture Description Installed-Size; do
    [ -n "$(field "$package" "$name")" ] || fail "$package has no $name"
  done
  holds "$package" "share/doc/$package/copyright"
  # Owned by root, readable by all, written by root alone; only programs may be run, and scripts among the examples.
  dpkg-deb -c "$(deb "$package")" >"$scratch/list"
  ! awk '$2 != "root/root"' "$scratch/list" | grep . || fail "$package has files that are not root's"
  ! awk '$1 !~ /^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/' "$scratch/list" | grep . || fail "$package has other permissions than Debian's"
  ! awk '$1 == "-rwxr-xr-x" && $6 !~ "/(bin/heed|libheed(_mpi)?[.]so[.0-9]*|examples/[a-z_]*[.]sh)$"' "$scratch/list" | grep . || fail "$package has files that may be run and are no programs"
  mkdir "$scratch/$package.control"
  dpkg-deb -e "$(deb "$package")" "$scratch/$package.control"
  [ -s "$scratch/$package.control/md5sums" ] || fail "$package has no md5sums"
done
soname=libheed.so.${version%.*}
holds heed bin/heed share/man/man1/heed.1.gz share/man/man1/heed-run.1.gz
holds libheed "lib.*/libheed.so.$version" "lib.*/$soname"
holds libheed-dev include/heed/heed.h include/heed/opencl.h 'lib.*/libheed.so' 'lib.*/libheed.a' 'lib.*/pkgconfig/heed.pc' 'lib.*/cmake/heed/heedConfig.cmake'
all=$(for package in "${packages[@]}"; do dpkg-deb -c "$(deb "$package")" | awk '$6 !~ "/$" { print $6 }'; done | sort)
[ -z "$(uniq -d <<<"$all")" ] || fail "two packages have the same files: $(uniq -d <<<"$all")"

# ---- what they need
for needed in libc6 libjansson4 libpcre2-8-0 libutf8proc zlib1g libclblast; do
  [[ $(field libheed Depends) == *"$needed"* ]] || fail "libheed does not depend on $needed: $(field libheed Depends)"
done
[[ $(field heed Depends) == *libpopt0* ]] || fail "heed does not depend on popt: $(field heed Depends)"
[[ $(field heed Depends) != *libheed* ]] || fail "the program has the library inside, and depends on libheed all the same"
[[ $(field libheed-dev Depends) == *"libheed (= $version-1)"* ]] || fail "libheed-dev does not depend on libheed of its version"
[[ $(field libheed Depends) != *mpi* ]] || fail "libheed needs MPI"
[ ! -e "$build/heed_mpi.pc" ] || holds libheed-mpi include/heed/mpi.h 'lib.*/libheed_mpi.so' 'lib.*/pkgconfig/heed_mpi.pc'
[ ! -e "$build/heed_mpi.pc" ] || [[ $(field libheed-mpi Depends) == *"libheed (= $version-1)"*mpi* ]] || fail "libheed-mpi depends on $(field libheed-mpi Depends)"
grep -q "^libheed ${version%.*} libheed" "$scratch/libheed.control/shlibs" || fail "libheed's shlibs: $(cat "$scratch/libheed.control/shlibs")"
grep -qs ldconfig "$scratch"/libheed.control/{postinst,triggers} || fail "installing libheed does not call ldconfig"

# ---- the tarball is the same tree
tar -tzf "$scratch"/heed-"$version"-*.tar.gz | sed -E 's|^[^/]*/||' | grep -v '/$' | sort >"$scratch/tar"
diff "$scratch/tar" <(sed -E 's|^\./usr/||; s|[.]1[.]gz$|.1|' <<<"$all" | sort) || fail "the tarball (<) has other files than the packages (>)"
# lintian's other tags are about an upload to Debian: its changelog and its bug numbers.
if command -v lintian >/dev/null; then
  findings=$(lintian --fail-on none --suppress-tags no-changelog "$scratch"/*.deb 2>/dev/null | grep '^E:' || true)
  [ -z "$findings" ] || fail "lintian: $findings"
fi
echo "the packages and a tarball, $(wc -l <<<"$all") files"

# ---- in a clean system
[ "${HEED_TEST_LONG:-0}" = 1 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  echo "not installed in a clean system: that needs root and debootstrap"
  exit 0
fi
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=$scratch/root
debootstrap --variant=minbase "$codename" "$root" >"$scratch/log" 2>&1 || fail "debootstrap fails: $(tail -n 5 "$scratch/log")"
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$scratch"' EXIT
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc"
mkdir "$root/debs" "$root/src"
cp "$scratch"/*.deb "$root/debs"
cp -r "$source_dir/tests/consumer" "$root/src"
clean() { chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" >"$scratch/log" 2>&1 || fail "$*: $(tail -n 20 "$scratch/log")"; }
clean apt-get update -qq
clean sh -c 'apt-get install -y --no-install-recommends /debs/heed_*.deb /debs/libheed_*.deb'
clean heed check --tiny --device host
clean sh -c 'apt-get install -y --no-install-recommends cmake make g++ pkg-config /debs/libheed-dev_*.deb'
for consumer in consumer consumer/cxx; do
  clean sh -c "cmake -S /src/$consumer -B /src/$consumer/build && cmake --build /src/$consumer/build && HEED_DEVICE=host /src/$consumer/build/consumer_shared && HEED_DEVICE=host /src/$consumer/build/consumer_static"
  grep -q '^ 1.8259 -0.7764$' "$scratch/log" || fail "$consumer prints: $(tail "$scratch/log")"
done
# shellcheck disable=SC2016 # the clean system's shell
clean sh -c 'cc -o /src/opencl /src/consumer/opencl.c $(pkg-config --cflags --libs heed) && /src/opencl'
clean apt-get remove -y libheed-dev libheed heed
echo "installed, built with, and removed in a clean $codename"
