#include "cli/table.h"

#include <string.h>

static int width_of(const tool_table *table, bool least) {
  int width = 0;
  for (int c = 0; c < table->count; c++) {
    const tool_column *column = &table->columns[c];
    if (!table->dropped[c]) width += column->before + (least && column->least ? column->least : column->width);
  }
  return width;
}

static bool drop_one(tool_table *table) {
  int last = -1;
  for (int c = 0; c < table->count; c++)
    if (!table->dropped[c] && table->columns[c].drop > (last < 0 ? 0 : table->columns[last].drop)) last = c;
  if (last < 0) return false;
  table->dropped[last] = true;
  return true;
}

void tool_table_start(tool_table *table, const tool_column *columns, int count, int room) {
  *table = (tool_table){.count = count, .cut = room > 0};
  memcpy(table->columns, columns, (size_t)count * sizeof *columns);
  if (room == 0) return;
  while (width_of(table, true) > room && drop_one(table)) {
  }
  for (int c = count - 1; c >= 0; c--) {
    tool_column *column = &table->columns[c];
    const int over = width_of(table, false) - room;
    if (over <= 0 || !column->least || table->dropped[c]) continue;
    column->width = column->width - over > column->least ? column->width - over : column->least;
  }
}

void tool_table_row(const tool_table *table, const char *const *cells) {
  int last = table->count - 1;
  while (last > 0 && table->dropped[last]) last--;
  for (int c = 0; c <= last; c++) {
    const tool_column *column = &table->columns[c];
    if (table->dropped[c]) continue;
    const int most = table->cut ? column->width : 4096;
    const int width = c == last && !column->right ? 0 : column->width;
    printf("%*s%*.*s", column->before, "", column->right ? width : -width, most, cells[c]);
  }
  putchar('\n');
}

void tool_table_head(const tool_table *table) {
  const char *titles[TOOL_TABLE_COLUMNS];
  for (int c = 0; c < table->count; c++) titles[c] = table->columns[c].title;
  tool_table_row(table, titles);
}
