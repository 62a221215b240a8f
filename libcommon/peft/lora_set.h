/* lora_set: a LoRA adapter as what it comes to, without a model: for each module a matrix A [r][in] and B [out][r] and
 * the factor of B A. What combines adapters, and what reads and writes the formats of others, works on it. What a
 * directory has beyond that (DoRA's magnitudes, whole modules, biases) is refused by name, as the result would lack it.
 */
#ifndef PEFT_PEFT_LORA_SET_H
#define PEFT_PEFT_LORA_SET_H
#include <jansson.h>
#include <stdbool.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/data/row_set.h"

struct model;
struct lora_pair {
    char *path; /* of the module: "model.layers.0.self_attn.q_proj" */
    int r, in, out;
    double scale;
    float *a, *b; /* [r][in], [out][r]; owned */
};
struct lora_set { /* {0} is empty and valid */
    char *from;   /* what messages call it */
    struct lora_pair *pair;
    int n;
    size_t cap;
    json_t
        *targets; /* target_modules where a list says what is adapted in words that go for any model; NULL: none does */
    char *base_name; /* of its base, or NULL */
    unsigned char base_digest[32];
    bool has_base_digest;
    struct row_set trained;
};

/* A directory of Hugging Face PEFT, or a run or checkpoint that has one; one of mlx-lm; a GGUF file of llama.cpp, whose
 * names are the model's (m NULL: E_USAGE). E_NOINPUT, E_ADAPTER (malformed, a tensor that lacks its other half, of
 * another shape, not finite), E_VERSION (no LoRA, or one that has more than pairs). */
int lora_set_read(struct lora_set *s, const char *dir, const struct model *m, struct err *e);
/* Is it one that lora_set_read reads and PEFT does not: a GGUF file, or a configuration of mlx-lm? */
bool lora_gguf_is(const char *path);
bool lora_mlx_is(const json_t *config);
/* Parts of lora_set_read. */
int lora_gguf_read(struct lora_set *s, const char *path, const struct model *m, struct err *e);
int lora_mlx_read(struct lora_set *s, const char *dir, const json_t *config, struct err *e);
void lora_set_fini(struct lora_set *s);
/* One more pair, all zero; the paths are in rising order in the end. */
struct lora_pair *lora_set_add(struct lora_set *s, const char *path, int r, int in, int out, double scale);
const struct lora_pair *lora_set_find(const struct lora_set *s, const char *path); /* NULL: none */
void lora_set_sort(struct lora_set *s);
/* Two sets with the same base, or bases that do not say? E_MISMATCH names both unless force, which warns. */
int lora_set_same_base(const struct lora_set *s, const struct lora_set *t, bool force, struct err *e);
/* Is every pair that of a projection of the model, and its base the model's? E_ADAPTER, E_MISMATCH. */
int lora_set_fits(const struct lora_set *s, const struct model *m, bool force, struct err *e);
/* Targets by the names of modules, where all of the model's with such a name are adapted. */
void lora_set_name_targets(struct lora_set *s, const struct model *m);

/* Consumers that know one number for all: alpha, whose quotient by a pair's rank is its factor. Takes the first pair's;
 * what the factors of others differ from that goes into their B. */
double lora_set_one_alpha(struct lora_set *s);
/* A directory of PEFT with that alpha, whole and sealed (adapter_save). E_DIVERGED: a value is not finite. */
int lora_set_save(struct lora_set *s, const char *dir, enum outdir_old old, struct err *e);
/* llama.cpp's and mlx-lm's, with all factors in one number and, where they differ, in B. E_VERSION: a module that the
 * format has no name for; E_EXISTS and others of the writers. */
int lora_gguf_write(struct lora_set *s, const struct model *m, const char *path, bool force, struct err *e);
int lora_mlx_write(const struct lora_set *s, const char *dir, enum outdir_old old, struct err *e);
/* The adapter_config.json of a directory of PEFT; a new reference. After lora_set_one_alpha. */
json_t *lora_set_config(const struct lora_set *s, double alpha);
#endif
