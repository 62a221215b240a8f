/* bombs: what is made to be costly is refused or read at little cost. The limit for a file of 10 MB is 256 MiB and 5 s.
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/format/table.h"
#include "libcommon/stream/mp.h"
#include "tests/test.h"

enum { SIZE = 10000000, FRAME = 16 << 20 };
static struct buf b; /* the input */

/* Run read() in a child: it has to return `want` (an error's id, 0 for none) within the limits. */
static void costs(const char *name, int (*read)(void), int want)
{
    int status = 0;
    struct rusage use = {0};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(read() == want ? 0 : 1);
    }
    wait4(pid, &status, 0, &use);
    CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "%s: status %d", name, status);
#ifndef __SANITIZE_ADDRESS__
    const double s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    CHECK_MSG(use.ru_maxrss < 256 << 10 && s < 5, "%s: %ld MiB, %.1f s", name, use.ru_maxrss >> 10, s);
#endif
}

static void fill(const char *first, const char *again, size_t size, const char *last)
{
    b.n = 0;
    buf_addz(&b, first);
    while (b.n < size) buf_addz(&b, again);
    buf_addz(&b, last);
}

/* ---- records ---- */
/* All objects of b, one after the other, as the stream reads them; 1 if one is refused. */
static int scan(void)
{
    struct mp_tree *t = mp_tree_new();
    const char *why;
    int refused = 0;
    for (size_t at = 0, n; at < b.n && !refused; at += n) {
        n = mp_scan(b.p + at, b.n - at, &why);
        refused = !n || !mp_parse(t, b.p + at, n);
    }
    mp_tree_free(t);
    return refused;
}

static void add_map(int n, char with)
{
    mp_put_map(&b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        char key[3] = {(char)(33 + i % 90), (char)(33 + i / 90), with};
        mp_put_str(&b, key, 3);
        mp_put_nil(&b);
    }
}

static void records(void)
{
    enum { INNER = 240 };
    b.n = 0;
    mp_put_array(&b, 60000);
    for (int i = 0; i < 60000; i++) {
        mp_put_array(&b, INNER);
        for (int k = 0; k < INNER; k++) mp_put_array(&b, 0);
    }
    costs("nested arrays", scan, 1);
    b.n = 0;
    mp_put_array(&b, 2000);
    for (int i = 0; i < 2000; i++) add_map(MP_MAP_MAX, 'x');
    costs("maps in one record", scan, 1);
    b.n = 0;
    while (b.n < FRAME) {
        mp_put_array(&b, 60);
        for (int i = 0; i < 60; i++) add_map(MP_MAP_MAX, 'x');
    }
    costs("many records of maps", scan, 0);
    b.n = 0;
    mp_put_array(&b, 60000);
    for (int i = 0; i < 60000; i++) mp_put_array(&b, 1), mp_put_nil(&b);
    CHECK(!scan()); /* as many as the format's own records have */
}

/* ---- safetensors and JSON ---- */
static int read_safetensors(void)
{
    struct err e = {0};
    struct buf file = {0};
    uint64_t n = b.n;
    buf_add(&file, &n, 8);
    buf_add(&file, b.p, b.n);
    safetensors_close(safetensors_parse(file.p, file.n, "x", &e));
    return e.id;
}

static void headers(void)
{
    fill("{\"a\":[{}", ",{}", SIZE, "]}");
    costs("array of objects", read_safetensors, E_SAFETENSORS);
    fill("{\"__metadata__\":{\"a\":\"\"", ",\"b\":\"\"", SIZE, "}}");
    costs("metadata", read_safetensors, E_SAFETENSORS);
    fill("{\"a\":{}", ",\"a\":{}", SIZE, "}");
    costs("entries that say nothing", read_safetensors, E_SAFETENSORS);
    b.n = 0;
    buf_addc(&b, '{');
    for (int i = 0; b.n < SIZE; i++)
        buf_printf(&b, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    buf_addc(&b, '}');
    costs("empty tensors", read_safetensors, 0);
    b.p[b.n - 1] = ',';
    buf_addz(&b, "\"t0\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    costs("a tensor twice", read_safetensors, E_SAFETENSORS);
}

static int read_json(void)
{
    struct err e = {0};
    json_decref(json_parse(b.p, b.n, "x", E_JSON, &e));
    return e.id;
}

static void documents(void)
{
    fill("{\"a\":[{}", ",{}", SIZE, "]}");
    costs("objects", read_json, E_JSON);
    fill("{\"a\":[[]", ",[]", SIZE, "]}");
    costs("arrays", read_json, E_JSON);
    fill("{\"a\":[0", ",0", SIZE, "]}");
    costs("numbers", read_json, E_JSON);
    fill("{\"a\":[\"\"", ",\"\"", SIZE, "]}");
    costs("strings", read_json, E_JSON);
    b.n = 0;
    for (int i = 0; b.n < SIZE; i++) buf_printf(&b, "%c\"k%d\":1", i ? ',' : '{', i);
    buf_addc(&b, '}');
    costs("keys", read_json, 0);
}

/* ---- tables ---- */
static char name[] = "/tmp/bombs-XXXXXX";

static int read_table(void)
{
    struct err e = {0};
    struct row row;
    struct str value;
    struct table *t = table_open(name, &(struct table_opts){.format = TABLE_CSV}, &e);
    if (t && table_next(t, &row, &e) == 1) row_text(&row, STRZ("question"), &value, &e);
    if (t) table_close(t);
    return e.id;
}

static void columns(void)
{
    b.n = 0;
    int n = 0;
    for (; b.n < SIZE / 10 * 8; n++) buf_printf(&b, "%sc%d", n ? "," : "", n);
    buf_addc(&b, '\n');
    for (int i = 1; i < n; i++) buf_addc(&b, ',');
    buf_addc(&b, '\n');
    int fd = mkstemp(name);
    CHECK(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    costs("columns", read_table, E_CSV_HEADER);
    unlink(name);
}

/* ---- GGUF ---- */
static int read_gguf(void)
{
    struct err e = {0};
    gguf_close(gguf_parse(b.p, b.n, "x", &e));
    return e.id;
}

static void put(uint64_t x, size_t bytes) { buf_add(&b, &x, bytes); }

static void pairs(void)
{
    enum { N = SIZE / 22 };
    b.n = 0;
    buf_addz(&b, "GGUF");
    put(3, 4);
    put(0, 8);
    put(N, 8);
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "%09d", i);
        put(9, 8);
        buf_add(&b, key, 9);
        put(0, 4);
        put(1, 1);
    }
    costs("keys of a GGUF file", read_gguf, 0);
}

int main(void)
{
    RUN(records, "bombs/records");
    RUN(headers, "bombs/safetensors");
    RUN(documents, "bombs/json");
    RUN(columns, "bombs/columns");
    RUN(pairs, "bombs/gguf");
    buf_fini(&b);
    return test_failed;
}
