#!/usr/bin/env bash
# heed lm train that is killed at any moment leaves a state from which it goes on to the same bytes as a run that nobody disturbed, a log of
# each step once, and no temporary files. 3 kills a device; with HEED_TEST_LONG=1 100 on the host. Usage: tests/test_lm_kill.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off HEED_TUNE=off OMP_NUM_THREADS=1
[ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] || export HEED_DEVICE=host
RANDOM=1
failures=0 steps=60

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

for ((i = 0; i < 900; i++)); do printf 'The %d quick foxes jump. ' $((RANDOM % 100)); done >text
train=("$heed" lm train --data text -q)
options=(--layers 2 --heads 2 --width 32 --context 16 --batch 4 --dropout 0.1 --accumulate 2 --steps "$steps" --save-every 2
  --eval-every 7 --keep-best --log-every 1)

# ---------------------------------------------------------------- one start, and a kill

kills=0 finished=0 early=0

start_and_kill() { # DEVICE MILLISECONDS
  local from=("${options[@]}" --save run) pid status=0
  if [ -e run/heed_state.safetensors ]; then from=(--resume run); else early=$((early + 1)); fi
  "${train[@]}" --device "$1" "${from[@]}" --log log >/dev/null 2>errors &
  pid=$!
  sleep "$(printf '%d.%03d' $(($2 / 1000)) $(($2 % 1000)))"
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || status=$?
  case $status in
    137) kills=$((kills + 1)) ;;
    0) finished=$((finished + 1)) ;;
    *) fail "after kill $kills: exit status $status: $(tail -n 1 errors)" ;;
  esac
  [ ! -e run/heed_state.safetensors ] || "$heed" lm info --model run >/dev/null 2>errors ||
    fail "after kill $kills: the model: $(cat errors)"
}

check_log() {
  local wanted got
  wanted=$(seq 0 $((steps - 1)))
  got=$(sed -nE 's/.*"event":"step","step":([0-9]+),.*/\1/p' log)
  [ "$got" = "$wanted" ] || fail "the log has other steps than each once: $(echo "$got" | tr '\n' ' ')"
  grep -vq '}$' log && fail "the log has a torn line"
  return 0
}

same_files() {
  local file
  diff <(cd "whole-$1" && find . -type f | sort) <(cd run && find . -type f | sort) >difference ||
    fail "after $kills kills on $1, other files: $(cat difference)"
  (cd "whole-$1" && find . -type f) | while read -r file; do
    cmp -s "whole-$1/$file" "run/$file" || echo "$file"
  done >differing
  [ ! -s differing ] || fail "after $kills kills on $1, other bytes: $(tr '\n' ' ' <differing)"
}

# A run to the end with kills on its way. What is killed early begins anew, and what is done before its kill is removed.
chain() { # DEVICE KILLS MILLISECONDS
  local wanted=$((kills + $2)) tries=0
  rm -rf run log
  while [ "$kills" -lt "$wanted" ] && [ "$tries" -lt $((20 * $2)) ]; do
    start_and_kill "$1" $((1 + (RANDOM * 32768 + RANDOM) % $3))
    tries=$((tries + 1))
    if grep -q '"outcome":"done"' log 2>/dev/null; then finish "$1" && rm -rf run log; fi
  done
  [ "$kills" -ge "$wanted" ] || fail "only $kills of $wanted starts on $1 were killed"
  finish "$1"
}

# From wherever the last kill left it, to what an undisturbed run gives.
finish() { # DEVICE
  local from=("${options[@]}" --save run)
  [ ! -e run/heed_state.safetensors ] || from=(--resume run)
  "${train[@]}" --device "$1" "${from[@]}" --log log >/dev/null 2>errors || fail "the last start: $(cat errors)"
  same_files "$1"
  check_log
}

# ---------------------------------------------------------------- all of it

devices=host
[ "${HEED_DEVICE:-}" = host ] || devices='host auto'
for device in $devices; do
  "${train[@]}" --device "$device" "${options[@]}" --save warm --force >/dev/null 2>&1 # fills caches
  begin=${EPOCHREALTIME/./}
  "${train[@]}" --device "$device" "${options[@]}" --save "whole-$device" --log whole.log >/dev/null 2>errors ||
    fail "an undisturbed run on $device: $(cat errors)"
  life=$(((${EPOCHREALTIME/./} - begin) / 1000 + 10))
  count=3
  [ "${HEED_TEST_LONG:-0}" != 1 ] || [ "$device" != host ] || count=100
  chain "$device" "$count" "$life"
done
echo "kill -9 of heed lm train: $kills killed, $finished were done before, $early began anew; failures: $failures"
[ "$failures" -eq 0 ] || exit 1
