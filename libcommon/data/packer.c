/* packer.c: see packer.h. */
#include "libcommon/data/packer.h"
#include <stdlib.h>
#include "libcommon/data/rules.h"

void packer_init(struct packer *p, long T_max, int B_max)
{
    *p = (struct packer){.T_max = T_max, .B_max = B_max};
    p->ids = mem_alloc((size_t)T_max, sizeof *p->ids);
    p->pos = mem_alloc((size_t)T_max, sizeof *p->pos);
    p->row = mem_alloc((size_t)T_max, sizeof *p->row);
    p->label = mem_alloc((size_t)T_max, sizeof *p->label);
    p->uid = mem_alloc((size_t)T_max, sizeof *p->uid);
    p->q_start = mem_alloc((size_t)B_max, sizeof *p->q_start);
    p->q_len = mem_alloc((size_t)B_max, sizeof *p->q_len);
    p->b = (struct batch){.ids = p->ids,
                          .pos = p->pos,
                          .uid = p->uid,
                          .q_start = p->q_start,
                          .q_len = p->q_len,
                          .row = p->row,
                          .label = p->label};
}

void packer_clear(struct packer *p) { p->b.T = p->b.n = p->b.B = 0; }

int packer_add(struct packer *p, const struct dataset *d, size_t row, bool labels)
{
    const struct dataset_row *r = &d->row[row];
    struct batch *b = &p->b;
    if (b->T + r->n > p->T_max || b->B == p->B_max) return 0;
    p->q_start[b->B] = (int32_t)b->T;
    p->q_len[b->B++] = (int32_t)r->n;
    for (uint32_t i = 0; i < r->n; i++) {
        long t = b->T + i;
        p->ids[t] = d->ids[r->first + i];
        p->pos[t] = (int32_t)i;
        p->uid[t] = data_uid(r->row, i);
        if (labels && data_has_label(d->mask + r->first, i, r->n)) {
            p->row[b->n] = (int32_t)t;
            p->label[b->n++] = d->ids[r->first + i + 1];
        }
    }
    b->T += r->n;
    return 1;
}

void packer_fini(struct packer *p)
{
    free(p->ids);
    free(p->pos);
    free(p->row);
    free(p->label);
    free(p->uid);
    free(p->q_start);
    free(p->q_len);
    *p = (struct packer){0};
}
