// heed devices: lists the devices that heed can run on, as a table or as JSON, and says why a platform shows none.
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "cli/table.h"

static const char command[] = "heed devices";

static const tool_syntax syntax = {
    .command = command,
    .title = "heed devices",
    .usage = "[--json] [--verbose] [--device SPEC]",
    .about =
        "A * marks the device that 'auto' picks. --device of the other commands accepts\n"
        "the first column (0:0, host), the number in the second, the last column\n"
        "(id:...), or a part of the name. The column self-test tells whether a few small\n"
        "calls gave the host's results when heed opened the device for the first time.\n",
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

static void print_details(const heed_device_info *device) {
  char memory[32], allocation[32], local[32];
  printf("      platform         %s, driver %s\n", device->platform, device->driver);
  char id[TOOL_ID_TEXT];
  printf("      id               %s\n", tool_id_text(device, id));
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
#ifdef HEED_HOST_ONLY
  puts("  -       this heed was built without OpenCL (HEED_OPENCL=OFF): it has only the host");
#else
  if (heed_device_list_platforms(list) == 0)
    puts(
        "  -       no OpenCL platform: install the OpenCL driver of your device, or PoCL for the CPU (clinfo lists "
        "platforms)");
#endif
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

static void print_row(const tool_table *table, row cells) {
  const char *texts[COLUMNS];
  for (int c = 0; c < COLUMNS; c++) texts[c] = cells[c];
  tool_table_row(table, texts);
}

static void print_rows(const tool_args *args, const shown_devices *view, row *rows) {
  // What --device accepts and what the device is stays longest on a narrow terminal; --verbose prints the rest on lines of its own.
  tool_column columns[COLUMNS] = {
      {.title = "  device"},
      {.title = "no.", .before = 2, .drop = 4},
      {.title = "name", .before = 2, .least = 12},
      {.title = "platform", .before = 2, .drop = 7},
      {.title = "driver", .before = 2, .drop = 6},
      {.title = "type", .before = 2, .drop = 2},
      {.title = "memory", .before = 2, .right = true, .drop = 3},
      {.title = "self-test", .before = 2, .drop = 1},
      {.title = "id", .before = 2, .drop = 5},
  };
  for (size_t i = 0; i < view->count; i++) fill_row(view->devices[i], number_of(view->list, view->devices[i]), rows[i]);
  for (int c = 0; c < COLUMNS; c++) {
    columns[c].width = (int)strlen(columns[c].title);
    for (size_t i = 0; i < view->count; i++)
      if ((int)strlen(rows[i][c]) > columns[c].width) columns[c].width = (int)strlen(rows[i][c]);
  }
  tool_table table;
  tool_table_start(&table, columns, COLUMNS, args->columns);
  tool_table_head(&table);
  // Prints the OpenCL devices, then the platforms that show none, then the host, which is always there.
  for (int host = 0; host < 2; host++) {
    if (host && view->platforms) print_silent_platforms(view->platforms);
    for (size_t i = 0; i < view->count; i++) {
      if ((view->devices[i]->type == HEED_DEVICE_HOST) != host) continue;
      print_row(&table, rows[i]);
      if (view->devices[i]->self_test == HEED_SELF_TEST_FAILED)
        printf("      FAILED its self-test: %s\n", view->devices[i]->self_test_reason);
      if (args->verbosity == TOOL_VERBOSE) print_details(view->devices[i]);
    }
  }
}

static int print_table(const tool_args *args, const shown_devices *view) {
  row *rows = calloc(view->count + 1, sizeof *rows);
  if (!rows) return tool_fail(command, "out of memory");
  print_rows(args, view, rows);
  free(rows);
  return TOOL_DONE;
}

static void add_device(json_t *devices, const heed_device_info *device, int number) {
  char index[CELL];
  json_t *object = json_object();
  tool_json_device(object, device);
  tool_json_add(object, "index", json_string(index_text(device, index)));
  tool_json_add(object, "number", number < 0 ? json_null() : json_integer(number));
  tool_json_add(object, "name", tool_json_text(device->name));
  tool_json_add(object, "vendor", tool_json_text(device->vendor));
  tool_json_add(object, "platform_version", tool_json_text(device->platform_version));
  tool_json_add(object, "opencl_version", tool_json_text(device->version));
  tool_json_add(object, "type", json_string(heed_device_type_string(device->type)));
  tool_json_add(object, "memory", json_integer((json_int_t)device->memory));
  tool_json_add(object, "max_allocation", json_integer((json_int_t)device->max_allocation));
  tool_json_add(object, "local_memory", json_integer((json_int_t)device->local_memory));
  tool_json_add(object, "compute_units", json_integer(device->compute_units));
  tool_json_add(object, "has_compiler", json_boolean(device->has_compiler));
  tool_json_add(object, "auto", json_boolean(device->is_auto));
  tool_json_add(object, "self_test", json_string(verdict_text(device)));
  tool_json_add(object, "error",
                device->self_test == HEED_SELF_TEST_FAILED ? tool_json_text(device->self_test_reason) : json_null());
  tool_json_append(devices, object);
}

static int print_json(const tool_args *args, const shown_devices *view) {
  json_t *root = tool_json_start(args), *devices = json_array(), *platforms = json_array();
  for (size_t i = 0; i < view->count; i++)
    add_device(devices, view->devices[i], number_of(view->list, view->devices[i]));
  const size_t platform_count = view->platforms ? heed_device_list_platforms(view->platforms) : 0;
  for (size_t i = 0; i < platform_count; i++) {
    const heed_platform_info *platform = heed_device_list_platform(view->platforms, i);
    json_t *object = json_object();
    tool_json_add(object, "index", json_integer((json_int_t)i));
    tool_json_add(object, "name", tool_json_text(platform->name));
    tool_json_add(object, "opencl_version", tool_json_text(platform->version));
    tool_json_add(object, "devices", json_integer(platform->devices));
    tool_json_add(object, "error", platform->devices ? json_null() : tool_json_text(platform->reason));
    tool_json_append(platforms, object);
  }
  tool_json_add(root, "ok", json_true());
  tool_json_add(root, "devices", devices);
  tool_json_add(root, "platforms", platforms);
  return tool_json_print(args, root, false);
}

static int print_view(const tool_args *args, const shown_devices *view) {
  tool_progress_clear(args->progress);
  return args->json ? print_json(args, view) : print_table(args, view);
}

static int show_all(const tool_args *args) {
  heed_device_list *list = NULL;
  tool_progress_show(args->progress, "looking for devices");
  TOOL_HEED(command, heed_device_list_create(&list));
  shown_devices all = {.count = heed_device_list_count(list), .list = list, .platforms = list};
  all.devices = calloc(all.count + 1, sizeof *all.devices);
  int status = TOOL_FAILED;
  if (all.devices) {
    for (size_t i = 0; i < all.count; i++) all.devices[i] = heed_device_list_get(list, i);
    status = print_view(args, &all);
  } else {
    tool_say(command, "out of memory");
  }
  free(all.devices);
  heed_device_list_destroy(list);
  return status;
}

static int show_one(const tool_args *args) {
  heed_context *ctx = NULL;
  heed_device_list *list = NULL;
  TOOL_TRY(tool_open(args, false, &ctx));
  const heed_device_info *device = heed_context_device(ctx);
  // The host was opened without OpenCL, and has no number.
  const heed_status listed = device->type == HEED_DEVICE_HOST ? HEED_OK : heed_device_list_create(&list);
  const int status = listed == HEED_OK
                         ? print_view(args, &(shown_devices){.devices = &device, .count = 1, .list = list})
                         : tool_fail_status(command, listed);
  heed_device_list_destroy(list);
  heed_context_destroy(ctx);
  return status;
}

int cmd_devices(int argc, const char **argv) {
  tool_args args;
  int status = tool_parse(&syntax, NULL, argc, argv, &args);
  if (status == TOOL_PROCEED) status = args.device ? show_one(&args) : show_all(&args);
  return tool_finish(&args, status);
}
