#!/usr/bin/env python3
"""Computes the golden cases: what PyTorch's float64 and its autograd make of each operator's equation.

  make.py [FOLDER]            writes the small cases (default: this folder); test_golden.c compares `heed run` with them
  make.py --large [FOLDER]    writes the large ones, too: shapes of real use, 8 MB
  make.py --check [FOLDER]    computes the cases anew and compares them with the files: the same inputs to the bit, the same results
                              up to float64's rounding

A case is a safetensors file: inputs in float32, `expected.NAME` for each output of `heed run`, computed in float64 from those inputs and
rounded to float32; its metadata have the operator and the options. Inputs are drawn from seeds that the names of the cases decide, so
that a case stays the same when others are added. Needs torch alone, and shares no code with heed: equations are written out here, and
torch is asked for exp, log, tanh, matrix products and derivatives.
"""
import argparse
import json
import math
import os
import struct
import sys
import zlib

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
LOWEST = torch.finfo(torch.float32).min
DTYPES = {torch.float32: ("F32", 4), torch.int64: ("I64", 8), torch.bool: ("BOOL", 1)}

# ---------------------------------------------------------------- files


def write(path, inputs, expected, operator, options):
    tensors = dict(inputs)
    tensors.update({"expected." + name: value.detach().to(torch.float32) for name, value in expected.items()})
    header, blobs, offset = {"__metadata__": {"op": operator, "options": options}}, [], 0
    for name, value in tensors.items():
        blob = bytes(value.contiguous().reshape(-1).view(torch.uint8).tolist())
        header[name] = {"dtype": DTYPES[value.dtype][0], "shape": list(value.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".new", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    os.replace(path + ".new", path)


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        dtype = next(dtype for dtype, (text, _) in DTYPES.items() if text == entry["dtype"])
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=dtype) if end > begin else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return metadata, tensors


# ---------------------------------------------------------------- what cases are made of


class Draw:
    """Random tensors of one case."""

    def __init__(self, name):
        self.generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def normal(self, *shape, scale=1.0):
        return torch.randn(*shape, generator=self.generator) * scale

    def classes(self, count, number):
        return torch.randint(0, number, (count,), generator=self.generator)

    def mask(self, *shape, attended=0.67):
        return torch.rand(*shape, generator=self.generator) < attended

    def shares(self, rows, columns):
        """Rows of probabilities."""
        return torch.softmax(self.normal(rows, columns).double(), -1).float()


class Variables(dict):
    """The float inputs in float64, of which autograd keeps account."""

    def __init__(self, inputs):
        super().__init__()
        for name, value in inputs.items():
            is_variable = value.is_floating_point() and not name.startswith("grad.")
            self[name] = value.double().requires_grad_() if is_variable else value

    def gradients(self, loss, names):
        """d loss / d NAME, as grad.NAME: zero where the loss does not depend on it."""
        given = torch.autograd.grad(loss, [self[name] for name in names], allow_unused=True)
        return {"grad." + n: torch.zeros_like(self[n]) if g is None else g for n, g in zip(names, given)}


def product(out, inputs):
    """A scalar whose derivative with respect to out is the given grad.out."""
    return (out * inputs["grad.out"].double()).sum()


# ---------------------------------------------------------------- attention


def attended(shape, inputs, causal=None, window=None):
    """Which keys each query attends, [B, H, Lq, Lk], from the causal rule, the window and the lengths."""
    batch, heads, queries, keys = shape
    i, j = torch.arange(queries).reshape(-1, 1), torch.arange(keys).reshape(1, -1)
    lengths = inputs.get("kv_lengths", torch.full((batch,), keys)).reshape(-1, 1, 1, 1)
    # Query 0 is at position 0 among the keys, or, where lengths are given, such that the last query is at the last key.
    first = lengths - queries if "kv_lengths" in inputs else torch.zeros_like(lengths)
    allowed = (j < lengths).expand(batch, heads, queries, keys)
    if causal == "top-left":
        allowed = allowed & (j <= i + first)
    if causal == "bottom-right":
        allowed = allowed & (j <= i + keys - queries)
    if window:
        left, right = window
        if left >= 0:
            allowed = allowed & (j >= i + first - left)
        if right >= 0:
            allowed = allowed & (j <= i + first + right)
    return allowed


def attend(q, k, v, allowed, mask=None, scale=None, softcap=None):
    """out, lse and weights. A row that attends no key has zeros, and lse = -inf."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None and mask.dtype == torch.bool:
        allowed = allowed & mask
    elif mask is not None:
        scores = scores + mask
    scores = scores.masked_fill(~allowed, -math.inf)
    alive = scores.detach().amax(-1, keepdim=True) > -math.inf
    # Dead rows get harmless scores, of which nothing is used: -inf - -inf would be NaN in their derivatives.
    safe = torch.where(alive, scores, torch.zeros_like(scores))
    top = safe.detach().amax(-1, keepdim=True)
    powers = torch.exp(safe - top)
    total = powers.sum(-1, keepdim=True)
    weights = torch.where(alive, powers / total, torch.zeros_like(powers))
    lse = torch.where(alive, top + torch.log(total), torch.full_like(total, -math.inf)).squeeze(-1)
    return weights @ v, lse, weights


def attention(draw, b, hq, hkv, lq, lk, d, dv=None, stretch=1.0, mask=None, lengths=None, causal=None, window=None, scale=None,
              softcap=None, weights=False):
    dv = dv or d
    inputs = {
        "q": draw.normal(b, hq, lq, d, scale=stretch),
        "k": draw.normal(b, hkv, lk, d, scale=stretch),
        "v": draw.normal(b, hkv, lk, dv),
        "grad.out": draw.normal(b, hq, lq, dv),
    }
    if mask:
        inputs["mask"] = mask(draw)
    if lengths:
        inputs["kv_lengths"] = torch.tensor(lengths)
    x = Variables(inputs)
    allowed = attended((b, hq, lq, lk), inputs, causal, window)
    out, lse, p = attend(x["q"], x["k"], x["v"], allowed, x.get("mask"), scale, softcap)
    expected = {"out": out, "lse": lse, **x.gradients(product(out, inputs), ("q", "k", "v"))}
    if weights:
        expected["weights"] = p
    options = [
        "--weights" if weights else "",
        {None: "", "top-left": "--causal", "bottom-right": "--causal=bottom-right"}[causal],
        "--window %d:%d" % window if window else "",
        "--scale %s" % scale if scale is not None else "",
        "--softcap %s" % softcap if softcap else "",
    ]
    return "attention", " ".join(option for option in options if option), inputs, expected


def dead_rows(draw):
    mask = draw.mask(19, 35)
    mask[3] = mask[11] = mask[18] = False
    return mask


def bias(fill):
    """A float mask that is `fill` in a third of its places."""
    return lambda draw: torch.where(draw.mask(19, 35), draw.normal(19, 35), torch.tensor(fill))


def attention_cases():
    shapes = {"b1h1k1q1s1d1": (1, 1, 1, 1, 1, 1), "b2h3k3q17s33d31": (2, 3, 3, 17, 33, 31), "b1h4k2q33s65d16": (1, 4, 2, 33, 65, 16)}
    for text, shape in shapes.items():
        yield "attention_plain_" + text, lambda draw, s=shape: attention(draw, *s, weights=True)
        yield "attention_causal_" + text, lambda draw, s=shape: attention(draw, *s, causal="top-left")
        yield "attention_causalbr_" + text, lambda draw, s=shape: attention(draw, *s, causal="bottom-right")
    small, square = (2, 2, 2, 19, 35, 24), (2, 2, 2, 35, 35, 24)
    more = {
        "scale": dict(scale=0.05),
        "softcap": dict(softcap=5.0),
        "softcap_mask": dict(softcap=5.0, mask=lambda draw: draw.mask(19, 35)),
        "large_logits": dict(stretch=6.0),  # up to 700; in float32 such a score, and with it its weight, is known to 4e-5
        "mask_rows_and_keys": dict(mask=lambda draw: draw.mask(19, 35)),
        "mask_batch": dict(mask=lambda draw: draw.mask(2, 1, 1, 35)),
        "mask_full": dict(mask=lambda draw: draw.mask(2, 2, 19, 35)),
        "mask_dead_rows": dict(mask=dead_rows, weights=True),
        "mask_all_dead": dict(mask=lambda draw: torch.zeros(19, 35, dtype=torch.bool), weights=True),
        "bias": dict(mask=lambda draw: draw.normal(2, 19, 35)),
        "bias_neginf": dict(mask=bias(-math.inf)),
        "bias_lowest": dict(mask=bias(LOWEST)),
        "kv_lengths": dict(lengths=[23, 35]),
        "kv_lengths_causal": dict(lengths=[23, 35], causal="top-left"),
    }
    for text, how in more.items():
        yield "attention_" + text, lambda draw, h=how: attention(draw, *small, **h)
    yield "attention_window", lambda draw: attention(draw, *square, window=(9, 4))
    yield "attention_window_causal", lambda draw: attention(draw, *square, causal="top-left", window=(16, -1))
    yield "attention_mask_causal", lambda draw: attention(draw, *square, causal="top-left", mask=lambda d: d.mask(35, 35))
    yield "attention_dv_wider", lambda draw: attention(draw, 2, 2, 2, 19, 35, 16, dv=40)
    yield "attention_dv_narrower_gqa", lambda draw: attention(draw, 1, 4, 2, 19, 35, 40, dv=8, causal="top-left")


# ---------------------------------------------------------------- multi-head attention


def mha(draw, b, lq, lk, model, heads, causal=None, mask=False, biased=True):
    names = ("query", "key", "value") if lk else ("query",)
    inputs = {name: draw.normal(b, lq if name == "query" else lk, model) for name in names}
    for part in "qkvo":
        inputs[part + "_proj.weight"] = draw.normal(model, model, scale=1 / math.sqrt(model))
        if biased:
            inputs[part + "_proj.bias"] = draw.normal(model, scale=0.1)
    if mask:
        inputs["mask"] = draw.mask(b, 1, 1, lk or lq)
    inputs["grad.out"] = draw.normal(b, lq, model)
    x = Variables(inputs)

    def project(part, value):
        projected = value @ x[part + "_proj.weight"].T
        return projected + x[part + "_proj.bias"] if biased else projected

    def split(value):
        return value.reshape(b, -1, heads, model // heads).transpose(1, 2)

    key, value = x[names[1 if lk else 0]], x[names[2 if lk else 0]]
    q, k, v = split(project("q", x["query"])), split(project("k", key)), split(project("v", value))
    out, _, _ = attend(q, k, v, attended((b, heads, lq, lk or lq), {}, causal), x.get("mask"))
    out = project("o", out.transpose(1, 2).reshape(b, lq, model))
    variables = [name for name in inputs if name != "mask" and not name.startswith("grad.")]
    expected = {"out": out, **x.gradients(product(out, inputs), variables)}
    return "mha", "--heads %d" % heads + (" --causal" if causal else ""), inputs, expected


# ---------------------------------------------------------------- products, softmax


def linear(draw, rows, n_in, n_out, biased=True):
    inputs = {"x": draw.normal(rows, n_in), "weight": draw.normal(n_out, n_in, scale=1 / math.sqrt(n_in)), "grad.out": draw.normal(rows, n_out)}
    if biased:
        inputs["bias"] = draw.normal(n_out, scale=0.1)
    x = Variables(inputs)
    out = x["x"] @ x["weight"].T + (x["bias"] if biased else 0)
    return "linear", "", inputs, {"out": out, **x.gradients(product(out, inputs), ["x", "weight"] + ["bias"] * biased)}


def softmax(draw, *shape, axis=-1, stretch=1.0):
    inputs = {"x": draw.normal(*shape, scale=stretch), "grad.out": draw.normal(*shape)}
    x = Variables(inputs)
    powers = torch.exp(x["x"] - x["x"].detach().amax(axis, keepdim=True))
    out = powers / powers.sum(axis, keepdim=True)
    return "softmax", "--axis %d" % axis, inputs, {"out": out, **x.gradients(product(out, inputs), ["x"])}


# ---------------------------------------------------------------- losses, MLP


def log_probabilities(logits):
    top = logits.detach().amax(-1, keepdim=True)
    return logits - top - torch.log(torch.exp(logits - top).sum(-1, keepdim=True))


def row_losses(logits, target, smoothing=0.0):
    """-sum_c t_c log p_c of each row; the target is a class or a row of probabilities."""
    classes = logits.shape[-1]
    if not target.is_floating_point():
        target = torch.nn.functional.one_hot(target, classes)
    target = (1 - smoothing) * target.double() + smoothing / classes
    return -(target * log_probabilities(logits)).sum(-1)


def cross_entropy(draw, rows, classes, reduction="mean", target="index", smoothing=0.0, ignore=None, stretch=2.0):
    inputs = {"logits": draw.normal(rows, classes, scale=stretch)}
    inputs["target"] = draw.classes(rows, classes) if target == "index" else draw.shares(rows, classes)
    counts = torch.ones(rows, dtype=torch.bool)
    if ignore is not None:
        counts = draw.mask(rows, attended=0.75)
        inputs["target"] = torch.where(counts, inputs["target"], torch.tensor(ignore))
    x = Variables(inputs)
    classes_of = inputs["target"].clamp(min=0) if target == "index" else inputs["target"]
    losses = row_losses(x["logits"], classes_of, smoothing) * counts
    loss = losses if reduction == "none" else losses.sum().reshape(1) / (counts.sum() if reduction == "mean" else 1)
    options = [
        "--reduction " + reduction if reduction != "mean" else "",
        "--label-smoothing %s" % smoothing if smoothing else "",
        "--ignore-index %d" % ignore if ignore is not None else "",
        "--grad",
    ]
    options = " ".join(option for option in options if option)
    return "cross_entropy", options, inputs, {"loss": loss, **x.gradients(loss.sum(), ["logits"])}


def cross_entropy_from_probs(draw, rows, classes):
    target = torch.nn.functional.one_hot(draw.classes(rows, classes), classes).float()
    inputs = {"probs": draw.shares(rows, classes), "target": target}
    x = Variables(inputs)
    loss = (-(target.double() * torch.log(x["probs"])).sum() / rows).reshape(1)
    return "cross_entropy", "--from-probs --grad", inputs, {"loss": loss, **x.gradients(loss.sum(), ["probs"])}


def mlp(draw, rows, *sizes):
    inputs = {"x": draw.normal(rows, sizes[0])}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
        inputs["l%d.weight" % i] = draw.normal(n_out, n_in, scale=1 / math.sqrt(n_in))
        inputs["l%d.bias" % i] = draw.normal(n_out, scale=0.1)
    inputs["target"] = draw.classes(rows, sizes[-1])
    x = Variables(inputs)
    out = x["x"]
    for i in range(1, len(sizes)):
        out = out @ x["l%d.weight" % i].T + x["l%d.bias" % i]
        if i + 1 < len(sizes):
            out = out * (out > 0)
    loss = (row_losses(out, inputs["target"]).sum() / rows).reshape(1)
    parameters = [name for name in inputs if name.startswith("l")]
    return "mlp", "--grad", inputs, {"out": out, "loss": loss, **x.gradients(loss.sum(), parameters)}


# ---------------------------------------------------------------- steps


def sgd(draw, count, lr, momentum=0.0, dampening=0.0, decay=0.0, nesterov=False):
    """One step: g + decay·p, into the buffer, and along it, or along g + momentum·buffer (Nesterov)."""
    inputs = {"param": draw.normal(count), "grad": draw.normal(count)}
    if momentum:
        inputs["momentum_buffer"] = draw.normal(count)
    param, grad = inputs["param"].double(), inputs["grad"].double()
    grad = grad + decay * param
    step, expected = grad, {}
    if momentum:
        buffer = momentum * inputs["momentum_buffer"].double() + (1 - dampening) * grad
        step = grad + momentum * buffer if nesterov else buffer
        expected["momentum_buffer"] = buffer
    options = "--lr %s" % lr
    options += " --momentum %s" % momentum if momentum else ""
    options += " --dampening %s" % dampening if dampening else ""
    options += " --nesterov" if nesterov else ""
    options += " --weight-decay %s" % decay if decay else ""
    return "sgd", options, inputs, {"param": param - lr * step, **expected}


def sqrt_sgd(draw, lr=0.001, epochs=1000, tolerance=1e-7):
    """Descent of (x² - a)². An element ends with the first step that began within the tolerance."""
    inputs = {"a": torch.tensor([25.0, 2.0, 0.01, 9.0]), "x0": torch.tensor([0.5, 1.0, 0.3, 0.9])}
    a, x = inputs["a"].double(), inputs["x0"].double()
    running = torch.ones_like(x, dtype=torch.bool)
    for _ in range(epochs):
        within = (x * x - a) ** 2 <= tolerance
        x = torch.where(running, x - lr * 4 * x * (x * x - a), x)
        running = running & ~within
    return "sqrt_sgd", "--lr %s --epochs %d --tolerance 1e-7" % (lr, epochs), inputs, {"out": x}


# ---------------------------------------------------------------- all cases


def cases(large):
    yield from attention_cases()
    yield "mha_self_causal", lambda draw: mha(draw, 2, 17, 0, 32, 4, causal="top-left")
    yield "mha_self_nobias", lambda draw: mha(draw, 2, 20, 0, 24, 3, biased=False)
    yield "mha_cross", lambda draw: mha(draw, 2, 17, 41, 48, 6)
    yield "mha_cross_mask", lambda draw: mha(draw, 3, 17, 41, 40, 5, mask=True)
    yield "linear_one", lambda draw: linear(draw, 1, 1, 1)
    yield "linear_bias", lambda draw: linear(draw, 33, 65, 17)
    yield "linear_nobias", lambda draw: linear(draw, 5, 129, 64, biased=False)
    yield "softmax_one", lambda draw: softmax(draw, 4, 1)
    yield "softmax_rows", lambda draw: softmax(draw, 7, 33)
    yield "softmax_axis0", lambda draw: softmax(draw, 33, 5, axis=0)
    yield "softmax_middle", lambda draw: softmax(draw, 3, 17, 4, axis=1)
    yield "softmax_huge", lambda draw: softmax(draw, 5, 1000, stretch=60.0)
    yield "cross_entropy_index", lambda draw: cross_entropy(draw, 64, 10)
    yield "cross_entropy_sum", lambda draw: cross_entropy(draw, 9, 33, reduction="sum")
    yield "cross_entropy_none", lambda draw: cross_entropy(draw, 9, 33, reduction="none")
    yield "cross_entropy_smooth", lambda draw: cross_entropy(draw, 31, 100, smoothing=0.1)
    yield "cross_entropy_ignore", lambda draw: cross_entropy(draw, 31, 10, ignore=-100)
    yield "cross_entropy_probs", lambda draw: cross_entropy(draw, 16, 21, target="shares")
    yield "cross_entropy_from_probs", lambda draw: cross_entropy_from_probs(draw, 12, 10)
    yield "cross_entropy_huge", lambda draw: cross_entropy(draw, 8, 1000, stretch=40.0)
    yield "mlp_single", lambda draw: mlp(draw, 3, 5, 2)
    yield "mlp_deep", lambda draw: mlp(draw, 33, 19, 64, 33, 7)
    yield "sgd_plain", lambda draw: sgd(draw, 1001, 0.1)
    yield "sgd_momentum", lambda draw: sgd(draw, 1001, 0.01, 0.5)
    yield "sgd_dampening", lambda draw: sgd(draw, 1001, 0.05, 0.9, dampening=0.3)
    yield "sgd_nesterov", lambda draw: sgd(draw, 1001, 0.05, 0.9, decay=0.001, nesterov=True)
    yield "sqrt_sgd", sqrt_sgd
    if large:
        yield "attention_large", lambda draw: attention(draw, 1, 2, 2, 257, 385, 64, causal="bottom-right")
        yield "attention_large_gqa", lambda draw: attention(draw, 2, 4, 1, 129, 257, 80)
        yield "linear_wide", lambda draw: linear(draw, 64, 784, 512)
        yield "mlp_mnist", lambda draw: mlp(draw, 64, 784, 512, 10)
        yield "softmax_wide", lambda draw: softmax(draw, 2, 20011)


def error(actual, expected):
    """‖x − r‖/‖r‖ over the finite elements; infinite where others are finite."""
    a, r = actual.double(), expected.double()
    finite = torch.isfinite(r)
    if a.shape != r.shape or not torch.equal(a[~finite], r[~finite]) or not torch.isfinite(a[finite]).all():
        return math.inf
    norm = r[finite].norm().item()
    return (a[finite] - r[finite]).norm().item() / (norm or 1.0)


def differences(path, inputs, expected, operator, options):
    metadata, stored = read(path)
    if metadata != {"op": operator, "options": options}:
        yield "the call is another one: %s" % metadata
    names = set(inputs) | {"expected." + name for name in expected}
    if names != set(stored):
        yield "the tensors are others: %s" % sorted(names ^ set(stored))
        return
    for name, value in inputs.items():
        if not torch.equal(value, stored[name]):
            yield "%s is another input" % name
    # A gradient that is zero in exact arithmetic is rounding here, and is measured by the largest gradient.
    largest = max((v.double().norm().item() for n, v in expected.items() if n.startswith("grad.")), default=0.0)
    for name, value in expected.items():
        if name.startswith("grad.") and value.double().norm().item() < 1e-12 * largest:
            continue
        found = error(value.detach().float(), stored["expected." + name])
        if not found <= 1e-7:
            yield "%s differs by %.1e" % (name, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=HERE)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count = wrong = 0
    for name, make in cases(arguments.large):
        operator, options, inputs, expected = make(Draw(name))
        path = os.path.join(arguments.folder, name + ".safetensors")
        count += 1
        if arguments.check:
            found = list(differences(path, inputs, expected, operator, options)) if os.path.exists(path) else ["there is no file"]
            for text in found:
                print("%s: %s" % (name, text), file=sys.stderr)
            wrong += bool(found)
        else:
            write(path, inputs, expected, operator, options)
    print("%d cases %s" % (count, "compared, %d differ" % wrong if arguments.check else "written to " + arguments.folder))
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
