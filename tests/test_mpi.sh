#!/usr/bin/env bash
# Training over MPI gives the bits of one process for any number of ranks that may share the work, in all files; ranks that cannot, that
# fail, are killed or hang end the run with a sentence and the last checkpoint whole. With HEED_TEST_LONG=1 also 8 ranks, and 50 kills at
# any moment. Skipped without mpirun or a build with MPI. Usage: tests/test_mpi.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed
source "$(dirname "$0")/support_images.sh"
command -v mpirun >/dev/null && [ -x "$build/tests/mpi_program" ] || {
  [ "${CI:-}" != true ] || { echo "mpirun, or a build with MPI, is missing" >&2 && exit 1; }
  echo "skipped: no mpirun, or a build without MPI"
  exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir cache
export HEED_CACHE=$scratch/cache HEED_SELF_TEST=off HEED_TUNE=off
long=${HEED_TEST_LONG:-0}
devices=(host)
[ "${HEED_TEST_HOST_ONLY:-0}" = 1 ] || devices+=("${HEED_DEVICE:-auto}")
unset HEED_DEVICE
failures=0

fail() {
  echo "FAILED $*" >&2
  failures=$((failures + 1))
}

# Open MPI refuses root and more ranks than cores unless it is told otherwise; MPICH allows both and knows no such options.
options=()
! mpirun --version 2>/dev/null | grep -q 'Open MPI' || options=(--oversubscribe --allow-run-as-root)
ranks() { # COUNT COMMAND ...
  local count=$1
  shift
  timeout 300 mpirun "${options[@]}" -np "$count" "$@"
}
counts=(2 4)
[ "$long" != 1 ] || counts+=(8)

for i in {1..200}; do echo "Line $i of a text, on which $((i * 37 % 101)) ranks train a model together."; done >text
small=(lm train --data text --layers 1 --width 32 --heads 2 --context 16 --batch 2 --accumulate 8 --clip 1 --eval-batches 3)

# ---------------------------------------------------------------- the library
for library in "$build"/libheed.so "$build"/libheed.a; do
  [ ! -e "$library" ] || ! nm -u "$library" 2>/dev/null | grep -E ' U P?MPI_' || fail "$library calls MPI"
done
for count in 1 "${counts[@]}"; do
  HEED_DEVICE=host ranks "$count" "$build/tests/mpi_program" >program.log 2>&1 || fail "mpi_program on $count: $(cat program.log)"
done
HEED_DEVICE=host ranks 4 "$build/tests/mpi_program" unlike >program.log 2>&1 || fail "mpi_program unlike: $(cat program.log)"

# ---------------------------------------------------------------- the same bits
same_files() { # WHAT FOLDER FOLDER
  diff -rq "$2" "$3" >difference 2>&1 || fail "$1: $(cat difference)"
}
same() { # DEVICE OPTION ...
  local device=$1 count
  shift
  rm -rf alone
  "$heed" "${small[@]}" --device "$device" --steps 3 --keep-best --eval-every 2 --dropout 0.1 "$@" --save alone -q >/dev/null ||
    fail "one process on $device: $*"
  for count in 1 "${counts[@]}"; do
    rm -rf together
    ranks "$count" "$heed" "${small[@]}" --device "$device" --steps 3 --keep-best --eval-every 2 --dropout 0.1 "$@" --save together -q \
      >/dev/null 2>together.log || fail "$count ranks on $device: $*: $(cat together.log)"
    same_files "$count ranks on $device: $*" alone together
  done
}
for device in "${devices[@]}"; do
  same "$device" --arch gpt2
  same "$device" --arch llama --dtype bf16 --kv-heads 1
done
same host --arch gpt2 --dtype f16 --accumulate 24

# The losses of the log are the same, too.
losses() { grep -o '"loss": *[^,}]*' "$1"; }
"$heed" "${small[@]}" --device host --steps 5 --log alone.log --log-every 1 -q >/dev/null
ranks 4 "$heed" "${small[@]}" --device host --steps 5 --log together.log --log-every 1 -q >/dev/null
[ "$(losses alone.log)" == "$(losses together.log)" ] || fail "the logs differ"
[ "$(losses alone.log | wc -l)" -ge 5 ] || fail "the log has no losses"

# 4, then 2, then 1.
"$heed" "${small[@]}" --device host --steps 9 --save unbroken -q >/dev/null
ranks 4 "$heed" "${small[@]}" --device host --steps 3 --save broken -q >/dev/null
ranks 2 "$heed" lm train --data text --resume broken --device host --steps 6 -q >/dev/null
"$heed" lm train --data text --resume broken --device host --steps 9 -q >/dev/null
same_files "resumed on 4, 2 and 1" unbroken broken

# A model to go on from, whose masters are finer than its values.
"$heed" "${small[@]}" --device host --steps 2 --dtype bf16 --init unbroken --save alone-init -q >/dev/null
ranks 2 "$heed" "${small[@]}" --device host --steps 2 --dtype bf16 --init unbroken --save together-init -q >/dev/null
same_files "from a model in bf16" alone-init together-init

# ---------------------------------------------------------------- heed train
# An epoch of 38 micro-batches: its last step has six.
make_images digits 300
same_digits() { # DEVICE OPTION ...
  local device=$1 count
  local digits=("$heed" train --data digits --batch 8 --accumulate 8 --epochs 2 --device "$device" -q "${@:2}")
  "${digits[@]}" --save digits-alone >alone.txt || fail "one process on $*"
  for count in "${counts[@]}"; do
    ranks "$count" "${digits[@]}" --save digits-together >together.txt 2>together.log || fail "$count ranks on $*: $(cat together.log)"
    cmp digits-alone digits-together && cmp digits-alone.state digits-together.state || fail "$count ranks on $*: other bits"
    [ "$(sed 's/,[^,]*$//' alone.txt)" == "$(sed 's/,[^,]*$//' together.txt)" ] || fail "$count ranks on $*: $(cat together.txt)"
  done
}
for device in "${devices[@]}"; do
  same_digits "$device" --hidden 16
  same_digits "$device" --arch vit --layers 1 --width 16 --heads 2
done
ranks 4 "$heed" train --data digits --batch 8 --accumulate 8 --epochs 1 --arch vit --layers 1 --width 16 --heads 2 --schedule constant \
  --device host --save resumed -q >/dev/null
ranks 2 "$heed" train --data digits --resume resumed --epochs 2 --device host --save resumed -q >/dev/null
"$heed" train --data digits --batch 8 --accumulate 8 --epochs 2 --arch vit --layers 1 --width 16 --heads 2 --schedule constant \
  --device host --save unresumed -q >/dev/null
cmp resumed unresumed && cmp resumed.state unresumed.state || fail "heed train resumed on 4 and 2 ranks: other bits"

# ---------------------------------------------------------------- refusals, once
refused() { # STATUS TEXT COMMAND ...
  local status=0 wanted=$1 text=$2
  shift 2
  "$@" >out 2>err || status=$?
  [ "$status" == "$wanted" ] || fail "exit status $status, not $wanted: $*: $(cat err)"
  [ "$(grep -c "$text" err)" == 1 ] || fail "'$text' should stand there once: $(cat err)"
}
refused 2 "3 ranks cannot share the 8 micro-batches .*: 1, 2, 4, 8$" ranks 3 "$heed" "${small[@]}" --device host --steps 1
refused 2 "must be a power of two" ranks 3 "$heed" lm train --data text --device host --steps 1
refused 2 "must be a power of two" ranks 3 "$heed" train --data digits --device host
refused 2 "clip with sgd is for one process" ranks 2 "$heed" train --data digits --device host --accumulate 2 --clip 1
refused 2 "name the text" ranks 2 "$heed" lm train --device host
refused 1 "no-such-text" ranks 2 "$heed" lm train --data no-such-text --device host --accumulate 2
ranks 2 "$heed" lm train --data text --layers 1 --width 16 --batch 1 --context 8 --device host --steps 1 >out 2>err || fail "$(cat err)"
[ "$(grep -c "without --accumulate" err)" == 1 ] || fail "no warning that the result depends on the ranks: $(cat err)"
[ "$(grep -c "^heed lm train: rank [01]: " err)" == 2 ] || fail "rank 0 does not say who has which device: $(cat err)"
[ "$(grep -c "validation loss" out)" == 2 ] || fail "not only rank 0 prints: $(cat out)"

# A rank alone with its failure: two programs of one run.
two() { # OPTION ... -- OPTION ...
  local one=()
  while [ "$1" != -- ]; do one+=("$1") && shift; done
  shift
  timeout 300 mpirun "${options[@]}" -np 1 "$heed" "${small[@]}" "${one[@]}" : -np 1 "$heed" "${small[@]}" "$@"
}
refused 1 "\[rank 1 on .*\] its version of heed, its options or its data differ" two --device host --steps 2 -- --device host --steps 3
refused 1 "\[rank 1 on .*\] .*no-such-device" two --device host --steps 2 -- --device no-such-device --steps 2

# ---------------------------------------------------------------- a rank that goes
rank_of() { # NAME RANK: prints the process
  local process
  for process in $(pgrep -f "^$heed lm train .*--save $1( |\$)"); do
    ! tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -qE "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$2\$" || echo "$process"
  done | head -1
}
await() { # FILE
  for _ in {1..600}; do [ ! -e "$1" ] || return 0; sleep 0.1; done
  fail "$1 does not appear"
}
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
  steps=$(("$(grep -aoE '"step": ?"[0-9]+"' "$1/heed_state.safetensors" | tr -dc 0-9)" + 1))
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
kill -INT "$(pgrep -f "^mpirun .*--save interrupted( |\$)" | head -1)"  # timeout would tell mpirun twice, which then waits for nobody
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
