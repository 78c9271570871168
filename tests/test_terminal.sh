#!/usr/bin/env bash
# On a terminal: a line of progress that is gone in the end, none where none is wanted, and tables that fit. Ctrl-C and SIGTERM: heed check
# and heed bench print what is done. heed tune measures nothing that it could not save. Usage: tests/test_terminal.sh BUILD-DIR
set -euo pipefail
heed=$(cd "$1" && pwd)/heed
command -v script >/dev/null || { echo "skipped: there is no script(1), which makes terminals" >&2 && exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
unset COLUMNS NO_COLOR HEED_VALIDATE
export TERM=xterm HEED_SELF_TEST=off HEED_CACHE=off HEED_TUNE=off HOME=$scratch
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# Runs a command on a terminal of WIDTH columns; what it writes there goes to the file `seen`.
on_terminal() { # WIDTH COMMAND
  script -qefc "stty cols $1 rows 24; $2" /dev/null </dev/null >seen || fail "on a terminal: $2: $(tail -n 3 seen)"
}
erase=$'\r\033[K'

# ---------------------------------------------------------------- progress

on_terminal 80 "$heed sqrt 2 --device host"
grep -qF $'\ropening the device' seen || fail "no progress: $(cat -v seen)"
grep -qF "${erase}a  " seen || fail "progress is not erased before the table: $(cat -v seen)"
grep -qF "${erase}2               1.41421354" seen || fail "progress is not erased before a row: $(cat -v seen)"
on_terminal 80 "$heed check --tiny --op relu --device host"
grep -qF $'\rcase 1 of 2, 0 failed' seen || fail "heed check shows no progress: $(cat -v seen)"
grep -qF $'\rcase 1 of 2, 0 failed  tiny_relu' seen || fail "heed check foretells how long it takes before a case is done: $(cat -v seen)"
for quiet in "env TERM=dumb" "env NO_COLOR=1" "env -u TERM"; do
  on_terminal 80 "$quiet $heed sqrt 2 --device host"
  ! grep -qF $'\033' seen || fail "progress in spite of $quiet"
done
for option in --no-progress -q --quiet; do
  on_terminal 80 "$heed sqrt 2 --device host $option"
  ! grep -qF $'\033' seen || fail "progress in spite of $option"
done
"$heed" sqrt 2 --device host >seen 2>&1
! grep -qF $'\033' seen || fail "progress in a pipe"
on_terminal 40 "$heed check --tiny --op relu --device host"
! tr '\r' '\n' <seen | sed -n 's/\x1b\[K$//p' | grep -qE '.{40}' || fail "a line of progress is wider than the terminal: $(cat -v seen)"
device=host
if [ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] && [ "${HEED_DEVICE:-}" != host ]; then
  "$heed" sqrt 2 -v >seen 2>&1
  grep -q ' on host' seen || device=${HEED_DEVICE:-auto}
fi
if [ "$device" != host ]; then
  on_terminal 80 "$heed sqrt 2 --device $device -v"
  grep -qE 'compiling kernels: root 1 of 1, file 1 \(ops/' seen || fail "nothing is said of kernels that compile: $(cat -v seen)"
  on_terminal 80 "$heed check --tiny --op relu --device $device"
  grep -qE 'compiling kernels: case [12] of 2, file 1 \(ops/' seen || fail "heed check does not say which case compiles: $(cat -v seen)"
  on_terminal 80 "$heed bench softmax --rows 3 --cols 5 --device $device"
  grep -qE 'compiling kernels: case 1 of 1, file [0-9]+ \(ops/' seen || fail "heed bench does not say which case compiles: $(cat -v seen)"
  on_terminal 80 "HEED_SELF_TEST=on $heed sqrt 2 --device $device"
  grep -qE 'compiling kernels: self-test 1 of [1-4], file [0-9]+ \(' seen || fail "the self-test is not counted: $(cat -v seen)"
  on_terminal 80 "$heed sqrt 2 --device $device -v"
  grep -qE 'compiled [1-9][0-9]* kernel files' seen || fail "-v does not count kernels: $(cat -v seen)"
fi

# ---------------------------------------------------------------- tables

for width in 40 60 80; do
  for command in "devices --device host" "sqrt 2 9 25 --device host" "check --tiny --op relu --device host" \
    "bench softmax --rows 3 --cols 5 --device host"; do
    on_terminal "$width" "$heed $command --no-progress 2>/dev/null"
    # The line with the device's name may be longer.
    widest=$(grep -v ' (driver ' seen | grep -E '^(  device|a  |operator|relu|op |softmax|host)' | tr -d '\r' | awk '{ if (length > widest) widest = length } END { print widest + 0 }')
    [ "$widest" -gt 0 ] && [ "$widest" -le "$width" ] || fail "heed $command: a table of $widest columns on a terminal of $width: $(cat seen)"
  done
done
"$heed" check --tiny --op relu --device host 2>/dev/null >seen
grep -q 'worst case' seen || fail "a column is left out in a pipe"

# ---------------------------------------------------------------- Ctrl-C

interrupt() { # SIGNAL COMMAND ...
  local signal=$1 pid
  shift
  "$heed" "$@" >out 2>err &
  pid=$!
  sleep 0.7
  kill "-$signal" "$pid"
  status=0
  wait "$pid" || status=$?
  [ "$status" -eq 130 ] || fail "$signal: heed $*: exit status $status: $(tail -n 1 err)"
}
for signal in INT TERM; do
  interrupt $signal check --full --op attention --device host
  grep -qE '^interrupted after [0-9]+ of [0-9]+ cases on host' out || fail "$signal: heed check does not say how far it came: $(cat out)"
  grep -q '^operator' out || fail "$signal: heed check prints no table: $(cat out)"
  interrupt $signal bench gemm --m 256 --n 256 --k 256 --runs 100000 --device host
  grep -q 'interrupted after 0 of 1 cases' err || fail "$signal: heed bench does not say how far it came: $(cat err)"
done
interrupt INT check --full --op attention --device host --json
grep -q '"verdict": "interrupted"' out || fail "heed check --json does not say that it was interrupted: $(cat out)"
interrupt INT check --full --op attention --device host --junit report.xml
grep -q '</testsuites>' report.xml || fail "heed check --junit leaves no report when it is interrupted"

# ---------------------------------------------------------------- tune

if [ "$device" != host ]; then
  touch file
  for target in "$scratch/file/table.json" /proc/none/table.json "$scratch"; do
    status=0
    SECONDS=0
    HEED_TUNE=$target "$heed" tune --op gemm --device "$device" >out 2>err || status=$?
    [ "$status" -eq 1 ] && [ "$SECONDS" -lt 30 ] || fail "heed tune into $target: exit status $status after $SECONDS s"
    grep -qE "(the table|\(HEED_TUNE\):) $target: " err || fail "heed tune into $target: $(cat err)"
    ! grep -q . out || fail "heed tune into $target measures: $(cat out)"
  done

  # A table that is named and cannot serve is an error of every command; only --reset deletes what is no table.
  echo "my thesis" >thesis
  for command in "sqrt 2" "check --tiny --op relu" "bench softmax" "tune --op gemm --time-budget 1"; do
    status=0
    # shellcheck disable=SC2086 # words
    HEED_TUNE=$scratch/thesis "$heed" $command --device "$device" >out 2>err || status=$?
    [ "$status" -eq 1 ] || fail "heed $command with a broken HEED_TUNE: exit status $status"
    grep -qE '\(HEED_TUNE\): .*/thesis: line 1: not JSON.* or off for none' err || fail "heed $command with a broken HEED_TUNE: $(cat err)"
  done
  grep -qx "my thesis" thesis || fail "heed tune writes over what is no table"
  ! HEED_TUNE=$scratch/absent "$heed" sqrt 2 --device "$device" >out 2>err || fail "heed sqrt does without the table that HEED_TUNE names"
  HEED_TUNE=$scratch/thesis "$heed" tune --reset --device "$device" 2>err && [ ! -e thesis ] || fail "heed tune --reset: $(cat err)"
fi
[ "$failures" -eq 0 ] || exit 1
echo "terminals of 40, 60 and 80 columns; interrupted 6 times; on $device"
