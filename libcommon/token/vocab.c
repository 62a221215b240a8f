/* vocab: hash tables of pieces and merges, and the byte spelling of GPT-2 (bytes_to_unicode of its encoder.py:
 * printable Latin-1 bytes stand for themselves, the 68 others are counted up from U+0100). */
#include "libcommon/token/vocab.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    for (; n >= 8; s += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    uint64_t w = 0;
    memcpy(&w, s, n);
    h = (h ^ w) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h ^ h >> 32);
}

static void slot_put(struct vocab *v, uint32_t id)
{
    struct str s = vocab_piece(v, id);
    uint32_t i = hash_bytes(s.p, s.n) & v->mask;
    while (v->slot[i] != VOCAB_NONE) {
        struct str o = vocab_piece(v, v->slot[i]);
        if (o.n == s.n && !memcmp(o.p, s.p, s.n)) return;
        i = (i + 1) & v->mask;
    }
    v->slot[i] = id;
    v->used++;
}

static void rehash(struct vocab *v)
{
    size_t size = v->slot ? 2 * ((size_t)v->mask + 1) : 1024;
    free(v->slot);
    v->slot = mem_alloc(size, sizeof *v->slot);
    memset(v->slot, 0xff, size * sizeof *v->slot);
    v->mask = (uint32_t)(size - 1);
    v->used = 0;
    for (size_t id = 0; id < v->n; id++)
        if (v->piece[id].len) slot_put(v, (uint32_t)id);
}

int vocab_add(struct vocab *v, uint32_t id, const char *s, size_t n, struct err *e)
{
    if (id >= VOCAB_MAX_IDS)
        return err_set(e, E_TOKENIZER, "token id %u is above the limit of %u", id, VOCAB_MAX_IDS - 1);
    if (n == 0 || n > VOCAB_MAX_PIECE)
        return err_set(e, E_TOKENIZER, "piece of id %u has %zu bytes, expected 1 to %u", id, n, VOCAB_MAX_PIECE);
    if (id < v->n && v->piece[id].len)
        return err_set(e, E_TOKENIZER, "token id %u is given to %s and to another piece", id, err_quote(s, n));
    if (id >= v->n) {
        v->piece = mem_grow(v->piece, &v->cap, (size_t)id + 1, sizeof *v->piece);
        memset(v->piece + v->n, 0, ((size_t)id + 1 - v->n) * sizeof *v->piece);
        v->n = (size_t)id + 1;
    }
    v->piece[id] = (struct piece){v->text.n, (uint32_t)n};
    buf_add(&v->text, s, n);
    if (!v->slot || v->used >= v->mask / 2)
        rehash(v);
    else
        slot_put(v, id);
    return 0;
}

uint32_t vocab_find(const struct vocab *v, const char *s, size_t n)
{
    if (!v->slot) return VOCAB_NONE;
    for (uint32_t i = hash_bytes(s, n) & v->mask; v->slot[i] != VOCAB_NONE; i = (i + 1) & v->mask) {
        const struct piece *p = &v->piece[v->slot[i]];
        if (p->len == n && !memcmp(v->text.p + p->off, s, n)) return v->slot[i];
    }
    return VOCAB_NONE;
}

void vocab_fini(struct vocab *v)
{
    buf_fini(&v->text);
    free(v->piece);
    free(v->slot);
    *v = (struct vocab){0};
}

static void merge_put(struct merges *m, struct merge x)
{
    uint64_t i = merges_hash(x.pair) & m->mask;
    while (m->slot[i].pair != UINT64_MAX) {
        if (m->slot[i].pair == x.pair) return;
        i = (i + 1) & m->mask;
    }
    m->slot[i] = x;
    m->n++;
}

void merges_add(struct merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    if (!m->slot || m->n >= m->mask / 2) {
        uint64_t old = m->slot ? m->mask + 1 : 0, size = old ? 2 * old : 4096;
        struct merge *was = m->slot;
        m->slot = mem_alloc(size, sizeof *m->slot);
        m->mask = size - 1;
        m->n = 0;
        memset(m->slot, 0xff, size * sizeof *m->slot);
        for (uint64_t i = 0; i < old; i++)
            if (was[i].pair != UINT64_MAX) merge_put(m, was[i]);
        free(was);
    }
    merge_put(m, (struct merge){(uint64_t)left << 32 | right, rank, id});
    u32vec_add(&m->list, left);
    u32vec_add(&m->list, right);
}

void merges_fini(struct merges *m)
{
    free(m->slot);
    free(m->list.v);
    *m = (struct merges){0};
}

struct cut {
    uint32_t rank, left, right, id;
};

static int cut_cmp(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

void merges_from_ranks(struct merges *m, const struct vocab *v, const uint32_t *rank_of, bool tied)
{
    struct cut *c = NULL;
    size_t n = 0, cap = 0;
    for (uint32_t id = 0; id < v->n; id++) {
        struct str s = vocab_piece(v, id);
        if (rank_of[id] == UINT32_MAX || s.n < 2 || s.n >= 512) continue;
        for (size_t k = 1; k < s.n; k++) {
            /* Never inside a character: of the text, or of the spelling of one byte (two bytes at most). */
            if (((unsigned char)s.p[k] & 0xc0) == 0x80) continue;
            uint32_t l = vocab_find(v, s.p, k), r = l == VOCAB_NONE ? l : vocab_find(v, s.p + k, s.n - k);
            if (r == VOCAB_NONE || rank_of[l] == UINT32_MAX || rank_of[r] == UINT32_MAX) continue;
            c = mem_grow(c, &cap, n + 1, sizeof *c);
            c[n++] = (struct cut){rank_of[id], l, r, id};
        }
    }
    if (n) qsort(c, n, sizeof *c, cut_cmp);
    for (size_t i = 0; i < n; i++) merges_add(m, c[i].left, c[i].right, tied ? c[i].rank : (uint32_t)i, c[i].id);
    free(c);
}

static uint32_t byte_char(unsigned b)
{
    if ((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae) return b;
    if (b < 0x21) return 0x100 + b;
    return b == 0xad ? 0x143 : 0x121 + (b - 0x7f);
}

void vocab_byte_spelling(char spelling[256][3], uint8_t len[256])
{
    for (unsigned b = 0; b < 256; b++) {
        uint32_t c = byte_char(b);
        len[b] = c < 0x80 ? 1 : 2;
        if (c < 0x80) {
            spelling[b][0] = (char)c;
        } else {
            spelling[b][0] = (char)(0xc0 | c >> 6);
            spelling[b][1] = (char)(0x80 | (c & 0x3f));
        }
        spelling[b][len[b]] = 0;
    }
}

bool vocab_byte_decode(const char *s, size_t n, struct buf *out)
{
    size_t from = out->n;
    for (size_t i = 0; i < n;) {
        unsigned char a = (unsigned char)s[i++];
        uint32_t c = a;
        if (a >= 0x80) {
            if ((a & 0xe0) != 0xc0 || i == n) goto no;
            c = (uint32_t)(a & 0x1f) << 6 | ((unsigned char)s[i++] & 0x3f);
        }
        int b = c < 0x100    ? (int)c
                : c <= 0x120 ? (int)(c - 0x100)
                : c <= 0x142 ? (int)(c - 0x121 + 0x7f)
                : c == 0x143 ? 0xad
                             : -1;
        if (b < 0 || byte_char((unsigned)b) != c) goto no;
        buf_addc(out, (char)b);
    }
    return true;
no:
    out->n = from;
    return false;
}
