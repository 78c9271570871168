// Launch times of a profiling context: turns the events of queued commands into {kernel, start, end} records. Without profiling nothing
// here runs.
#include <stdlib.h>

#include "cl/runtime/runtime.h"

// Events hold driver resources, so resolve the oldest once this many wait.
enum { EVENTS_MAX = 1024 };

struct heed__cl_profile {
  struct pending {
    const char *kernel;
    cl_event event;
  } pending[EVENTS_MAX];
  size_t pending_count;
  heed_profile_record *records, *handed;  // records: being gathered; handed: the caller's until its next call
  size_t record_count, record_room;
};

static heed_status add_record(struct heed__cl_profile *profile, heed_profile_record record) {
  if (profile->record_count == profile->record_room) {
    const size_t room = profile->record_room * 2 + 256;
    heed_profile_record *grown = realloc(profile->records, room * sizeof *grown);
    HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "profile: no host memory for %zu records", room);
    profile->records = grown;
    profile->record_room = room;
  }
  profile->records[profile->record_count++] = record;
  return HEED_OK;
}

static heed_status resolve_one(heed_context *ctx, const struct pending *pending) {
  cl_ulong start = 0, end = 0;
  cl_int error = clWaitForEvents(1, &pending->event);
  if (error == CL_SUCCESS)
    error = clGetEventProfilingInfo(pending->event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL);
  if (error == CL_SUCCESS)
    error = clGetEventProfilingInfo(pending->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, pending->kernel);
  return add_record(heed__cl_state(ctx)->profile, (heed_profile_record){pending->kernel, start, end});
}

// Turns all events into records. It goes on after a failing one, so that it releases every event. Returns the first error.
static heed_status resolve(heed_context *ctx) {
  struct heed__cl_profile *profile = heed__cl_state(ctx)->profile;
  heed_status first = HEED_OK;
  for (size_t i = 0; i < profile->pending_count; ++i) {
    if (first == HEED_OK) first = resolve_one(ctx, &profile->pending[i]);
    clReleaseEvent(profile->pending[i].event);
  }
  profile->pending_count = 0;
  return first;
}

void heed__cl_profile_event(heed_context *ctx, const char *kernel, cl_event event) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!cl->profiling || !event) return;
  if (!cl->profile) cl->profile = calloc(1, sizeof *cl->profile);
  if (!cl->profile) {
    heed__context_defer(ctx, heed__fail(HEED_ERROR_OUT_OF_MEMORY, "profile: no host memory for events"));
    return;
  }
  if (cl->profile->pending_count == EVENTS_MAX) heed__context_defer(ctx, resolve(ctx));
  const cl_int error = clRetainEvent(event);
  if (error != CL_SUCCESS) {
    heed__context_defer(ctx, heed__cl_fail(ctx, error, "profile: retaining an event"));
    return;
  }
  cl->profile->pending[cl->profile->pending_count++] = (struct pending){kernel, event};
}

heed_status heed__cl_profile(heed_context *ctx, const heed_profile_record **records, size_t *count) {
  struct heed__cl_profile *profile = heed__cl_state(ctx)->profile;
  *records = NULL;
  *count = 0;
  if (!profile) return HEED_OK;
  const heed_status status = resolve(ctx);
  free(profile->handed);
  profile->handed = profile->records;
  *records = profile->handed;
  *count = profile->record_count;
  profile->records = NULL;
  profile->record_count = profile->record_room = 0;
  return status;
}

size_t heed__cl_profile_mark(const heed_context *ctx) {
  const struct heed__cl_profile *profile = heed__cl_state(ctx)->profile;
  return profile ? profile->record_count + profile->pending_count : 0;
}

void heed__cl_profile_drop(heed_context *ctx, size_t mark) {
  struct heed__cl_profile *profile = heed__cl_state(ctx)->profile;
  if (!profile) return;
  heed__context_defer(ctx, resolve(ctx));
  if (profile->record_count > mark) profile->record_count = mark;
}

void heed__cl_profile_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!cl->profile) return;
  for (size_t i = 0; i < cl->profile->pending_count; ++i) clReleaseEvent(cl->profile->pending[i].event);
  free(cl->profile->records);
  free(cl->profile->handed);
  free(cl->profile);
  cl->profile = NULL;
}
