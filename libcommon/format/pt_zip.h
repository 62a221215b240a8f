/* pt_zip: the archive around a file of torch.save: a ZIP whose members are stored, all in one directory. Strict, after
 * what torch writes (PKWARE's APPNOTE, torch's use of miniz): no compression, no encryption, no comment behind the
 * archive, ZIP64 records only where torch puts them, no member twice, no overlap and no gap, local headers that
 * agree with the central directory. Members point into the caller's memory. */
#ifndef PEFT_FORMAT_PT_ZIP_H
#define PEFT_FORMAT_PT_ZIP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

struct pt_member {
    struct str name;           /* below the archive's directory: "data.pkl", "data/0" */
    uint64_t begin;            /* of its local header in the file */
    const unsigned char *data; /* what is stored */
    uint64_t size;
    bool described;    /* CRC and size stand behind it as well */
    uint32_t crc;      /* as the directory says; pt_zip_crc compares */
    const char *dtype; /* for pt_read: what its elements were taken for; NULL: not used */
};

struct pt_zip {
    struct pt_member *m; /* by name */
    size_t n;
};

/* Fills *z; pt_zip_fini also after a failure. E_PT. path: for messages. */
int pt_zip_read(struct pt_zip *z, const unsigned char *data, size_t size, const char *path, struct err *e);
void pt_zip_fini(struct pt_zip *z);
/* The member dir + name (of dir "data/" and "0": "data/0"); NULL: absent. */
struct pt_member *pt_zip_find(const struct pt_zip *z, const char *dir, struct str name);
/* Reads all of a member. E_PT: its CRC is another one. */
int pt_zip_crc(const struct pt_member *m, const char *path, struct err *e);
#endif
