// Tables on stdout, row by row. On a terminal, columns that do not fit are left out; elsewhere there are all.
#ifndef HEED_TOOL_TABLE_H
#define HEED_TOOL_TABLE_H

#include "cli/tool.h"

enum { TOOL_TABLE_COLUMNS = 12 };

typedef struct tool_column {
  const char *title;
  int width;   // a longer cell pushes the next ones to the right; on a terminal it is cut off
  int least;   // 0: the same; else the width may shrink to this
  int before;  // blanks before it
  bool right;  // aligned to the right
  int drop;    // 0: stays; of the others, the one with the largest number goes first
} tool_column;

typedef struct tool_table {
  tool_column columns[TOOL_TABLE_COLUMNS];
  int count;
  bool cut;  // to the widths
  bool dropped[TOOL_TABLE_COLUMNS];
} tool_table;

// Fits the columns into `room` characters; 0: any number.
void tool_table_start(tool_table *table, const tool_column *columns, int count, int room);
void tool_table_head(const tool_table *table);
void tool_table_row(const tool_table *table,
                    const char *const *cells);  // a cell for each column, also for the dropped ones

#endif
