/* bpe: merge the symbols of a word, lowest rank first and leftmost among equals, as every BPE implementation defines
 * it. Short words scan an array; long ones (a megabyte of one letter is one word) use a heap and a linked list: O(n log
 * n). Words up to CACHE_WORD bytes are remembered with their ids; the cache is emptied when full. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/impl.h"
#include "libcommon/token/unicode.h"

#define SHORT_WORD  40
#define CACHE_WORD  96
#define CACHE_SLOTS (1u << 16)
#define CACHE_TEXT  (4u << 20)

struct cache_entry {
    uint64_t hash;
    uint32_t key, ids; /* offsets into text and ids */
    uint16_t len, n;
};
struct bpe_cache {
    struct cache_entry *slot;
    uint32_t used, mask;
    struct buf text; /* keys, each followed by the offsets of its tokens (one byte each) */
    struct u32vec ids;
};

struct bpe_cache *bpe_cache_new(void)
{
    struct bpe_cache *c = mem_alloc(1, sizeof *c);
    c->mask = 1023;
    c->slot = mem_alloc(c->mask + 1, sizeof *c->slot);
    return c;
}

void bpe_cache_free(struct bpe_cache *c)
{
    if (!c) return;
    free(c->slot);
    buf_fini(&c->text);
    free(c->ids.v);
    free(c);
}

static uint64_t word_hash(const char *s, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u;
    for (; n >= 8; s += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    uint64_t w = 0;
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        w = (uint64_t)b << 32 | a;
    } else if (n) {
        w = (uint8_t)s[0] | (uint64_t)(uint8_t)s[n >> 1] << 8 | (uint64_t)(uint8_t)s[n - 1] << 16;
    }
    h = (h ^ w) * 0xc4ceb9fe1a85ec53u;
    h ^= h >> 32;
    return h | 1; /* 0: free slot */
}

static void cache_grow(struct bpe_cache *c)
{
    uint32_t old = c->mask + 1;
    struct cache_entry *was = c->slot;
    if (old == CACHE_SLOTS || c->text.n > CACHE_TEXT) { /* full: begin again */
        memset(c->slot, 0, old * sizeof *c->slot);
        c->used = 0;
        c->text.n = c->ids.n = 0;
        return;
    }
    c->mask = 4 * old - 1;
    c->slot = mem_alloc(4 * (size_t)old, sizeof *c->slot);
    for (uint32_t i = 0; i < old; i++) {
        if (!was[i].hash) continue;
        uint32_t k = (uint32_t)(was[i].hash >> 8) & c->mask;
        while (c->slot[k].hash) k = (k + 1) & c->mask;
        c->slot[k] = was[i];
    }
    free(was);
}

static void cache_put(struct bpe_cache *c, uint64_t hash, const char *s, size_t n, const struct bpe_symbol *sym,
                      size_t n_sym)
{
    if (c->used > c->mask / 2 || c->text.n > CACHE_TEXT) cache_grow(c);
    uint32_t k = (uint32_t)(hash >> 8) & c->mask;
    while (c->slot[k].hash) k = (k + 1) & c->mask;
    c->slot[k] = (struct cache_entry){hash, (uint32_t)c->text.n, (uint32_t)c->ids.n, (uint16_t)n, (uint16_t)n_sym};
    c->used++;
    buf_add(&c->text, s, n);
    for (size_t i = 0; i < n_sym; i++) {
        buf_addc(&c->text, (char)sym[i].start);
        u32vec_add(&c->ids, sym[i].id);
    }
}

static void pair(const struct tokenizer *t, struct bpe_symbol *a, const struct bpe_symbol *b)
{
    const struct merge *m = merges_find(&t->merges, a->id, b->id);
    a->rank = m ? m->rank : UINT32_MAX;
    a->to = m ? m->id : 0;
}

static size_t merge_short(const struct tokenizer *t, struct bpe_symbol *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) pair(t, &s[i], &s[i + 1]);
    while (n > 1) {
        size_t best = 0;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (s[i].rank < rank) {
                rank = s[i].rank;
                best = i;
            }
        }
        if (rank == UINT32_MAX) break;
        s[best].id = s[best].to;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best + 1 < n) pair(t, &s[best], &s[best + 1]);
        if (best > 0) pair(t, &s[best - 1], &s[best]);
    }
    return n;
}

static bool before(struct bpe_heap a, struct bpe_heap b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

static void heap_push(struct work *w, struct bpe_heap x)
{
    w->heap = mem_grow(w->heap, &w->heap_cap, w->n_heap + 1, sizeof *w->heap);
    size_t i = w->n_heap++;
    for (; i > 0 && before(x, w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
}

static struct bpe_heap heap_pop(struct work *w)
{
    struct bpe_heap top = w->heap[0], x = w->heap[--w->n_heap];
    size_t i = 0, n = w->n_heap;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n) break;
        if (c + 1 < n && before(w->heap[c + 1], w->heap[c])) c++;
        if (!before(w->heap[c], x)) break;
        w->heap[i] = w->heap[c];
        i = c;
    }
    w->heap[i] = x;
    return top;
}

static void pair_push(const struct tokenizer *t, struct work *w, uint32_t a)
{
    struct bpe_symbol *s = w->sym;
    if (s[a].next == UINT32_MAX) {
        s[a].rank = UINT32_MAX;
        return;
    }
    pair(t, &s[a], &s[s[a].next]);
    if (s[a].rank != UINT32_MAX) heap_push(w, (struct bpe_heap){s[a].rank, a, s[a].to});
}

static size_t merge_long(const struct tokenizer *t, struct work *w, size_t n)
{
    struct bpe_symbol *s = w->sym;
    w->n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = i ? (uint32_t)i - 1 : UINT32_MAX;
        s[i].next = i + 1 < n ? (uint32_t)i + 1 : UINT32_MAX;
    }
    for (size_t i = 0; i < n; i++) pair_push(t, w, (uint32_t)i);
    while (w->n_heap) {
        struct bpe_heap h = heap_pop(w);
        uint32_t a = h.at, b = s[a].next, c;
        if (s[a].rank != h.rank || s[a].to != h.to)
            continue; /* the pair has changed since; a dead symbol has no rank */
        s[a].id = h.to;
        c = s[b].next;
        s[b].rank = UINT32_MAX;
        s[b].id = VOCAB_NONE;
        s[a].next = c;
        if (c != UINT32_MAX) s[c].prev = a;
        pair_push(t, w, a);
        if (s[a].prev != UINT32_MAX) pair_push(t, w, s[a].prev);
    }
    size_t k = 0;
    for (uint32_t i = 0; i != UINT32_MAX;) {
        uint32_t next = s[i].next;
        s[k++] = s[i];
        i = next;
    }
    return k;
}

static void sym_add(struct work *w, size_t *n, uint32_t id, size_t start)
{
    w->sym = mem_grow(w->sym, &w->sym_cap, *n + 1, sizeof *w->sym);
    w->sym[*n].id = id;
    w->sym[*n].start = (uint32_t)start;
    ++*n;
}

/* First symbols: bytes, or the characters that the vocabulary has and bytes or the unknown token for others. */
static size_t symbols(const struct tokenizer *t, struct work *w, const char *s, size_t n)
{
    size_t k = 0;
    bool unk_before = false;
    for (size_t i = 0; i < n;) {
        size_t len = t->kind == TOK_BYTES ? 1 : unicode_len((uint8_t)s[i]);
        uint32_t id = t->kind == TOK_BYTES ? t->byte_id[(uint8_t)s[i]] : vocab_find(&t->vocab, s + i, len);
        bool unk = false;
        if (id != VOCAB_NONE) {
            sym_add(w, &k, id, i);
        } else {
            bool bytes = t->byte_fallback;
            for (size_t b = 0; b < len && bytes; b++) bytes = t->byte_id[(uint8_t)s[i + b]] != VOCAB_NONE;
            if (bytes) {
                for (size_t b = 0; b < len; b++) sym_add(w, &k, t->byte_id[(uint8_t)s[i + b]], i + b);
            } else if (t->unk != VOCAB_NONE) {
                unk = true;
                if (!(unk_before && t->fuse_unk)) sym_add(w, &k, t->unk, i);
            }
        }
        unk_before = unk;
        i += len;
    }
    return k;
}

static uint32_t whole_word(const struct tokenizer *t, struct work *w, const char *s, size_t n)
{
    if (t->kind == TOK_SPM) return vocab_find(&t->vocab, s, n);
    w->spell.n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = t->byte_id[(uint8_t)s[i]];
        if (id == VOCAB_NONE) return VOCAB_NONE;
        struct str p = vocab_piece(&t->vocab, id);
        buf_add(&w->spell, p.p, p.n);
    }
    return vocab_find(&t->vocab, w->spell.p, w->spell.n);
}

void bpe_word(const struct tokenizer *t, struct work *w, const char *s, size_t n, struct u32vec *ids,
              struct u32vec *start)
{
    struct bpe_cache *c = w->cache;
    uint64_t hash = 0;
    if (n <= CACHE_WORD) {
        hash = word_hash(s, n);
        for (uint32_t k = (uint32_t)(hash >> 8) & c->mask; c->slot[k].hash; k = (k + 1) & c->mask) {
            const struct cache_entry *x = &c->slot[k];
            if (x->hash != hash || x->len != n || memcmp(c->text.p + x->key, s, n) != 0) continue;
            for (unsigned i = 0; i < x->n; i++) u32vec_add(ids, c->ids.v[x->ids + i]);
            if (start)
                for (unsigned i = 0; i < x->n; i++) u32vec_add(start, (uint8_t)c->text.p[x->key + n + i]);
            return;
        }
    }
    size_t k = 0;
    uint32_t whole = t->ignore_merges && n < VOCAB_MAX_PIECE ? whole_word(t, w, s, n) : VOCAB_NONE;
    if (whole != VOCAB_NONE) {
        sym_add(w, &k, whole, 0);
    } else {
        k = symbols(t, w, s, n);
        k = k <= SHORT_WORD ? merge_short(t, w->sym, k) : merge_long(t, w, k);
    }
    for (size_t i = 0; i < k; i++) u32vec_add(ids, w->sym[i].id);
    if (start)
        for (size_t i = 0; i < k; i++) u32vec_add(start, w->sym[i].start);
    if (n <= CACHE_WORD) cache_put(c, hash, s, n, w->sym, k);
}
