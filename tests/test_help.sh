#!/usr/bin/env bash
# What --help prints for every command line fits 80 columns, and the man pages list the same options, no more and no fewer.
# groff, if it is installed, finds nothing wrong in a man page. Usage: tests/test_help.sh BUILD-DIR
set -euo pipefail
heed=$(cd "$1" && pwd)/heed
cd "$(dirname "$0")/../tools/man"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/helps"
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# ---------------------------------------------------------------- the helps

words_of() { "$heed" "$1" --help | sed -nE '/^(Operators|Subcommands|Kinds):/,/^$/s/^  ([a-z_]+) .*/\1/p'; }

options_of() { # the left column of a help
  "$heed" "$@" --help | sed -nE 's/^ +(-[A-Za-z], )?(--[a-z][a-z0-9-]*).*/\2/p'
}

lines=0
check_width() { # COMMAND ...
  local wide
  wide=$("$heed" "$@" --help | awk 'length > 80')
  [ -z "$wide" ] || fail "heed $* --help passes 80 columns: $wide"
  lines=$((lines + 1))
}

commands=$("$heed" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p')
check_width
for command in $commands; do
  [ "$command" != help ] || continue
  check_width "$command"
  options_of "$command" >"$scratch/all"
  for word in $(words_of "$command"); do
    check_width "$command" "$word"
    options_of "$command" "$word" >>"$scratch/all"
  done
  sort -u "$scratch/all" >"$scratch/helps/$command"
done
[ "$lines" -ge 40 ] || fail "only $lines command lines were found"

# ---------------------------------------------------------------- the man pages

for command in $commands; do
  page=heed-$command.1
  case $command in help | completion) continue ;; esac
  # An option has a heading of its own, which is a macro in bold: .B, .BR or .BI.
  sed -nE '/^\.(B|BI|BR|IR) /s/\\-/-/gp' "$page" | { grep -oE -e '--[a-z][a-z0-9-]*' || true; } | sort -u >"$scratch/man"
  while read -r option; do fail "$page does not list $option"; done < <(comm -23 "$scratch/helps/$command" "$scratch/man")
  sed 's/\\-/-/g' "$page" | { grep -oE -e '--[a-z][a-z0-9-]*' || true; } | sort -u >"$scratch/man"
  while read -r option; do
    cat "$scratch"/helps/* | grep -xFe "$option" >/dev/null || fail "$page speaks of $option, which no help lists"
  done < <(comm -13 "$scratch/helps/$command" "$scratch/man")
done

if command -v groff >/dev/null; then
  for page in *.1; do
    warnings=$(groff -ww -man -Tutf8 -z "$page" 2>&1)
    [ -z "$warnings" ] || fail "$page: $warnings"
  done
fi
[ "$failures" -eq 0 ] || exit 1
echo "helps of $lines command lines and their man pages"
