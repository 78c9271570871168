// config.json of a model folder.
#ifndef HEED__LM_CONFIG_H
#define HEED__LM_CONFIG_H

#include <heed/lm.h>

// Reads the file. The configuration is complete. Errors: as of heed_model_folder_open().
heed_status heed__lm_config_read(const char *path, heed_transformer_config *out);

#endif
