/* digest: SHA-256 by libcrypto (which uses the processor's instructions for it). The one place that includes OpenSSL,
 * by the functions below its providers: those read a configuration, allocate, and can fail. */
#define OPENSSL_API_COMPAT 0x10100000L
#include "libcommon/base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/mem.h"

struct sha256 {
    SHA256_CTX cx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *s = mem_alloc(1, sizeof *s);
    SHA256_Init(&s->cx);
    return s;
}

void sha256_add(struct sha256 *s, const void *data, size_t n) { SHA256_Update(&s->cx, data, n); }

void sha256_peek(const struct sha256 *s, unsigned char out[32])
{
    SHA256_CTX copy = s->cx;
    SHA256_Final(out, &copy);
}

void sha256_done(struct sha256 *s, unsigned char out[32])
{
    SHA256_Final(out, &s->cx);
    free(s);
}

void sha256_of(const void *data, size_t n, unsigned char out[32]) { SHA256(data, n, out); }

int sha256_file(const char *path, unsigned char out[32], struct err *e)
{
    enum { CHUNK = 1 << 18 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_sys(e, E_NOINPUT, "%s", path);
    struct sha256 *s = sha256_new();
    char *buf = mem_alloc(CHUNK, 1);
    ssize_t n;
    while ((n = read(fd, buf, CHUNK)) != 0) {
        if (n > 0)
            sha256_add(s, buf, (size_t)n);
        else if (errno != EINTR)
            break;
    }
    int rc = n < 0 ? err_sys(e, E_NOINPUT, "%s: cannot read", path) : 0;
    sha256_done(s, out);
    free(buf);
    close(fd);
    return rc;
}

void digest_hex(const unsigned char d[32], char hex[65])
{
    static const char x[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = x[d[i] >> 4];
        hex[2 * i + 1] = x[d[i] & 15];
    }
    hex[64] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int digest_parse(const char *hex, unsigned char d[32])
{
    if (!hex || strlen(hex) != 64) return -1;
    for (int i = 0; i < 32; i++) {
        int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);
        if (hi < 0 || lo < 0) return -1;
        d[i] = (unsigned char)(hi << 4 | lo);
    }
    return 0;
}
