/* dataset.c: see dataset.h. */
#include "libcommon/data/dataset.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/data/rules.h"
#include "libcommon/token/row.h"

static struct str keep(struct str s) { return (struct str){mem_dup(s.p, s.n), s.n}; }

static int add_row(struct dataset *d, const struct token_row *t, int vocab, bool adapters, struct err *e)
{
    if (t->adapter && !adapters)
        return err_set(e, E_VERSION, "row %llu names adapter %s, and there is one adapter for all rows here, or none",
                       (unsigned long long)t->row, err_quotez(t->adapter));
    if (t->n < 1 || t->n > DATA_ROW_MAX)
        return err_set(e, E_MISMATCH, "row %llu has %u tokens, expected 1 to %u", (unsigned long long)t->row, t->n,
                       DATA_ROW_MAX);
    d->ids = mem_grow(d->ids, &d->cap_ids, d->n_ids + t->n, sizeof *d->ids);
    d->mask = mem_grow(d->mask, &d->cap_mask, d->n_ids + t->n, sizeof *d->mask);
    d->row = mem_grow(d->row, &d->cap, d->n + 1, sizeof *d->row);
    struct dataset_row *r = &d->row[d->n++];
    *r = (struct dataset_row){.row = t->row,
                              .first = d->n_ids,
                              .n = t->n,
                              .n_prompt = t->n_prompt,
                              .prompt = keep(t->prompt),
                              .target = keep(t->target),
                              .adapter = t->adapter ? mem_dupz(t->adapter) : NULL};
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->ids[i] >= (uint32_t)vocab)
            return err_set(e, E_MISMATCH, "row %llu: token id %u is not below the model's vocabulary of %d",
                           (unsigned long long)t->row, t->ids[i], vocab);
        d->ids[d->n_ids + i] = (int32_t)t->ids[i];
        d->mask[d->n_ids + i] = t->mask[i];
        r->n_label += data_is_label(t->mask, i, t->n);
    }
    d->n_ids += t->n;
    d->labels += r->n_label;
    if (t->n > d->max_len) d->max_len = t->n;
    if (t->n_prompt > d->max_prompt) d->max_prompt = t->n_prompt;
    return 0;
}

/* An example becomes the row that peft-tok makes of it by default. */
static int add_example(struct dataset *d, const struct example *x, const struct tokenizer *tok, struct row_tokens *t,
                       int vocab, bool adapters, struct err *e)
{
    struct row_policy policy = {.boundary = ROW_SEPARATE, .eos = EOS_APPEND, .bos = BOS_AUTO};
    int rc = row_example(tok, &policy, x, t, e);
    if (rc < 0) return err_prefix(e, "row %llu: ", (unsigned long long)x->row);
    struct token_row r = {.row = x->row,
                          .ids = t->ids.v,
                          .mask = (const uint8_t *)t->mask.p,
                          .n = (uint32_t)t->ids.n,
                          .n_prompt = t->n_prompt,
                          .prompt = x->prompt,
                          .target = x->target,
                          .adapter = x->adapter};
    return add_row(d, &r, vocab, adapters, e);
}

static void take_tokenizer(struct dataset *d, const struct tokenizer *tok)
{
    d->info.has_tokenizer = true;
    memcpy(d->info.tokenizer, tokenizer_digest(tok), sizeof d->info.tokenizer);
}

int dataset_read_adapters(struct dataset *d, struct stream_reader *r, const struct tokenizer *tok, int vocab,
                          uint64_t limit, bool adapters, struct err *e)
{
    *d = (struct dataset){.info = *stream_info_of(r)};
    if (d->info.kind != STREAM_TOKENS && !(tok && d->info.kind == STREAM_EXAMPLES))
        return err_set(e, E_STREAM_KIND, "input is a stream of %s, expected tokens%s", stream_kind_names[d->info.kind],
                       tok ? " or examples" : "");
    if (d->info.kind == STREAM_EXAMPLES) take_tokenizer(d, tok);
    struct row_tokens t = {0};
    struct record rec;
    int rc;
    while ((rc = stream_next(r, &rec, e)) > 0) {
        if (limit && d->n >= limit) continue; /* read on: what has not reached END is not to be trusted */
        rc = rec.kind == STREAM_TOKENS ? add_row(d, &rec.tokens, vocab, adapters, e)
                                       : add_example(d, &rec.example, tok, &t, vocab, adapters, e);
        if (rc < 0) break;
    }
    row_tokens_fini(&t);
    if (rc < 0) return rc;
    if (!d->n) return err_set(e, E_NOROWS, "the stream has no rows");
    memcpy(d->digest, stream_digest(r), sizeof d->digest);
    d->provenance = mem_dupz(stream_provenance(r));
    d->upstreams = mem_dupz(stream_upstreams(r));
    d->account = *stream_accounting(r);
    return 0;
}

int dataset_read(struct dataset *d, struct stream_reader *r, const struct tokenizer *tok, int vocab, uint64_t limit,
                 struct err *e)
{
    return dataset_read_adapters(d, r, tok, vocab, limit, false, e);
}

void dataset_free(struct dataset *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free((char *)d->row[i].prompt.p);
        free((char *)d->row[i].target.p);
        free(d->row[i].adapter);
    }
    free(d->row);
    free(d->ids);
    free(d->mask);
    free(d->provenance);
    free(d->upstreams);
    *d = (struct dataset){0};
}
