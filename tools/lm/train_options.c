// The options of heed lm train.
#include "lm/train.h"

static const char *const architectures[] = {"gpt2", "llama", "mistral", "qwen2", NULL};
const char *const lm_train_orders[] = {"random", "sequential", NULL};
const char *const lm_train_schedules[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const tokenizers[] = {"bytes", "chars", NULL};
#define S train_settings
#define COUNT(name, field, least, text) \
  TOOL_OPTION_INTEGER(name, S, field, least, TOOL_MAX_COUNT, "at least " #least, text)
#define POSITIVE(name, field, text) TOOL_OPTION_REAL(name, S, field, 0, TOOL_MAX_REAL, "at least 0", text)
#define PART(name, field, text) TOOL_OPTION_REAL(name, S, field, 0, 0.99999999, "from 0 to below 1", text)

static const tool_option options[] = {
    TOOL_OPTION_TEXT("data", S, data, "FILE[,FILE...]",
                     "texts, or token files of llm.c; several are read as one, in this order"),
    TOOL_OPTION_TEXT("val", S, val, "FILE", "text or token file for validation, instead of the end of --data"),
    PART("val-fraction", val_fraction, "the part at the end of --data that is for validation (default 0.1; 0: none)"),
    TOOL_OPTION_TEXT("save", S, save, "DIR", "write the model and the state of the run to this folder"),
    TOOL_OPTION_FLAG("force", S, force, "let --save replace what another run or program wrote there"),
    TOOL_OPTION_TEXT("resume", S, resume, "DIR", "go on with the run that wrote this folder, with its options"),
    TOOL_OPTION_TEXT("init", S, init, "DIR", "start from the model in this folder"),
    TOOL_OPTION_CHOICE("arch", S, architecture, architectures, "NAME",
                       "shape of a new model: gpt2, llama, mistral or qwen2 (default gpt2)"),
    COUNT("layers", layers, 1, "blocks of a new model (default 4)"),
    COUNT("heads", heads, 1, "attention heads (default 4)"),
    COUNT("kv-heads", kv_heads, 1, "heads of keys and values (default: --heads)"),
    COUNT("width", width, 1, "width of the residual stream (default 128)"),
    COUNT("ffn", ffn, 1,
          "hidden units of an mlp (default: gpt2: 4 times --width; else 8/3 times, rounded up to a multiple of 32)"),
    COUNT("context", context, 1, "tokens of a row (default 64; with --init: the model's context)"),
    COUNT("vocab", vocab, 1, "token ids of a new model (default: the tokenizer's)"),
    TOOL_OPTION_FLAG("tie", S, tie, "the head's weight is the embedding's (default for gpt2)"),
    TOOL_OPTION_FLAG("no-tie", S, no_tie, "the head has its own weight (default for the others)"),
    {.name = "tokenizer",
     .kind = TOOL_TEXT,
     .offset = offsetof(S, tokenizer),
     .argument = "bytes|chars|DIR",
     .words = tokenizers,
     .help = "how texts become tokens: bytes, the characters that occur, or the tokenizer of a folder (default: that "
             "of --init, else bytes)"},
    TOOL_OPTION_FLAG("template", S, template_tokens, "add the tokens that the tokenizer's template puts around a text"),
    COUNT("batch", batch, 1, "rows of a micro-batch (default 12)"),
    TOOL_OPTION_INTEGER("accumulate", S, accumulate, 1, 1e6, "from 1 to 1000000",
                        "micro-batches of a step (default 1; mpirun: one a rank)"),
    COUNT("steps", steps, 0, "steps to train, including those of a resumed run (default 1000)"),
    TOOL_OPTION_CHOICE("order", S, order, lm_train_orders, "random|sequential", "where rows begin (default random)"),
    TOOL_OPTION_UNSIGNED("seed", S, seed, "seed of initial values, order and dropout (default 1)"),
    POSITIVE("lr", lr, "highest learning rate (default 0.001)"),
    POSITIVE("min-lr", min_lr, "learning rate after --decay-steps (default 0)"),
    COUNT("warmup", warmup, 0, "steps in which the learning rate rises (default 0)"),
    TOOL_OPTION_CHOICE("schedule", S, schedule, lm_train_schedules, "KIND",
                       "how the learning rate falls: constant, linear, cosine or wsd (default constant)"),
    COUNT("decay-steps", decay_steps, 0, "steps until --min-lr (default 0: --steps)"),
    PART("beta1", beta1, "AdamW: decay rate of the first moment (default 0.9)"),
    PART("beta2", beta2, "AdamW: decay rate of the second moment (default 0.999)"),
    POSITIVE("eps", eps, "AdamW: added to the root of the second moment (default 1e-8)"),
    POSITIVE("weight-decay", weight_decay, "AdamW: decay of matrices and tables (default 0)"),
    POSITIVE("clip", clip, "clip the gradients to this norm (default 0: not at all)"),
    PART("dropout", dropout, "probability of dropping an element (default 0; with --init: the model's)"),
    TOOL_OPTION_CHOICE("dtype", S, dtype, lm_dtypes, "f32|f16|bf16",
                       "dtype of weights and activations; f16 and bf16 keep f32 masters (default f32)"),
    TOOL_OPTION_CHOICE("save-dtype", S, save_dtype, lm_dtypes, "f32|f16|bf16",
                       "dtype of the weights in the saved model (default f32)"),
    TOOL_OPTION_FLAG("recompute", S, recompute,
                     "keep only each block's input, and compute blocks twice: less memory, same bits"),
    COUNT("eval-every", eval_every, 0, "steps between two validations (default 250; 0: at the end alone)"),
    COUNT("eval-batches", eval_batches, 1, "batches of a validation (default 20)"),
    COUNT("sample-every", sample_every, 0, "steps between two samples (default 0: none)"),
    COUNT("save-every", save_every, 0, "steps between two checkpoints (default 250; 0: at the end alone)"),
    TOOL_OPTION_FLAG("keep-best", S, keep_best, "also keep the model of the lowest validation loss, in DIR/best"),
    TOOL_OPTION_TEXT(
        "log", S, log, "FILE",
        "write one JSON object per line: start, step, eval, sample, end; --resume continues it; -: standard output"),
    COUNT("log-every", log_every, 1, "steps between two step lines of the log (default 10)"),
    COUNT("compare-every", compare_every, 0,
          "mpirun: steps between two comparisons of the ranks' parameters (default 100; 0: none)"),
    POSITIVE("timeout", timeout,
             "mpirun: seconds after which a rank that does not answer ends the run (default 600; 0: never)"),
    TOOL_OPTION_TEXT("plot", S, plot, "FILE",
                     "draw loss, validation loss and learning rate, anew at each report; FILE ends in .svg or .png"),
};
const tool_syntax lm_train_syntax = {
    .command = "heed lm train",
    .title = "heed lm train",
    .usage = "--data FILE [--save DIR] [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Trains by AdamW on the mean cross-entropy of the next token. --save writes a\n"
        "folder that transformers opens, and in it heed_state.safetensors, from which\n"
        "--resume goes on to the same bits as an unbroken run. Ctrl-C saves.\n",
};
