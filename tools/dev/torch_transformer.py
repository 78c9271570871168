"""PyTorch's side of tools/dev/compare-torch for transformers: GPT-2's training step and decoding, and the row operators.

Each runs in one of several ways: eager, compiled (torch.compile) or, for training, autocast (to BF16, eager). GPT-2 is
written as one would for speed: fused attention, one product for q, k and v, a fused AdamW, caches written in place.
"""
import contextlib

import torch
from torch.nn import functional

# ---------------------------------------------------------------- ways


def compiled(function):
    """For these shapes alone, whatever was compiled before."""
    compiler = getattr(torch, "compile", None)
    if not compiler:
        raise RuntimeError("this PyTorch has no torch.compile")
    torch._dynamo.reset()
    # A compiled backward is called again on the same graph, to time it apart from the forward.
    functorch = getattr(torch, "_functorch", None)
    if functorch and hasattr(functorch.config, "donated_buffer"):
        functorch.config.donated_buffer = False
    return compiler(function, dynamic=False)


def by(way, function):
    return compiled(function) if way == "compiled" else function


# ---------------------------------------------------------------- GPT-2


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn, self.attn_proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.fc, self.fc_proj = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x, keys=None, values=None):
        """keys and values: room for all positions up to this one, the last; without them, causal attention over x."""
        batch, length, width = x.shape
        parts = self.attn(self.ln_1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if keys is not None:
            keys[:, :, -1:], values[:, :, -1:] = k, v
            k, v = keys, values
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=keys is None)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.fc_proj(functional.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT2(torch.nn.Module):
    def __init__(self, layers, heads, width, context, vocab):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(vocab, width), torch.nn.Embedding(context, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def decode(self, token, caches):
        """Logits of the token after this one, which stands at the caches' last position."""
        x = self.wte(token) + self.wpe.weight[caches[0][0].shape[2] - 1]
        for block, (keys, values) in zip(self.blocks, caches):
            x = block(x, keys, values)
        return functional.linear(self.ln_f(x), self.wte.weight)


def training_step(model, tokens, targets, forward=None, cast=contextlib.nullcontext()):
    """A function that takes one step: gradients, clipped, and AdamW, which decays matrices. forward: the model, as it is called."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    # By identity: a compiled model has no truth value.
    forward = model if forward is None else forward

    def step():
        optimizer.zero_grad(set_to_none=True)
        with cast:
            loss = forward(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


# ---------------------------------------------------------------- cases


class Transformer:
    """PyTorch's side of each case: returns what is to be timed, a function without arguments."""

    def __init__(self, work):
        self.device, self.normal = work.device, work.normal

    def tokens(self, vocab, *shape):
        return torch.randint(0, vocab, shape, device=self.device)

    def train(self, way, layers, heads, width, context, batch, vocab):
        model = GPT2(layers, heads, width, context, vocab).to(self.device)
        tokens, targets = self.tokens(vocab, batch, context), self.tokens(vocab, batch, context)
        cast = torch.autocast(self.device, dtype=torch.bfloat16) if way == "autocast" else contextlib.nullcontext()
        return training_step(model, tokens, targets, by(way, model), cast)

    def decode(self, way, layers, heads, width, context, vocab):
        """One token behind context - 1 others."""
        model = GPT2(layers, heads, width, context, vocab).to(self.device).eval()
        shape = (1, heads, context, width // heads)
        caches = [(self.normal(*shape), self.normal(*shape)) for _ in range(layers)]
        token = self.tokens(vocab, 1, 1)
        return self.forward(way, lambda: model.decode(token, caches))

    def forward(self, way, function):
        function = by(way, function)

        def run():
            with torch.no_grad():
                return function()

        return run

    def row(self, way, function, inputs, backward):
        """The function of these inputs, or its gradients alone."""
        if not backward:
            return self.forward(way, lambda: function(*inputs))
        inputs = [x.requires_grad_() for x in inputs]
        out = by(way, function)(*inputs)
        grad = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)

    def layer_norm(self, way, rows, width, backward):
        inputs = [self.normal(rows, width), self.normal(width), self.normal(width)]
        return self.row(way, lambda x, w, b: functional.layer_norm(x, (width,), w, b, 1e-5), inputs, backward)

    def rms_norm(self, way, rows, width, backward):
        def norm(x, w):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w

        fused = getattr(functional, "rms_norm", None)
        inputs = [self.normal(rows, width), self.normal(width)]
        return self.row(way, (lambda x, w: fused(x, (width,), w, 1e-5)) if fused else norm, inputs, backward)

    def embedding(self, way, rows, vocab, width, backward):
        """Backward: added to the gradient that is there, as for a table tied to the head."""
        table, tokens = self.normal(vocab, width), self.tokens(vocab, rows)
        if not backward:
            return self.forward(way, lambda: functional.embedding(tokens, table))
        grad = self.normal(rows, width)
        return self.forward(way, lambda: table.index_add_(0, tokens, grad))

    def rope(self, way, batch, heads, length, dim, backward):
        exponents = torch.arange(0, dim, 2, device=self.device) / dim
        angles = torch.arange(length, device=self.device)[:, None] * 1e4**-exponents
        cos, sin = (torch.cat((part, part), -1) for part in (angles.cos(), angles.sin()))

        def rotate(x):
            half = torch.cat((-x[..., dim // 2 :], x[..., : dim // 2]), -1)
            return x * cos + half * sin

        return self.row(way, rotate, [self.normal(batch, heads, length, dim)], backward)

    def swiglu(self, way, rows, width, backward):
        inputs = [self.normal(rows, width), self.normal(rows, width)]
        return self.row(way, lambda gate, up: functional.silu(gate) * up, inputs, backward)

    def adamw(self, way, count):
        parameter = torch.nn.Parameter(self.normal(count))
        parameter.grad = self.normal(count)
        # torch.compile fuses what the optimizer says in single operations.
        form = {"foreach": True} if way == "compiled" else {"fused": True}
        optimizer = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.1, **form)
        return by(way, optimizer.step)

    def cross_entropy(self, way, rows, vocab):
        logits, targets = self.normal(rows, vocab).requires_grad_(), self.tokens(vocab, rows)
        loss = by(way, functional.cross_entropy)

        def both():
            logits.grad = None
            loss(logits, targets).backward()

        return both
