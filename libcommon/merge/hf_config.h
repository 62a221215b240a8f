/* hf_config: the config.json of a written Hugging Face directory. */
#ifndef PEFT_MERGE_HF_CONFIG_H
#define PEFT_MERGE_HF_CONFIG_H
#include <jansson.h>
#include "libcommon/model/model.h"

/* From the base's config.json with dtype, tie_word_embeddings and quantization_config changed as needed, all other keys
 * kept in order; from a GGUF base made anew. Text, to be freed. E_MODEL. */
char *hf_config_text(const struct model *m, enum dtype dtype, bool tied, struct err *e);
/* generation_config.json for a GGUF base. */
char *hf_generation_text(const struct model *m, struct err *e);
/* JSON text with as few digits as give back the same numbers ("1e-5", not "1.0000000000000001e-5"). */
char *hf_json_text(const json_t *j);
#endif
