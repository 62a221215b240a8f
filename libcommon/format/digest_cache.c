/* digest_cache: see digest_cache.h. */
#include "libcommon/format/digest_cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"

enum { STEP = 1 << 20, SMALL = 16 << 20 };

/* Path of the entry for these files, its directory made; NULL: no cache. */
static char *entry_path(const struct filemap *const *part, int n)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct buf key = {0}, dir = {0};
    if (xdg && *xdg == '/')
        buf_addz(&dir, xdg);
    else if (home && *home == '/')
        buf_printf(&dir, "%s/.cache", home);
    else
        return NULL;
    bool ok = true;
    static const char *const level[] = {"", "/peft", "/checked"};
    for (int i = 0; i < 3 && ok; i++) {
        buf_addz(&dir, level[i]);
        ok = mkdir(buf_str(&dir), 0700) == 0 || errno == EEXIST;
    }
    for (int i = 0; i < n && ok; i++) {
        struct stat st;
        filemap_identity(part[i], &st);
        buf_printf(&key, "%llu %llu %llu %lld.%09ld %lld.%09ld\n", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
                   st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    }
    char *path = NULL;
    if (ok) {
        unsigned char d[32];
        char hex[65];
        sha256_of(key.p, key.n, d);
        digest_hex(d, hex);
        path = mem_printf("%s/%s", buf_str(&dir), hex);
    }
    buf_fini(&key);
    buf_fini(&dir);
    return path;
}

static bool entry_read(const char *path, unsigned char out[32])
{
    struct err e = {0};
    size_t n;
    char *text = file_exists(path) ? file_read(path, 65, &n, &e) : NULL;
    bool ok = text && n == 65 && text[64] == '\n';
    if (ok) {
        text[64] = 0;
        ok = digest_parse(text, out) == 0;
    }
    free(text);
    return ok;
}

static void entry_write(const char *path, const unsigned char digest[32])
{
    struct err e = {0};
    struct out o;
    char hex[65];
    digest_hex(digest, hex);
    if (out_open(&o, path, true, false, &e)) return;
    if (out_printf(&o, &e, "%s\n", hex) || out_commit(&o, &e)) out_abort(&o);
}

bool digest_files(const struct filemap *const *part, int n, digest_check *check, void *ctx, unsigned char out[32])
{
    uint64_t total = 0, done = 0;
    for (int i = 0; i < n; i++) total += part[i]->size;
    char *path = total >= SMALL ? entry_path(part, n) : NULL; /* small files hash faster than an entry is kept */
    if (path && entry_read(path, out)) {
        free(path);
        return true;
    }
    struct sha256 *s = sha256_new();
    bool ok = true;
    for (int i = 0; i < n && ok; i++)
        for (size_t at = 0; at < part[i]->size && ok;) {
            const size_t step = part[i]->size - at < STEP ? part[i]->size - at : STEP;
            const unsigned char *data = part[i]->data + at;
            ok = check(ctx, data, step);
            sha256_add(s, data, step);
            at += step;
            done += step;
            if (total > (1u << 30)) msg_progress("digest of the weights: %d %%", (int)(done * 100 / total));
        }
    sha256_done(s, out);
    if (total > (1u << 30)) msg_progress(NULL);
    if (path && ok) entry_write(path, out);
    free(path);
    return ok;
}
