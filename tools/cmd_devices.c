// heed devices: lists the devices that heed can run on, as a table or as JSON, and says why a platform shows none.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tool.h"

static const char command[] = "heed devices";

typedef struct devices_settings {
  bool json, verbose;
} devices_settings;

static const tool_option options[] = {
    TOOL_OPTION_FLAG("json", devices_settings, json, "print one JSON object"),
    TOOL_OPTION_FLAG("verbose", devices_settings, verbose, "print everything that heed knows about each device"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed devices",
    .usage = "[--json] [--verbose] [--device SPEC]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "A * marks the device that 'auto' picks. --device of the other commands accepts the first column (0:0, host),\n"
        "the number in the second, the last column (id:...), or a part of the name. The column self-test tells whether "
        "a "
        "few\n"
        "small calls gave the host's results when heed opened the device for the first time.\n",
};

enum { COLUMNS = 9, CELL = 192 };
typedef char row[COLUMNS][CELL];

static const char *index_text(const heed_device_info *device, char text[CELL]) {
  if (device->type == HEED_DEVICE_HOST)
    snprintf(text, CELL, "host");
  else
    snprintf(text, CELL, "%d:%d", device->platform_index, device->device_index);
  return text;
}

static const char *verdict_text(const heed_device_info *device) {
  static const char *const texts[] = {"untested", "ok", "FAILED"};
  return device->type == HEED_DEVICE_HOST ? "-" : texts[device->self_test];
}

// The device's number in the list, counted from 0; -1 for the host, which has none.
static int number_of(const heed_device_list *list, const heed_device_info *device) {
  int number = 0;
  const heed_device_info *other;
  for (size_t i = 0; (other = heed_device_list_get(list, i)) != NULL; i++) {
    if (other->type == HEED_DEVICE_HOST) continue;
    if (other->platform_index == device->platform_index && other->device_index == device->device_index) return number;
    number++;
  }
  return -1;
}

static void fill_row(const heed_device_info *device, int number, row cells) {
  char index[CELL], memory[32];
  snprintf(cells[0], CELL, "%c %.16s", device->is_auto ? '*' : ' ', index_text(device, index));
  if (number < 0)
    snprintf(cells[1], CELL, "-");
  else
    snprintf(cells[1], CELL, "%d", number);
  snprintf(cells[2], CELL, "%s", device->name);
  snprintf(cells[3], CELL, "%s", *device->platform ? device->platform : "-");
  snprintf(cells[4], CELL, "%s", *device->driver ? device->driver : "-");
  snprintf(cells[5], CELL, "%s", heed_device_type_string(device->type));
  snprintf(cells[6], CELL, "%s", tool_bytes_text(device->memory, memory));
  snprintf(cells[7], CELL, "%s", verdict_text(device));
  tool_id_text(device, cells[8]);
}

static void print_row(row cells, const int width[COLUMNS]) {
  for (int c = 0; c + 1 < COLUMNS; c++) printf(c == 6 ? "%*s  " : "%-*s  ", width[c], cells[c]);
  printf("%s\n", cells[COLUMNS - 1]);
}

static void print_details(const heed_device_info *device) {
  char memory[32], allocation[32], local[32];
  printf("      vendor           %s\n", *device->vendor ? device->vendor : "-");
  printf("      platform version %s\n", *device->platform_version ? device->platform_version : "-");
  printf("      device version   %s\n", *device->version ? device->version : "-");
  printf("      compute units    %u\n", (unsigned)device->compute_units);
  printf("      memory           %s, largest buffer %s, local %s\n", tool_bytes_text(device->memory, memory),
         tool_bytes_text(device->max_allocation, allocation), tool_bytes_text(device->local_memory, local));
  if (device->type != HEED_DEVICE_HOST) printf("      compiler         %s\n", device->has_compiler ? "yes" : "no");
}

// Prints the platforms that show no device, each with the reason.
static void print_silent_platforms(const heed_device_list *list) {
  if (heed_device_list_platforms(list) == 0)
    puts(
        "  -       no OpenCL platform: install the OpenCL driver of your device, or PoCL for the CPU (clinfo lists "
        "platforms)");
  for (size_t i = 0; i < heed_device_list_platforms(list); i++) {
    const heed_platform_info *platform = heed_device_list_platform(list, i);
    if (platform->devices == 0)
      printf("  %zu:-  %s has no device%s%s\n", i, platform->name, *platform->reason ? ": " : "", platform->reason);
  }
}

// What to show: all devices, or the one that --device names; platforms only with all.
typedef struct shown_devices {
  const heed_device_info **devices;
  size_t count;
  const heed_device_list *list;       // that the devices are in; NULL: they have no numbers
  const heed_device_list *platforms;  // NULL: none
} shown_devices;

static void print_rows(const shown_devices *view, row *rows, bool verbose) {
  static const char *const heads[COLUMNS] = {"  device", "no.",    "name",      "platform", "driver",
                                             "type",     "memory", "self-test", "id"};
  int width[COLUMNS] = {0};
  for (int c = 0; c < COLUMNS; c++) snprintf(rows[0][c], CELL, "%s", heads[c]);
  for (size_t i = 0; i < view->count; i++)
    fill_row(view->devices[i], number_of(view->list, view->devices[i]), rows[i + 1]);
  for (size_t i = 0; i <= view->count; i++)
    for (int c = 0; c < COLUMNS; c++)
      if ((int)strlen(rows[i][c]) > width[c]) width[c] = (int)strlen(rows[i][c]);
  print_row(rows[0], width);
  // Prints the OpenCL devices, then the platforms that show none, then the host, which is always there.
  for (int host = 0; host < 2; host++) {
    if (host && view->platforms) print_silent_platforms(view->platforms);
    for (size_t i = 0; i < view->count; i++) {
      if ((view->devices[i]->type == HEED_DEVICE_HOST) != host) continue;
      print_row(rows[i + 1], width);
      if (view->devices[i]->self_test == HEED_SELF_TEST_FAILED)
        printf("      FAILED its self-test: %s\n", view->devices[i]->self_test_reason);
      if (verbose) print_details(view->devices[i]);
    }
  }
}

static int print_table(const shown_devices *view, bool verbose) {
  row *rows = calloc(view->count + 1, sizeof *rows);
  if (!rows) return tool_fail(command, "out of memory");
  print_rows(view, rows, verbose);
  free(rows);
  return TOOL_DONE;
}

static json_t *device_json(const heed_device_info *device, int number) {
  char index[CELL], id[TOOL_ID_TEXT];
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:b, s:b, s:s, s:s, s:o}",
                   "device", index_text(device, index), "id", tool_id_text(device, id), "name", device->name, "vendor",
                   device->vendor, "platform", device->platform, "platform_version", device->platform_version, "driver",
                   device->driver, "version", device->version, "type", heed_device_type_string(device->type), "memory",
                   (json_int_t)device->memory, "max_allocation", (json_int_t)device->max_allocation, "local_memory",
                   (json_int_t)device->local_memory, "compute_units", (int)device->compute_units, "has_compiler",
                   (int)device->has_compiler, "auto", (int)device->is_auto, "self_test", verdict_text(device),
                   "self_test_reason", device->self_test_reason, "number",
                   number < 0 ? json_null() : json_integer(number));
}

static int print_json(const shown_devices *view) {
  json_t *devices = json_array(), *platforms = json_array();
  bool complete = devices && platforms;
  for (size_t i = 0; complete && i < view->count; i++)
    complete =
        json_array_append_new(devices, device_json(view->devices[i], number_of(view->list, view->devices[i]))) == 0;
  const size_t platform_count = view->platforms ? heed_device_list_platforms(view->platforms) : 0;
  for (size_t i = 0; complete && i < platform_count; i++) {
    const heed_platform_info *platform = heed_device_list_platform(view->platforms, i);
    complete = json_array_append_new(platforms, json_pack("{s:i, s:s, s:s, s:i, s:s}", "index", (int)i, "name",
                                                          platform->name, "version", platform->version, "devices",
                                                          platform->devices, "reason", platform->reason)) == 0;
  }
  json_t *root = json_pack("{s:s, s:o, s:o}", "heed", heed_version(), "devices", devices, "platforms", platforms);
  char *text = complete && root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text) return tool_fail(command, "a device's description is not valid UTF-8, or memory ran out");
  puts(text);
  free(text);
  return TOOL_DONE;
}

static int print_view(const devices_settings *settings, const shown_devices *view) {
  return settings->json ? print_json(view) : print_table(view, settings->verbose);
}

static int show_all(const devices_settings *settings) {
  heed_device_list *list = NULL;
  TOOL_HEED(command, heed_device_list_create(&list));
  shown_devices all = {.count = heed_device_list_count(list), .list = list, .platforms = list};
  all.devices = calloc(all.count + 1, sizeof *all.devices);
  int status = TOOL_FAILED;
  if (all.devices) {
    for (size_t i = 0; i < all.count; i++) all.devices[i] = heed_device_list_get(list, i);
    status = print_view(settings, &all);
  } else {
    tool_say(command, "out of memory");
  }
  free(all.devices);
  heed_device_list_destroy(list);
  return status;
}

static int show_one(const tool_args *args, const devices_settings *settings) {
  heed_context *ctx = NULL;
  heed_device_list *list = NULL;
  TOOL_TRY(tool_open(args, false, &ctx));
  const heed_device_info *device = heed_context_device(ctx);
  // The host was opened without OpenCL, and has no number.
  const heed_status listed = device->type == HEED_DEVICE_HOST ? HEED_OK : heed_device_list_create(&list);
  const int status = listed == HEED_OK
                         ? print_view(settings, &(shown_devices){.devices = &device, .count = 1, .list = list})
                         : tool_fail_status(command, listed);
  heed_device_list_destroy(list);
  heed_context_destroy(ctx);
  return status;
}

int cmd_devices(int argc, const char **argv) {
  devices_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  if (status == TOOL_PROCEED) status = args.device ? show_one(&args, &settings) : show_all(&settings);
  tool_args_free(&args);
  return status;
}
