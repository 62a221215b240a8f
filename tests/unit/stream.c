/* Round trip of each kind, the digests, the END, ABORT and kind rules of libcommon/stream. Damage is
 * tests/unit/stream_mutate.c's. */
#include <math.h>
#include <unistd.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/stream/body.h"
#include "libcommon/stream/record.h"
#include "libcommon/stream/stream.h"
#include "tests/test.h"

static char path[] = "/tmp/peft-stream-XXXXXX";
static const struct stream_info info_of[STREAM_KINDS] = {
    {.kind = STREAM_EXAMPLES, .eos = -1},
    {.kind = STREAM_TOKENS, .has_tokenizer = true, .tokenizer = {1, 2, 3}, .vocab = 100000, .max_len = 512, .eos = 2},
    {.kind = STREAM_METRICS, .has_base = true, .base = {9}, .eos = -1},
    {.kind = STREAM_PREDICTIONS, .has_tokenizer = true, .has_base = true, .eos = 7},
};

/* Record i of a kind, of varying sizes; the arrays are static. */
static struct record make(enum stream_kind kind, uint64_t i)
{
    static uint32_t ids[400];
    static uint8_t mask[400];
    static char text[4][3000];
    static struct named_value m[3];
    struct record r = {.kind = kind};
    for (int k = 0; k < 4; k++)
        snprintf(text[k], sizeof text[k], "%d %*llu\xc3\xa9\nline", k, (int)(i % 90) * 30, (unsigned long long)i);
    uint32_t n = (uint32_t)(i % 400);
    for (uint32_t k = 0; k < n; k++) ids[k] = (uint32_t)(i * 7919 + k * 104729) % 100000, mask[k] = k > n / 2;
    m[0] = (struct named_value){"loss", 1.0 / (double)(i + 1)};
    m[1] = (struct named_value){"lr", 1e-300};
    m[2] = (struct named_value){"grad_norm", i % 3 ? (double)NAN : (double)-INFINITY};
    switch (kind) {
    case STREAM_EXAMPLES:
        r.example = (struct example){i + 1, STRZ(text[0]), STRZ(text[1]), i % 2 ? STRZ(text[2]) : (struct str){0}};
        break;
    case STREAM_TOKENS:
        r.tokens = (struct token_row){i + 1, ids, mask, n, n / 2, STRZ(text[0]), STRZ(text[1])};
        break;
    case STREAM_METRICS:
        r.metrics = (struct metric_row){"train", (int64_t)i - 2, 0.25 * (double)i, (int)(i % 4), m};
        break;
    default:
        r.prediction = (struct prediction){i + 1, STRZ(text[0]), STRZ(text[1]), STRZ(text[2]),
                                           n,     "eos",         (int)(i % 3),  m};
    }
    return r;
}

static bool same(const struct record *a, const struct record *b)
{
    struct buf x = {0}, y = {0};
    const char *why;
    bool ok = a->kind == b->kind && !record_put(&x, a, &info_of[a->kind], &why) &&
              !record_put(&y, b, &info_of[b->kind], &why) && x.n == y.n && !memcmp(x.p, y.p, x.n);
    buf_fini(&x);
    buf_fini(&y);
    return ok;
}

static void write_stream(enum stream_kind kind, int n)
{
    struct err e = {0};
    struct stream_writer *w = stream_create(path, true, &info_of[kind], NULL, NULL, &e);
    CHECK_MSG(w, "%s", e.msg);
    for (int i = 0; w && i < n; i++) {
        struct record r = make(kind, (uint64_t)i);
        CHECK_MSG(stream_put(w, &r, &e) == 0, "%s", e.msg);
    }
    struct accounting a = {(uint64_t)n + 3, (uint64_t)n, 3, "too_long:2,a b:1"};
    if (w) CHECK_MSG(stream_finish(w, &a, NULL, &e) == 0, "%s", e.msg);
}

static void round_trip(void)
{
    for (int k = 0; k < STREAM_KINDS; k++) {
        struct err e = {0};
        struct record r;
        int n = 0, rc, total = k == STREAM_METRICS ? 50 : 3000;
        write_stream((enum stream_kind)k, total);
        struct stream_reader *in = stream_open(path, k, &e);
        CHECK_MSG(in, "%s", e.msg);
        if (!in) continue;
        CHECK(!memcmp(stream_info_of(in), &info_of[k], sizeof info_of[k]));
        while ((rc = stream_next(in, &r, &e)) == 1) {
            struct record want = make((enum stream_kind)k, (uint64_t)n++);
            CHECK_MSG(same(&r, &want), "kind %d record %d", k, n);
        }
        CHECK_MSG(rc == 0, "%s", e.msg);
        CHECK(n == total && stream_records(in) == (uint64_t)n);
        CHECK(stream_accounting(in)->in == (uint64_t)n + 3 && stream_accounting(in)->dropped == 3);
        CHECK_STR(stream_accounting(in)->reasons, "too_long:2,a b:1");
        CHECK(stream_next(in, &r, &e) == 0);
        stream_close(in);
    }
}

static void same_bytes(void)
{
    struct err e = {0};
    unsigned char a[32], b[32];
    for (int k = 0; k < STREAM_KINDS; k++) {
        write_stream((enum stream_kind)k, 500);
        CHECK(sha256_file(path, a, &e) == 0);
        write_stream((enum stream_kind)k, 500);
        CHECK(sha256_file(path, b, &e) == 0);
        CHECK(!memcmp(a, b, 32));
    }
}

static void lossy_text(void)
{
    struct err e = {0};
    struct record r = make(STREAM_PREDICTIONS, 3);
    r.prediction.text = STRZ("ab\xf0\x9f\x98");
    struct stream_writer *w = stream_create(path, true, &info_of[STREAM_PREDICTIONS], NULL, NULL, &e);
    CHECK(stream_put(w, &r, &e) == 0);
    CHECK(stream_finish(w, NULL, NULL, &e) == 0);
    struct stream_reader *in = stream_open(path, -1, &e);
    CHECK(stream_next(in, &r, &e) == 1);
    CHECK(str_is(r.prediction.text, "ab\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    stream_close(in);
}

/* What the writer refuses leaves the stream usable. */
static void refused_records(void)
{
    struct err e = {0};
    struct stream_writer *w = stream_create(path, true, &info_of[STREAM_TOKENS], NULL, NULL, &e);
    struct record r = make(STREAM_TOKENS, 10);
    uint32_t big[10] = {100000};
    r.tokens.ids = big;
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD);
    CHECK_MSG(strstr(e.msg, "vocabulary"), "%s", e.msg);
    r = make(STREAM_TOKENS, 10);
    r.tokens.prompt = STRZ("\xff");
    e = (struct err){0};
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "UTF-8"));
    uint8_t mask[10] = {2};
    r = make(STREAM_TOKENS, 10);
    r.tokens.mask = mask;
    e = (struct err){0};
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "mask"));
    r = make(STREAM_EXAMPLES, 1);
    e = (struct err){0};
    CHECK(stream_put(w, &r, &e) == -E_BUG);
    r = make(STREAM_TOKENS, 20);
    e = (struct err){0};
    CHECK(stream_put(w, &r, &e) == 0);
    CHECK(stream_finish(w, NULL, NULL, &e) == 0);
    struct stream_reader *in = stream_open(path, STREAM_TOKENS, &e);
    CHECK(stream_next(in, &r, &e) == 1 && stream_next(in, &r, &e) == 0);
    stream_close(in);
    w = stream_create(path, true, &info_of[STREAM_PREDICTIONS], NULL, NULL, &e);
    struct named_value nan = {"f1", (double)NAN};
    r = make(STREAM_PREDICTIONS, 2);
    r.prediction.n = 1;
    r.prediction.score = &nan;
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "finite"));
    stream_abort(w, &e);
}

static void large_record(void)
{
    struct err e = {0};
    size_t n = 9 << 20;
    char *text = mem_alloc(n, 2);
    for (size_t i = 0; i < 2 * n; i++) text[i] = (char)('a' + (i * 2654435761u >> 7) % 26);
    struct stream_writer *w = stream_create(path, true, &info_of[STREAM_EXAMPLES], NULL, NULL, &e);
    struct record r = {.kind = STREAM_EXAMPLES, .example = {1, {text, n}, {text, 100}, {0}}};
    CHECK(stream_put(w, &r, &e) == 0);
    r.example.target.n = n;
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "16 MiB"));
    e = (struct err){0};
    CHECK(stream_finish(w, NULL, NULL, &e) == 0);
    struct stream_reader *in = stream_open(path, STREAM_EXAMPLES, &e);
    CHECK(stream_next(in, &r, &e) == 1 && r.example.prompt.n == n && !memcmp(r.example.prompt.p, text, n));
    CHECK(stream_next(in, &r, &e) == 0);
    stream_close(in);
    free(text);
}

static void abort_is_told(void)
{
    struct err e = {0}, why = {0};
    struct record r = make(STREAM_EXAMPLES, 1);
    struct stream_writer *w = stream_create_live(path, &info_of[STREAM_EXAMPLES], NULL, NULL, &e);
    CHECK(stream_put(w, &r, &e) == 0);
    err_set(&why, E_CSV_QUOTE, "data.csv:1:2: unterminated quote \"[\"");
    stream_abort(w, &why);
    struct stream_reader *in = stream_open(path, STREAM_EXAMPLES, &e);
    CHECK(in && stream_next(in, &r, &e) == 1);
    CHECK(stream_next(in, &r, &e) == -E_STREAM_ABORT);
    CHECK_MSG(strstr(e.msg, "stopped because peft failed: data.csv:1:2: unterminated quote \"[\" [E-CSV-QUOTE]"), "%s",
              e.msg);
    struct err again = {0};
    CHECK(stream_next(in, &r, &again) == -E_STREAM_ABORT);
    CHECK_STR(again.msg, e.msg);
    /* the next stage passes the first cause on */
    w = stream_create_live(path, &info_of[STREAM_TOKENS], NULL, in, &again);
    stream_abort(w, &e);
    stream_close(in);
    struct err third = {0};
    in = stream_open(path, STREAM_TOKENS, &third);
    CHECK(in && stream_next(in, &r, &third) == -E_STREAM_ABORT);
    CHECK_MSG(strstr(third.msg, ": stopped because peft failed: data.csv:1:2: unterminated quote \"[\" [E-CSV-QUOTE]"),
              "%s", third.msg);
    stream_close(in);
}

static void wrong_inputs(void)
{
    struct err e = {0};
    write_stream(STREAM_EXAMPLES, 2);
    CHECK(!stream_open(path, STREAM_TOKENS, &e) && e.id == E_STREAM_KIND);
    CHECK_MSG(strstr(e.hint, "peft-tok"), "%s", e.hint);
    e = (struct err){0};
    CHECK(!stream_open("/nonexistent", -1, &e) && e.id == E_NOINPUT);
    e = (struct err){0};
    CHECK(!stream_open("/", -1, &e) && e.id == E_NOINPUT);
    e = (struct err){0};
    CHECK(!stream_open("/dev/null", -1, &e) && e.id == E_STREAM_CUT);
    e = (struct err){0};
    CHECK(!stream_open_mem("question,answer\na,b\n", 20, -1, &e) && e.id == E_STREAM_MAGIC);
    e = (struct err){0};
    unsigned char p[18];
    memcpy(p, stream_preamble, 18);
    p[16] = 2;
    CHECK(!stream_open_mem(p, 18, -1, &e) && e.id == E_VERSION);
}

static void arguments_redacted(void)
{
    char *argv[] = {"peft-prep",
                    "-o",
                    "/x/out.mpz",
                    "-fqo/x/y",
                    "--out=/a/b",
                    "--threads",
                    "2",
                    "--force",
                    "/home/u/qa.csv",
                    "-m/m/model.gguf",
                    "--prompt",
                    "Q: {q} yes/no\nA:",
                    "--filter=cat /etc/a/b.txt",
                    "-v",
                    "--limit",
                    "3",
                    "--",
                    "-o"};
    static const char *want[] = {
        "qa.csv", "-m/m/model.gguf", "--prompt", "Q: {q} yes/no\nA:", "--filter=cat b.txt", "--limit", "3", "--", "-o"};
    struct buf b = {0};
    uint32_t n = 0;
    step_argv(&b, &n, sizeof argv / sizeof *argv, argv);
    CHECK_MSG(n == sizeof want / sizeof *want, "%u", n);
    struct mp_tree *t = mp_tree_new();
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *why;
        struct str s;
        size_t len = mp_scan(b.p + at, b.n - at, &why);
        CHECK(len && mp_str(mp_parse(t, b.p + at, len), &s));
        if (i != 1)
            CHECK_MSG(str_is(s, want[i]), "%.*s, expected %s", (int)s.n, s.p, want[i]);
        else
            CHECK_MSG(str_is(s, "-mmodel.gguf"), "%.*s", (int)s.n, s.p);
        at += len;
    }
    mp_tree_free(t);
    buf_fini(&b);
}

static void canonical_only(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *why; /* NULL: accepted */
    } t[] = {
        {"\xcc\x7f", 2, "shortest"},
        {"\xcc\x80", 2, NULL},
        {"\xcd\x00\xff", 3, "shortest"},
        {"\xd0\x05", 2, "shortest"},
        {"\xd0\xe0", 2, "shortest"},
        {"\xd0\xdf", 2, NULL},
        {"\xd3\xff\xff\xff\xff\x80\0\0\0", 9, "shortest"},
        {"\xd9\x03"
         "abc",
         5, "shortest"},
        {"\xca\0\0\0\0", 5, "does not use"},
        {"\xc7\x01\x01\x01", 4, "does not use"},
        {"\xdd\x7f\xff\xff\xff", 5, "too large"},
        {"\xdc\xff\xff", 3, "too large"},
        {"\x82\xa1"
         "a\x01\xa1"
         "a\x02",
         7, "equal keys"},
        {"\x81\x01\x01", 3, "key"},
        {"\xa2\xc3\x28", 3, "UTF-8"},
        {"\xcb\xff\xf8\0\0\0\0\0\0", 9, "NaN"},
        {"\xcb\x7f\xf8\0\0\0\0\0\0", 9, NULL},
        {"\xc1", 1, "does not use"},
        {"\xa5"
         "abc",
         4, "cut"},
        {"\xc4\x02\xff", 3, "cut"},
        {"", 0, "cut"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const char *why = NULL;
        size_t len = mp_scan(t[i].bytes, t[i].n, &why);
        if (!t[i].why)
            CHECK_MSG(len == t[i].n, "case %zu: %s", i, why);
        else
            CHECK_MSG(!len && why && strstr(why, t[i].why), "case %zu: %s", i, why ? why : "accepted");
    }
    char deep[40];
    memset(deep, '\x91', sizeof deep);
    deep[31] = '\x01';
    const char *why = NULL;
    CHECK(mp_scan(deep, 32, &why) == 32);
    memset(deep, '\x91', sizeof deep);
    deep[32] = '\x01';
    CHECK(mp_scan(deep, 33, &why) == 0 && strstr(why, "deep"));
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    RUN(round_trip, "stream: each kind comes back as written");
    RUN(same_bytes, "stream: two writes, the same bytes");
    RUN(lossy_text, "stream: generated text that is not UTF-8");
    RUN(refused_records, "stream: the writer refuses wrong records");
    RUN(large_record, "stream: a record of 9 MiB, none above 16 MiB");
    RUN(abort_is_told, "stream: ABORT names the stage that failed first");
    RUN(wrong_inputs, "stream: inputs that are no such stream");
    RUN(arguments_redacted, "stream: provenance without paths and outputs");
    RUN(canonical_only, "stream: one encoding per value");
    unlink(path);
    return test_failed;
}
