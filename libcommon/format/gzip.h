/* gzip: zlib as the project uses it: the only file that sees it. Members of gzip inflated piece by piece; the CRC-32 of
 * zip. */
#ifndef PEFT_FORMAT_GZIP_H
#define PEFT_FORMAT_GZIP_H
#include <stdbool.h>
#include "libcommon/base/mem.h"

struct gzip;
struct gzip *gzip_new(void); /* NULL: no memory */
void gzip_free(struct gzip *z);
/* Inflate from *in (advanced) to out[0..cap). Returns bytes written, or -1 with *why. *whole: no member is open. */
long gzip_pull(struct gzip *z, void *out, size_t cap, struct str *in, bool *whole, const char **why);
/* CRC-32 of what crc stands for followed by p[0..n); 0 to begin with. */
uint32_t gzip_crc32(uint32_t crc, const void *p, size_t n);
#endif
