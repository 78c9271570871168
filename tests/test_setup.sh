#!/usr/bin/env bash
# tools/setup and CONTRIBUTING.md name the same packages. On Debian, setup installs what is missing and what apt knows; elsewhere it says
# what to install, in the names of that system. The package managers are stand-ins. Every program in tools tells with --help how to use it,
# in 80 columns, and does nothing else.
# Usage: tests/test_setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "$*" >&2
  exit 1
}

for script in tools/setup tools/demo tools/test tools/fetch-text tools/dev/fetch-mnist tools/dev/check-kernels; do
  bash -n "$script" && [ -x "$script" ] || fail "$script is no program"
done

for script in tools/demo tools/test tools/setup tools/fetch-text tools/dev/* tools/packaging/* tools/packaging/mingw/*; do
  [ -f "$script" ] && [ -x "$script" ] || continue
  help=$(cd / && "$OLDPWD/$script" --help </dev/null 2>&1) || fail "$script --help fails: $help"
  grep -qi "^usage: .*${script##*/}" <<<"$help" || fail "$script --help shows no usage: $help"
  grep -qiE 'option|environment' <<<"$help" || fail "$script --help tells of no options and no environment: $help"
  wide=$(awk 'length > 80' <<<"$help")
  [ -z "$wide" ] || fail "$script --help passes 80 columns: $wide"
done

column() { # LIST COLUMN
  awk -v list="$1" -v column="$2" '$0 ~ "^" list "=\x27" { inside = 1; next } /^\x27/ { inside = 0 } inside { print $column }' tools/setup
}
needed=$({ column run_packages 1 && column test_packages 1; } | sort)
optional=$(column optional_packages 1 | sort)
packages=$(sort <<<"$needed"$'\n'"$optional")
[ "$(wc -w <<<"$needed")" -ge 12 ] && [ "$(wc -w <<<"$optional")" -ge 5 ] || fail "tools/setup's lists of packages were not found: $packages"
reasons=$(awk -F'|' '/^\| `[a-z]/ { print $2 }' CONTRIBUTING.md | grep -oE '`[^`]+`' | tr -d '`' | sort)
diff <(echo "$packages") <(echo "$reasons") || fail "tools/setup installs what stands left; CONTRIBUTING.md gives reasons for what stands right"
for list in run_packages test_packages optional_packages; do
  [ -z "$(awk -v list="$list" '$0 ~ "^" list "=\x27" { inside = 1; next } /^\x27/ { inside = 0 } inside && NF != 5' tools/setup)" ] ||
    fail "each line of $list in tools/setup has five names"
done

status=0
tools/setup --nonsense 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "tools/setup --nonsense exits with $status instead of 2"

# A machine with bash, the stand-ins that are given, and no cmake.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
machine() { # PROGRAM ...
  local program
  rm -rf "$scratch/bin"
  mkdir "$scratch/bin"
  for program in bash cat env; do ln -s "$(command -v "$program")" "$scratch/bin/$program"; done
  for program in "$@"; do
    printf '#!/usr/bin/env bash\n%s\n' 'exit 1' >"$scratch/bin/$program"
    chmod +x "$scratch/bin/$program"
  done
}
setup() { # EXPECTED-STATUS; what it prints is in $message
  local status=0
  message=$(PATH=$scratch/bin bash tools/setup --all 2>&1) || status=$?
  [ "$status" -eq "$1" ] || fail "with $(ls -C "$scratch/bin"), tools/setup exits with $status instead of $1: $message"
}
names() { # NAME ...
  local name
  for name in "$@"; do grep -qxF "  $name" <<<"$message" || fail "tools/setup does not name $name: $message"; done
}

machine
setup 1
# shellcheck disable=SC2086 # words
names $packages
field=1
for manager in dnf pacman apk brew; do
  field=$((field + 1))
  machine "$manager"
  setup 1
  # shellcheck disable=SC2046 # words
  names $(for list in run_packages test_packages optional_packages; do column "$list" "$field"; done | grep -vx -e -)
  ! grep -qxF '  libjansson-dev' <<<"$message" || fail "tools/setup gives $manager a name of Debian's"
done

# A Debian without any of the packages, whose apt does not know oclgrind; the user is root or may use sudo.
debian() {
  machine apt-get dpkg-query apt-cache sudo
  # shellcheck disable=SC2016 # for the stand-ins
  {
    printf '#!/usr/bin/env bash\n[ "$2" != oclgrind ]\n' >"$scratch/bin/apt-cache"
    printf '#!/usr/bin/env bash\n"$@"\n' >"$scratch/bin/sudo"
    printf '#!/usr/bin/env bash\necho "$*" >>"%s/apt"\n' "$scratch" >"$scratch/bin/apt-get"
  }
  ln -s "$(command -v id)" "$scratch/bin/id"
  : >"$scratch/apt"
}
debian
setup 0
[ "$(head -n 1 "$scratch/apt")" = "update -qq" ] || fail "tools/setup does not read apt's lists first: $(cat "$scratch/apt")"
[ "$(tail -n 1 "$scratch/apt" | tr ' ' '\n' | sort | comm -12 - <(echo "$packages"))" = "$(grep -vx oclgrind <<<"$packages")" ] ||
  fail "tools/setup does not install all that apt knows: $(cat "$scratch/apt")"
grep -q 'apt has no oclgrind' <<<"$message" || fail "tools/setup does not say that apt has no oclgrind: $message"

# Then only oclgrind is missing: nothing to install, and no list to read again.
debian
# shellcheck disable=SC2016 # for the stand-in
printf '#!/usr/bin/env bash\n[ "${*: -1}" = oclgrind ] || echo installed\n' >"$scratch/bin/dpkg-query"
setup 0
[ ! -s "$scratch/apt" ] || fail "with everything installed, tools/setup calls apt-get: $(cat "$scratch/apt")"
echo "$(wc -w <<<"$packages") packages, each with its reason"
