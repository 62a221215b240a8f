/* pt_build: archives as torch.save lays them out, around any pickle, for the test and the fuzzer of pt_read. */
#ifndef TESTS_PT_BUILD_H
#define TESTS_PT_BUILD_H
#include <stdint.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gzip.h"

struct pt_build {
    struct buf file, dir;
    unsigned n;
    size_t local[8],
        central[8]; /* where the headers of the members begin; central: in dir, after pt_build_end in file */
    size_t end;     /* of the end record */
};

static inline void pt_build_le(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) buf_addc(b, i < 8 ? (char)(v >> (8 * i)) : 0);
}

/* The 26 bytes that both headers have: version, flags, method, time, CRC, sizes, lengths */
static inline void pt_build_header(struct buf *b, uint32_t crc, size_t size, size_t name)
{
    pt_build_le(b, 20, 2);
    pt_build_le(b, 1 << 11, 2);
    pt_build_le(b, 0, 6);
    pt_build_le(b, crc, 4);
    pt_build_le(b, size, 4);
    pt_build_le(b, size, 4);
    pt_build_le(b, name, 2);
    pt_build_le(b, 0, 2);
}

/* name: in full ("archive/data/0") */
static inline void pt_build_member(struct pt_build *a, const char *name, const void *data, size_t size)
{
    uint32_t crc = gzip_crc32(0, data, size);
    a->local[a->n] = a->file.n;
    a->central[a->n++] = a->dir.n;
    pt_build_le(&a->dir, 0x02014b50, 4);
    pt_build_le(&a->dir, 20, 2);
    pt_build_header(&a->dir, crc, size, strlen(name));
    pt_build_le(&a->dir, 0, 10);
    pt_build_le(&a->dir, a->file.n, 4);
    buf_addz(&a->dir, name);
    pt_build_le(&a->file, 0x04034b50, 4);
    pt_build_header(&a->file, crc, size, strlen(name));
    buf_addz(&a->file, name);
    buf_add(&a->file, data, size);
}

/* The directory and the end record; zip64: with the two records that torch puts before it. */
static inline void pt_build_end(struct pt_build *a, int zip64)
{
    uint64_t at = a->file.n, size = a->dir.n;
    buf_add(&a->file, a->dir.p, a->dir.n);
    for (unsigned i = 0; i < a->n; i++) a->central[i] += at;
    if (zip64) {
        pt_build_le(&a->file, 0x06064b50, 4);
        pt_build_le(&a->file, 44, 8);
        pt_build_le(&a->file, 45, 12);
        pt_build_le(&a->file, a->n, 8);
        pt_build_le(&a->file, a->n, 8);
        pt_build_le(&a->file, size, 8);
        pt_build_le(&a->file, at, 8);
        pt_build_le(&a->file, 0x07064b50, 8);
        pt_build_le(&a->file, at + size, 8);
        pt_build_le(&a->file, 1, 4);
    }
    a->end = a->file.n;
    pt_build_le(&a->file, 0x06054b50, 8);
    pt_build_le(&a->file, a->n, 2);
    pt_build_le(&a->file, a->n, 2);
    pt_build_le(&a->file, size, 4);
    pt_build_le(&a->file, at, 4);
    pt_build_le(&a->file, 0, 2);
}

/* An archive of this pickle, a storage of 16 bytes and one without, as torch's. */
static inline void pt_build_whole(struct pt_build *a, const void *pickle, size_t n, int zip64)
{
    pt_build_member(a, "archive/data.pkl", pickle, n);
    pt_build_member(a, "archive/byteorder", "little", 6);
    pt_build_member(a, "archive/data/0", "\0\0\200\77\0\0\0\100\0\0\100\100\0\0\200\100", 16); /* 1, 2, 3, 4 */
    pt_build_member(a, "archive/data/1", "", 0);
    pt_build_member(a, "archive/version", "3\n", 2);
    pt_build_end(a, zip64);
}

static inline void pt_build_fini(struct pt_build *a)
{
    buf_fini(&a->file);
    buf_fini(&a->dir);
    *a = (struct pt_build){0};
}
#endif
