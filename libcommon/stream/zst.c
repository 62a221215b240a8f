/* zst: see zst.h. Frame layout: RFC 8878, section 3.1.1. */
#include "libcommon/stream/zst.h"
#include <stdlib.h>
#include <zstd.h>

enum { LEVEL = 3, WINDOW_LOG_MAX = 23 };

struct zst_enc {
    ZSTD_CCtx *c;
};

struct zst_enc *zst_enc_new(void)
{
    struct zst_enc *z = mem_alloc(1, sizeof *z);
    z->c = ZSTD_createCCtx();
    if (z->c) {
        ZSTD_CCtx_setParameter(z->c, ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(z->c, ZSTD_c_checksumFlag, 1);
        ZSTD_CCtx_setParameter(z->c, ZSTD_c_contentSizeFlag, 1);
    }
    return z;
}

void zst_enc_free(struct zst_enc *z)
{
    if (!z) return;
    ZSTD_freeCCtx(z->c);
    free(z);
}

int zst_frame(struct zst_enc *z, struct buf *out, const void *p, size_t n)
{
    if (!z->c) return -1;
    /* a frame of one segment has its content as its window */
    ZSTD_CCtx_setParameter(z->c, ZSTD_c_windowLog, n > (size_t)1 << WINDOW_LOG_MAX ? WINDOW_LOG_MAX : 0);
    size_t cap = ZSTD_compressBound(n);
    if (out->cap - out->n < cap) out->p = mem_grow(out->p, &out->cap, out->n + cap, 1);
    size_t k = ZSTD_compress2(z->c, out->p + out->n, cap, p, n);
    if (ZSTD_isError(k)) return -1;
    out->n += k;
    return 0;
}

static uint64_t le(const unsigned char *p, int n)
{
    uint64_t x = 0;
    while (n--) x = x << 8 | p[n];
    return x;
}

/* The frame header after the magic number; its length was settled by the descriptor byte. */
static bool header(struct zst_walk *w, const unsigned char *p, uint64_t max_content)
{
    static const int fcs_len[4] = {1, 2, 4, 8};
    unsigned d = p[4], single = d >> 5 & 1;
    const unsigned char *q = p + 5;
    uint64_t window = 0;
    if (!single) {
        uint64_t base = (uint64_t)1 << (10 + (*q >> 3));
        window = base + base / 8 * (*q & 7);
        q++;
    }
    w->content = le(q, fcs_len[d >> 6]) + (d >> 6 == 1 ? 256 : 0);
    if (single) window = w->content;
    if (w->content > max_content)
        w->why = "content above the size limit of a frame";
    else if (window > (uint64_t)1 << WINDOW_LOG_MAX)
        w->why = "window above 8 MiB";
    return !w->why;
}

long zst_walk(struct zst_walk *w, const unsigned char *p, size_t n, uint64_t max_content)
{
    if (!w->next) w->next = 5;
    while (n >= w->next) {
        w->pos = w->next;
        switch (w->state) {
        case 0: { /* magic and descriptor are there */
            unsigned d = p[4];
            if (le(p, 4) != ZSTD_MAGICNUMBER)
                w->why = "no zstd frame where one must begin";
            else if (!(d & 4))
                w->why = "frame without checksum";
            else if (d & 0x1b)
                w->why = "frame with a dictionary or reserved bits";
            else if (!(d >> 6) && !(d >> 5 & 1))
                w->why = "frame without content size";
            if (w->why) return -1;
            w->next += (d >> 5 & 1 ? 0 : 1) + ((size_t)1 << (d >> 6));
            w->state = 1;
            break;
        }
        case 1:
            if (!header(w, p, max_content)) return -1;
            w->next += 3;
            w->state = 2;
            break;
        case 2: { /* a block header is there */
            uint64_t h = le(p + w->pos - 3, 3);
            int type = h >> 1 & 3;
            size_t size = type == 1 ? 1 : (size_t)(h >> 3);
            if (type == 3 || (h >> 3) > 131072) {
                w->why = "damaged block header";
                return -1;
            }
            bool last = h & 1;
            w->next += size + (last ? 4 : 3);
            w->state = last ? 3 : 2;
            /* what zstd can need at most; keeps a row of empty blocks from being read for ever */
            if (w->next > w->content + w->content / 128 + 1024) {
                w->why = "frame larger than its content";
                return -1;
            }
            break;
        }
        default:
            return 0;
        }
    }
    return (long)(w->next - n);
}

struct zst_dec {
    ZSTD_DCtx *d;
};

struct zst_dec *zst_dec_new(void)
{
    struct zst_dec *z = mem_alloc(1, sizeof *z);
    z->d = ZSTD_createDCtx();
    if (z->d) ZSTD_DCtx_setParameter(z->d, ZSTD_d_windowLogMax, 25);
    return z;
}

void zst_dec_free(struct zst_dec *z)
{
    if (!z) return;
    ZSTD_freeDCtx(z->d);
    free(z);
}

const char *zst_unframe(struct zst_dec *z, void *out, size_t content, const void *p, size_t n)
{
    if (!z->d) return "out of memory";
    size_t k = ZSTD_decompressDCtx(z->d, out, content, p, n);
    if (ZSTD_isError(k)) return ZSTD_getErrorName(k);
    return k == content ? NULL : "content of another size than stated";
}

long zst_pull(struct zst_dec *z, void *out, size_t cap, struct str *in, bool *whole, const char **why)
{
    if (!z->d) {
        *why = "out of memory";
        return -1;
    }
    ZSTD_inBuffer i = {in->p, in->n, 0};
    ZSTD_outBuffer o = {out, cap, 0};
    size_t k = ZSTD_decompressStream(z->d, &o, &i);
    if (ZSTD_isError(k)) {
        *why = ZSTD_getErrorName(k);
        return -1;
    }
    *whole = k == 0;
    in->p += i.pos;
    in->n -= i.pos;
    return (long)o.pos;
}
