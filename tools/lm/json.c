// What the words print as JSON: text that a model wrote, its sizes, its memory.
#include <string.h>

#include "cli/json.h"
#include "lm/lm.h"

void lm_json_text(json_t *object, const lm_stream *stream) {
  if (!stream)
    tool_json_add(object, "text", json_null());
  else
    tool_json_add(object, "text", tool_json_bytes(stream->text ? stream->text : "", stream->bytes));
}

void lm_json_sizes(json_t *object, const heed_transformer_config *c) {
  const struct {
    const char *name;
    int64_t value;
  } sizes[] = {{"layers", c->layers},     {"width", c->width},       {"heads", c->heads},
               {"kv_heads", c->kv_heads}, {"head_dim", c->head_dim}, {"ffn", c->ffn},
               {"vocab", c->vocab},       {"context", c->context},   {"parameters", lm_parameters(c)}};
  tool_json_add(object, "architecture", json_string(heed_architecture_string(c->architecture)));
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    tool_json_add(object, sizes[i].name, json_integer(sizes[i].value));
}

json_t *lm_memory_json(const lm_memory *memory) {
  json_t *object = json_object();
  for (int kind = 0; kind < LM_MEMORY_KINDS; kind++)
    if (memory->bytes[kind] > 0)
      tool_json_add(object, lm_memory_names[kind], json_integer((json_int_t)memory->bytes[kind]));
  return object;
}
