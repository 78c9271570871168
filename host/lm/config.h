// config.json of a model folder: what heed reads of it, and how it is written. It is kept whole, because other programs read keys that
// heed does not know.
#ifndef HEED__LM_CONFIG_H
#define HEED__LM_CONFIG_H

#include <heed/lm.h>
#include <jansson.h>

// Reads the file. The configuration is complete; *kept is the whole file, to be released. Errors: as of heed_model_folder_open().
heed_status heed__lm_config_read(const char *path, heed_transformer_config *out, json_t **kept);
// Tells whether an id ends a text by this file: eos_token_id is a number, a list or nothing.
bool heed__lm_config_is_end(const json_t *json, int64_t id);
// Writes the file of a configuration. like: the file to change where it must be, or NULL. end: the id that ends a text if `like` is NULL;
// −1: none. dtype: of the weights beside it. Errors: IO, OUT_OF_MEMORY.
heed_status heed__lm_config_write(const char *path, const heed_transformer_config *config, const json_t *like,
                                  int64_t end, heed_dtype dtype);

#endif
