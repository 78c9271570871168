#!/usr/bin/env python3
"""Holds heed against `transformers`, `tokenizers` and PyTorch, in both directions, on tiny models that are made here.

  folders     what transformers writes (dtypes, shards, spellings of configurations), heed reads: logits, loss, ids, size, attention weights
  written     what heed trains and writes, transformers opens: logits, greedy ids, tokenizer, the keys of config.json
  tokenizers  what the library tokenizers writes, heed reads: ids, and texts again from ids
  steps       ten steps of AdamW from a folder of transformers: losses, rates, norms, weights

Everything is seeded. Prints a line for each comparison; exits with 1 when one has failed. tests/test_transformers.sh runs this.
"""

import argparse
import json
import math
import os
import random
import shutil
import sys
import tempfile

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

import transformers_support as support
from transformers_support import ARCHITECTURES, CONTEXT, FORWARD, KEYS_BIAS, LOSS, WEIGHTS, Failure
from transformers_support import expect, expect_close, expect_ids, expect_near, losses_of, make_model, save_model

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")

# ---------------------------------------------------------------- folders that transformers writes

FORMS = {
    "f32": {},
    "f16 in shards": {"dtype": torch.float16, "shard": "12KB"},
    "bf16": {"dtype": torch.bfloat16},
}


def compare_forward(heed, model, folder, seed):
    tokens, targets = support.draw_tokens(model, seed)
    with torch.no_grad():
        expected = model(tokens).logits
    logits, loss = heed.forward(folder, tokens, targets)
    expect_close(logits, expected, FORWARD, "logits")
    expect_near(loss.item(), losses_of(expected, targets).mean().item(), FORWARD, "loss")


def compare_greedy(heed, model, folder):
    prompt = [5, 90, 33, 1, 17]
    expected = support.greedy_ids(model, prompt, 24)
    expect_ids(heed.greedy(folder, prompt, 24, "--ignore-eos"), expected, "greedy")
    expect_ids(heed.greedy(folder, prompt, 24, "--ignore-eos", "--top-k", 3), expected, "greedy among three")
    end = expected[9]
    support.edit_json(folder, lambda config: config.update(eos_token_id=[96 if end != 96 else 95, end]))
    stops = min(i for i, token in enumerate(expected) if token in (end, 96 if end != 96 else 95))
    expect_ids(heed.greedy(folder, prompt, 24), expected[:stops], "greedy to the end of text")


def compare_eval(heed, model, folder):
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(0, model.config.vocab_size, (5 * CONTEXT + 20,), generator=generator)
    for wide, length in ((False, CONTEXT), (True, 16)):
        data = os.path.join(folder, "data.bin")
        support.write_token_file(data, ids.tolist(), wide)
        starts = range(0, len(ids) - length, length)
        windows = torch.stack([ids[start : start + length + 1] for start in starts])
        with torch.no_grad():
            expected = losses_of(model(windows[:, :-1]).logits, windows[:, 1:]).double().mean().item()
        more = [] if length == CONTEXT else ["--context", length]
        found = heed.lm("eval", "--model", folder, "--data", data, *more)
        expect_near(found["loss"], expected, FORWARD, f"loss at context {length}")
        expect_near(found["perplexity"], math.exp(expected), 10 * FORWARD, f"perplexity at context {length}")
        expect(found["tokens"] == windows[:, 1:].numel(), f"{found['tokens']} tokens, not {windows[:, 1:].numel()}")
        expect(found["bits_per_byte"] is None, "bits per byte without a tokenizer")


def compare_attention(heed, model, folder):
    """The weights of every layer and head for a text."""
    support.write_characters(folder)
    text = "The quick brown fox, 13 (or 5) lazy dogs."
    result = os.path.join(folder, "attention.out")
    heed.run("lm", "attention", "--model", folder, "--text", text, "--layer", "all", "-o", result)
    found = load_file(result)
    expect_ids(found["tokens"].tolist(), [ord(character) - 32 for character in text], "tokens")
    with torch.no_grad():
        expected = model(found["tokens"][None].long(), output_attentions=True).attentions
    expect(len(expected) == len(found) - 1, f"{len(found) - 1} layers, not {len(expected)}")
    for layer, weights in enumerate(expected):
        expect_close(found[f"attentions.{layer}"], weights, FORWARD, f"the weights of layer {layer}")


def compare_info(heed, model, folder):
    found = heed.lm("info", "--model", folder)
    expected = sum(parameter.numel() for parameter in model.parameters())
    expect(found["parameters"] == expected, f"{found['parameters']} parameters, not {expected}")


def check_folder(heed, work, architecture, form, seed):
    folder = os.path.join(work, "folder")
    model = make_model(architecture, seed, tie_word_embeddings=form != "f32")
    save_model(model, folder, **FORMS[form])
    support.edit_json(folder, support.new_spelling if form == "f32" else support.old_spelling)
    shards = [name for name in os.listdir(folder) if name.startswith("model-")]
    expect(len(shards) > 2 if "shards" in form else not shards, f"transformers wrote {len(shards)} shards")
    compare_forward(heed, model, folder, seed)
    compare_info(heed, model, folder)
    compare_eval(heed, model, folder)
    compare_greedy(heed, model, folder)
    compare_attention(heed, model, folder)


def check_first_files(heed, work):
    """GPT-2's first files: names without a prefix, and masks among the weights."""
    folder = os.path.join(work, "folder")
    model = make_model("gpt2", 7)
    save_model(model, folder)
    path = os.path.join(folder, "model.safetensors")
    state = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    for layer in range(model.config.n_layer):
        state[f"h.{layer}.attn.bias"] = torch.ones(CONTEXT, CONTEXT).tril().view(1, 1, CONTEXT, CONTEXT)
        state[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(state, path)
    support.edit_json(folder, lambda config: [config.pop(key, None) for key in ("tie_word_embeddings", "n_ctx")])
    compare_forward(heed, model, folder, 7)


def check_window(heed, work):
    """sliding_window null is none, and the window is told from the whole."""
    folder = os.path.join(work, "folder")
    model = make_model("mistral", 8, sliding_window=None)
    save_model(model, folder)
    compare_forward(heed, model, folder, 8)
    compare_greedy(heed, model, folder)


def folder_checks():
    for i, architecture in enumerate(ARCHITECTURES):
        for k, form in enumerate(FORMS):
            yield f"folders {architecture} {form}", check_folder, (architecture, form, 11 + 10 * i + k)
    yield "folders gpt2 as first files", check_first_files, ()
    yield "folders mistral without window", check_window, ()


# ---------------------------------------------------------------- folders that heed writes

TEXTS = [
    "Hello, world! It's 2026; isn't it?", "  two  spaces\tand a tab\n\n\nlines ", "naïve café — “quoted” ’s",
    "漢字かな 한글 नमस्ते ไทย עברית", "😀👨‍👩‍👧‍👦 e\u0301 \u00a0x\u3000y\u200bz", "1234567890 3.14159 ４５ ⅷ½²", "a", " ", "\r\n",
    "def f(x):\n\treturn x**2  # square\n", "''ll 's'S 're'D don't DON'T", "<|endoftext|>a<|end|><|en d|>", "\x00\x01\x7f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "___--__!!?!\n!", "x" * 700, " " * 90 + "y",
]  # fmt: skip
SENTENCE = "The quick brown fox jumps over the lazy dog, and 13 more follow.\n"


def open_folder(folder):
    model, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        expect(not told[kind], f"transformers tells of {kind}: {sorted(told[kind])[:3]}")
    return model.float().eval()


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def sizes_of(architecture):
    grouped = [] if architecture == "gpt2" else ["--kv-heads", 2]
    return ["--arch", architecture, "--layers", 2, "--heads", 4, *grouped, "--width", 32, "--context", 24]


def open_tokenizer(folder):
    """For a qwen2, AutoTokenizer of transformers 5 takes Qwen2's own rules, whatever the folder says."""
    by_name = read_json(folder, "config.json")["model_type"] == "qwen2"
    opener = transformers.PreTrainedTokenizerFast if by_name else transformers.AutoTokenizer
    return opener.from_pretrained(folder)


def check_written(heed, work, architecture, tokenizer, more):
    """A model from nothing, of few steps, large rates and thus weights far from where they began."""
    data, folder = os.path.join(work, "text.txt"), os.path.join(work, "saved")
    with open(data, "w", encoding="utf-8") as file:
        file.write(SENTENCE * 40)
    heed.run("lm", "train", "--data", data, "--tokenizer", tokenizer, *sizes_of(architecture), "--batch", 3,
             "--steps", 12, "--lr", 0.02, "--val-fraction", 0, "--save", folder, *more)  # fmt: skip
    model = open_folder(folder)
    dtypes = {value.dtype for value in load_file(os.path.join(folder, "model.safetensors")).values()}
    saved = {"bf16": torch.bfloat16, "f16": torch.float16}.get(more[-1] if more else "", torch.float32)
    expect(dtypes == {saved}, f"the weights are {dtypes}, not {saved}")
    tokens, targets = support.draw_tokens(model, 3, length=24)
    with torch.no_grad():
        expected = model(tokens).logits
    logits, _ = heed.forward(folder, tokens, targets)
    expect_close(logits, expected, FORWARD, "logits")
    theirs = open_tokenizer(folder)
    texts = TEXTS if tokenizer == "bytes" else [SENTENCE, SENTENCE[3:9], "\n"]
    for text in texts:
        ids = theirs(text, add_special_tokens=False).input_ids
        expect_ids(heed.tokenize(text.encode(), "--model", folder), ids, f"ids of {text[:20]!r}")
        expect(theirs.decode(ids) == text, f"transformers decodes {text[:20]!r} to {theirs.decode(ids)[:20]!r}")
    prompt = theirs("The qui", add_special_tokens=False).input_ids
    expect_ids(heed.greedy(folder, prompt, 16, "--ignore-eos"), support.greedy_ids(model, prompt, 16), "greedy")
    if tokenizer == "bytes":
        found = heed.lm("eval", "--model", folder, "--data", data)
        expect_near(found["bits_per_byte"], found["loss"] / math.log(2), 1e-6, "bits per byte")


def check_kept(heed, work, architecture, kind):
    """What began as a folder of transformers keeps its keys and its tokenizer."""
    first, data, folder = (os.path.join(work, name) for name in ("first", "text.txt", "saved"))
    with open(data, "w", encoding="utf-8") as file:
        file.write(SENTENCE * 20)
    model = make_model(architecture, 5, vocab=400)
    save_model(model, first, dtype=torch.bfloat16, shard="30KB")
    mine = {"pad_token_id": 299, "a_key_of_mine": {"deep": [1, 2.5, None, "ü"]}}
    support.edit_json(first, lambda config: config.update(mine))
    tokenizer = train_tokenizer(kind, 390)
    tokenizer.save(os.path.join(first, "tokenizer.json"))
    heed.run("lm", "train", "--init", first, "--data", data, "--context", 16, "--batch", 2, "--steps", 2,
             "--val-fraction", 0, "--save", folder)  # fmt: skip
    before, after = read_json(first, "config.json"), read_json(folder, "config.json")
    for key, value in before.items():
        if key not in ("dtype", "torch_dtype", "transformers_version", "architectures"):
            expect(after.get(key, "missing") == value, f"config.json: {key} is {after.get(key)}, and was {value}")
    opened, theirs = open_folder(folder), open_tokenizer(folder)
    tokens, targets = support.draw_tokens(opened, 3)
    with torch.no_grad():
        expect_close(heed.forward(folder, tokens, targets)[0], opened(tokens).logits, FORWARD, "logits")
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        expect_ids(heed.tokenize(text.encode(), "--model", folder), ids, f"ids of {text[:20]!r}")
        expect_ids(theirs(text, add_special_tokens=False).input_ids, ids, f"ids by transformers of {text[:20]!r}")


def written_checks():
    for architecture in ARCHITECTURES:
        for tokenizer in ("bytes", "chars"):
            yield f"written {architecture} of {tokenizer}", check_written, (architecture, tokenizer, [])
    yield "written gpt2 untied in bf16", check_written, ("gpt2", "bytes", ["--no-tie", "--save-dtype", "bf16"])
    yield "written llama tied in f16", check_written, ("llama", "bytes", ["--tie", "--save-dtype", "f16"])
    for architecture, kind in (("gpt2", "plain"), ("llama", "split"), ("mistral", "prefix"), ("qwen2", "digits")):
        yield f"written {architecture} keeps what it was", check_kept, (architecture, kind)


# ---------------------------------------------------------------- tokenizers

GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(kind, size):
    """Learned from README.md and docs/commands.md, with what models of this kind have around the merges."""
    pre, processors = tokenizers.pre_tokenizers, tokenizers.processors
    made = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=kind == "split"))
    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=kind != "split")
    before = {
        "plain": byte_level,
        "prefix": pre.ByteLevel(add_prefix_space=True),
        "digits": pre.Sequence([pre.Digits(individual_digits=True), byte_level]),
        "split": pre.Sequence([pre.Split(tokenizers.Regex(GPT4), behavior="isolated"), byte_level]),
    }
    made.pre_tokenizer, made.decoder = before[kind], tokenizers.decoders.ByteLevel()
    if kind == "split":
        made.normalizer = tokenizers.normalizers.NFC()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train([os.path.join(ROOT, "README.md"), os.path.join(ROOT, "docs", "commands.md")], trainer)
    made.add_special_tokens(["<|end|>"])
    made.add_tokens(["don't"])
    if kind == "digits":
        template = {"single": "<|endoftext|> $A", "special_tokens": [("<|endoftext|>", 0)]}
        made.post_processor = processors.TemplateProcessing(**template)
    return made


def more_texts(seed):
    """README by pieces, and characters from everywhere."""
    draw = random.Random(seed)
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    texts = [readme]
    for _ in range(12):
        start = draw.randrange(len(readme))
        texts.append(readme[start : start + draw.randrange(300)])
    ranges = ((1, 0x80), (0x80, 0x500), (0x900, 0xD800), (0xE000, 0x20000))
    for _ in range(20):
        texts.append("".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.randrange(1, 80))))
    return texts


def check_tokenizer(heed, work, kind):
    made = train_tokenizer(kind, 900)
    folder = os.path.join(work, "tokenizer")
    os.makedirs(folder)
    made.save(os.path.join(folder, "tokenizer.json"))
    for text in TEXTS + more_texts(9):
        found = heed.tokenize(text.encode(), "--tokenizer", folder)
        expect_ids(found, made.encode(text, add_special_tokens=False).ids, f"ids of {text[:20]!r}")
        back = heed.run("lm", "tokenize", "--tokenizer", folder, "--decode", text="\n".join(map(str, found)).encode())
        expected = made.decode(found, skip_special_tokens=False)
        expect(
            back.decode(errors="replace") == expected, f"{text[:20]!r} decodes to {back[:20]!r}, not {expected[:20]!r}"
        )
    if kind == "digits":
        found = heed.tokenize(b"so be it", "--tokenizer", folder, "--template")
        expect_ids(found, made.encode("so be it").ids, "ids with the template")


def check_merges(heed, work):
    """vocab.json and merges.txt: GPT-2's rule, where no special token is matched in a text."""
    folder = os.path.join(work, "tokenizer")
    os.makedirs(folder)
    train_tokenizer("plain", 900).model.save(folder)
    model = tokenizers.models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"))
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in TEXTS + more_texts(10):
        found = heed.tokenize(text.encode(), "--tokenizer", folder)
        expect_ids(found, made.encode(text).ids, f"ids of {text[:20]!r}")
        back = heed.run("lm", "tokenize", "--tokenizer", folder, "--decode", text="\n".join(map(str, found)).encode())
        expect(back == text.encode(), f"{text[:20]!r} decodes to {back[:20]!r}")


def tokenizer_checks():
    for kind in ("plain", "prefix", "digits", "split"):
        yield f"tokenizers {kind}", check_tokenizer, (kind,)
    yield "tokenizers vocab.json and merges.txt", check_merges, ()


# ---------------------------------------------------------------- steps of training


class Recipe:
    """The same steps for heed, as options, and for PyTorch."""

    steps, batch, length = 10, 2, 20
    lr, min_lr, warmup, betas, eps = 2e-3, 2e-4, 3, (0.9, 0.95), 1e-7

    def __init__(self, plain):
        self.plain = plain
        self.accumulate, self.decay, self.clip = (1, 0.0, 0.0) if plain else (2, 0.1, 0.7)

    def options(self):
        given = ["--steps", self.steps, "--batch", self.batch, "--context", self.length, "--order", "sequential",
                 "--lr", self.lr, "--beta2", self.betas[1], "--eps", self.eps, "--val-fraction", 0]  # fmt: skip
        if not self.plain:
            given += ["--schedule", "cosine", "--min-lr", self.min_lr, "--warmup", self.warmup, "--accumulate",
                      self.accumulate, "--weight-decay", self.decay, "--clip", self.clip]  # fmt: skip
        return given

    def rate(self, step):
        if self.plain:
            return self.lr
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        part = (step - self.warmup) / (self.steps - self.warmup)
        return self.min_lr + 0.5 * (1 + math.cos(math.pi * part)) * (self.lr - self.min_lr)

    def window(self, data, step, micro):
        starts = [((step * self.accumulate + micro) * self.batch + row) * self.length for row in range(self.batch)]
        rows = [[data[(start + i) % len(data)] for i in range(self.length + 1)] for start in starts]
        return torch.tensor(rows)

    def train(self, model, data):
        """Losses, rates and norms of each step; the model is changed."""
        decayed = [p for p in model.parameters() if p.dim() >= 2]
        others = [p for p in model.parameters() if p.dim() < 2]
        groups = [{"params": decayed, "weight_decay": self.decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps)
        told = []
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
            optimizer.zero_grad()
            total = 0.0
            for micro in range(self.accumulate):
                ids = self.window(data, step, micro)
                loss = losses_of(model(ids[:, :-1]).logits, ids[:, 1:]).mean() / self.accumulate
                loss.backward()
                total += loss.item()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip or math.inf).item()
            optimizer.step()
            told.append({"loss": total, "lr": self.rate(step), "norm": norm})
        return told


def check_steps(heed, work, architecture, plain):
    """PyTorch in F64, so that what differs is heed's rounding."""
    first, data, folder, log = (os.path.join(work, name) for name in ("first", "data.bin", "saved", "log"))
    recipe = Recipe(plain)
    model = make_model(architecture, 6)
    save_model(model, first)
    ids = torch.randint(0, 97, (331,), generator=torch.Generator().manual_seed(2)).tolist()  # the order wraps
    support.write_token_file(data, ids)
    heed.run("lm", "train", "--init", first, "--data", data, *recipe.options(), "--save", folder, "--log", log,
             "--log-every", 1)  # fmt: skip
    expected = recipe.train(model.double().train(), ids)
    with open(log, encoding="utf-8") as lines:
        found = [event for event in map(json.loads, lines) if event["event"] == "step"]
    expect([event["step"] for event in found] == list(range(recipe.steps)), "the log has other steps")
    for step, (ours, theirs) in enumerate(zip(found, expected)):
        expect_near(ours["loss"], theirs["loss"], LOSS, f"loss of step {step}")
        expect_near(ours["lr"], theirs["lr"], 1e-6, f"rate of step {step}")
        expect_near(ours["norm"], theirs["norm"], WEIGHTS, f"norm of step {step}")
    trained = open_folder(folder).state_dict()
    for name, value in model.state_dict().items():
        keys_bias = name.endswith(("c_attn.bias", "k_proj.bias"))
        expect_close(trained[name], value, KEYS_BIAS if keys_bias else WEIGHTS, name)


def step_checks():
    for architecture in ARCHITECTURES:
        yield f"steps {architecture}", check_steps, (architecture, True)
        yield f"steps {architecture} with all options", check_steps, (architecture, False)


# ---------------------------------------------------------------- the program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heed", help="the program")
    parser.add_argument("--work", help="an empty folder for files (default: a temporary one)")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="comparisons whose name holds one of these words")
    settings = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    heed, base = support.Heed(os.path.abspath(settings.heed)), settings.work or tempfile.mkdtemp()
    failed = ran = 0
    for name, check, arguments in [*folder_checks(), *written_checks(), *tokenizer_checks(), *step_checks()]:
        if settings.only and not any(word in name for word in settings.only):
            continue
        work = os.path.join(base, name.replace(" ", "-"))
        os.makedirs(work)
        ran += 1
        try:
            check(heed, work, *arguments)
            print(f"ok      {name}", flush=True)
        except (Failure, KeyError, ValueError, OSError) as failure:
            failed += 1
            kind = "" if isinstance(failure, Failure) else f"{type(failure).__name__}: "
            print(f"FAILED  {name}: {kind}{failure}", flush=True)
        shutil.rmtree(work)
    if not ran:
        parser.error("no comparison has such a name")
    print(f"{ran - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
