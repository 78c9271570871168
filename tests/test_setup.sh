#!/usr/bin/env bash
# tools/setup and CONTRIBUTING.md name the same packages; where there is no Debian, setup says what to install.
# Usage: tests/test_setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "$*" >&2
  exit 1
}

for script in tools/setup tools/demo tools/test tools/dev/fetch-mnist tools/dev/check-kernels; do
  bash -n "$script" && [ -x "$script" ] || fail "$script is no program"
done

packages=$(sed -nE '/^(run|test)_packages=\(/,/^\)/{/=\(|^\)/d;p}' tools/setup | tr -s ' ' '\n' | grep . | sort)
[ "$(wc -w <<<"$packages")" -ge 15 ] || fail "tools/setup's list of packages was not found: $packages"
reasons=$(awk -F'|' '/^\| `[a-z]/ { print $2 }' CONTRIBUTING.md | grep -oE '`[^`]+`' | tr -d '`' | sort)
diff <(echo "$packages") <(echo "$reasons") || fail "tools/setup installs what stands left; CONTRIBUTING.md gives reasons for what stands right"

status=0
tools/setup --nonsense 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "tools/setup --nonsense exits with $status instead of 2"

# A machine without apt-get, dpkg-query and cmake.
bare=$(mktemp -d)
trap 'rm -rf "$bare"' EXIT
ln -s "$(command -v bash)" "$bare/bash"
status=0
message=$(PATH=$bare bash tools/setup --all 2>&1) || status=$?
[ "$status" -eq 1 ] || fail "without apt-get, tools/setup exits with $status instead of 1: $message"
for package in $packages; do grep -qxF "  $package" <<<"$message" || fail "without apt-get, tools/setup does not name $package"; done
echo "$(wc -w <<<"$packages") packages, each with its reason"
