/* build: what every tokenizer needs once its file is read: tables of bytes, tries of added tokens, the bytes of each
 * id, the digest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/utf8.h"
#include "libcommon/token/impl.h"
#include "libcommon/token/unicode.h"

struct tokenizer *tokenizer_new(void)
{
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    unicode_init();
    t->unk = VOCAB_NONE;
    t->bos = t->eos = -1;
    t->pool = pool_new();
    return t;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) return;
    vocab_fini(&t->vocab);
    merges_fini(&t->merges);
    for (int i = 0; i < t->n_norm; i++) {
        free(t->norm[i].from);
        free(t->norm[i].to);
    }
    free(t->flags);
    free(t->added_list.v);
    free(t->ends.v);
    free(t->chat_template);
    added_fini(&t->raw);
    added_fini(&t->normalized);
    buf_fini(&t->decoded);
    free(t->decoded_off);
    pool_free(t->pool);
    free(t);
}

int tokenizer_norm(struct tokenizer *t, enum norm_type type, const char *from, size_t n_from, const char *to,
                   size_t n_to, struct err *e)
{
    if (t->n_norm == NORM_MAX) return err_set(e, E_TOKEN_UNSUPPORTED, "more than %d normalisers", NORM_MAX);
    if (type == NORM_REPLACE && n_from == 0) return err_set(e, E_TOKENIZER, "normaliser Replace with an empty pattern");
    if (n_from > 64 || n_to > 64)
        return err_set(e, E_TOKEN_UNSUPPORTED, "normaliser with a text of more than 64 bytes");
    struct norm *o = &t->norm[t->n_norm++];
    *o = (struct norm){type, mem_dup(from ? from : "", n_from), mem_dup(to ? to : "", n_to), n_from, n_to};
    return 0;
}

void tokenizer_norm_spm(struct tokenizer *t, bool prefix)
{
    struct err never = {0};
    if (prefix) tokenizer_norm(t, NORM_PREPEND, NULL, 0, SPM_SPACE, 3, &never);
    tokenizer_norm(t, NORM_REPLACE, " ", 1, SPM_SPACE, 3, &never);
}

int tokenizer_add_piece(struct tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, struct err *e)
{
    struct str have = vocab_piece(&t->vocab, id);
    if (have.n) {
        if (have.n != n || memcmp(have.p, s, n) != 0)
            return err_set(e, E_TOKENIZER, "added token %s has id %u, which is %s in the vocabulary", err_quote(s, n),
                           id, err_quote(have.p, have.n));
    } else {
        int rc = vocab_add(&t->vocab, id, s, n, e);
        if (rc < 0) return rc;
    }
    /* Text is cut at both ends of a match, so a match must not end inside a character. */
    if (utf8_valid(s, n) != n)
        return err_set(e, E_TOKENIZER, "added token %s (id %u) is not valid UTF-8", err_quote(s, n), id);
    u32vec_add(&t->added_list, id);
    u32vec_add(&t->added_list, flags);
    return 0;
}

int64_t tokenizer_named(const struct tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        uint32_t id = vocab_find(&t->vocab, *names, strlen(*names));
        for (size_t i = 0; id != VOCAB_NONE && i < t->added_list.n; i += 2)
            if (t->added_list.v[i] == id) return id;
    }
    return -1;
}

static void build_added(struct tokenizer *t)
{
    t->flags = mem_alloc(t->vocab.n, 1);
    struct norm_buf a = {0}, b = {0};
    for (size_t i = 0; i < t->added_list.n; i += 2) {
        uint32_t id = t->added_list.v[i];
        unsigned flags = t->added_list.v[i + 1];
        struct str s = vocab_piece(&t->vocab, id);
        struct norm_buf *r = NULL;
        t->flags[id] = (uint8_t)(flags | 0x80);
        if (!(flags & ADDED_NORMALIZED)) {
            added_put(&t->raw, s.p, s.n, id, flags);
            continue;
        }
        if (tokenizer_normalize(t, s.p, s.n, 0, 0, &a, &b, &r)) s = (struct str){r->text.p, r->text.n};
        if (s.n) added_put(&t->normalized, s.p, s.n, id, flags);
    }
    buf_fini(&a.text);
    buf_fini(&b.text);
}

static int hex_byte(struct str s) /* <0xAB> -> 0xAB, else -1 */
{
    static const char digits[] = "0123456789ABCDEF";
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    const char *a = memchr(digits, s.p[3], 16), *b = memchr(digits, s.p[4], 16);
    return a && b ? (int)((a - digits) << 4 | (b - digits)) : -1;
}

static void build_bytes(struct tokenizer *t)
{
    char spelling[256][3];
    uint8_t len[256];
    vocab_byte_spelling(spelling, len);
    for (unsigned b = 0; b < 256; b++) {
        char hex[8];
        snprintf(hex, sizeof hex, "<0x%02X>", b);
        t->byte_id[b] = t->kind == TOK_BYTES ? vocab_find(&t->vocab, spelling[b], len[b])
                                             : vocab_find(&t->vocab, hex, 6);
    }
    t->decoded_off = mem_alloc(t->vocab.n + 1, sizeof *t->decoded_off);
    for (uint32_t id = 0; id < t->vocab.n; id++) {
        struct str s = vocab_piece(&t->vocab, id);
        int byte = t->kind == TOK_SPM && t->byte_fallback ? hex_byte(s) : -1;
        t->decoded_off[id] = (uint32_t)t->decoded.n;
        if (byte >= 0) {
            buf_addc(&t->decoded, (char)byte);
        } else if (t->kind == TOK_BYTES) {
            if (!vocab_byte_decode(s.p, s.n, &t->decoded)) buf_add(&t->decoded, s.p, s.n);
        } else {
            for (const char *p = s.p, *end = s.p + s.n; p < end;) {
                const char *q = memmem(p, (size_t)(end - p), SPM_SPACE, 3);
                buf_add(&t->decoded, p, (size_t)((q ? q : end) - p));
                if (q) buf_addc(&t->decoded, ' ');
                p = q ? q + 3 : end;
            }
        }
    }
    t->decoded_off[t->vocab.n] = (uint32_t)t->decoded.n;
}

/* Can words be cut before a run of U+2581 without changing the result? Yes if no merge joins something that ends
 * otherwise with something that begins with it; then a boundary there is never crossed. */
static bool can_cut_at_space(const struct tokenizer *t)
{
    if (vocab_find(&t->vocab, SPM_SPACE, 3) == VOCAB_NONE) return false;
    for (size_t i = 0; i < t->merges.list.n; i += 2) {
        struct str l = vocab_piece(&t->vocab, t->merges.list.v[i]), r = vocab_piece(&t->vocab, t->merges.list.v[i + 1]);
        if (r.n >= 3 && !memcmp(r.p, SPM_SPACE, 3) && !(l.n >= 3 && !memcmp(l.p + l.n - 3, SPM_SPACE, 3))) return false;
    }
    return true;
}

static void add_u32(struct sha256 *h, uint32_t x)
{
    unsigned char b[4] = {x & 255, x >> 8 & 255, x >> 16 & 255, x >> 24};
    sha256_add(h, b, 4);
}

/* Texts on which normalisers, prefixes and pre-tokenizers of all kinds show what they do. */
static const char *const probes[] = {
    "He's 1234567 isn't  it? I'LL\n\n\tfoo  bar \r\n  x",
    " a",
    "  a b",
    "\xe2\x96\x81"
    "a \xe2\x96\x81 b",
    "cafe\xcc\x81 \xe2\x84\xab \xef\xac\x81 \xc2\xbd \xe2\x85\xa7 \xc2\xb2",
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88 \xed\x95\x9c\xea\xb5\xad\xec\x96\xb4",
    "a\xc2\xa0"
    "b\xe3\x80\x80"
    "c\xe2\x80\x8b"
    "d",
    "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 \xe0\xa5\xa7\xe0\xa5\xa8\xe0\xa5\xa9 \xd9\xa3",
    "{\"k\": [1, -2.50e3]};--//__ (A_b)C",
};

/* One tokenizer gives one digest, whatever file it comes from: pieces with their ids, which of them are added and
 * special; for byte-level ones the merges (those of SentencePiece follow from its pieces, and files differ in which
 * redundant ones they list); and the ids of the probes, as the same rules are written in several ways. Not in it: pads
 * that converters append ("[PAD32001]"), since files differ in them; BOS, EOS and chat template, which belong to a
 * model's settings. */
static void build_digest(struct tokenizer *t)
{
    struct sha256 *h = sha256_new();
    sha256_add(h, t->kind == TOK_BYTES ? "bytes" : "spm", t->kind == TOK_BYTES ? 5 : 3);
    for (uint32_t id = 0; id < t->vocab.n; id++) {
        struct str s = vocab_piece(&t->vocab, id);
        char pad[32];
        int n = snprintf(pad, sizeof pad, "[PAD%u]", id);
        if (s.n == 0 || (s.n == (size_t)n && !memcmp(s.p, pad, s.n))) continue;
        unsigned char kind = (unsigned char)((t->flags[id] ? 2 : 0) | (t->flags[id] & ADDED_SPECIAL));
        add_u32(h, id);
        add_u32(h, (uint32_t)s.n);
        sha256_add(h, s.p, s.n);
        sha256_add(h, &kind, 1);
    }
    for (size_t i = 0; t->kind == TOK_BYTES && i < t->merges.list.n; i++) add_u32(h, t->merges.list.v[i]);
    struct u32vec ids = {0};
    struct err never = {0};
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        ids.n = 0;
        tokenizer_encode(t, STRZ(probes[i]), 0, &ids, NULL, &never);
        add_u32(h, (uint32_t)ids.n);
        for (size_t k = 0; k < ids.n; k++) add_u32(h, ids.v[k]);
    }
    free(ids.v);
    sha256_done(h, t->digest);
}

int tokenizer_build(struct tokenizer *t, struct err *e)
{
    if (t->vocab.n == 0) return err_set(e, E_TOKENIZER, "vocabulary is empty");
    build_added(t);
    build_bytes(t);
    if (t->kind == TOK_SPM && t->pre.n == 0 && can_cut_at_space(t)) t->pre = (struct pretok){1, {PRETOK_META_WORDS}};
    if (t->bos >= (int64_t)t->vocab.n || t->eos >= (int64_t)t->vocab.n)
        return err_set(e, E_TOKENIZER, "BOS or EOS id (%lld, %lld) is not below the vocabulary's size, %zu",
                       (long long)t->bos, (long long)t->eos, t->vocab.n);
    build_digest(t);
    return 0;
}
