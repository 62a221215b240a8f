/* gzip: see gzip.h. */
#include "libcommon/format/gzip.h"
#include <stdlib.h>
#include <zlib.h>

struct gzip {
    z_stream z;
};

struct gzip *gzip_new(void)
{
    struct gzip *g = mem_alloc(1, sizeof *g);
    if (inflateInit2(&g->z, 15 + 16) == Z_OK) return g;
    free(g);
    return NULL;
}

void gzip_free(struct gzip *g)
{
    if (!g) return;
    inflateEnd(&g->z);
    free(g);
}

long gzip_pull(struct gzip *g, void *out, size_t cap, struct str *in, bool *whole, const char **why)
{
    if (*whole && in->n) {
        inflateReset(&g->z);
        *whole = false;
    }
    unsigned room = cap < 1u << 30 ? (unsigned)cap : 1u << 30;
    g->z.next_in = (unsigned char *)(uintptr_t)in->p;
    g->z.avail_in = (unsigned)in->n;
    g->z.next_out = out;
    g->z.avail_out = room;
    int rc = inflate(&g->z, Z_NO_FLUSH);
    *in = (struct str){(char *)g->z.next_in, g->z.avail_in};
    if (rc == Z_STREAM_END)
        *whole = true;
    else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        *why = g->z.msg ? g->z.msg : zError(rc);
        return -1;
    }
    return (long)(room - g->z.avail_out);
}

uint32_t gzip_crc32(uint32_t crc, const void *p, size_t n) { return (uint32_t)crc32_z(crc, p, n); }
