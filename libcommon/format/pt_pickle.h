/* pt_pickle: the pickle inside a file of torch.save, as far as a flat state dict needs it. It is no unpickler: nothing
 * is called or imported. Opcodes work on a stack of plain values; a "call" is accepted for the few names that state
 * dicts hold (OrderedDict, _rebuild_tensor_v2, _rebuild_parameter) with the arguments that torch gives them, and only
 * notes what they are. Protocols 2 to 5. What its memory holds is at most a small multiple of the pickle's bytes. */
#ifndef PEFT_FORMAT_PT_PICKLE_H
#define PEFT_FORMAT_PT_PICKLE_H
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

enum { PT_PICKLE_DIMS = 8, PT_PICKLE_MAX = 16 << 20 /* bytes of a pickle, some 80000 tensors */ };

/* One entry of the dict. Numbers are as in the pickle: not negative, else unchecked. */
struct pt_item {
    struct str name;     /* any bytes */
    struct str storage;  /* the key of its storage */
    const char *dtype;   /* of the storage: "F32" */
    int size;            /* bytes of an element */
    int64_t storage_len; /* elements of the whole storage */
    int64_t offset;      /* of the tensor in it, in elements */
    int ndim;
    int64_t shape[PT_PICKLE_DIMS], stride[PT_PICKLE_DIMS];
};

/* Calls each for every entry, in the file's order, once the whole pickle is known to be one; stops when it returns less
 * than 0. E_PT; E_POLICY: it would run code. path: for messages. */
int pt_pickle_read(const unsigned char *p, size_t n, const char *path,
                   int (*each)(void *ctx, const struct pt_item *item, struct err *e), void *ctx, struct err *e);
#endif
