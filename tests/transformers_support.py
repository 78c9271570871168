"""What tests/transformers_parity.py compares with: heed as a program, expectations, and tiny models with what PyTorch makes of them."""

import json
import math
import os
import struct
import subprocess
import tempfile

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

FORWARD, WEIGHTS, LOSS = 5e-6, 2e-5, 1e-6  # relative norms; the relative difference of losses
KEYS_BIAS = 1e-3  # its gradient is zero or nearly, and AdamW scales the rounding up
MARGIN = 1e-3  # the two largest logits lie at least this far apart, or greedy ids say nothing
CONTEXT = 48
ARCHITECTURES = ("gpt2", "llama", "mistral", "qwen2")


class Failure(Exception):
    """What differs, in words."""


def expect(holds, text):
    if not holds:
        raise Failure(text)


def expect_close(found, expected, tolerance, name):
    """By the relative norm. NaN fails."""
    expect(found.shape == expected.shape, f"{name} is {list(found.shape)}, not {list(expected.shape)}")
    found, expected = found.double(), expected.double()
    least = 1e-6 * math.sqrt(expected.numel())
    error = ((found - expected).norm() / max(expected.norm().item(), least)).item()
    expect(error <= tolerance, f"{name}: relative error {error:.2e}, tolerated {tolerance:g}")


def expect_near(found, expected, tolerance, name):
    near = isinstance(found, (int, float)) and abs(found - expected) <= tolerance * abs(expected)
    expect(near, f"{name} is {found}, not {expected:.9g} (to {tolerance:g})")


def expect_ids(found, expected, name):
    if found != expected:
        pairs = enumerate(zip(found, expected))
        at = next((i for i, (a, b) in pairs if a != b), min(len(found), len(expected)))
        raise Failure(f"{name}: id {at} differs: {found[at:at + 6]}, not {expected[at:at + 6]}")


class Heed:
    def __init__(self, path):
        self.path = path

    def run(self, *arguments, text=None):
        """Standard output, as bytes."""
        command = [self.path, *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        told = done.stderr.decode(errors="replace").strip()
        expect(done.returncode == 0, f"'{' '.join(command)}' exits with {done.returncode}: {told}")
        return done.stdout

    def lm(self, *arguments, text=None):
        return json.loads(self.run("lm", *arguments, "--json", text=text))

    def forward(self, folder, tokens, targets):
        """Logits and loss of `heed run lm`."""
        with tempfile.TemporaryDirectory() as scratch:
            given, result = os.path.join(scratch, "in.safetensors"), os.path.join(scratch, "out.safetensors")
            save_file({"tokens": tokens.int(), "targets": targets.int()}, given)
            self.run("run", "lm", "--model", folder, "-i", given, "-o", result)
            found = load_file(result)
        return found["logits"], found["loss"]

    def greedy(self, folder, prompt, count, *more):
        ids = ",".join(map(str, prompt))
        return self.lm("generate", "--model", folder, "--ids", ids, "--tokens", count, "--temperature", 0, *more)["ids"]

    def tokenize(self, text, *tokenizer):
        return [int(line) for line in self.run("lm", "tokenize", *tokenizer, text=text).split()]


# ---------------------------------------------------------------- models


def configuration(architecture, vocab=97, **more):
    """Odd sizes, and an epsilon and an angle that are nobody's default."""
    if architecture == "gpt2":
        more = {"n_inner": 50, "layer_norm_epsilon": 1e-4, **more}
        dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return transformers.GPT2Config(
            vocab_size=vocab, n_embd=36, n_head=3, n_layer=2, n_positions=CONTEXT, initializer_range=0.2,
            bos_token_id=0, eos_token_id=0, **dropout, **more,
        )  # fmt: skip
    kind = {"llama": "LlamaConfig", "mistral": "MistralConfig", "qwen2": "Qwen2Config"}[architecture]
    if architecture == "mistral":
        more = {"sliding_window": 7, "head_dim": 10, **more}
    more = {"rope_theta": 300.0, **more}
    return getattr(transformers, kind)(
        vocab_size=vocab, hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, rms_norm_eps=1e-4, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip


def make_model(architecture, seed, **more):
    torch.manual_seed(seed)
    config = configuration(architecture, **more)
    opener = transformers.AutoModelForCausalLM.from_config
    model = opener(config, attn_implementation="eager").float().eval()  # others do not give attention weights
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # weights of norms and biases that are not just ones and zeros
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def save_model(model, folder, dtype=torch.float32, shard="1GB"):
    """Rounds the model to dtype, and saves that; the model itself stays F32, with the rounded values."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).float())
    state = {name: value.to(dtype) for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state, max_shard_size=shard)


def edit_json(folder, change, name="config.json"):
    path = os.path.join(folder, name)
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    change(content)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def old_spelling(config):
    """As transformers 4 writes rotary positions."""
    given = config.pop("rope_parameters", None)
    if given:
        config.update(rope_theta=given["rope_theta"], rope_scaling=None)
    for key in ("layer_types", "head_dim") if config["model_type"] != "mistral" else ():
        config.pop(key, None)


def new_spelling(config):
    """As transformers 5 does."""
    if "rope_theta" in config:
        config["rope_parameters"] = {"rope_theta": config.pop("rope_theta"), "rope_type": "default"}
    config.pop("rope_scaling", None)


def write_characters(folder):
    """A tokenizer of the characters of ASCII that can be printed, ids from 0."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({chr(32 + i): i for i in range(95)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    made.decoder = tokenizers.decoders.Fuse()
    made.save(os.path.join(folder, "tokenizer.json"))


def draw_tokens(model, seed, batch=2, length=CONTEXT):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, model.config.vocab_size, (batch, length + 1), generator=generator)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def losses_of(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")


def greedy_ids(model, prompt, count):
    """Without a cache: each token by the whole text before it."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            best = model(torch.tensor([ids])).logits[0, -1].topk(2)
            expect(best.values[0] - best.values[1] >= MARGIN, "the two best tokens lie too close: take another seed")
            ids.append(best.indices[0].item())
    return ids[len(prompt) :]


def write_token_file(path, ids, wide=False):
    """A token file of llm.c: 16 bits a token, or 32."""
    head = [20240801, 7, len(ids)] if wide else [20240520, 1, len(ids)]
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", *head, *[0] * 253))
        file.write(struct.pack(f"<{len(ids)}{'I' if wide else 'H'}", *ids))
