// A folder of its own for tests that read and write files.
#ifndef SUPPORT_FILES_H
#define SUPPORT_FILES_H

#include "support_devices.h"

// Group fixtures: an empty folder under /tmp, and its removal with everything in it.
int support_make_folder(void **state);
int support_remove_folder(void **state);
const char *support_folder(void);
char *support_path(const char *name);  // in the folder; one of four buffers in turn
void support_empty_folder(void);
size_t support_files_in_folder(void);

// Makes the folder that the file lies in, where there is none.
void support_write_file(const char *path, const void *bytes, size_t count);
size_t support_read_file(const char *path, void *bytes, size_t room);

// Each text of a picture that gnuplot drew as SVG begins within the picture, and its foot does not lie below the edge.
void support_assert_texts_inside(const char *svg);

#endif
