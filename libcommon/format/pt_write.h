/* pt_write: an OrderedDict of tensors as torch.save writes it (a stored ZIP64 archive around a protocol-2 pickle), in
 * one pass: declare all tensors, then write the bytes of those that are no alias, in order of declaration. torch.load
 * reads it with weights_only=True and mmap=True. pt_read.h reads such files. */
#ifndef PEFT_FORMAT_PT_WRITE_H
#define PEFT_FORMAT_PT_WRITE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/dtype.h"
#include "libcommon/base/err.h"
#include "libcommon/format/weights.h"

struct pt_writer;
struct pt_writer *pt_create(const char *path, bool force, struct err *e);
/* dtype: DT_F32, DT_F16 or DT_BF16. Returns the tensor's number. alias: number of the tensor whose storage it shares
 * (same dtype and size; its bytes are not written again), or -1. */
int pt_declare(struct pt_writer *w, const char *name, enum dtype dtype, int ndim, const int64_t *shape, int alias);
int pt_begin(struct pt_writer *w, struct err *e);
int pt_data(struct pt_writer *w, const void *data, size_t n, struct err *e); /* does not cross a tensor's end */
/* All tensors are written: complete the file under its temporary name. */
int pt_complete(struct pt_writer *w, struct err *e);
/* After pt_complete: the file's tensors as the writer placed them, mapped. */
struct weights *pt_view(const struct pt_writer *w, const char *config_json, struct err *e);
int pt_finish(struct pt_writer *w, struct err *e); /* commits what pt_complete completed; frees w, also on error */
void pt_discard(struct pt_writer *w);              /* failure path; NULL is fine */
#endif
