/* safetensors_write: one .safetensors file written in one pass: declare all tensors, then write their bytes in the
 * file's order (widest dtype first, then name, so that every tensor is aligned to its element), in pieces of any size.
 * The header is padded to 8 bytes. The file appears only with st_finish. */
#ifndef PEFT_FORMAT_SAFETENSORS_WRITE_H
#define PEFT_FORMAT_SAFETENSORS_WRITE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/err.h"

struct st_writer;
struct st_writer *st_create(const char *path, bool force, struct err *e);
void st_meta(struct st_writer *w, const char *key,
             const char *value); /* of __metadata__; "format": "pt" is always there */
/* dtype: the format's name. E_SAFETENSORS: a name twice, an empty shape (a dimension of 0 is never meant). */
int st_declare(struct st_writer *w, const char *name, const char *dtype, int ndim, const int64_t *shape, struct err *e);
int st_begin(struct st_writer *w, struct err *e);
/* After st_begin: the number (in order of declaration, from 0) of the i-th tensor of the file. */
int st_order(const struct st_writer *w, int i);
int st_data(struct st_writer *w, const void *data, size_t n, struct err *e); /* does not cross a tensor's end */
int st_finish(struct st_writer *w, struct err *e); /* E_BUG if bytes are missing; commits; frees w, also on error */
void st_discard(struct st_writer *w);              /* failure path; NULL is fine */
#endif
