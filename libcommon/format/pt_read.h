/* pt_read: strict reader of what torch.save(state_dict, path) writes (adapter_model.bin, pytorch_model.bin, *.pt): a
 * flat dict or OrderedDict of tensors in F32, F16 or BF16. Source: PyTorch's notes on serialization and
 * torch/serialization.py; the archive is pt_zip.h's, the pickle pt_pickle.h's.
 *
 * Nothing in a file is executed. All of it but the tensors' bytes is checked before pt_open returns: members against
 * the file, the pickle's CRC, storages against members, tensors against storages. Tensors lie in the mapping, as they
 * are: contiguous, aligned to 1 only; several may share bytes. Refused by name: files of torch before 1.6 (no archive),
 * TorchScript, big-endian files, other element types, views that are not contiguous, anything in the dict but tensors.
 */
#ifndef PEFT_FORMAT_PT_READ_H
#define PEFT_FORMAT_PT_READ_H
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/out.h"
#include "libcommon/format/pt_zip.h"

enum { PT_DIMS = 8 };

struct pt_tensor {
    char *name;             /* UTF-8, 1 byte to 1 KiB */
    const char *dtype;      /* "F32", "F16", "BF16" */
    int size;               /* bytes of an element */
    int ndim;               /* 0: a scalar */
    int64_t shape[PT_DIMS]; /* outermost first; a dimension may be 0 */
    uint64_t bytes;
    const unsigned char *data; /* tied tensors have the same */
};

struct pt_file {
    char *path;
    struct pt_tensor *t; /* by name */
    int n;
    struct filemap map; /* {0} when the memory is the caller's */
    struct pt_zip zip;
};

/* E_NOINPUT, E_PT; E_POLICY: the file would run code in torch. pt_close it. */
struct pt_file *pt_open(const char *path, struct err *e);
/* The same over the caller's memory, which must outlive the result. */
struct pt_file *pt_parse(const void *data, size_t size, const char *name, struct err *e);
/* Reads all tensors' bytes and compares their CRCs. E_PT. */
int pt_check(const struct pt_file *p, struct err *e);
void pt_close(struct pt_file *p);                                           /* NULL is fine */
const struct pt_tensor *pt_find(const struct pt_file *p, const char *name); /* NULL: absent */
#endif
