/* added: trie of added tokens. Each text position walks the trie at most as deep as the longest token. */
#include "libcommon/token/added.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/token/unicode.h"

static uint64_t edge_hash(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 32;
}

static uint32_t edge_find(const struct added *a, uint32_t node, uint8_t byte)
{
    uint64_t key = (uint64_t)node << 8 | byte;
    for (uint64_t i = edge_hash(key) & a->mask; a->edge[i].key != UINT64_MAX; i = (i + 1) & a->mask)
        if (a->edge[i].key == key) return a->edge[i].node;
    return 0;
}

static void edge_put(struct added *a, uint64_t key, uint32_t node)
{
    uint64_t i = edge_hash(key) & a->mask;
    while (a->edge[i].key != UINT64_MAX) i = (i + 1) & a->mask;
    a->edge[i] = (struct added_edge){key, node};
    a->n_edge++;
}

static void grow(struct added *a)
{
    uint64_t old = a->edge ? a->mask + 1 : 0, size = old ? 2 * old : 256;
    struct added_edge *was = a->edge;
    a->edge = mem_alloc(size, sizeof *a->edge);
    memset(a->edge, 0xff, size * sizeof *a->edge);
    a->mask = size - 1;
    a->n_edge = 0;
    for (uint64_t i = 0; i < old; i++)
        if (was[i].key != UINT64_MAX) edge_put(a, was[i].key, was[i].node);
    free(was);
}

static uint32_t node_new(struct added *a)
{
    a->at = mem_grow(a->at, &a->node_cap, a->n_node + 1, sizeof *a->at);
    a->at[a->n_node] = 0;
    return (uint32_t)a->n_node++;
}

void added_put(struct added *a, const char *s, size_t n, uint32_t id, unsigned flags)
{
    uint32_t node = 0;
    if (a->n_node == 0) node_new(a); /* root */
    for (size_t i = 0; i < n; i++) {
        if (!a->edge || a->n_edge >= a->mask / 2) grow(a);
        uint32_t next = edge_find(a, node, (uint8_t)s[i]);
        if (!next) {
            next = node_new(a);
            edge_put(a, (uint64_t)node << 8 | (uint8_t)s[i], next);
        }
        node = next;
    }
    if (a->at[node]) return;
    a->tok = mem_grow(a->tok, &a->tok_cap, a->n_tok + 1, sizeof *a->tok);
    a->tok[a->n_tok++] = (struct added_token){id, (uint8_t)flags};
    a->at[node] = (uint32_t)a->n_tok;
    if (!a->first[(uint8_t)s[0]]) {
        a->first[(uint8_t)s[0]] = true;
        a->n_first++;
        a->only = (uint8_t)s[0];
    }
}

void added_fini(struct added *a)
{
    free(a->tok);
    free(a->edge);
    free(a->at);
    *a = (struct added){0};
}

static unsigned flags_before(const char *s, size_t i, size_t *start)
{
    uint32_t cp;
    do i--;
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80);
    *start = i;
    unicode_next((const uint8_t *)s + i, &cp);
    return unicode_flags(cp);
}

static unsigned flags_after(const char *s, size_t i, size_t *end)
{
    uint32_t cp;
    *end = i + unicode_next((const uint8_t *)s + i, &cp);
    return unicode_flags(cp);
}

static const struct added_token *match_at(const struct added *a, const char *s, size_t n, size_t i, size_t *end)
{
    uint32_t node = 0, best = 0;
    for (size_t k = i; k < n && (node = edge_find(a, node, (uint8_t)s[k])) != 0; k++) {
        if (a->at[node]) {
            best = a->at[node];
            *end = k + 1;
        }
    }
    return best ? &a->tok[best - 1] : NULL;
}

bool added_next(const struct added *a, const char *s, size_t n, size_t *pos, size_t done, bool special,
                struct added_match *m)
{
    size_t i = *pos, end = 0, k;
    if (a->n_tok == 0) return false;
    while (i < n) {
        if (a->n_first == 1) {
            const char *q = memchr(s + i, a->only, n - i);
            if (!q) return false;
            i = (size_t)(q - s);
        } else {
            while (i < n && !a->first[(uint8_t)s[i]]) i++;
            if (i == n) return false;
        }
        const struct added_token *t = match_at(a, s, n, i, &end);
        if (!t) {
            i++;
            continue;
        }
        size_t start = i;
        *pos = i = end;
        if ((t->flags & ADDED_SPECIAL) && !special) continue;
        if ((t->flags & ADDED_SINGLE_WORD) &&
            ((start > 0 && (flags_before(s, start, &k) & UC_WORD)) || (end < n && (flags_after(s, end, &k) & UC_WORD))))
            continue;
        if (t->flags & ADDED_LSTRIP)
            while (start > done && (flags_before(s, start, &k) & UC_SPACE)) start = k;
        if (t->flags & ADDED_RSTRIP)
            while (end < n && (flags_after(s, end, &k) & UC_SPACE)) end = k;
        *m = (struct added_match){start, end, t->id};
        return true;
    }
    return false;
}
