/* gguf: strict reader of GGUF 2 and 3, over a mapping or a memory block. It knows the container only: keys, values,
 * tensor directory. Which tensors a model needs, and which types can be computed with, is for weights.c and the model.
 *
 * Everything is validated before gguf_open returns: every length against the bytes that are left, unique keys and
 * names, offsets equal to the running sum, the last tensor inside the file. No count of the file is ever used to
 * allocate.
 *
 * Source: the GGUF specification in ggml (docs/gguf.md). */
#ifndef PEFT_FORMAT_GGUF_H
#define PEFT_FORMAT_GGUF_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

struct gguf_kv {
    struct str key;
    enum gguf_type type;       /* GGUF_ARRAY for arrays */
    enum gguf_type elem;       /* of an array: its element type, never GGUF_ARRAY; else == type */
    uint64_t n;                /* elements; 1 unless an array */
    const unsigned char *data; /* first element, unaligned; strings are u64 length + bytes each */
    uint64_t bytes;            /* of all elements */
};

struct gguf_tensor {
    char name[64];
    int n_dims;
    int64_t ne[4];   /* innermost (contiguous) first, 1 beyond n_dims */
    uint32_t type;   /* GGUF's number; gguf_type_name */
    uint64_t offset; /* from the start of the data */
    uint64_t bytes;
    const unsigned char *data; /* unaligned */
};

struct gguf {
    char *path; /* name in messages */
    const unsigned char *data;
    size_t size;
    uint32_t version, alignment;
    struct gguf_kv *kv; /* in file order */
    int n_kv;
    struct gguf_tensor *t; /* in file order */
    int n_t;
    uint64_t data_start;
    int *kv_sorted;     /* kv by key */
    struct filemap map; /* {0} when the memory is the caller's */
};

/* E_NOINPUT, E_GGUF (malformed), E_VERSION (version 1 or above 3, big-endian files). */
struct gguf *gguf_open(const char *path, struct err *e);
/* The same over the caller's memory, which must outlive the result. */
struct gguf *gguf_parse(const void *data, size_t size, const char *name, struct err *e);
void gguf_close(struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* NULL: absent */
/* Typed getters: 1 found, 0 absent (*out unchanged), < 0: E_GGUF, the key has another type or the value does not fit.
 * Integers take any integer type, f64 takes f32 and f64. Strings are borrowed and not NUL-terminated. */
int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e);
int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e);
/* Elements of an array (or of a scalar: i == 0). The caller checks elem and i < n. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
double gguf_float_at(const struct gguf_kv *kv, uint64_t i);
/* The strings of a string array, n of them; malloc'ed array of borrowed strings. NULL if kv is not a string array. */
struct str *gguf_strings(const struct gguf_kv *kv);

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name); /* linear; NULL: absent */
/* "Q6_K"; "type 77" is never returned: files with unknown tensor types are refused. */
const char *gguf_type_name(uint32_t type);
bool gguf_type_size(uint32_t type, int *block, int *bytes); /* false: no such type */

/* Rows of the q and k projections in files of architecture "llama". Hugging Face rotates the halves of a head, the
 * original Llama rotates neighbours; the converter reorders rows so that the latter gives the same result. With d rows
 * a head, gguf row h*d + 2*j + i  =  Hugging Face row h*d + i*(d/2) + j,   i in {0, 1}, j in [0, d/2). These work on
 * rows of any type (a row is row_bytes bytes, not split); biases are rows of one element. d must be even. unpermute:
 * GGUF -> Hugging Face; permute: Hugging Face -> GGUF. src and dst do not overlap. */
void gguf_unpermute_rows(void *dst, const void *src, size_t row_bytes, int heads, int head_rows);
void gguf_permute_rows(void *dst, const void *src, size_t row_bytes, int heads, int head_rows);
/* The same map for one row number. */
static inline long gguf_row_of_hf(long hf_row, int head_rows)
{
    long h = hf_row / head_rows, r = hf_row % head_rows, half = head_rows / 2;
    return h * head_rows + (r < half ? 2 * r : 2 * (r - half) + 1);
}
#endif
