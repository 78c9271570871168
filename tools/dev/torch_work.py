"""PyTorch's side of tools/dev/compare-torch: each case as a function to be timed, and the timing.

What heed is asked for meanwhile, and what becomes of the times, is the script's matter.
"""
import gzip
import math
import os
import statistics
import struct
import time

import torch

# ---------------------------------------------------------------- timing


def timed(run, count, cuda):
    start = time.perf_counter()
    for _ in range(count):
        run()
    if cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3 / count


def time_torch(run, seconds, cuda):
    """Median milliseconds of a call; a sample is calls queued for 5 ms or more, as in heed bench."""
    timed(run, 1, cuda)
    warm = timed(run, 1, cuda)
    count = 1 if warm > 5 else int(5 / max(warm, 1e-3)) + 1
    samples = max(5, min(1000, int(seconds * 1e3 / max(warm * count, 1e-3))))
    return statistics.median(timed(run, count, cuda) for _ in range(samples))


# ---------------------------------------------------------------- cases


class Work:
    """PyTorch's side of each case: returns what is to be timed, a function without arguments."""

    def __init__(self, cuda):
        self.device = "cuda" if cuda else "cpu"

    def normal(self, *shape, dtype="f32"):
        return torch.randn(shape, device=self.device).to({"f32": torch.float32, "f16": torch.float16}[dtype])

    def gemm(self, m, n, k, ta=False, tb=False, batch=1, dtype="f32"):
        lead = (batch,) if batch > 1 else ()
        a = self.normal(*lead, *((k, m) if ta else (m, k)), dtype=dtype)
        b = self.normal(*lead, *((n, k) if tb else (k, n)), dtype=dtype)
        a, b = a.transpose(-1, -2) if ta else a, b.transpose(-1, -2) if tb else b
        c = self.normal(*lead, m, n, dtype=dtype)
        return lambda: torch.matmul(a, b, out=c)

    def softmax(self, rows, cols):
        x, y = self.normal(rows, cols), self.normal(rows, cols)
        try:
            torch.softmax(x, -1, out=y)
        except TypeError:
            return lambda: torch.softmax(x, -1)
        return lambda: torch.softmax(x, -1, out=y)

    def attention(self, batch, heads, seq, dim, causal, backward, dtype="f32"):
        q, k, v, grad = (self.normal(batch, heads, seq, dim, dtype=dtype) for _ in range(4))
        run = self.fused(causal, dtype)
        if not run:
            run = explicit(seq, dim, causal, q)
            q, k, v, grad = (t.flatten(0, 1) for t in (q, k, v, grad))
        inputs = [t.requires_grad_(backward) for t in (q, k, v)]
        if not backward:
            return no_grad(lambda: run(*inputs))
        out = run(*inputs)
        return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)

    def fused(self, causal, dtype):
        """scaled_dot_product_attention; None where this PyTorch has none. F16 on CUDA is held to its flash backend."""
        attend = getattr(torch.nn.functional, "scaled_dot_product_attention", None)
        if not attend or self.device == "cpu" or dtype != "f16":
            return attend and (lambda q, k, v: attend(q, k, v, is_causal=causal))

        def flash(q, k, v):
            try:
                from torch.nn.attention import SDPBackend, sdpa_kernel

                only = sdpa_kernel(SDPBackend.FLASH_ATTENTION)
            except ImportError:
                only = torch.backends.cuda.sdp_kernel(enable_flash=True, enable_math=False, enable_mem_efficient=False)
            with only:
                return attend(q, k, v, is_causal=causal)

        return flash

    def mha(self, batch, seq, model, heads, backward):
        module = torch.nn.MultiheadAttention(model, heads, batch_first=True).to(self.device).train(backward)
        mask = causal_mask(seq, self.device)
        x, grad = self.normal(batch, seq, model).requires_grad_(backward), self.normal(batch, seq, model)
        more = {"is_causal": True} if hasattr(torch.nn.functional, "scaled_dot_product_attention") else {}

        def forward():
            return module(x, x, x, attn_mask=mask, need_weights=False, **more)[0]

        def both():
            x.grad = None
            module.zero_grad(set_to_none=True)
            forward().backward(grad)

        return both if backward else no_grad(forward)

    def step(self, sizes, batch):
        x = self.normal(batch, sizes[0])
        target = torch.randint(0, sizes[-1], (batch,), device=self.device)
        step = self.trainer(sizes)
        return lambda: step(x, target)

    def trainer(self, sizes):
        layers = []
        for width, following in zip(sizes, sizes[1:]):
            layers += [torch.nn.Linear(width, following), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1]).to(self.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
        loss = torch.nn.CrossEntropyLoss()

        def step(x, target):
            optimizer.zero_grad(set_to_none=True)
            loss(model(x), target).backward()
            optimizer.step()

        return step

    def epoch(self, folder, sizes, batch):
        """Shuffled passes over images that lie normalised in one tensor; the test set is left out on both sides."""
        images, labels = (t.to(self.device) for t in read_digits(folder))
        step = self.trainer(sizes)
        step(images[:batch], labels[:batch])  # what the first step alone takes is no part of an epoch

        def run():
            order = torch.randperm(len(images), device=self.device)
            for i in range(0, len(images), batch):
                chosen = order[i : i + batch]
                step(images[chosen], labels[chosen])

        return run


def no_grad(run):
    def without():
        with torch.no_grad():
            return run()

    return without


def causal_mask(seq, device):
    return torch.full((seq, seq), -math.inf, device=device).triu(1)


def explicit(seq, dim, causal, like):
    """Product, softmax, product: what nn.MultiheadAttention of PyTorch 1.13 does inside, on [B·H, L, D]."""
    mask = causal_mask(seq, like.device).to(like.dtype) if causal else None

    def attend(q, k, v):
        q = q / math.sqrt(dim)
        scores = torch.baddbmm(mask, q, k.transpose(1, 2)) if causal else torch.bmm(q, k.transpose(1, 2))
        return torch.bmm(torch.softmax(scores, -1), v)

    return attend


# ---------------------------------------------------------------- digits


def read_idx(folder, name, header):
    for path, reader in ((os.path.join(folder, name), open), (os.path.join(folder, name + ".gz"), gzip.open)):
        if os.path.exists(path):
            with reader(path, "rb") as file:
                data = file.read()
            dims = struct.unpack_from(f">{header}I", data, 4)
            return torch.frombuffer(bytearray(data[4 + 4 * header :]), dtype=torch.uint8).reshape(dims)
    raise FileNotFoundError(f"{folder} has no {name}, plain or .gz")


def read_digits(folder):
    images = read_idx(folder, "train-images-idx3-ubyte", 3).flatten(1).float()
    return (images / 255 - 0.1307) / 0.3081, read_idx(folder, "train-labels-idx1-ubyte", 1).long()
