#!/usr/bin/env bash
# heed reads the model folders that `transformers` writes and the tokenizers that `tokenizers` writes, trains as PyTorch's AdamW does,
# and writes folders that `transformers` opens: to the same logits, losses, weights and ids. transformers_parity.py says what is compared.
# Usage: tests/test_transformers.sh BUILD-DIR [NAME…]      HEED_PYTHON names a Python that has torch and transformers; skipped without
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
heed=$(cd "$1" && pwd)/heed
python=${HEED_PYTHON:-python3}
export HEED_DEVICE=${HEED_DEVICE:-host} HEED_TUNE=off HEED_SELF_TEST=off
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONDONTWRITEBYTECODE=1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! "$python" -c 'import safetensors.torch, tokenizers, torch, transformers' >/dev/null 2>&1; then
  echo "$python has no torch, transformers, tokenizers and safetensors; HEED_PYTHON names one that has"
  exit 77
fi
# Texts that are tokenized once are kept in the cache; this one is of no use later.
[ "$HEED_DEVICE" != host ] || export HEED_CACHE="$scratch/cache"
mkdir -p "$scratch/cache"
"$python" "$source_dir/tests/transformers_parity.py" "$heed" --work "$scratch" ${2:+--only "${@:2}"}
