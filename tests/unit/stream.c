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
/* Each kind, and then those with features. */
enum { PARTS = STREAM_KINDS, ADAPTERS, VARIANTS };
static const struct stream_info info_of[VARIANTS] = {
    {.kind = STREAM_EXAMPLES, .eos = -1},
    {.kind = STREAM_TOKENS, .has_tokenizer = true, .tokenizer = {1, 2, 3}, .vocab = 100000, .max_len = 512, .eos = 2},
    {.kind = STREAM_METRICS, .has_base = true, .base = {9}, .eos = -1},
    {.kind = STREAM_PREDICTIONS, .has_tokenizer = true, .has_base = true, .eos = 7},
    {.kind = STREAM_TELEMETRY, .eos = -1},
    {.kind = STREAM_EXAMPLES, .eos = -1, .has = STREAM_HAS_PARTS | STREAM_HAS_ADAPTER},
    {.kind = STREAM_TOKENS, .vocab = 100000, .eos = -1, .has = STREAM_HAS_ADAPTER},
};

/* Record i of a kind, or a kind with features, of varying sizes; the arrays are static. */
static struct record make(int variant, uint64_t i)
{
    enum stream_kind kind = info_of[variant].kind;
    static struct part part[4];
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
        r.example = (struct example){.row = i + 1,
                                     .prompt = STRZ(text[0]),
                                     .target = STRZ(text[1]),
                                     .group = i % 2 ? STRZ(text[2]) : (struct str){0}};
        if (variant != PARTS) break;
        r.example.adapter = i % 3 ? "french-2" : NULL;
        for (int k = 0; k < 4; k++) part[k] = (struct part){STRZ(text[k]), (i >> k & 1) || k == 1};
        if (i % 5) r.example.parts = part, r.example.n_parts = 2 + (uint32_t)(i % 3);
        break;
    case STREAM_TOKENS:
        r.tokens = (struct token_row){i + 1, ids, mask, n, n / 2, STRZ(text[0]), STRZ(text[1]), NULL};
        if (variant == ADAPTERS && i % 2) r.tokens.adapter = i % 3 ? "a" : "german";
        break;
    case STREAM_METRICS:
        r.metrics = (struct metric_row){"train", (int64_t)i - 2, 0.25 * (double)i, (int)(i % 4), m};
        break;
    case STREAM_TELEMETRY:
        r.telemetry = (struct telemetry_row){"train", (int64_t)i, 1.5 * (double)i, (int)(i % 3), m};
        break;
    default:
        r.prediction = (struct prediction){i + 1, STRZ(text[0]), STRZ(text[1]), STRZ(text[2]),
                                           n,     "eos",         (int)(i % 3),  m};
    }
    return r;
}

static bool same(const struct record *a, const struct record *b, int variant)
{
    struct buf x = {0}, y = {0};
    const char *why;
    bool ok = a->kind == b->kind && !record_put(&x, a, &info_of[variant], &why) &&
              !record_put(&y, b, &info_of[variant], &why) && x.n == y.n && !memcmp(x.p, y.p, x.n);
    buf_fini(&x);
    buf_fini(&y);
    return ok;
}

static void write_stream(int kind, int n)
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
    for (int k = 0; k < VARIANTS; k++) {
        struct err e = {0};
        struct record r;
        int n = 0, rc, total = stream_is_log(info_of[k].kind) ? 50 : 3000;
        write_stream(k, total);
        struct stream_reader *in = stream_open(path, (int)info_of[k].kind, &e);
        CHECK_MSG(in, "%s", e.msg);
        if (!in) continue;
        CHECK(!memcmp(stream_info_of(in), &info_of[k], sizeof info_of[k]));
        while ((rc = stream_next(in, &r, &e)) == 1) {
            struct record want = make(k, (uint64_t)n++);
            CHECK_MSG(same(&r, &want, k), "kind %d record %d", k, n);
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
    for (int k = 0; k < VARIANTS; k++) {
        write_stream(k, 500);
        CHECK(sha256_file(path, a, &e) == 0);
        write_stream(k, 500);
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

/* A stream that needs nothing of 1.1 is the same bytes as when there was no 1.1: the recorded digest comes again. */
static void digests_of_1_0(void)
{
    static const char *const kinds[] = {"examples", "tokens", "metrics", "predictions"};
    for (int k = 0; k < 4; k++) {
        char from[64];
        struct err e = {0};
        struct record r;
        unsigned char digest[32] = {0};
        snprintf(from, sizeof from, "tests/golden/v1/%s.mpz", kinds[k]);
        struct stream_reader *in = stream_open(from, k, &e);
        CHECK_MSG(in, "%s", e.msg);
        if (!in) continue;
        struct stream_writer *w = stream_create(path, true, stream_info_of(in), NULL, NULL, &e);
        while (stream_next(in, &r, &e) == 1) CHECK(stream_put(w, &r, &e) == 0);
        CHECK(stream_finish(w, NULL, digest, &e) == 0);
        CHECK_MSG(!memcmp(digest, stream_digest(in), 32), "%s: other bytes than version 1.0 wrote", kinds[k]);
        stream_close(in);
        size_t n;
        char *p = file_read(path, 1 << 20, &n, &e);
        CHECK(p && n > 18 && p[16] == 1 && p[17] == 0);
        free(p);
    }
}

/* What a pair says and what parts say; what the reader makes of parts. */
static void parts_and_pair(void)
{
    struct err e = {0};
    struct record r;
    const struct part part[] = {
        {STRZ("a"), false}, {STRZ("b"), true}, {STRZ("c"), false}, {STRZ("d"), true}, {STRZ("e"), false}};
    struct stream_writer *w = stream_create(path, true, &info_of[PARTS], NULL, NULL, &e);
    r = (struct record){.kind = STREAM_EXAMPLES, .example = {.row = 1, .parts = part, .n_parts = 5}};
    CHECK_MSG(stream_put(w, &r, &e) == 0, "%s", e.msg);
    r.example = (struct example){.row = 2, .prompt = STRZ("p"), .target = STRZ("t"), .adapter = "x"};
    CHECK_MSG(stream_put(w, &r, &e) == 0, "%s", e.msg);
    r.example = (struct example){.row = 3, .parts = part, .n_parts = 1};
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "no part is trained on"));
    static const char *const bad[] = {
        "",   ".",           "..",  "a/b",
        "-a", "caf\xc3\xa9", "a b", "0123456789012345678901234567890123456789012345678901234567890123x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e = (struct err){0};
        r.example = (struct example){.row = 3, .prompt = STRZ("p"), .target = STRZ("t"), .adapter = bad[i]};
        CHECK_MSG(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "not a name"), "%s: %s", bad[i], e.msg);
    }
    e = (struct err){0};
    CHECK(stream_finish(w, NULL, NULL, &e) == 0);
    struct stream_reader *in = stream_open(path, STREAM_EXAMPLES, &e);
    CHECK(in && stream_info_of(in)->has == (STREAM_HAS_PARTS | STREAM_HAS_ADAPTER));
    CHECK(stream_next(in, &r, &e) == 1 && r.example.n_parts == 5 && !r.example.adapter);
    CHECK(str_is(r.example.prompt, "abc") && str_is(r.example.target, "d"));
    CHECK(stream_next(in, &r, &e) == 1 && r.example.n_parts == 0 && !strcmp(r.example.adapter, "x"));
    CHECK(str_is(r.example.prompt, "p") && stream_next(in, &r, &e) == 0);
    stream_close(in);
    /* a stream that did not announce them has none */
    w = stream_create(path, true, &info_of[STREAM_EXAMPLES], NULL, NULL, &e);
    r.example = (struct example){.row = 1, .parts = part, .n_parts = 5};
    CHECK(stream_put(w, &r, &e) == -E_STREAM_RECORD && strstr(e.msg, "header does not list"));
    stream_abort(w, &e);
}

/* One record, by hand, against the reader of records. */
static const char *get(const char *bytes, size_t n, unsigned has)
{
    static struct record_room room;
    static struct mp_tree *tree;
    struct stream_info info = {.kind = STREAM_EXAMPLES, .has = has};
    struct record r;
    const char *why = NULL;
    if (!tree) tree = mp_tree_new();
    CHECK(mp_scan(bytes, n, &why) == n);
    return record_get(&r, STREAM_EXAMPLES, mp_parse(tree, bytes, n), &info, &room, &why) ? why : "";
}
#define GET(bytes, has) get(bytes, sizeof bytes - 1, has)

static void parts_by_hand(void)
{
    CHECK_STR(GET("\x82\xa3row\x01\xa5parts\x91\x92\xa1x\xc3", 1), "");
    CHECK(strstr(GET("\x82\xa3row\x01\xa5parts\x91\x92\xa1x\xc3", 0), "header does not list"));
    CHECK(strstr(GET("\x82\xa3row\x01\xa5parts\x90", 1), "list of parts"));
    CHECK(strstr(GET("\x82\xa3row\x01\xa5parts\x91\x92\xa1x\x01", 1), "[str, bool]"));
    CHECK(strstr(GET("\x82\xa3row\x01\xa5parts\x91\x93\xa1x\xc3\xc3", 1), "[str, bool]"));
    CHECK(strstr(GET("\x82\xa3row\x01\xa5parts\x91\x92\xa1x\xc2", 1), "no part is trained on"));
    CHECK(strstr(GET("\x81\xa3row\x01", 1), "either prompt and target, or parts"));
    CHECK(strstr(GET("\x82\xa3row\x01\xa6prompt\xa1p", 1), "either prompt and target, or parts"));
    CHECK(strstr(GET("\x83\xa3row\x01\xa6prompt\xa1p\xa5parts\x91\x92\xa1x\xc3", 1), "either prompt"));
    CHECK(strstr(GET("\x84\xa3row\x01\xa6prompt\xa1p\xa6target\xa1t\xa5parts\x91\x92\xa1x\xc3", 1), "either prompt"));
    CHECK(strstr(GET("\x84\xa3row\x01\xa6prompt\xa1p\xa6target\xa1t\xa7"
                     "adapter\xa0",
                     2),
                 "not a name"));
    CHECK_STR(GET("\x84\xa3row\x01\xa6prompt\xa1p\xa6target\xa1t\xa7"
                  "adapter\xa1z",
                  2),
              "");
}

/* The header by hand: features and fields belong together, and a feature needs 1.1. */
static const char *header(int minor, int features, int fields, int doubled)
{
    static struct err e;
    struct buf b = {0};
    struct stream_info info = {.kind = STREAM_EXAMPLES, .eos = -1, .has = STREAM_HAS_PARTS};
    struct header h = {.info = info}, back = {0};
    const char *why = NULL;
    header_put(&b, &h);
    char *p = memmem(b.p, b.n, "minor", 5);
    p[5] = (char)minor;
    p = memmem(b.p, b.n, "critical", 8);
    if (!features) { /* an empty list */
        p[8] = (char)0x90;
        memmove(p + 9, p + 15, b.n - (size_t)(p + 15 - b.p));
        b.n -= 6;
    }
    if (doubled) {
        buf_add(&b, "      ", 6);
        p = (char *)memmem(b.p, b.n, "critical", 8);
        memmove(p + 15, p + 9, b.n - (size_t)(p + 15 - b.p));
        p[8] = (char)0x92;
    }
    if (!fields) { /* the last but one of the list's names */
        p = memmem(b.p, b.n, "\x92\xa5parts\xac[str,bool][]", 20);
        memmove(p, p + 20, b.n - (size_t)(p + 20 - b.p));
        b.n -= 20;
        p = memmem(b.p, b.n, "fields", 6);
        p[6]--;
    }
    struct mp_tree *t = mp_tree_new();
    e = (struct err){0};
    CHECK_MSG(mp_scan(b.p, b.n, &why) == b.n, "%s", why);
    header_get(&back, mp_parse(t, b.p, b.n), minor, &e);
    mp_tree_free(t);
    buf_fini(&b);
    free(back.json);
    return e.msg;
}

static void header_of_features(void)
{
    CHECK_STR(header(1, 1, 1, 0), "");
    CHECK(strstr(header(0, 1, 1, 0), "version 1.0 does not have"));
    CHECK(strstr(header(1, 0, 1, 0), "do not agree"));
    CHECK(strstr(header(1, 1, 0, 0), "do not agree"));
    CHECK(strstr(header(1, 1, 1, 1), "doubled"));
    CHECK_STR(header(0, 0, 0, 0), "");
}

static void large_record(void)
{
    struct err e = {0};
    size_t n = 9 << 20;
    char *text = mem_alloc(n, 2);
    for (size_t i = 0; i < 2 * n; i++) text[i] = (char)('a' + (i * 2654435761u >> 7) % 26);
    struct stream_writer *w = stream_create(path, true, &info_of[STREAM_EXAMPLES], NULL, NULL, &e);
    struct record r = {.kind = STREAM_EXAMPLES, .example = {.row = 1, .prompt = {text, n}, .target = {text, 100}}};
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

/* Read what a writer made to the end: the error. */
static int read_all(struct err *e)
{
    struct record r;
    struct stream_reader *in = stream_open(path, -1, e);
    int rc = in ? 1 : -e->id;
    while (rc == 1) rc = stream_next(in, &r, e);
    stream_close(in);
    return rc;
}

/* Whole streams with right seals that contradict themselves. */
static void lies(void)
{
    static const struct {
        uint64_t rows[2], out;
        uint32_t max_len;
        int32_t eos;
        const char *said;
    } lie[] = {{{1, 2}, 2, 2, 4, NULL},
               {{1, 2}, 1000000000, 0, 4, "END accounts for 1000000000 records, found 2"},
               {{0, 1}, 2, 0, 4, "its row is not above the one before"},
               {{3, 3}, 2, 0, 4, "its row is not above the one before"},
               {{3, 2}, 2, 0, 4, "its row is not above the one before"},
               {{1, 2}, 2, 1, 4, "more tokens than the header's max_len"},
               {{1, 2}, 2, 0, 5, "header: eos is 5, the vocabulary has 5 ids"}};
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        struct err e = {0};
        struct stream_info info = {.kind = STREAM_TOKENS, .vocab = 5, .max_len = lie[i].max_len, .eos = lie[i].eos};
        struct stream_writer *w = stream_create(path, true, &info, NULL, NULL, &e);
        for (int k = 0; k < 2; k++) {
            struct record r = {.kind = STREAM_TOKENS,
                               .tokens = {.row = lie[i].rows[k],
                                          .ids = (uint32_t[]){1, 4},
                                          .mask = (uint8_t[]){0, 1},
                                          .n = 2,
                                          .n_prompt = 1}};
            CHECK(stream_put(w, &r, &e) == 0);
        }
        struct accounting a = {.in = lie[i].out, .out = lie[i].out};
        CHECK(stream_finish(w, &a, NULL, &e) == 0);
        int rc = read_all(&e);
        CHECK_MSG(lie[i].said ? rc < 0 && strstr(e.msg, lie[i].said) : rc == 0, "%s", e.msg);
    }
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
    static const struct opt rows[] = {{.name = "model", .ch = 'm', .type = OPT_STR, .file = true, .section = "model"},
                                      {.name = "prompt", .type = OPT_STR, .section = "x"},
                                      {.name = "filter", .type = OPT_STR},
                                      {.name = "limit", .type = OPT_INT, .section = "x"},
                                      OPT_END};
    static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, sizeof(struct opt_common), 0}, {0}};
    char *argv[] = {"peft-prep",
                    "-o",
                    "/x/out.mpz",
                    "-fqo/x/y",
                    "--output=/a/b",
                    "--threads",
                    "2",
                    "--force",
                    "/home/u/qa.csv",
                    "-m/m/model.gguf",
                    "-qm",
                    "./model.gguf",
                    "--model=dir/model.gguf/",
                    "--set",
                    "model.model=a/b/m.gguf",
                    "--prompt",
                    "Q: {q} yes/no\nA:",
                    "--filter=cat /etc/a/b.txt",
                    "-v",
                    "--limit",
                    "3",
                    "--",
                    "-o",
                    "data/a b.csv"};
    static const char *want[] = {"qa.csv",
                                 "-mmodel.gguf",
                                 "-qm",
                                 "model.gguf",
                                 "--model=model.gguf",
                                 "--set",
                                 "model.model=m.gguf",
                                 "--prompt",
                                 "Q: {q} yes/no\nA:",
                                 "--filter=cat b.txt",
                                 "--limit",
                                 "3",
                                 "--",
                                 "-o",
                                 "a b.csv"};
    struct buf b = {0};
    uint32_t n = 0;
    char room[sizeof(struct opt_common) + 64] __attribute__((aligned(16))) = {0}, *none[] = {"x", NULL};
    struct strlist operands;
    struct err e = {0};
    struct opt_set *set = opt_parse("x", groups, room, 1, none, &operands, &e);
    step_argv(&b, &n, set, sizeof argv / sizeof *argv, argv);
    opt_set_free(set);
    CHECK_MSG(n == sizeof want / sizeof *want, "%u", n);
    struct mp_tree *t = mp_tree_new();
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *why;
        struct str s = {0};
        size_t len = mp_scan(b.p + at, b.n - at, &why);
        CHECK(len && mp_str(mp_parse(t, b.p + at, len), &s));
        CHECK_MSG(str_is(s, want[i]), "%.*s, expected %s", (int)s.n, s.p, want[i]);
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
        {"\xd9\x1f"
         "0123456789012345678901234567890",
         33, "shortest"},
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
    RUN(digests_of_1_0, "stream: what 1.0 can say is written as 1.0");
    RUN(parts_and_pair, "stream: parts and names of adapters");
    RUN(parts_by_hand, "stream: malformed parts");
    RUN(header_of_features, "stream: features in the header");
    RUN(large_record, "stream: a record of 9 MiB, none above 16 MiB");
    RUN(abort_is_told, "stream: ABORT names the stage that failed first");
    RUN(lies, "stream: contradictions under right seals");
    RUN(wrong_inputs, "stream: inputs that are no such stream");
    RUN(arguments_redacted, "stream: provenance without paths and outputs");
    RUN(canonical_only, "stream: one encoding per value");
    unlink(path);
    return test_failed;
}
