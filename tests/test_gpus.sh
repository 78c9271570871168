#!/usr/bin/env bash
# Every program of gpu_programs is there, with its options, for each kind of GPU; with HEED_TEST_LONG=1 the vendors' compilers that are
# installed compile them, what comes out is compared with tests/GPUS.md, and the share of multiply-adds in products is counted.
# Usage: tests/test_gpus.sh BUILD-DIR
set -euo pipefail
build=$(cd "$1" && pwd)
source_dir=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
"$build/tests/gpu_programs" "$scratch" || status=$?
[ "$status" -eq 0 ] || exit "$status"
fail() {
  echo "$*" >&2
  exit 1
}
for kernel in gemm_tiles attention_forward attention_keys_bwd; do
  for gpu in nvidia amd intel intel-max; do
    grep -lq "__kernel void $kernel(" "$scratch/$gpu"/*.cl || fail "no program for $gpu has $kernel"
  done
done
grep -lq 'WARP_EMULATED=0' "$scratch/nvidia-tensor"/*.options || fail "no program takes tensor cores"
grep -lq 'Y_DTYPE=TF32' "$scratch/nvidia-tf32"/*.options || fail "no program takes TF32"
grep -lq 'SUBGROUP=16' "$scratch/intel-max"/*.options || fail "no program asks for subgroups of 16"
! grep -lq 'SUBGROUP' "$scratch/intel"/*.options || fail "a program asks for subgroups where their size is the compiler's choice"
for program in "$scratch"/*/*.cl; do
  [ -s "$program" ] && [ -s "${program%.cl}.options" ] || fail "$program has no text, or no options"
done
echo "$(ls "$scratch"/*/*.cl | wc -l) programs for $(ls "$scratch" | wc -l) kinds of GPUs"
[ "${HEED_TEST_LONG:-0}" = 1 ] || exit 0
"$source_dir/tools/dev/check-gpus" "$build" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 77 ] || fail "check-gpus: exit status $status"
# What large products are to execute beside their multiply-adds.
status=0
"$source_dir/tools/dev/fma-share" --kernel=gemm_tiles --with=TILE=128,X_DTYPE=F32 --least=88 "$build" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 77 ] || fail "fma-share: exit status $status"
