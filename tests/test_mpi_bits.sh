#!/usr/bin/env bash
# Training over MPI gives the bits of one process for any number of ranks that may share the work, in all files; a run that is killed and
# resumed on fewer and fewer ranks gives those of an unbroken one. With HEED_TEST_LONG=1 all architectures and dtypes, also on 8 ranks.
# Prints a line for each. Skipped without mpirun or a build with MPI. Usage: tests/test_mpi_bits.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
heed=$build/heed
long=${HEED_TEST_LONG:-0}
source=$(cd "$(dirname "$0")/.." && pwd)
source "$(dirname "$0")/support_images.sh"
source "$(dirname "$0")/support_ranks.sh"

told=0
tell() { # WHAT: a line, unless something has failed since the last one
  [ "$failures" == "$told" ] && echo "$*: equal bits"
  told=$failures
}

# ---------------------------------------------------------------- heed lm train
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
  tell "lm train $* on $device, 1 process and 1 ${counts[*]} ranks"
}
for device in "${devices[@]}"; do
  same "$device" --arch gpt2
  same "$device" --arch llama --dtype bf16 --kv-heads 1
  [ "$long" == 1 ] || continue
  same "$device" --arch gpt2 --dtype bf16
  same "$device" --arch llama --kv-heads 1
  same "$device" --arch mistral --dtype f16
done
same host --arch gpt2 --dtype f16 --accumulate 24

# A device that poses as a GPU: gradients come back by a queue of its own, into page-locked memory, while the next kernels run.
if [ "${#devices[@]}" == 2 ] && [ -e "$build/tests/libtraits_shim.so" ]; then
  posing=(env LD_PRELOAD="$build/tests/libtraits_shim.so" TRAITS=gpu "$heed")
  "${posing[@]}" devices --device "${devices[1]}" | grep -q ' gpu ' || fail "${devices[1]} does not pose as a GPU"
  for count in 1 2; do
    ranks "$count" "${posing[@]}" "${small[@]}" --device "${devices[1]}" --steps 3 \
      --save "gpu$count" -q >/dev/null 2>together.log || fail "$count ranks on what poses as a GPU: $(cat together.log)"
  done
  same_files "2 ranks on what poses as a GPU" gpu1 gpu2
  tell "lm train on ${devices[1]} posing as a GPU, 1 and 2 ranks"
fi

# Ten steps of models that PyTorch trained in float64, with micro-batches of a text each: test_lm_golden compares those of one process with its.
golden=${HEED_GOLDEN_TRANSFORMER:-$source/../shared/golden-transformer}/models
for model in gpt2 llama mistral qwen2; do
  [ -r "$golden/$model/after_10_steps.safetensors" ] || continue
  batch=$(head -c 4096 "$golden/$model/after_10_steps.safetensors" | grep -aoE '"batch": ?"[0-9]+"' | tr -dc 0-9)
  context=$(head -c 4096 "$golden/$model/after_10_steps.safetensors" | grep -aoE '"context": ?"[0-9]+"' | tr -dc 0-9)
  known=("$heed" lm train --init "$golden/$model" --data "$golden/$model/tokens.bin" --order sequential --batch 1 --accumulate "$batch"
    --context "$context" --steps 10 --lr 1e-3 --beta2 0.95 --weight-decay 0.1 --clip 1.0 --val-fraction 0 --force -q)
  for device in "${devices[@]}"; do
    "${known[@]}" --device "$device" --save alone >/dev/null || fail "$model on $device"
    ranks 2 "${known[@]}" --device "$device" --save together >/dev/null 2>together.log || fail "$model on 2 ranks, $device: $(cat together.log)"
    same_files "$model on 2 ranks, $device" alone together
    tell "lm train --init $model, whose float64 is known, on $device, 1 process and 2 ranks"
    [ "$long" == 1 ] || break
  done
done

# The losses of the log are the same, too.
losses() { grep -o '"loss": *[^,}]*' "$1"; }
"$heed" "${small[@]}" --device host --steps 5 --log alone.log --log-every 1 -q >/dev/null
ranks 4 "$heed" "${small[@]}" --device host --steps 5 --log together.log --log-every 1 -q >/dev/null
[ "$(losses alone.log)" == "$(losses together.log)" ] || fail "the logs differ"
[ "$(losses alone.log | wc -l)" -ge 5 ] || fail "the log has no losses"
tell "lm train --log on host, 1 process and 4 ranks"

# 4, then 2, then 1, each killed but the last.
on_fewer() { # DEVICE STEPS OPTION ...
  local device=$1 steps=$2 count from run before all process
  shift 2
  rm -rf unbroken broken
  "$heed" "${small[@]}" --device "$device" --steps "$steps" --save-every 2 --eval-every 0 "$@" --save unbroken -q >/dev/null || fail "unbroken on $device: $*"
  for count in 4 2; do
    from=("${small[@]}" "$@" --save broken)
    before=0
    [ ! -e broken ] || { from=(lm train --data text --resume broken) && before=$(steps_of broken); }
    ranks "$count" "$heed" "${from[@]}" --device "$device" --steps "$steps" --save-every 2 --eval-every 0 -q >/dev/null 2>broken.log &
    run=$!
    until [ "$(steps_of broken)" -gt "$before" ] || ! kill -0 "$run" 2>/dev/null; do sleep 0.02; done
    mapfile -t all < <(pgrep -f "^$heed lm train .*--(save|resume) broken( |\$)")
    kill -KILL "$(rank_of broken $((count - 1)))" 2>/dev/null || fail "$count ranks were done before they were killed: $(cat broken.log)"
    ! wait "$run" || fail "$count ranks, one killed: exit status 0"
    for process in "${all[@]}"; do # mpirun may end before the last rank does, which holds the folder
      while kill -0 "$process" 2>/dev/null; do sleep 0.05; done
    done
  done
  "$heed" lm train --data text --resume broken --device "$device" --steps "$steps" --save-every 2 --eval-every 0 -q >/dev/null || fail "1 process on $device: $*"
  same_files "killed on 4 and 2, ended on 1, on $device: $*" unbroken broken
  tell "lm train $* on $device, killed on 4 ranks, killed on 2, ended by 1"
}
on_fewer host 60
if [ "$long" == 1 ]; then
  for device in "${devices[@]}"; do
    on_fewer "$device" 120 --arch gpt2 --dropout 0.1
    on_fewer "$device" 120 --arch llama --kv-heads 1 --dtype bf16
  done
fi

# A model to go on from, whose masters are finer than its values.
"$heed" "${small[@]}" --device host --steps 2 --dtype bf16 --init unbroken --save alone-init -q >/dev/null
ranks 2 "$heed" "${small[@]}" --device host --steps 2 --dtype bf16 --init unbroken --save together-init -q >/dev/null
same_files "from a model in bf16" alone-init together-init
tell "lm train --init --dtype bf16 on host, 1 process and 2 ranks"

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
  tell "train ${*:2} on $device, 1 process and ${counts[*]} ranks"
}
for device in "${devices[@]}"; do
  same_digits "$device" --hidden 16
  same_digits "$device" --hidden 16 --optimizer sgd --clip 0.3
  same_digits "$device" --arch vit --layers 1 --width 16 --heads 2
done
ranks 4 "$heed" train --data digits --batch 8 --accumulate 8 --epochs 1 --arch vit --layers 1 --width 16 --heads 2 --schedule constant \
  --device host --save resumed -q >/dev/null
ranks 2 "$heed" train --data digits --resume resumed --epochs 2 --device host --save resumed -q >/dev/null
"$heed" train --data digits --batch 8 --accumulate 8 --epochs 2 --arch vit --layers 1 --width 16 --heads 2 --schedule constant \
  --device host --save unresumed -q >/dev/null
cmp resumed unresumed && cmp resumed.state unresumed.state || fail "heed train resumed on 4 and 2 ranks: other bits"
tell "train --arch vit on host, begun on 4 ranks, ended on 2"

[ "$failures" == 0 ] || exit 1
echo "ranks agree"
