/* fuzz_manifest: any bytes as MANIFEST of a directory, or, if the first byte is odd, as manifest.json of a run. A
 * refusal has the id that was asked for; what is accepted names files below the directory, and a MANIFEST of them is
 * read again as the same. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/json.h"
#include "libcommon/peft/run_manifest.h"
#include "tests/fuzz/scratch.h"

static int read_it(struct sums *s, const unsigned char *data, size_t size, struct err *e)
{
    if (!(data[0] & 1)) {
        scratch_put(SUMS_FILE, data + 1, size - 1);
        return sums_read(s, scratch, E_ADAPTER, e);
    }
    json_t *m = json_parse((const char *)data + 1, size - 1, "manifest.json", E_ADAPTER, e);
    int rc = m ? run_manifest_sums(m, "", s, e) : -(int)e->id;
    json_decref(m);
    return rc;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct sums s = {0}, again = {0};
    struct err e = {0}, none = {0};
    struct buf b = {0};
    if (!size) return 0;
    scratch_make();
    int rc = read_it(&s, data, size, &e);
    if (rc ? e.id != E_ADAPTER || !e.msg[0] : e.id != 0) abort();
    for (size_t i = 0; i < s.n; i++) {
        const char *name = s.v[i].name;
        const size_t n = strlen(name);
        if (!n || name[0] == '/' || name[n - 1] == '/' || !strncmp(name, "../", 3) || strstr(name, "/../")) abort();
        if (!strcmp(name, "..") || (n > 3 && !strcmp(name + n - 3, "/.."))) abort();
    }
    if (!rc && s.n) {
        sums_text(&s, &b);
        scratch_put(SUMS_FILE, b.p, b.n);
        if (sums_read(&again, scratch, E_ADAPTER, &none) || again.n != s.n) abort();
        for (size_t i = 0; i < s.n; i++)
            if (strcmp(s.v[i].name, again.v[i].name) || memcmp(s.v[i].sha256, again.v[i].sha256, 32)) abort();
    }
    buf_fini(&b);
    sums_fini(&s);
    sums_fini(&again);
    return 0;
}
