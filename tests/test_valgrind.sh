#!/usr/bin/env bash
# The library and the program on the host backend under valgrind's memcheck: no invalid access, no use of undefined memory, nothing
# lost. One OpenMP thread: libgomp keeps its other threads' stacks until the process ends, which memcheck calls possibly lost.
# Usage: tests/test_valgrind.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
if ! command -v valgrind >/dev/null; then
  echo "valgrind is not installed" >&2
  [ "${CI:-}" != true ] || exit 1
  exit 77
fi
export OMP_NUM_THREADS=1 HEED_TEST_HOST_ONLY=1 HEED_REQUIRE_DEVICE=0 HEED_DEVICE=host
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

memcheck() { # EXPECTED-STATUS PROGRAM [ARGUMENTS ...]
  local expected=$1 status=0
  shift
  valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible \
    --error-exitcode=99 --log-file=memcheck.log "$@" >output.log 2>&1 || status=$?
  if [ "$status" -ne "$expected" ]; then
    cat output.log memcheck.log
    echo "memcheck of '$*': exit status $status instead of $expected (99: memcheck found something)" >&2
    exit 1
  fi
  echo "clean: ${*##*/}"
}

# Data in MNIST's form: 32 images, so that memcheck has little to wait for.
for part in train t10k; do
  { printf '\0\0\010\003\0\0\0\040\0\0\0\034\0\0\0\034' && head -c $((32 * 28 * 28)) < <(yes heed); } >$part-images-idx3-ubyte
  { printf '\0\0\010\001\0\0\0\040' && head -c 32 < <(yes $'\001\002\003' | tr '\n' '\0'); } >$part-labels-idx1-ubyte
done
gzip t10k-images-idx3-ubyte
export HEED_DATA=$scratch

for test in gradients mha mlp vit optimizer safetensors idx program_cache; do memcheck 0 "$build/tests/test_$test"; done

heed=$build/heed
memcheck 0 "$heed" --help
memcheck 0 "$heed" sqrt 2 9
memcheck 0 "$heed" train --hidden 8 --batch 16 --max-steps 3 --save model.safetensors --log run.jsonl
memcheck 0 "$heed" train --resume model.safetensors --max-steps 5
memcheck 0 "$heed" eval --model model.safetensors --json
memcheck 0 "$heed" train --arch vit --layers 1 --width 8 --heads 2 --batch 8 --accumulate 3 --max-steps 3 --save vit.safetensors
memcheck 0 "$heed" train --resume vit.safetensors --max-steps 4
memcheck 0 "$heed" eval --model vit.safetensors
memcheck 1 "$heed" eval --model absent.safetensors
memcheck 1 "$heed" run attention -i model.safetensors -o out.safetensors
memcheck 2 "$heed" train --epoch 3
