/* weights: named tensors of a model file, whichever format it has: a Hugging Face directory (safetensors, sharded or
 * not) or GGUF. The files are mapped read-only; nothing is converted. Tensor names are Hugging Face's
 * ("model.layers.0.self_attn.q_proj.weight"); GGUF names are translated. Shapes are [rows][cols] as in safetensors
 * (GGUF's ne reversed). */
#ifndef PEFT_FORMAT_WEIGHTS_H
#define PEFT_FORMAT_WEIGHTS_H
#include <stdbool.h>
#include <stdint.h>
#include "kernels/dtype.h"
#include "libcommon/base/err.h"
#include "libcommon/base/out.h"
#include "libcommon/format/gguf_names.h"

struct tensor {
    const char *name; /* Hugging Face's name; of a GGUF file the file's, until weights_rename */
    enum dtype dtype;
    int ndim;
    int64_t shape[4]; /* outermost first */
    const void *data; /* in the mapping; aligned to 1 only */
    uint64_t bytes;
    bool used; /* the model's mark: a part of it is made of this tensor */
};

enum weights_kind { WEIGHTS_HF, WEIGHTS_GGUF };

struct weights {
    enum weights_kind kind;
    char *path;       /* as given */
    struct tensor *t; /* sorted by name */
    int n;
    char *config_json;        /* HF: text of config.json, NUL-terminated; GGUF: NULL */
    struct gguf *gguf;        /* GGUF: its key/value pairs; HF: NULL */
    unsigned char digest[32]; /* SHA-256 over the weight files' bytes in order of their names */
    void *impl;
};

/* path: a directory with config.json and *.safetensors, or a .gguf file. E_NOINPUT, E_MODEL, E_SAFETENSORS, E_GGUF; a
 * value that is infinite or NaN is an error, too. */
struct weights *weights_open(const char *path, struct err *e);
/* From tensors that lie in a mapped file of another kind, as a Hugging Face model: takes over map, copies t (names too;
 * sorted by name on return) and config_json. The digest is left zero. E_MODEL: a name twice, a value that is not
 * finite.
 */
struct weights *weights_view(const char *path, const char *config_json, const struct tensor *t, int n,
                             struct filemap map, struct err *e);
/* A GGUF file's names into Hugging Face's where the architecture's table has them; nothing to do for others. E_GGUF: a
 * name twice. */
int weights_rename(struct weights *w, const struct gguf_names *names, struct err *e);
void weights_close(struct weights *w);
/* Drop the pages that reading the head and copying tensors touched; those of tensors in use come back. */
void weights_forget(const struct weights *w);
const struct tensor *weights_find(const struct weights *w, const char *name); /* NULL: absent */
#endif
