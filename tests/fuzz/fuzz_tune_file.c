// Tables of tuned choices: any text is refused by name and reason, or read into a table that comes back the same from what is
// written of it. The device is made up.
#include <stdlib.h>
#include <string.h>

#include "cl/operators.h"
#include "fuzz.h"

static heed_context *made_up(void) {
  static heed_context ctx;
  static struct heed__cl cl;
  static struct heed__cl_tuning tuning = {.ops = heed__cl_tuned_operators};
  cl.kept[HEED__CL_ROOM_TUNING] = &tuning;
  ctx.state = &cl;
  ctx.device.compute_units = 2;
  strcpy(ctx.device.id, "id");
  strcpy(ctx.device.name, "name");
  strcpy(ctx.device.driver, "driver");
  return &ctx;
}

// What the table says of some calls: its ranges are looked through.
static void look_up(const heed_context *ctx) {
  for (int i = 0; i < 64; ++i) {
    heed_tune_problem problem = {.op = (heed_tune_op)(i % HEED__CL_TUNING_OPS), .causal = i & 4, .trans_a = i & 8};
    for (int size = 0; size < HEED_TUNE_SIZES; ++size) problem.sizes[size] = (int64_t)1 << (i % 32);
    problem = heed__cl_tuning_plain(heed__cl_tuning_of(ctx), &problem);
    const struct heed__cl_tuning_choice *choice = heed__cl_tuning_find(ctx, &problem);
    FUZZ_REQUIRE(!choice || memchr(choice->variant, 0, sizeof choice->variant));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  heed_context *ctx = made_up();
  const char *path = fuzz_file(data, size);
  const heed_status status = heed__cl_tuning_read(ctx, path, false);
  if (status != HEED_OK) {
    FUZZ_REQUIRE(status == HEED_ERROR_FORMAT || status == HEED_ERROR_UNSUPPORTED);
    fuzz_require_message(path);
    return 0;
  }
  look_up(ctx);
  char *text = NULL, *again = NULL;
  FUZZ_REQUIRE(heed__cl_tuning_json(ctx, &text) == HEED_OK);
  FUZZ_REQUIRE(heed__cl_tuning_read(ctx, fuzz_file((const uint8_t *)text, strlen(text)), false) == HEED_OK);
  FUZZ_REQUIRE(heed__cl_tuning_json(ctx, &again) == HEED_OK);
  FUZZ_REQUIRE(strcmp(text, again) == 0);
  free(text);
  free(again);
  // Nothing stays from one input to the next, or libFuzzer looks for leaks after each.
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  free(tuning->entries);
  *tuning = (struct heed__cl_tuning){.ops = tuning->ops};
  return 0;
}
