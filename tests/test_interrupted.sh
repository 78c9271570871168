#!/usr/bin/env bash
# Training that is killed at any moment leaves a whole checkpoint, the old or the new, and goes on to the same bits as a run that
# nobody disturbed. Two programs share a cache and an output. A home that cannot be written, none at all, or a cache in
# someone else's hands costs nothing but time. 8 starts to kill; with HEED_TEST_LONG=1 at least 200 that are killed. Usage: tests/test_interrupted.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
source "$(dirname "$0")/support_images.sh"
heed=$build/heed
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off OMP_NUM_THREADS=1
[ "${HEED_TEST_HOST_ONLY:-0}" != 1 ] || export HEED_DEVICE=host
RANDOM=1
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# 8 steps an epoch, a checkpoint after each.
make_images digits 256
epochs=24
train=("$heed" train --data digits --hidden 8 --batch 32 --epochs "$epochs")
steps_of() { grep -aoE '"steps": ?"[0-9]+"' "$1" | tr -dc 0-9; }

# ---------------------------------------------------------------- kill -9

kills=0 early=0 finished=0 temporaries=0

# After a kill: the checkpoint is whole, and no older than it was.
check_checkpoint() { # PATH STEPS-BEFORE
  local now
  "$heed" eval --model "$1" --data digits --device host >/dev/null 2>eval.log || fail "after kill $kills: $1: $(cat eval.log)"
  now=$(steps_of "$1")
  [ "$now" -ge "$2" ] || fail "after kill $kills: $1 fell from $2 to $now steps"
}

# A run to the end with kills on its way. FEW: each start does a few steps only, so that most of its life is setting up and saving.
chain() { # DEVICE KILLS FEW MILLISECONDS
  local device=$1 few=$3 life=$4 before=0 i pid status resume limit
  rm -rf chain && mkdir chain
  for ((i = 0; i < $2; i++)); do
    resume=() limit=()
    [ ! -e chain/model ] || { resume=(--resume chain/model) && before=$(steps_of chain/model); }
    [ "$few" = 0 ] || limit=(--max-steps $((before + few)))
    "${train[@]}" --device "$device" "${resume[@]}" "${limit[@]}" --save chain/model >/dev/null 2>chain.log &
    pid=$!
    sleep "$(printf '0.%03d' $((1 + RANDOM % life)))"
    kill -KILL "$pid" 2>/dev/null || true
    status=0
    wait "$pid" 2>/dev/null || status=$?
    case $status in
      137) kills=$((kills + 1)) ;;
      0) finished=$((finished + 1)) ;;
      *) fail "start $i: exit status $status: $(tail -n 1 chain.log)" ;;
    esac
    if [ -e chain/model ]; then check_checkpoint chain/model "$before"; else early=$((early + 1)); fi
  done
  resume=()
  [ ! -e chain/model ] || resume=(--resume chain/model)
  "${train[@]}" --device "$device" "${resume[@]}" --save chain/model >/dev/null 2>chain.log || fail "the last start: $(cat chain.log)"
  cmp -s chain/model "whole-$device" || fail "after $2 kills on $device, another model than without a break"
  temporaries=$((temporaries + $(find chain -name '*.tmp' | wc -l)))
}

devices=host
[ "${HEED_DEVICE:-}" = host ] || devices='auto host'
declare -A life
for device in $devices; do
  "${train[@]}" --device "$device" --save warm >/dev/null 2>&1 # fills the program cache
  start=${EPOCHREALTIME/./}
  "${train[@]}" --device "$device" --save "whole-$device" >/dev/null 2>chain.log || fail "an undisturbed run on $device: $(cat chain.log)"
  took=$(((${EPOCHREALTIME/./} - start) / 1000 + 20))
  life[$device]=$((took < 999 ? took : 999))
done
# Whether a start is killed or done before is chance: the long form goes on until enough were.
chains=2 wanted=0
[ "${HEED_TEST_LONG:-0}" != 1 ] || chains=200 wanted=200
for ((c = 0; c < chains && (wanted == 0 || kills < wanted); c++)); do
  device=${devices##* }
  ((c % 2)) || device=${devices%% *}
  if ((c % 4 < 2)); then chain "$device" 4 0 $((life[$device] * 7 / 10)); else chain "$device" 4 3 $((life[$device] * 4 / 10)); fi
done
[ "$kills" -ge "$wanted" ] || fail "only $kills of $wanted starts were killed"
echo "kill -9: $((c * 4)) starts, $kills killed, $finished were done before, $early had no checkpoint yet," \
  "$temporaries temporary files were left; torn or lost: $failures"

# ---------------------------------------------------------------- Ctrl-C

# Sent after the first checkpoint: the handler is there by then.
before=$failures
for ((i = 0; i < 3; i++)); do
  rm -f stopped
  "$heed" train --data digits --hidden 8 --batch 32 --epochs 1000000 --device host --save stopped >/dev/null 2>stopped.log &
  pid=$!
  until [ -e stopped ] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
  sleep "0.0$((RANDOM % 90 + 10))"
  kill -INT "$pid"
  status=0
  wait "$pid" || status=$?
  [ "$status" -eq 130 ] || fail "Ctrl-C: exit status $status: $(tail -n 1 stopped.log)"
  steps=$(steps_of stopped)
  grep -q "interrupted .*stopped holds the state after $steps steps" stopped.log || fail "Ctrl-C: $steps steps are saved, but: $(tail -n 1 stopped.log)"
  "${train[@]}" --device host --init stopped --max-steps 1 >/dev/null 2>stopped.log || fail "Ctrl-C: what stays is no model: $(cat stopped.log)"
done
[ -z "$(find . -maxdepth 1 -name '*.tmp')" ] || fail "Ctrl-C: a temporary file is left"
echo "Ctrl-C: $i times; other ends than 130 with the last checkpoint: $((failures - before))"

# ---------------------------------------------------------------- two at once

before=$failures
HEED_CACHE=$scratch/shared "${train[@]}" --save one >/dev/null 2>one.log &
first=$!
HEED_CACHE=$scratch/shared "${train[@]}" --save two >/dev/null 2>two.log || fail "beside another on an empty cache: $(cat two.log)"
wait "$first" || fail "beside another on an empty cache: $(cat one.log)"
cmp -s one two || fail "two at once on one cache: two models"
cmp -s one "whole-${devices%% *}" || fail "two at once on one cache: another model than alone"

"${train[@]}" --seed 1 --save both >/dev/null 2>one.log &
first=$!
"${train[@]}" --seed 2 --save both >/dev/null 2>two.log &
second=$!
seen=0
while kill -0 "$first" 2>/dev/null || kill -0 "$second" 2>/dev/null; do
  [ ! -e both ] || "$heed" eval --model both --data digits --device host >/dev/null 2>eval.log || fail "two at once on one file: $(cat eval.log)"
  [ ! -e both ] || seen=$((seen + 1))
done
wait "$first" || fail "two at once on one file: $(cat one.log)"
wait "$second" || fail "two at once on one file: $(cat two.log)"
"${train[@]}" --seed 2 --save other >/dev/null 2>&1
cmp -s both one || cmp -s both other || fail "two at once on one file: the model is neither's"
[ -z "$(find . -maxdepth 1 -name '*.tmp')" ] || fail "two at once: a temporary file is left"
if [ "${HEED_DEVICE:-}" != host ]; then
  tune=(env XDG_CONFIG_HOME="$scratch/config" HEED_TUNE=on "$heed" tune --op gemm --time-budget 1)
  "${tune[@]}" >/dev/null 2>one.log &
  first=$!
  "${tune[@]}" >/dev/null 2>two.log || fail "two tuners at once: $(cat two.log)"
  wait "$first" || fail "two tuners at once: $(cat one.log)"
  table=$(find "$scratch/config/heed/tune" -name '*.json')
  HEED_TUNE=$table "$heed" sqrt 2 >/dev/null 2>one.log || fail "two tuners at once: $(cat one.log)"
  grep -q 'tuned choices are ignored' one.log && fail "two tuners at once: $(cat one.log)"
  [ -z "$(find "$scratch/config" -name '.heed-*')" ] || fail "two tuners at once: a temporary file is left"
fi
echo "two at once: one empty cache, one table of tuned choices, and one output read $seen times meanwhile; torn or lost: $((failures - before))"

# ---------------------------------------------------------------- homes and caches

before=$failures
places=0
short=(train --data digits --hidden 8 --batch 32 --max-steps 2)
"$heed" "${short[@]}" --save expected >/dev/null 2>&1
# told: what is to be said of a cache that is not used.
works() { # WHAT [VARIABLE=VALUE ...]: with nothing else in the environment
  local what=$1
  shift
  env -i PATH="$PATH" OMP_NUM_THREADS=1 ${HEED_DEVICE:+HEED_DEVICE="$HEED_DEVICE"} "$@" "$heed" "${short[@]}" --save place >/dev/null 2>place.log ||
    fail "$what: $(cat place.log)"
  cmp -s place expected || fail "$what: another model"
  [ "${HEED_DEVICE:-}" = host ] || [ -z "${told:-}" ] || grep -qF "$told" place.log || fail "$what: no '$told' in: $(cat place.log)"
  rm -f place
  places=$((places + 1))
}
# A cache or kernels that the user names and heed cannot use.
refused() {
  local what=$1 reason=$2 status=0
  shift 2
  [ "${HEED_DEVICE:-}" = host ] && return
  env "$@" "$heed" sqrt 2 >/dev/null 2>place.log || status=$?
  [ $status -eq 1 ] || fail "$what: exit status $status"
  grep -qF "$reason" place.log || fail "$what: no '$reason' in: $(cat place.log)"
}
entries() { find "$1/" -name '*.clbin' | wc -l; }

works 'no home at all'
# PoCL finds no device without a cache of its own.
pocl=POCL_CACHE_DIR=$scratch/pocl
works 'a home that is not there' HOME="$scratch/absent" "$pocl"
works 'a home that is a file' HOME="$scratch/expected" "$pocl"
refused 'a cache that is a file' '/expected (HEED_CACHE): it is not a folder' HEED_CACHE="$scratch/expected" "$pocl"
refused 'a cache on a device' '/dev/full (HEED_CACHE): it is not a folder' HEED_CACHE=/dev/full "$pocl"
mkdir -m 777 open && refused 'a cache that others may write to' '/open (HEED_CACHE): others may write to it' HEED_CACHE="$scratch/open" "$pocl"
mkdir -p -m 777 shared_home/heed && chmod 777 shared_home/heed && told='/heed (HEED_CACHE names the folder): others may write to it' works 'a usual cache that others may write to' XDG_CACHE_HOME="$scratch/shared_home" "$pocl"
[ "$(entries open)" -eq 0 ] || fail 'a cache that others may write to: used'
mkdir -m 700 real && ln -s real link && refused 'a cache behind a symbolic link' '/link (HEED_CACHE): it is a symbolic link' HEED_CACHE="$scratch/link" "$pocl"
[ "$(entries real)" -eq 0 ] || fail 'a cache behind a symbolic link: used'
mkdir -m 700 dangling && ln -s "$scratch/nowhere" dangling/heed && works 'a link to nowhere' XDG_CACHE_HOME="$scratch/dangling" "$pocl"
[ ! -e nowhere ] || fail 'a link to nowhere: followed'

# Root may write anywhere, so someone who may not does.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
  mkdir -m 755 foreign && chown nobody foreign && refused "someone else's cache" '/foreign (HEED_CACHE): it belongs to another user' HEED_CACHE="$scratch/foreign" "$pocl"
  [ "$(entries foreign)" -eq 0 ] || fail "someone else's cache: used"
  if setpriv --reuid=nobody --clear-groups test -x "$heed" -a -r "$heed"; then
    chmod 755 . && mkdir -m 755 locked && mkdir -m 777 public
    as_nobody=(setpriv --reuid=nobody --clear-groups env -i PATH="$PATH" ${HEED_DEVICE:+HEED_DEVICE="$HEED_DEVICE"} POCL_CACHE_DIR="$scratch/public/pocl")
    "${as_nobody[@]}" HOME="$scratch/locked" "$heed" "${short[@]}" --save public/model >/dev/null 2>place.log || fail "a home that is read-only: $(cat place.log)"
    cmp -s public/model expected || fail 'a home that is read-only: another model'
    status=0
    "${as_nobody[@]}" HOME="$scratch/locked" "$heed" "${short[@]}" --save locked/model >/dev/null 2>place.log || status=$?
    [ "$status" -eq 1 ] && grep -q 'locked/model.*Permission denied' place.log || fail "an output folder that is read-only: exit status $status: $(cat place.log)"
    cp expected public/kept && chmod 644 public/kept
    status=0
    "${as_nobody[@]}" HOME="$scratch/locked" "$heed" "${short[@]}" --save public/kept >/dev/null 2>place.log || status=$?
    [ "$status" -eq 1 ] && cmp -s public/kept expected || fail "an output that is read-only: exit status $status: $(cat place.log)"
    places=$((places + 3))
  fi
fi
echo "homes and caches: $places places; errors or other results: $((failures - before))"
[ "$failures" -eq 0 ] || exit 1
