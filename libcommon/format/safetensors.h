/* safetensors: strict reader of one .safetensors file over a mapping or a memory block. All of the reference's rules
 * hold (header size, UTF-8, no duplicate names, tensors contiguous from 0 to the exact end of the file), and names are
 * at most 1 KiB, an entry of the header at most 4 KiB and the metadata at most 4 MiB. It knows every byte-sized dtype
 * of the format; which of them can be computed with is for weights.c. */
#ifndef PEFT_FORMAT_SAFETENSORS_H
#define PEFT_FORMAT_SAFETENSORS_H
#include <jansson.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/out.h"

enum { ST_DIMS = 8 };

struct st_tensor {
    char *name;
    const char *dtype; /* "BF16" */
    int size;          /* bytes of an element */
    int ndim;
    int64_t shape[ST_DIMS]; /* outermost first; a dimension may be 0 */
    uint64_t begin, end;    /* in the data */
    const unsigned char *data;
};

struct safetensors {
    char *path;
    struct st_tensor *t; /* by offset */
    int n;
    json_t *metadata;   /* strings by key; NULL: none */
    struct filemap map; /* {0} when the memory is the caller's */
};

/* E_NOINPUT, E_SAFETENSORS. */
struct safetensors *safetensors_open(const char *path, struct err *e);
/* The same over the caller's memory, which must outlive the result. */
struct safetensors *safetensors_parse(const void *data, size_t size, const char *name, struct err *e);
void safetensors_close(struct safetensors *s);
const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name); /* linear */
const char *safetensors_meta(const struct safetensors *s, const char *key);              /* NULL: absent */
/* Bytes of an element of a dtype by its name in files; 0: unknown. */
int safetensors_dtype_size(const char *dtype);
#endif
