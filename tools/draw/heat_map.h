// Matrices as a picture, a panel for each: rows of queries, columns of keys, light for little and dark for much.
#ifndef HEED_DRAW_HEAT_MAP_H
#define HEED_DRAW_HEAT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAT_MAP_PANELS = 36, HEAT_MAP_LABELS = 40 };  // the most that are drawn

typedef struct heat_map {
  const float *values;  // [panels, queries, keys]; −inf stays white
  bool are_weights;     // from 0 to 1: the small ones are drawn darker than in proportion, as many keys share a query
  int64_t panels, queries, keys;
  const char *title, *note;  // the note, below the title, goes on with what the picture leaves out
  const char *unit;          // what panels are: "heads"
  // The title of a panel, into text of `size` bytes.
  void (*name)(int64_t panel, char *text, size_t size, const void *user);
  const void *user;
  int columns;  // panels side by side; 0: about as many as rows
  // What stands at the positions of both axes, which are then of one length, up to HEAT_MAP_LABELS; NULL: numbers.
  const char *const *labels;
  int label_width;  // of the longest, in characters of ordinary width
} heat_map;

// Draws the first HEAT_MAP_PANELS panels; positions that are too many for the picture share cells. Returns TOOL_DONE, or says what is wrong.
// `option` is the path's name in messages: "--plot".
int heat_map_draw(const char *command, const char *option, const char *path, const heat_map *map);

#endif
