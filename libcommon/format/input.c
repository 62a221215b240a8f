/* input: see input.h. Concatenated gzip members and zstd frames read as one. */
#include "libcommon/format/input.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/format/gzip.h"
#include "libcommon/format/magic.h"
#include "libcommon/stream/source.h"
#include "libcommon/stream/stream.h"
#include "libcommon/stream/zst.h"

enum packing { PLAIN, GZIP, ZSTD, STREAM };
enum { RAW_BYTES = 65536 };

struct input {
    struct source src;
    char *name;
    enum packing packing;
    unsigned char raw[RAW_BYTES]; /* as they came */
    struct str left;              /* not yet consumed of raw */
    bool eof, whole;              /* raw input ended; no member or frame is open */
    struct gzip *gz;
    struct zst_dec *zst;
    struct sha256 *sha; /* of what came */
};

/* What is it, by its first bytes? They stay in the source. */
static int sniff(struct input *in, struct err *e)
{
    const unsigned char *at = NULL;
    ssize_t n = source_peek(&in->src, &at, MAGIC_BYTES);
    if (n < 0) return err_sys(e, E_IO, "%s: read failed", in->name);
    in->whole = true;
    if (n >= 2 && !memcmp(at, "\x1f\x8b", 2)) {
        in->packing = GZIP;
        in->gz = gzip_new();
        if (!in->gz) return err_set(e, E_NOMEM, "%s: zlib", in->name);
    } else if (n >= 4 && !memcmp(at, "\x28\xb5\x2f\xfd", 4)) {
        in->packing = ZSTD;
        in->zst = zst_dec_new();
    } else if (n >= 16 && !memcmp(at + 8, "PEFTSTRM", 8)) {
        in->packing = STREAM;
    }
    return magic_refuse((struct str){(const char *)at, (size_t)n}, in->name, e);
}

struct input *input_open(const char *path, struct err *e)
{
    struct input *in = mem_alloc(1, sizeof *in);
    in->name = mem_dupz(stream_name(path));
    in->sha = sha256_new();
    int rc = source_open(&in->src, path, in->name, false, e);
    if (rc == 0 && isatty(in->src.fd)) {
        err_set(e, E_NOINPUT, "%s is a terminal, expected rows", in->name);
        rc = err_hint(e, "give a file, or pipe the rows in");
    }
    if (rc == 0) rc = sniff(in, e);
    if (rc == 0) return in;
    input_close(in);
    return NULL;
}

struct input *input_open_mem(const void *data, size_t n, const char *name)
{
    struct input *in = mem_alloc(1, sizeof *in);
    in->name = mem_dupz(name);
    source_mem(&in->src, data, n);
    return in;
}

const char *input_name(const struct input *in) { return in->name; }

static int refill(struct input *in, struct err *e)
{
    if (in->left.n || in->eof) return 0;
    ssize_t n = source_some(&in->src, in->raw, RAW_BYTES);
    if (n < 0) return err_sys(e, E_IO, "%s: read failed", in->name);
    in->eof = n == 0;
    in->left = (struct str){(char *)in->raw, (size_t)n};
    if (in->sha) sha256_add(in->sha, in->raw, (size_t)n);
    return 0;
}

bool input_digest(const struct input *in, unsigned char sha256[32])
{
    if (in->eof && in->sha) sha256_peek(in->sha, sha256);
    return in->eof && in->sha;
}

bool input_is_stream(const struct input *in) { return in->packing == STREAM; }

struct stream_reader *input_stream(struct input *in, int kind, struct err *e)
{
    return stream_open_source(&in->src, in->name, kind, e);
}

static int damaged(const struct input *in, const char *why, struct err *e)
{
    return err_set(e, E_COMPRESSED, "%s: %s data damaged at byte %llu: %s", in->name,
                   in->packing == GZIP ? "gzip" : "zstd", (unsigned long long)(in->src.offset - in->left.n), why);
}

ssize_t input_read(struct input *in, void *to, size_t n, struct err *e)
{
    for (;;) {
        if (refill(in, e)) return -e->id;
        if (in->left.n == 0 && in->eof && (in->packing == PLAIN || in->whole)) return 0;
        if (in->packing == PLAIN) {
            size_t k = n < in->left.n ? n : in->left.n;
            memcpy(to, in->left.p, k);
            in->left.p += k;
            in->left.n -= k;
            return (ssize_t)k;
        }
        const char *why = NULL;
        size_t before = in->left.n;
        ssize_t k = in->packing == GZIP ? gzip_pull(in->gz, to, n, &in->left, &in->whole, &why)
                                        : zst_pull(in->zst, to, n, &in->left, &in->whole, &why);
        if (k < 0) return why ? damaged(in, why, e) : k;
        if (k > 0) return k;
        if (in->eof && before == in->left.n && !in->whole) return damaged(in, "cut before its end", e);
    }
}

void input_close(struct input *in)
{
    if (!in) return;
    unsigned char unused[32];
    if (in->sha) sha256_done(in->sha, unused);
    gzip_free(in->gz);
    zst_dec_free(in->zst);
    source_close(&in->src);
    free(in->name);
    free(in);
}
