// Which tensors of the input file an operator of `heed run` reads, by its own names and by those of PyTorch and ONNX. A tensor that it
// would not read is an error: with a mask that nobody looks at, the result is wrong and looks right. Only a tensor of a dtype that heed has
// no tensors of is left out, with a note: no operator could have read it as it is.
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "run/run.h"

enum { MOST_NAMES = 32 };

const heed_array *run_find(const run_call *run, const char *name) {
  const heed_array *array = heed_safetensors_find(run->in, name);
  for (const run_name *known = run->names; !array && known->name; known++)
    if (known->synonym && strcmp(known->name, name) == 0) array = heed_safetensors_find(run->in, known->synonym);
  return array;
}

// expected.NAME is what a test case says the output NAME should be.
static bool is_expected(const char *name) { return strncmp(name, "expected.", 9) == 0; }

static bool knows(const run_op *op, const char *name) {
  if (is_expected(name)) return true;
  for (const run_name *known = op->names; known->name; known++)
    if (strcmp(known->name, name) == 0 || (known->synonym && strcmp(known->synonym, name) == 0)) return true;
  return op->more_names && op->more_names(name);
}

// A slip of the finger, or a name that is shorter by whole words, as "momentum" for "momentum_buffer".
static const char *nearest(const run_op *op, const char *name) {
  const char *names[MOST_NAMES] = {NULL};
  size_t count = 0;
  for (const run_name *known = op->names; known->name && count + 1 < MOST_NAMES; known++) names[count++] = known->name;
  const char *best = tool_nearest(name, names);
  for (size_t i = 0; !best && i < count; i++)
    if (strlen(name) >= 4 && strstr(names[i], name)) best = names[i];
  return best;
}

static const char *hint_of(const run_op *op, const char *name) {
  static const char *const gradients[] = {"dout", "dy", "grad_output"};
  for (size_t i = 0; knows(op, "grad.out") && i < sizeof gradients / sizeof *gradients; i++)
    if (strcmp(gradients[i], name) == 0) return "call it grad.out";
  for (const run_hint *hint = op->hints; hint && hint->name; hint++)
    if (strcmp(hint->name, name) == 0) return hint->what;
  return NULL;
}

// A row with one more synonym of the row before.
static bool is_again(const run_op *op, const run_name *known) {
  return known > op->names && strcmp(known->name, known[-1].name) == 0;
}

enum { SHOWN_NAME = 80 };

// The name as it may stand in a message: a file can have any bytes there, and as many as it likes.
static const char *shown(const char *name, char text[SHOWN_NAME]) {
  const int length = snprintf(text, SHOWN_NAME, *name ? "%s" : "''%s", name);
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
  if (length >= SHOWN_NAME) memcpy(text + SHOWN_NAME - 4, "...", 3);
  return text;
}

static int unknown(const run_op *op, const char *command, const char *name) {
  char list[512] = "";
  size_t used = 0;
  for (const run_name *known = op->names; known->name && used < sizeof list; known++)
    if (!is_again(op, known))
      used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", known->name);
  const char *hint = hint_of(op, name);
  if (hint) return tool_fail(command, "%s: %s has no such tensor; %s", name, op->name, hint);
  char text[SHOWN_NAME];
  const char *best = nearest(op, name);
  return tool_fail(command,
                   "%s: %s has no such tensor%s%s%s It takes %s%s; with --ignore-unknown heed ignores all others",
                   shown(name, text), op->name, best ? "; did you mean " : ".", best ? best : "", best ? "?" : "",
                   *list ? list : "grad.NAME", op->more_names ? ", ..." : "");
}

// Fails where the file has one tensor under two names.
static int check_twice(const run_call *run, const run_op *op) {
  const char *first = NULL;
  for (const run_name *known = op->names; known->name; known++) {
    if (!is_again(op, known)) first = heed_store_find(run->store, known->name) ? known->name : NULL;
    if (!known->synonym || !heed_store_find(run->store, known->synonym)) continue;
    if (first)
      return tool_fail(run->args->command, "%s: %s has both '%s' and '%s', which mean the same; leave out one of them",
                       op->name, run_file(run), first, known->synonym);
    first = known->synonym;
  }
  return TOOL_DONE;
}

// A name that is nearly one of the operator's is refused even where its dtype is none of heed's.
static int check_unknown(const run_call *run, const run_op *op, const heed_stored *tensor) {
  if (run->settings.ignore_unknown) return TOOL_DONE;
  if (tensor->is_own || nearest(op, tensor->name)) return unknown(op, run->args->command, tensor->name);
  tool_say(run->args->command, "%s: left out '%s', a tensor of dtype %s that it does not know", op->name, tensor->name,
           tensor->dtype);
  return TOOL_DONE;
}

// ---------------------------------------------------------------- dtypes

// What tensors must be that are no floating-point numbers, or need not be. They are called the same in every operator.
static const struct kind {
  const char *name, *needed;
  bool integers, floats, truths;
} kinds[] = {
    {"mask", "BOOL or floating point is needed", .floats = true, .truths = true},
    {"kv_lengths", "integers are needed", .integers = true},
    {"tokens", "integers are needed", .integers = true},
    {"targets", "integers are needed", .integers = true},
    {"target", "class indices, which are integers, or floating-point probabilities are needed", .integers = true,
     .floats = true},
};
static const struct kind most = {NULL, "floating point is needed", .floats = true};

static const struct kind *kind_of(const run_op *op, const char *name) {
  for (const run_name *known = op->names; known->name; known++)
    if (known->synonym && strcmp(known->synonym, name) == 0) name = known->name;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
  return &most;
}

// The operator would call an I8, which it gets as I32, by the name of that.
static int check_dtype(const run_call *run, const run_op *op, const heed_stored *tensor) {
  const struct kind *kind = kind_of(op, tensor->name);
  const bool is_truth = tensor->natural == HEED_BOOL, is_float = heed_dtype_is_float(tensor->natural);
  char shape[TOOL_SHAPE_TEXT];
  if (!tensor->is_convertible || (is_truth ? kind->truths : is_float ? kind->floats : kind->integers)) return TOOL_DONE;
  return tool_fail(run->args->command, "%s: %s: %s is %s%s; %s", op->name, run_file(run), tensor->name, tensor->dtype,
                   tool_shape_text(tensor->rank, tensor->dims, shape), kind->needed);
}

int run_say_converted(const run_call *run, const run_op *op, int status) {
  const size_t count = status == TOOL_FAILED ? heed_store_count(run->store) : 0;
  for (size_t i = 0; i < count; i++) {
    const heed_stored *tensor = heed_store_get(run->store, i);
    const char *as = heed_dtype_string(tensor->natural);
    if (!knows(op, tensor->name) || strcmp(tensor->dtype, as) == 0 || !strstr(tool_last_failure(), as)) continue;
    tool_say(run->args->command, "%s: %s has %s as %s, which heed read as %s", op->name, run_file(run), tensor->name,
             tensor->dtype, as);
  }
  return status;
}

// ---------------------------------------------------------------- the file

// Lengths of U8 become I32, which attention takes.
static int add_tensor(run_call *run, const heed_stored *tensor) {
  if (tensor->natural != HEED_U8 || !tensor->is_convertible || strcmp(tensor->name, "kv_lengths") != 0) {
    RUN_TRY(run, heed_safetensors_add_stored(run->in, run->store, tensor));
    return TOOL_DONE;
  }
  const size_t bytes = (size_t)tensor->count * sizeof(int32_t);
  int32_t *values = malloc(bytes + 1);
  if (!values) return tool_fail(run->args->command, "out of memory");
  heed_status status = heed_store_read(run->store, tensor, HEED_I32, values, bytes);
  if (status == HEED_OK)
    status = heed_safetensors_add(run->in, tensor->name, HEED_I32, tensor->rank, tensor->dims, values);
  free(values);
  RUN_TRY(run, status);
  return TOOL_DONE;
}

int run_read(run_call *run, const run_op *op) {
  TOOL_TRY(tool_open_store(run->args->command, run->settings.input, &run->store));
  RUN_TRY(run, heed_safetensors_create(&run->in));
  TOOL_TRY(check_twice(run, op));
  const size_t count = heed_store_count(run->store);
  for (size_t i = 0; i < count; i++) {
    const heed_stored *tensor = heed_store_get(run->store, i);
    if (is_expected(tensor->name)) continue;
    if (!knows(op, tensor->name)) {
      TOOL_TRY(check_unknown(run, op, tensor));
      continue;
    }
    TOOL_TRY(check_dtype(run, op, tensor));
    TOOL_TRY(add_tensor(run, tensor));
  }
  return TOOL_DONE;
}
