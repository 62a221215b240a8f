/* gguf_write: a GGUF 3 file written in one pass: first all pairs and all tensors are declared, then the tensors' bytes
 * follow in the order of declaration, in pieces of any size. Alignment 32. The file appears only with gguf_finish. */
#ifndef PEFT_FORMAT_GGUF_WRITE_H
#define PEFT_FORMAT_GGUF_WRITE_H
#include "libcommon/format/gguf.h"

struct gguf_writer;
struct gguf_writer *gguf_create(const char *path, bool force, struct err *e);
/* Pairs. The caller gives each key once. */
void gguf_put_kv(struct gguf_writer *w, const struct gguf_kv *kv); /* as another file has it */
void gguf_put_str(struct gguf_writer *w, const char *key, struct str s);
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n);
void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n);
void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, uint64_t n);
/* Shape outermost first, as struct tensor has it. type: GGUF's number. E_GGUF: name or shape that the format cannot
 * hold. */
int gguf_put_tensor(struct gguf_writer *w, const char *name, int ndim, const int64_t *shape, uint32_t type,
                    struct err *e);
int gguf_begin(struct gguf_writer *w, struct err *e);
int gguf_data(struct gguf_writer *w, const void *data, size_t n, struct err *e); /* does not cross a tensor's end */
/* All bytes are written: the temporary file's path, to be read before gguf_finish names it; borrowed. E_BUG, E_IO. */
const char *gguf_complete(struct gguf_writer *w, struct err *e);
int gguf_finish(struct gguf_writer *w, struct err *e); /* E_BUG if bytes are missing; commits; frees w, also on error */
void gguf_discard(struct gguf_writer *w);              /* failure path; NULL is fine */
#endif
