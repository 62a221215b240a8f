/* packer.c: see packer.h. */
#include "libcommon/data/packer.h"
#include <stdlib.h>
#include "libcommon/data/rules.h"

void packer_init(struct packer *p, long T_max, int B_max, const struct hooks *hooks)
{
    const bool prefix = hooks_prefix(hooks) > 0;
    const size_t T = (size_t)T_max, B = (size_t)B_max, V = hooks_virtual(hooks) ? T : 0, P = prefix ? B : 0;
    *p = (struct packer){.T_max = T_max, .B_max = B_max, .n_virtual = hooks_virtual(hooks), .prefix = prefix};
    p->ids = mem_alloc(T, sizeof *p->ids);
    p->pos = mem_alloc(T, sizeof *p->pos);
    p->row = mem_alloc(T, sizeof *p->row);
    p->label = mem_alloc(T, sizeof *p->label);
    p->weight = mem_alloc(T, sizeof *p->weight);
    p->uid = mem_alloc(T, sizeof *p->uid);
    p->q_start = mem_alloc(B, sizeof *p->q_start);
    p->q_len = mem_alloc(B, sizeof *p->q_len);
    p->virtual_row = mem_alloc(V, sizeof *p->virtual_row);
    p->virtual_id = mem_alloc(V, sizeof *p->virtual_id);
    p->kv_start = mem_alloc(P, sizeof *p->kv_start);
    p->kv_len = mem_alloc(P, sizeof *p->kv_len);
    p->cache_row = mem_alloc(P ? T : 0, sizeof *p->cache_row);
    p->b = (struct batch){.ids = p->ids,
                          .pos = p->pos,
                          .uid = p->uid,
                          .q_start = p->q_start,
                          .q_len = p->q_len,
                          .row = p->row,
                          .label = p->label,
                          .weight = p->weight,
                          .virtual_row = p->virtual_row,
                          .virtual_id = p->virtual_id};
    if (prefix) p->b.kv_start = p->kv_start, p->b.kv_len = p->kv_len, p->b.cache_row = p->cache_row;
}

void packer_spans(struct packer *p, int n_span)
{
    p->span = mem_alloc((size_t)n_span, sizeof *p->span);
    p->label_span = mem_alloc((size_t)n_span, sizeof *p->label_span);
    p->b.span = p->span;
    p->b.label_span = p->label_span;
    p->b.n_span = n_span;
}

void packer_clear(struct packer *p)
{
    p->b.T = p->b.n = p->b.B = p->b.n_virtual = 0;
    for (int s = 0; s < p->b.n_span; s++) p->span[s] = p->label_span[s] = (struct span){0};
    p->last_span = 0;
}

int packer_enter(struct packer *p, int span)
{
    if (!p->b.n_span) return 1;
    if (span < p->last_span) return 0;
    p->last_span = span;
    return 1;
}

/* The stretch of the last kind reaches up to what is there now. */
static void extend(struct packer *p, struct span *all, long end)
{
    struct span *s = &all[p->last_span];
    if (!s->n) s->first = (int32_t)end - 1;
    s->n = (int32_t)end - s->first;
}

static void put(struct packer *p, int32_t id, int32_t pos, uint64_t uid)
{
    const long t = p->b.T++;
    p->ids[t] = id;
    p->pos[t] = pos;
    p->uid[t] = uid;
    if (p->b.n_span) extend(p, p->span, p->b.T);
}

/* Rows of keys and values: the prefix', then those of n tokens. */
static void put_keys(struct packer *p, int32_t n)
{
    struct batch *b = &p->b;
    const int nv = p->n_virtual;
    const int32_t first = (int32_t)(b->T + b->n_virtual);
    p->kv_start[b->B] = first;
    p->kv_len[b->B] = nv + n;
    for (int32_t i = 0; i < n; i++) p->cache_row[b->T + i] = first + nv + i;
    for (int j = 0; j < nv; j++) {
        p->virtual_row[b->n_virtual] = first + j;
        p->virtual_id[b->n_virtual++] = j;
    }
}

long packer_tokens(struct packer *p, const int32_t *ids, uint32_t n, uint64_t row)
{
    struct batch *b = &p->b;
    const int nv = p->n_virtual, own = p->prefix ? 0 : nv;
    if (b->T + (p->prefix ? b->n_virtual : 0) + n + nv > p->T_max || b->B == p->B_max) return -1;
    if (p->prefix) put_keys(p, (int32_t)n);
    p->q_start[b->B] = (int32_t)b->T;
    p->q_len[b->B++] = (int32_t)n + own;
    for (int j = 0; j < own; j++) {
        p->virtual_row[b->n_virtual] = (int32_t)b->T;
        p->virtual_id[b->n_virtual++] = j;
        put(p, 0, j, data_virtual_uid(row, (uint32_t)j));
    }
    for (uint32_t i = 0; i < n; i++) put(p, ids[i], nv + (int32_t)i, data_uid(row, i));
    return b->T - n;
}

void packer_want(struct packer *p, long token)
{
    p->row[p->b.n++] = (int32_t)token;
    if (p->b.n_span) extend(p, p->label_span, p->b.n);
}

void packer_weight(struct packer *p, float weight)
{
    for (long i = 0; i < p->b.n; i++) p->weight[i] = weight;
}

int packer_add(struct packer *p, const struct dataset *d, size_t row, bool labels)
{
    const struct dataset_row *r = &d->row[row];
    const long first = packer_enter(p, r->span) ? packer_tokens(p, d->ids + r->first, r->n, r->row) : -1;
    if (first < 0) return 0;
    for (uint32_t i = 0; labels && i < r->n; i++) {
        if (!data_has_label(d->mask + r->first, i, r->n)) continue;
        p->label[p->b.n] = d->ids[r->first + i + 1];
        packer_want(p, first + i);
    }
    return 1;
}

void packer_fini(struct packer *p)
{
    void *all[] = {p->ids,         p->pos,        p->row,  p->label,      p->weight,   p->uid,    p->q_start,  p->q_len,
                   p->virtual_row, p->virtual_id, p->span, p->label_span, p->kv_start, p->kv_len, p->cache_row};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    *p = (struct packer){0};
}
