/* encode: text -> ids. The order of things is that of Hugging Face: added tokens that are not normalised are cut out of
 * the text; what is between is normalised and searched for those that are; what is then left gets its prefix, is cut
 * into words by the pre-tokenizer, and each word goes through BPE. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/utf8.h"
#include "libcommon/token/impl.h"

struct pool {
    pthread_mutex_t lock;
    struct work *free;
};

struct pool *pool_new(void)
{
    struct pool *p = mem_alloc(1, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void norm_buf_fini(struct norm_buf *b)
{
    buf_fini(&b->text);
    free(b->map.v);
}

void pool_free(struct pool *p)
{
    if (!p) return;
    for (struct work *w = p->free, *next; w; w = next) {
        next = w->next;
        norm_buf_fini(&w->a);
        norm_buf_fini(&w->b);
        norm_buf_fini(&w->c);
        free(w->words.v);
        free(w->sym);
        free(w->heap);
        buf_fini(&w->spell);
        bpe_cache_free(w->cache);
        free(w);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

struct work *work_take(const struct tokenizer *t)
{
    pthread_mutex_lock(&t->pool->lock);
    struct work *w = t->pool->free;
    if (w) t->pool->free = w->next;
    pthread_mutex_unlock(&t->pool->lock);
    if (!w) {
        w = mem_alloc(1, sizeof *w);
        w->cache = bpe_cache_new();
    }
    return w;
}

void work_give(const struct tokenizer *t, struct work *w)
{
    pthread_mutex_lock(&t->pool->lock);
    w->next = t->pool->free;
    t->pool->free = w;
    pthread_mutex_unlock(&t->pool->lock);
}

struct job {
    const struct tokenizer *t;
    struct work *w;
    struct u32vec *ids, *off; /* off: NULL if not wanted */
    unsigned flags;
};

/* s: text between added tokens. map: offset of each of its bytes, or NULL: base + place. */
static void word(const struct job *j, const char *s, size_t n, const uint32_t *map, uint32_t base)
{
    if (!j->off) {
        bpe_word(j->t, j->w, s, n, j->ids, NULL);
        return;
    }
    size_t from = j->off->n;
    bpe_word(j->t, j->w, s, n, j->ids, j->off);
    for (size_t i = from; i < j->off->n; i++) {
        uint32_t at = j->off->v[i];
        j->off->v[i] = map ? map[at] : base + at;
    }
}

static void words(const struct job *j, int level, const char *s, size_t n, const uint32_t *map, uint32_t base)
{
    if (level == j->t->pre.n) {
        word(j, s, n, map, base);
        return;
    }
    for (size_t i = 0, len; i < n; i += len) {
        len = pretok_next(j->t->pre.rule[level], (const uint8_t *)s + i, n - i);
        words(j, level + 1, s + i, len, map ? map + i : NULL, base + (uint32_t)i);
    }
}

static void segment(const struct job *j, const char *s, size_t n, const uint32_t *map, uint32_t base)
{
    const struct tokenizer *t = j->t;
    if (n == 0) return;
    bool first = (map ? map[0] : base) == 0;
    bool prefix = t->prefix == PREFIX_ALWAYS || (t->prefix == PREFIX_FIRST && first);
    if (first && (j->flags & TOK_CONTINUE)) prefix = false;
    size_t len = strlen(t->prefix_text);
    if (prefix && n >= len && !memcmp(s, t->prefix_text, len)) prefix = false;
    if (t->meta && *s == ' ') prefix = false;
    if (!prefix && !(t->meta && memchr(s, ' ', n))) {
        words(j, 0, s, n, map, base);
        return;
    }
    struct norm_buf *o = &j->w->c;
    o->text.n = o->map.n = 0;
    if (prefix) {
        buf_add(&o->text, t->prefix_text, len);
        for (size_t k = 0; k < len && j->off; k++) u32vec_add(&o->map, map ? map[0] : base);
    }
    for (size_t i = 0; i < n; i++) {
        bool space = t->meta && s[i] == ' ';
        buf_add(&o->text, space ? SPM_SPACE : s + i, space ? 3 : 1);
        for (int k = 0; k < (space ? 3 : 1) && j->off; k++) u32vec_add(&o->map, map ? map[i] : base + (uint32_t)i);
    }
    words(j, 0, o->text.p, o->text.n, j->off ? o->map.v : NULL, base);
}

static void token(const struct job *j, uint32_t id, uint32_t at)
{
    u32vec_add(j->ids, id);
    if (j->off) u32vec_add(j->off, at);
}

static void between(const struct job *j, const char *s, size_t n, uint32_t base)
{
    const struct tokenizer *t = j->t;
    struct norm_buf *r = NULL;
    const uint32_t *map = NULL;
    bool special = (j->flags & TOK_SPECIAL) != 0;
    unsigned how = (j->off ? NORM_MAP : 0) | (base == 0 && (j->flags & TOK_CONTINUE) ? NORM_BARE : 0);
    if (tokenizer_normalize(t, s, n, base, how, &j->w->a, &j->w->b, &r)) {
        s = r->text.p;
        n = r->text.n;
        map = j->off ? r->map.v : NULL;
    }
    struct added_match m;
    size_t pos = 0, done = 0;
    while (added_next(&t->normalized, s, n, &pos, done, special, &m)) {
        if (m.start > done) segment(j, s + done, m.start - done, map ? map + done : NULL, base + (uint32_t)done);
        token(j, m.id, map ? map[m.start] : base + (uint32_t)m.start);
        done = m.end;
    }
    if (done < n) segment(j, s + done, n - done, map ? map + done : NULL, base + (uint32_t)done);
}

int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags, struct u32vec *ids, struct u32vec *off,
                     struct err *e)
{
    if (text.n > UINT32_MAX / 4) return err_set(e, E_ENCODING, "text of %zu bytes is longer than 1 GiB", text.n);
    size_t bad = utf8_valid(text.p, text.n);
    if (bad < text.n)
        return err_set(e, E_ENCODING, "text is not valid UTF-8 at byte %zu: %s", bad,
                       err_quote(text.p + bad, text.n - bad < 8 ? text.n - bad : 8));
    struct job j = {t, work_take(t), ids, off, flags};
    if ((flags & TOK_BOS) && t->adds_bos && t->bos >= 0) token(&j, (uint32_t)t->bos, 0);
    struct added_match m;
    size_t pos = 0, done = 0;
    bool special = (flags & TOK_SPECIAL) != 0;
    while (added_next(&t->raw, text.p, text.n, &pos, done, special, &m)) {
        if (m.start > done) between(&j, text.p + done, m.start - done, (uint32_t)done);
        token(&j, m.id, (uint32_t)m.start);
        done = m.end;
    }
    if (done < text.n) between(&j, text.p + done, text.n - done, (uint32_t)done);
    work_give(t, j.w);
    return 0;
}
