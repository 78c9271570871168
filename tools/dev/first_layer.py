"""The queries, keys and values of a GPT-2's first block for a text, as a file that `heed run attention` reads.

Usage: first_layer.py MODEL-FOLDER TEXT OUT.safetensors

The folder is one that `heed lm train --tokenizer chars` wrote. Only Python's own library is needed: this is a picture's worth of numbers.
x = wte[token] + wpe[position]; (q, k, v) = layer_norm(x) c_attn.weight + c_attn.bias, cut into heads.
"""

import array
import json
import math
import os
import struct
import subprocess
import sys


def read_tensors(path):
    """{name: (shape, values)} of a safetensors file whose tensors are F32."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            raise SystemExit(f"{path}: {name} is {entry['dtype']}, and only F32 is read here")
        first, last = entry["data_offsets"]
        found[name] = (entry["shape"], array.array("f", data[first:last]))
    return found


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += array.array("f", values).tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main(folder, text, out):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    width, heads = config["n_embd"], config["n_head"]
    dim = width // heads
    heed = os.environ.get("HEED", "heed")
    listed = subprocess.run([heed, "lm", "tokenize", "--model", folder, "-"], input=text.encode(), stdout=subprocess.PIPE, check=True)
    tokens = [int(word) for word in listed.stdout.split()]
    tensors = read_tensors(os.path.join(folder, "model.safetensors"))
    prefix = "transformer." if "transformer.wte.weight" in tensors else ""

    def row(name, i=0, length=width):
        return tensors[prefix + name][1][i * length : (i + 1) * length]

    bias = row("h.0.attn.c_attn.bias", 0, 3 * width)
    parts = {name: [[[] for _ in tokens] for _ in range(heads)] for name in "qkv"}
    for position, token in enumerate(tokens):
        x = [a + b for a, b in zip(row("wte.weight", token), row("wpe.weight", position))]
        mean = sum(x) / width
        scale = 1 / math.sqrt(sum((v - mean) ** 2 for v in x) / width + config["layer_norm_epsilon"])
        normed = [(v - mean) * scale * g + b for v, g, b in zip(x, row("h.0.ln_1.weight"), row("h.0.ln_1.bias"))]
        y = list(bias)
        for i, v in enumerate(normed):
            for j, w in enumerate(row("h.0.attn.c_attn.weight", i, 3 * width)):
                y[j] += v * w
        for part, name in enumerate("qkv"):
            for head in range(heads):
                first = part * width + head * dim
                parts[name][head][position] = y[first : first + dim]
    shape = [1, heads, len(tokens), dim]
    write_tensors(out, {name: (shape, [v for h in part for p in h for v in p]) for name, part in parts.items()})


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
