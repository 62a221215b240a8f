/* digest: SHA-256 (libcrypto). */
#ifndef PEFT_BASE_DIGEST_H
#define PEFT_BASE_DIGEST_H
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/err.h"

struct sha256;
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_peek(const struct sha256 *s, unsigned char out[32]); /* digest so far; more may follow */
void sha256_done(struct sha256 *s, unsigned char out[32]);       /* and free */
void sha256_of(const void *data, size_t n, unsigned char out[32]);
int sha256_file(const char *path, unsigned char out[32], struct err *e);
void digest_hex(const unsigned char d[32], char hex[65]);
int digest_parse(const char *hex, unsigned char d[32]); /* 0, or -1 if not 64 hex digits */
#endif
