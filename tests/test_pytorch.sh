#!/usr/bin/env bash
# The lines of Python in docs/commands.md load a model that `heed train` saved, and PyTorch computes with it what heed computes. What heed says
# of a file of PyTorch or NumPy converts it. heed reads what the format's own library writes.
# Usage: tests/test_pytorch.sh BUILD-DIR      HEED_PYTHON names a Python that has torch and safetensors; skipped without
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
heed=$(cd "$1" && pwd)/heed
python=${HEED_PYTHON:-python3}
export HEED_DEVICE=host
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

if ! "$python" -c 'import torch, safetensors.torch' >/dev/null 2>&1; then
  echo "$python has no torch and safetensors; HEED_PYTHON names one that has"
  exit 77
fi

# The blocks that load a model.
awk '/^```python$/ { block = ""; inside = 1; next } /^```$/ { if (inside && block ~ /load_state_dict/) printf "%s", block; inside = 0 } inside { block = block $0 "\n" }' \
  "$source_dir/docs/commands.md" >load_model.py
grep -q load_state_dict load_model.py || { echo "docs/commands.md has no lines of Python that load a model" >&2; exit 1; }

"$heed" train --data synthetic --max-steps 20 --save model.safetensors >/dev/null 2>&1
"$heed" train --data synthetic --arch vit --max-steps 2 --save vit.safetensors >/dev/null 2>&1
cat load_model.py - >load.py <<'EOF'
import torch
from safetensors.torch import save_file
torch.manual_seed(0)
x = torch.randn(5, 784)
save_file({"x": x, **load_file("model.safetensors")}, "in.safetensors")
save_file({"out": model(x).detach()}, "expected.safetensors")
save_file(model.state_dict(), "back.safetensors")
# A test set of MNIST's form, and the loss that PyTorch's vit has on it.
pixels, labels = torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (20,), dtype=torch.uint8)
open("t10k-images-idx3-ubyte", "wb").write(bytes.fromhex("00000803000000140000001c0000001c") + pixels.numpy().tobytes())
open("t10k-labels-idx1-ubyte", "wb").write(bytes.fromhex("0000080100000014") + labels.numpy().tobytes())
scaled = (pixels.flatten(1) / 255 - 0.1307) / 0.3081
print(torch.nn.functional.cross_entropy(vit(scaled), labels.long()).item(), file=open("expected.txt", "w"))
save_file(vit.state_dict(), "vit_back.safetensors", metadata={"heads": "4"})
EOF
"$python" load.py
"$heed" run mlp -i in.safetensors -o out.safetensors
"$python" - <<'EOF'
from safetensors.torch import load_file
out, expected = load_file("out.safetensors")["out"], load_file("expected.safetensors")["out"]
error = ((out - expected).norm() / expected.norm()).item()
print(f"heed and PyTorch differ by {error:.1e}")
assert error <= 5e-6, "more than heed's tolerance for F32"
EOF
# And back: what PyTorch saves, heed reads.
"$heed" eval --model back.safetensors --data synthetic >back.txt
"$heed" eval --model model.safetensors --data synthetic | cmp - back.txt
"$heed" eval --model vit_back.safetensors --data . --json >vit.json
"$python" - <<'EOF'
import json
loss, expected = json.load(open("vit.json"))["loss"], float(open("expected.txt").read())
print(f"of a vit heed has the loss {loss}, PyTorch {expected}")
assert abs(loss - expected) <= 5e-6 * expected
EOF

"$python" - <<'EOF'
import json, numpy, torch
from safetensors.torch import save_file
x = torch.linspace(-1, 1, 6).reshape(2, 3)
torch.save({"x": x}, "a.pt")
torch.save({"x": x}, "old.pt", _use_new_zipfile_serialization=False)
numpy.save("a.npy", x.numpy())
numpy.savez("a.npz", x=x.numpy())
save_file({"x": x}, "right.safetensors")
# Shards, in dtypes that heed converts, beside one that it does not know.
save_file({"x": x.double(), "other": torch.ones(3, dtype=torch.int16)}, "model-1.safetensors")
save_file({"grad.out": torch.zeros(2, 3, dtype=torch.float8_e4m3fn)}, "model-2.safetensors")
places = {"x": "model-1.safetensors", "other": "model-1.safetensors", "grad.out": "model-2.safetensors"}
json.dump({"metadata": {}, "weight_map": places}, open("model.safetensors.index.json", "w"))
EOF
"$heed" run softmax -i right.safetensors -o right.out
for file in a.pt old.pt a.npy a.npz; do
  rm -f x.safetensors
  "$heed" run softmax -i "$file" -o out.safetensors 2>told && { echo "$file was read" >&2; exit 1; }
  line=$(sed -n "s/.*convert it: python3 -c '\(.*\)'$/\1/p" told)
  "$python" -c "${line//FILE/$file}"
  "$heed" run softmax -i x.safetensors -o out.safetensors
done
"$heed" run softmax -i . -o out.safetensors 2>told
grep -q "left out 'other', a tensor of dtype I16" told
"$python" - <<'EOF'
import torch
from safetensors.torch import load_file
assert torch.equal(load_file("out.safetensors")["out"], load_file("right.out")["out"])
assert not load_file("out.safetensors")["grad.x"].any()
EOF
echo 'files of PyTorch and NumPy are converted as heed says, and shards are read'
