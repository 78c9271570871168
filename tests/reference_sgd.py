#!/usr/bin/env python3
"""Trains the MLP with PyTorch in float64: the reference that heed's training is held against.

  reference_sgd.py write [FILE]
      200 steps on drawn data; writes what test_training.c compares with (tests/data/reference_sgd.safetensors).
  reference_sgd.py mnist --data DIR --init W.safetensors --result R.safetensors [--steps 200]
      The same steps on MNIST from the weights W, images in file order; prints the relative error of each tensor of
      R, and exits with 1 when one is over 1e-4. R comes from
      heed train --data DIR --init W.safetensors --no-shuffle --max-steps 200 --save R.safetensors

Needs numpy and torch. The drawn data are a formula of Philox4x32-10 that test_training.c repeats, exact in float32.
"""
import argparse
import gzip
import json
import os
import struct
import sys

import numpy as np
import torch

TOLERANCE = 1e-4
BATCH, LR, MOMENTUM, STEPS = 64, 0.01, 0.5, 200

# ---------------------------------------------------------------- drawn data, as in test_training.c

SEED = 2026
SIZES = (784, 512, 10)
LABEL, PROTOTYPE, NOISE, PARAMETER, SAMPLE = 1, 2, 3, 4, 16  # streams; the last two plus the parameter's index
SAMPLES, LOSS_EVERY = 256, 10


def uniform(seed, stream, index):
    """heed_random_uniform(): word 0 of Philox4x32-10 over 2^32, in float64."""
    index = np.asarray(index, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c = [index & low, index >> shift, np.full_like(index, stream & 0xFFFFFFFF), np.full_like(index, stream >> 32)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k[0]), p1 & low, (p0 >> shift) ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0].astype(np.float64) / 2.0**32


def drawn_batch(step):
    rows, inputs, classes = np.arange(step * BATCH, (step + 1) * BATCH), SIZES[0], SIZES[-1]
    columns = np.arange(inputs)
    labels = np.floor(uniform(SEED, LABEL, rows) * classes).astype(np.int64)
    prototype = np.floor(uniform(SEED, PROTOTYPE, labels[:, None] * inputs + columns) * 256) / 256 - 0.5
    noise = np.floor(uniform(SEED, NOISE, rows[:, None] * inputs + columns) * 256) / 128 - 1
    return torch.from_numpy(prototype + noise), torch.from_numpy(labels)


def drawn_parameters():
    shapes = {}
    for i in range(len(SIZES) - 1):
        shapes[f"l{i + 1}.weight"] = (SIZES[i + 1], SIZES[i])
        shapes[f"l{i + 1}.bias"] = (SIZES[i + 1],)
    parameters = {}
    for p, (name, shape) in enumerate(shapes.items()):
        draws = np.floor(uniform(SEED, PARAMETER + p, np.arange(np.prod(shape))) * 2**24)
        parameters[name] = ((draws - 2**23) / 2**28).reshape(shape)
    return parameters


def sampled(p, values):
    flat = values.reshape(-1)
    if flat.size <= SAMPLES:
        return flat
    return flat[np.floor(uniform(SEED, SAMPLE + p, np.arange(SAMPLES)) * flat.size).astype(np.int64)]


# ---------------------------------------------------------------- training

def train(parameters, batches):
    """SGD over (x, labels) pairs; returns the parameters and each step's loss, all float64."""
    tensors = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in parameters.items()}
    layers = len(tensors) // 2
    optimizer = torch.optim.SGD(tensors.values(), lr=LR, momentum=MOMENTUM)
    losses = []
    for x, labels in batches:
        for i in range(1, layers + 1):
            x = torch.nn.functional.linear(x, tensors[f"l{i}.weight"], tensors[f"l{i}.bias"])
            if i < layers:
                x = torch.relu(x)
        loss = torch.nn.functional.cross_entropy(x, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}, losses


# ---------------------------------------------------------------- files

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in DTYPES:
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
            arrays[name] = flat.reshape(entry["shape"]).astype(np.float64)
    return arrays


def write_safetensors(path, arrays, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + 4 * array.size]}
        offset += 4 * array.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.astype("<f4").tobytes())


def read_idx(directory, name):
    path = os.path.join(directory, name)
    with open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz", "rb") as file:
        data = file.read()
    rank = data[3]
    dims = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank).reshape(dims)


# ---------------------------------------------------------------- commands

def write(path):
    parameters, losses = train(drawn_parameters(), (drawn_batch(step) for step in range(STEPS)))
    arrays = {name: sampled(p, value) for p, (name, value) in enumerate(parameters.items())}
    arrays["loss"] = np.array(losses[LOSS_EVERY - 1 :: LOSS_EVERY])
    write_safetensors(path, arrays, {"made_by": f"reference_sgd.py, float64, torch {torch.__version__}"})
    print("loss", " ".join(f"{loss:.5f}" for loss in arrays["loss"]))


def mnist_batches(directory, steps):
    images = read_idx(directory, "train-images-idx3-ubyte")
    labels = read_idx(directory, "train-labels-idx1-ubyte").astype(np.int64)
    images = images.reshape(len(images), -1)
    starts = range(0, len(images), BATCH)
    for step in range(steps):
        start = starts[step % len(starts)]
        x = (images[start : start + BATCH].astype(np.float64) / 255 - 0.1307) / 0.3081
        yield torch.from_numpy(x), torch.from_numpy(labels[start : start + BATCH])


def is_parameter(name):
    layer, _, kind = name.partition(".")
    return layer[:1] == "l" and layer[1:].isdigit() and kind in ("weight", "bias")


def mnist(directory, init, result, steps):
    start = {name: value for name, value in read_safetensors(init).items() if is_parameter(name)}
    expected, losses = train(start, mnist_batches(directory, steps))
    actual = read_safetensors(result)
    good = True
    for name, value in expected.items():
        if name not in actual or actual[name].shape != value.shape:
            print(f"{name}: not in {result} with shape {list(value.shape)}")
            good = False
            continue
        error = np.linalg.norm(actual[name] - value) / np.linalg.norm(value)
        moved = np.linalg.norm(value - start[name]) / np.linalg.norm(value)
        within = bool(error <= TOLERANCE)
        print(f"{name}: relative error {error:.3g} (training moved it by {moved:.3g}){'' if within else '  TOO LARGE'}")
        good = good and within
    print(f"loss in float64: first {losses[0]:.6f}, last {losses[-1]:.6f}")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("write")
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "reference_sgd.safetensors")
    command.add_argument("file", nargs="?", default=default)
    command = commands.add_parser("mnist")
    command.add_argument("--data", required=True)
    command.add_argument("--init", required=True)
    command.add_argument("--result", required=True)
    command.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    if options.command == "mnist":
        return mnist(options.data, options.init, options.result, options.steps)
    return write(options.file)


if __name__ == "__main__":
    sys.exit(main())
