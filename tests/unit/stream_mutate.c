/* Damage to streams: of every mutant the reader must say no, or give exactly the original records; it must never crash.
 * Mutants: every bit of the preamble, the header frame and the END frame; random bits elsewhere; cuts at each byte of
 * the first and last 4 KiB and at each frame boundary; frames dropped, doubled, swapped, spliced from another stream;
 * foreign skippable frames and bytes put in; fields edited and the frame compressed anew, so that only the digests can
 * tell. */
#include <stdint.h>
#include <unistd.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/base/rng.h"
#include "libcommon/stream/body.h"
#include "libcommon/stream/jsontext.h"
#include "libcommon/stream/zst.h"
#include "tests/test.h"

enum { FRAMES_MAX = 64 };
struct stream {
    struct buf bytes;
    size_t at[FRAMES_MAX + 1]; /* frame i is at[i]..at[i + 1]; frame 0 is the header */
    int n;
    unsigned char content[32]; /* what a reader gets from it */
    const char *kind;
};
static long mutants, refused, equal;

static int64_t read_all(const void *p, size_t n, unsigned char content[32], struct err *e)
{
    struct record r;
    struct buf b = {0};
    struct stream_reader *in = stream_open_mem(p, n, -1, e);
    int rc = in ? 1 : -e->id;
    int64_t records = 0;
    struct sha256 *sha = sha256_new();
    while (in && (rc = stream_next(in, &r, e)) == 1) {
        b.n = 0;
        json_record(&b, &r);
        sha256_add(sha, b.p, b.n);
        records++;
    }
    if (rc == 0) { /* what END and the header say belongs to the content */
        const struct accounting *a = stream_accounting(in);
        sha256_add(sha, a->reasons, strlen(a->reasons));
        sha256_add(sha, &a->in, sizeof a->in);
        sha256_add(sha, &a->out, sizeof a->out);
        sha256_add(sha, &a->dropped, sizeof a->dropped);
        sha256_add(sha, stream_info_of(in), sizeof(struct stream_info));
        sha256_add(sha, stream_provenance(in), strlen(stream_provenance(in)));
        sha256_add(sha, stream_upstreams(in), strlen(stream_upstreams(in)));
    }
    sha256_done(sha, content);
    stream_close(in);
    buf_fini(&b);
    return rc < 0 ? rc : records;
}

/* The oracle. */
static void try(const struct stream *s, const void *p, size_t n, const char *what, size_t where)
{
    struct err e = {0};
    unsigned char content[32];
    mutants++;
    void *exact = mem_alloc(n, 1); /* so that a sanitizer sees a read beyond the end */
    memcpy(exact, p, n);
    int64_t rc = read_all(exact, n, content, &e);
    free(exact);
    if (rc < 0) {
        refused++;
        CHECK_MSG(e.id == -rc && e.msg[0] && err_exit_code(e.id) >= 65, "%s: %s at %zu: no reason given", s->kind, what,
                  where);
        return;
    }
    equal++;
    CHECK_MSG(!memcmp(content, s->content, 32), "%s: %s at %zu: accepted with other content", s->kind, what, where);
}

static void build(struct stream *s, enum stream_kind kind, unsigned has, uint64_t salt)
{
    char path[] = "/tmp/peft-mutate-XXXXXX";
    struct err e = {0};
    struct stream_info info = {
        .kind = kind, .has_tokenizer = true, .tokenizer = {7}, .vocab = 60000, .eos = 3, .has = has};
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    if (fd >= 0) close(fd);
    struct stream_writer *w = stream_create_live(path, &info, NULL, NULL,
                                                 &e); /* a frame a record: many frames, few bytes */
    static uint32_t ids[60];
    static uint8_t mask[60];
    static char text[200];
    struct named_value m[2] = {{"loss", 0.5}, {"lr", 1e-4}};
    int total = 24;
    for (int i = 0; w && i < total; i++) {
        size_t n = rng_u64(salt, 9, (uint64_t)i) % 60;
        for (size_t k = 0; k < n; k++)
            ids[k] = (uint32_t)(rng_u64(salt, 10, (uint64_t)i * 60 + k) % 60000), mask[k] = k > n / 2;
        for (size_t k = 0; k < sizeof text; k++)
            text[k] = (char)(' ' + rng_u64(salt, 11, (uint64_t)i * 131 + k / 3) % 90);
        struct record r = {.kind = kind};
        struct str a = {text, n}, b = {text + 100, n / 2};
        const struct part part[] = {{a, i % 2}, {b, true}, {a, i % 4 < 2}};
        if (kind == STREAM_EXAMPLES)
            r.example = (struct example){
                (uint64_t)i + 1, a, b, {text, (size_t)i % 5}, part, has && i % 4 ? 3 : 0, has && i % 3 ? "left" : NULL};
        else if (kind == STREAM_TOKENS)
            r.tokens = (struct token_row){(uint64_t)i + 1, ids, mask, (uint32_t)n,
                                          (uint32_t)n / 2, a,   b,    has && i % 3 ? "right" : NULL};
        else if (kind == STREAM_METRICS)
            r.metrics = (struct metric_row){"train", i, i / 10.0, 2, m};
        else if (kind == STREAM_TELEMETRY)
            r.telemetry = (struct telemetry_row){"train", i, i / 10.0, 2, m};
        else
            r.prediction = (struct prediction){(uint64_t)i + 1, a, b, b, (uint32_t)n, "eos", 1, m};
        m[0].value += 0.25;
        CHECK_MSG(stream_put(w, &r, &e) == 0, "%s", e.msg);
    }
    struct accounting a = {(uint64_t)total + 1, (uint64_t)total, 1, "too_long:1"};
    CHECK(w && stream_finish(w, &a, NULL, &e) == 0);
    size_t n = 0;
    char *p = file_read(path, 1 << 26, &n, &e);
    remove(path);
    *s = (struct stream){.kind = stream_kind_names[kind]};
    CHECK(p);
    if (!p) return;
    buf_add(&s->bytes, p, n);
    free(p);
    for (size_t at = sizeof stream_preamble; at < n && s->n < FRAMES_MAX;) {
        struct zst_walk z = {0};
        long need;
        size_t have = 5;
        while ((need = zst_walk(&z, (unsigned char *)s->bytes.p + at, have, STREAM_FRAME_MAX)) > 0)
            have += (size_t)need;
        CHECK(need == 0);
        s->at[s->n++] = at;
        at += have;
    }
    s->at[s->n] = n;
    CHECK_MSG(read_all(s->bytes.p, n, s->content, &e) == total, "%s", e.msg);
}

static void flip(const struct stream *s, size_t byte, int bit)
{
    s->bytes.p[byte] ^= (char)(1 << bit);
    try(s, s->bytes.p, s->bytes.n, "bit flip", byte * 8 + (size_t)bit);
    s->bytes.p[byte] ^= (char)(1 << bit);
}

static void bits(const struct stream *s)
{
    for (size_t i = 0; i < s->at[1]; i++)
        for (int b = 0; b < 8; b++) flip(s, i, b);
    for (size_t i = s->at[s->n - 1]; i < s->bytes.n; i++)
        for (int b = 0; b < 8; b++) flip(s, i, b);
    for (uint64_t k = 0; k < 150; k++) {
        uint64_t x = rng_u64(1, 12, k);
        flip(s, x % s->bytes.n, (int)(x >> 60 & 7));
    }
}

static void cuts(const struct stream *s)
{
    for (size_t i = 0; i < s->bytes.n; i++) {
        bool near = i < 4096 || i + 4096 > s->bytes.n, edge = false;
        for (int f = 0; f < s->n; f++) edge = edge || i == s->at[f] || i == s->at[f] + 1 || i + 1 == s->at[f];
        if (near || edge) try(s, s->bytes.p, i, "cut", i);
    }
}

static void assemble(const struct stream *s, const int *order, int n, const char *what)
{
    struct buf b = {0};
    buf_add(&b, s->bytes.p, s->at[0]);
    for (int i = 0; i < n; i++) buf_add(&b, s->bytes.p + s->at[order[i]], s->at[order[i] + 1] - s->at[order[i]]);
    try(s, b.p, b.n, what, (size_t)n);
    buf_fini(&b);
}

/* A record is missing: the numbers say so. */
static void gap(const struct stream *s)
{
    struct err e = {0};
    unsigned char content[32];
    struct buf b = {0};
    buf_add(&b, s->bytes.p, s->at[1]);
    buf_add(&b, s->bytes.p + s->at[2], s->bytes.n - s->at[2]);
    CHECK_MSG(read_all(b.p, b.n, content, &e) == -E_STREAM_SEQ, "%s: %s", s->kind, e.msg);
    buf_fini(&b);
}

static void frames(const struct stream *s, const struct stream *other)
{
    int order[FRAMES_MAX * 2];
    for (int f = 0; f < s->n; f++) {
        int k = 0;
        for (int i = 0; i < s->n; i++)
            if (i != f) order[k++] = i;
        assemble(s, order, k, "frame dropped");
        k = 0;
        for (int i = 0; i < s->n; i++) {
            order[k++] = i;
            if (i == f) order[k++] = i;
        }
        assemble(s, order, k, "frame doubled");
        for (int i = 0; i < s->n; i++) order[i] = i;
        if (f + 1 < s->n) {
            order[f] = f + 1;
            order[f + 1] = f;
            assemble(s, order, s->n, "frames swapped");
        }
        /* a frame of another stream with the same numbers, and foreign things before each frame */
        struct buf b = {0};
        if (f < other->n) {
            buf_add(&b, s->bytes.p, s->at[f]);
            buf_add(&b, other->bytes.p + other->at[f], other->at[f + 1] - other->at[f]);
            buf_add(&b, s->bytes.p + s->at[f + 1], s->bytes.n - s->at[f + 1]);
            try(s, b.p, b.n, "frame spliced", (size_t)f);
        }
        static const struct {
            const char *p;
            size_t n;
        } extra[] = {{"\x50\x2a\x4d\x18\x04\0\0\0evil", 12},
                     {"\x5e\x2a\x4d\x18\0\0\0\0", 8},
                     {"\x28\xb5\x2f\xfd\x24\x00\x01\0\0\x99\xe9\xd8\x51", 13},
                     {"\0", 1}};
        for (size_t x = 0; x < sizeof extra / sizeof *extra; x++) {
            for (int end = 0; end < 2; end++) {
                size_t at = end ? s->at[f + 1] : s->at[f];
                b.n = 0;
                buf_add(&b, s->bytes.p, at);
                buf_add(&b, extra[x].p, extra[x].n);
                buf_add(&b, s->bytes.p + at, s->bytes.n - at);
                try(s, b.p, b.n, "foreign bytes", at);
            }
        }
        buf_fini(&b);
    }
    struct buf twice = {0};
    buf_add(&twice, s->bytes.p, s->bytes.n);
    buf_add(&twice, s->bytes.p, s->bytes.n);
    try(s, twice.p, twice.n, "stream doubled", 0);
    buf_fini(&twice);
}

/* The content of frame f. */
static char *plain_of(const struct stream *s, struct zst_dec *dec, int f, size_t *n)
{
    struct zst_walk z = {0};
    size_t have = 5;
    long need;
    while ((need = zst_walk(&z, (unsigned char *)s->bytes.p + s->at[f], have, STREAM_FRAME_MAX)) > 0)
        have += (size_t)need;
    char *plain = mem_alloc((size_t)z.content, 1);
    CHECK(!zst_unframe(dec, plain, (size_t)z.content, s->bytes.p + s->at[f], s->at[f + 1] - s->at[f]));
    *n = (size_t)z.content;
    return plain;
}

/* A stream whose END says something wrong in good order: its seal is right again. */
static void lies(const struct stream *s)
{
    static const char *const keys[] = {"records", "frames", "bytes", "tokens", "digest"};
    struct zst_enc *enc = zst_enc_new();
    struct zst_dec *dec = zst_dec_new();
    struct buf all = {0};
    size_t n = 0;
    char *end = NULL;
    for (int f = 0; f < s->n; f++) {
        free(end);
        end = plain_of(s, dec, f, &n);
        if (f < s->n - 1) buf_add(&all, end, n);
    }
    const size_t sealed = n - SEAL_BYTES;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        char *at = memmem(end, sealed, keys[k], strlen(keys[k])), *value = at ? at + strlen(keys[k]) : NULL;
        if (!value) continue; /* a kind without tokens counts none */
        if ((unsigned char)*value >= 0xcc)
            value += (unsigned char)*value == 0xcd ? 2 : (unsigned char)*value == 0xce ? 4 : 1;
        if (!strcmp(keys[k], "digest")) value += 40; /* somewhere in its digits */
        const char old = *value;
        *value ^= 1;
        struct buf b = {0}, before = {0};
        unsigned char seal[32];
        buf_add(&before, all.p, all.n);
        buf_add(&before, end, sealed);
        sha256_of(before.p, before.n, seal);
        char hex[65];
        digest_hex(seal, hex);
        memcpy(end + n - 64, hex, 64);
        buf_add(&b, s->bytes.p, s->at[s->n - 1]);
        CHECK(zst_frame(enc, &b, end, n) == 0);
        buf_add(&b, s->bytes.p + s->at[s->n], s->bytes.n - s->at[s->n]);
        struct err e = {0};
        unsigned char content[32];
        int64_t rc = read_all(b.p, b.n, content, &e);
        CHECK_MSG(rc == -E_STREAM_DIGEST, "%s: END lies about %s: %lld %s", s->kind, keys[k], (long long)rc, e.msg);
        CHECK_MSG(!strstr(e.msg, "seal"), "%s: END lies about %s, but it is the seal that is wrong", s->kind, keys[k]);
        *value = old;
        buf_fini(&before);
        buf_fini(&b);
    }
    free(end);
    buf_fini(&all);
    zst_enc_free(enc);
    zst_dec_free(dec);
}

/* Change one byte of a frame's content and compress it again: zstd's checksum is right, ours must tell. */
static void edits(const struct stream *s)
{
    struct zst_enc *enc = zst_enc_new();
    struct zst_dec *dec = zst_dec_new();
    for (int f = 0; f < s->n; f++) {
        size_t n;
        char *plain = plain_of(s, dec, f, &n);
        bool small = f == 0 || f == s->n - 1;
        for (uint64_t k = 0; k < (small ? n * 3 : 12); k++) {
            size_t at = small ? k / 3 : rng_u64(3, 13, k + (uint64_t)f * 100) % n;
            char old = plain[at];
            plain[at] ^= k % 3 == 0 ? 1 : k % 3 == 1 ? (char)0x80 : (char)0x13;
            struct buf b = {0};
            buf_add(&b, s->bytes.p, s->at[f]);
            CHECK(zst_frame(enc, &b, plain, n) == 0);
            buf_add(&b, s->bytes.p + s->at[f + 1], s->bytes.n - s->at[f + 1]);
            try(s, b.p, b.n, "content edited", at);
            buf_fini(&b);
            plain[at] = old;
        }
        free(plain);
    }
    zst_enc_free(enc);
    zst_dec_free(dec);
}

static void all(void)
{
    static const struct {
        enum stream_kind kind;
        unsigned has;
    } of[] = {{STREAM_EXAMPLES, 0},
              {STREAM_TOKENS, 0},
              {STREAM_METRICS, 0},
              {STREAM_PREDICTIONS, 0},
              {STREAM_TELEMETRY, 0},
              {STREAM_EXAMPLES, STREAM_HAS_PARTS | STREAM_HAS_ADAPTER},
              {STREAM_TOKENS, STREAM_HAS_ADAPTER}};
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
        struct stream s, other;
        build(&s, of[k].kind, of[k].has, 1);
        build(&other, of[k].kind, of[k].has, 2);
        if (test_bad) return;
        try(&s, s.bytes.p, s.bytes.n, "nothing", 0);
        bits(&s);
        cuts(&s);
        frames(&s, &other);
        edits(&s);
        lies(&s);
        if (s.n > 3) gap(&s);
        buf_fini(&s.bytes);
        buf_fini(&other.bytes);
    }
    CHECK(mutants > 2000 && refused > 2000 && equal >= STREAM_KINDS);
    fprintf(stderr, "%ld mutants: %ld refused, %ld read as the original\n", mutants, refused, equal);
}

int main(void)
{
    RUN(all, "stream: no mutant is accepted with other content");
    printf("ok stream: %ld mutants, %ld refused, %ld equal to the original\n", mutants, refused, equal);
    return test_failed;
}
