#!/usr/bin/env bash
# Ranks that cannot share the work, that fail, are killed or hang end a run over MPI with a sentence and the last checkpoint whole. With
# HEED_TEST_LONG=1 also 50 kills at any moment. test_mpi_bits.sh has what runs that end well give. Skipped without mpirun or a build with MPI. Usage: tests/test_mpi.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed
long=${HEED_TEST_LONG:-0}
source "$(dirname "$0")/support_images.sh"
source "$(dirname "$0")/support_ranks.sh"

# ---------------------------------------------------------------- the library
for library in "$build"/libheed.so "$build"/libheed.a; do
  [ ! -e "$library" ] || ! nm -u "$library" 2>/dev/null | grep -E ' U P?MPI_' || fail "$library calls MPI"
done
for count in 1 "${counts[@]}"; do
  HEED_DEVICE=host ranks "$count" "$build/tests/mpi_program" >program.log 2>&1 || fail "mpi_program on $count: $(cat program.log)"
done
HEED_DEVICE=host ranks 4 "$build/tests/mpi_program" unlike >program.log 2>&1 || fail "mpi_program unlike: $(cat program.log)"

# ---------------------------------------------------------------- refusals, once
refused() { # STATUS TEXT COMMAND ...
  local status=0 wanted=$1 text=$2
  shift 2
  "$@" >out 2>err || status=$?
  [ "$status" == "$wanted" ] || fail "exit status $status, not $wanted: $*: $(cat err)"
  [ "$(grep -c "$text" err)" == 1 ] || fail "'$text' should stand there once: $(cat err)"
}
make_images digits 300
refused 2 "3 ranks cannot share the 8 micro-batches .*: 1, 2, 4, 8$" ranks 3 "$heed" "${small[@]}" --device host --steps 1
refused 2 "must be a power of two" ranks 3 "$heed" lm train --data text --device host --steps 1
refused 2 "must be a power of two" ranks 3 "$heed" train --data digits --device host
refused 2 "name the text" ranks 2 "$heed" lm train --device host
refused 1 "no-such-text" ranks 2 "$heed" lm train --data no-such-text --device host --accumulate 2
ranks 2 "$heed" lm train --data text --layers 1 --width 16 --batch 1 --context 8 --device host --steps 1 >out 2>err || fail "$(cat err)"
[ "$(grep -c "without --accumulate" err)" == 1 ] || fail "no warning that the result depends on the ranks: $(cat err)"
[ "$(grep -c "^heed lm train: rank [01]: " err)" == 2 ] || fail "rank 0 does not say who has which device: $(cat err)"
[ "$(grep -c "validation loss" out)" == 2 ] || fail "not only rank 0 prints: $(cat out)"

# A rank alone with its failure: each takes its own words. `mpirun A : B` would do, but the one of Open MPI 5.0.7 dies of it.
# shellcheck disable=SC2016 # the ranks' shell expands it
by_rank='count=$1 && shift && [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" != 0 ] && shift "$count" && exec "$@"; exec "${@:1:count}"'
two() { # OPTION ... -- OPTION ... [env VARIABLE=VALUE]: the variable is the other's
  local one=() other=() variable=()
  while [ "$1" != -- ]; do one+=("$1") && shift; done
  shift
  while [ $# -gt 0 ] && [ "$1" != env ]; do other+=("$1") && shift; done
  variable=("$@")
  one=("$heed" "${small[@]}" "${one[@]}")
  ranks 2 bash -c "$by_rank" ranks "${#one[@]}" "${one[@]}" "${variable[@]}" "$heed" "${small[@]}" "${other[@]}"
}
refused 1 "\[rank 1 on .*\] its version of heed, its options or its data differ" two --device host --steps 2 -- --device host --steps 3
refused 1 "\[rank 1 on .*\] .*no-such-device" two --device host --steps 2 -- --device no-such-device --steps 2

# The bits of a rank that computes with other kernels would be other ones. PoCL's device and the host are of two kinds, and say so.
if [ "${#devices[@]}" == 2 ] && "$heed" devices --json -q | grep -q '"type": *"cpu"'; then
  refused 1 "\[rank 1 on .*\] it takes other kernels than rank 0" \
    two --device "${devices[1]}" --steps 2 -- --device "${devices[1]}" --steps 2 env HEED_GEMM_PROBE=off
  ranks_of_two_kinds() { two --device "${devices[1]}" --steps 2 -- --device host --steps 2 env HEED_GEMM_PROBE=off; }
  ranks_of_two_kinds >out 2>err || fail "devices of two kinds: $(cat err)"
  [ "$(grep -c "of several kinds" err)" == 1 ] || fail "no warning that devices are of several kinds: $(cat err)"
fi

# ---------------------------------------------------------------- a rank that goes
start() { # NAME OPTION ...: sets run
  rm -rf "$1"
  ranks 4 "$heed" "${small[@]}" --device host --steps 1000000 --save-every 2 --eval-every 0 "${@:2}" -q --save "$1" >/dev/null 2>"$1.log" &
  run=$!
  await "$1/heed_state.safetensors"
}
ends_within() { # SECONDS WHAT NAME
  local began=$SECONDS status=0
  wait "$run" || status=$?
  [ "$status" != 0 ] || fail "$2: exit status 0"
  [ $((SECONDS - began)) -le "$1" ] || fail "$2: it took $((SECONDS - began)) s"
  for _ in {1..100}; do # mpirun may end before the last rank does
    pgrep -f "^$heed lm train .*--save $3( |\$)" >/dev/null || return 0
    sleep 0.1
  done
  fail "$2: a rank is still there"
}
# What a run left is whole, and goes on as if nothing had happened, on another number of ranks.
goes_on() { # NAME
  local steps
  steps=$(($(steps_of "$1") + 1))
  ranks 2 "$heed" lm train --data text --resume "$1" --device host --steps "$steps" -q >/dev/null 2>goes.log || fail "$1: $(cat goes.log)"
  rm -rf unbroken
  "$heed" "${small[@]}" --device host --save-every 2 --eval-every 0 --steps "$steps" --save unbroken -q >/dev/null
  same_files "$1 after $steps steps" unbroken "$1"
  ! compgen -G "$1/.heed-*" >/dev/null || fail "$1: a temporary file is left"
}

start killed
kill -KILL "$(rank_of killed 2)"
ends_within 10 "a rank is killed" killed
goes_on killed

start hanging --timeout 2
kill -STOP "$(rank_of hanging 2)"
ends_within 30 "a rank hangs" hanging
[ "$(grep -c "rank 2 on .* has not answered for 2 s" hanging.log)" == 1 ] || fail "who hangs: $(cat hanging.log)"
goes_on hanging

start interrupted
kill -INT "$(pgrep -f "^(mpirun|prterun|mpiexec[^ ]*) .*$heed lm train .*--save interrupted( |\$)" | head -1)"  # timeout would tell mpirun twice, which then waits for nobody
ends_within 10 "Ctrl-C" interrupted
goes_on interrupted

if [ "$long" == 1 ]; then
  RANDOM=1
  for i in {1..50}; do
    start "killed$i"
    sleep "0.$((RANDOM % 10))"
    kill -KILL "$(rank_of "killed$i" $((i % 4)))"
    ends_within 10 "kill $i" "killed$i"
    goes_on "killed$i"
    rm -rf "killed$i"
  done
fi

[ "$failures" == 0 ] || exit 1
echo "ranks agree"
