/* model_internal: what the files of libcommon/model/ that bind an architecture share; nobody else includes it. */
#ifndef PEFT_MODEL_MODEL_INTERNAL_H
#define PEFT_MODEL_MODEL_INTERNAL_H
#include "libcommon/base/mem.h"
#include "libcommon/model/model.h"

/* Append a site: of s the path, leaf and key are filled here. Valid until the next one is added. */
const struct site *model_site_add(struct model *m, const char *path, struct site s);
const struct arch *arch_of(const struct weights *w, struct err *e); /* by general.architecture or config.json; E_ARCH */
const struct arch *arch_refuse(enum weights_kind kind, const char *path, struct str name, struct err *e); /* NULL */
/* The configuration by the tables of config_hf.c or config_gguf.c. E_ARCH names the key that is not computed. */
int model_config_read(struct model_config *c, const struct arch *a, const struct weights *w, struct err *e);
/* After bind: a tensor that model_tensor was not asked for belongs to no part of the architecture, E_ARCH. */
int model_leftover(const struct model *m, struct err *e);
const struct tensor *model_tensor(const struct model *m, const char *name, int64_t rows, int64_t cols, struct err *e);
/* Where weights lie (place.c): declared while binding, there after model_place_all; *w is filled but for its address.
 * in_layer: may be held in the model's own type. floats: host is taken over. */
void model_place_begin(struct model *m);
int model_place_matrix(struct model *m, struct mat *w, const struct tensor *t, bool in_layer, bool rotated,
                       struct err *e);
int model_place_vector(struct model *m, const float **w, const struct tensor *t, struct err *e);
int model_place_floats(struct model *m, float **w, float *host, long n, const char *name, struct err *e);
int model_place_all(struct model *m, struct err *e);
void model_place_free(struct model *m);
extern const struct gguf_names llama_names; /* of Llama and of those that name their tensors as it does */
int llama_bind(struct model *m, struct err *e);
/* Inverse frequencies [D/2] of cfg's RoPE with its scaling; of longrope those of short or of long rows. */
void rope_frequencies(const struct model_config *c, bool long_row, float *inv_freq);
#endif
