/* row: boundary, EOS, BOS, truncation, in this order. */
#include "libcommon/token/row.h"

#include <stdlib.h>
#include <string.h>

int row_policy_check(const struct row_policy *p, const struct tokenizer *t, struct err *e)
{
    if (p->eos == EOS_APPEND && tokenizer_eos(t) < 0) {
        err_set(e, E_TOKENIZER, "the tokenizer has no end-of-text token to append");
        return err_hint(e, "--eos keep leaves the texts as they are; a model trained so does not learn to stop");
    }
    if (p->bos == BOS_YES && tokenizer_bos(t) < 0)
        return err_set(e, E_TOKENIZER, "the tokenizer has no beginning-of-text token for --bos yes");
    return 0;
}

static void mask_to(struct row_tokens *r, char trained)
{
    size_t n = r->ids.n;
    if (r->mask.n >= n) return;
    r->mask.p = mem_grow(r->mask.p, &r->mask.cap, n, 1);
    memset(r->mask.p + r->mask.n, trained, n - r->mask.n);
    r->mask.n = n;
}

struct parts { /* of the row at hand */
    const struct part *v;
    uint32_t n;
};

static bool is_pair(struct parts x) { return x.n == 2 && !x.v[0].train && x.v[1].train; }

static unsigned specials(const struct row_policy *p) { return p->specials == SPECIALS_TEXT ? 0 : TOK_SPECIAL; }

static int apart(const struct tokenizer *t, const struct row_policy *p, struct parts x, struct row_tokens *r,
                 struct err *e)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < x.n; i++) {
        u32vec_add(&r->at, (uint32_t)r->ids.n);
        int rc = tokenizer_encode(t, x.v[i].text, specials(p) | (bytes ? TOK_CONTINUE : 0), &r->ids, NULL, e);
        if (rc < 0 && is_pair(x)) return err_prefix(e, i ? "target: " : "prompt: ");
        if (rc < 0) return err_prefix(e, "part %u: ", (unsigned)i + 1);
        mask_to(r, x.v[i].train);
        bytes += x.v[i].text.n;
    }
    return 0;
}

static int straddling(const struct tokenizer *t, struct parts x, uint32_t id, uint32_t from, uint32_t to, struct err *e)
{
    struct str s = tokenizer_piece(t, id);
    if (is_pair(x))
        err_set(e, E_STRADDLE, "the token %s holds the end of the prompt and the beginning of the target",
                err_quote(s.p, s.n));
    else
        err_set(e, E_STRADDLE, "the token %s holds the end of part %u and the beginning of part %u",
                err_quote(s.p, s.n), (unsigned)from + 1, (unsigned)to + 1);
    return err_hint(e, "end the prompt, or begin the target, at white space; or choose another "
                       "--straddle, or --boundary separate");
}

/* A token belongs to the part in which it ends. Where it began in an earlier one, it is of both: trained on as both
 * are, or, where they differ, as the policy says. */
static int together(const struct tokenizer *t, const struct row_policy *p, struct parts x, struct row_tokens *r,
                    struct err *e)
{
    size_t before = r->ids.n;
    r->text.n = r->off.n = 0;
    for (uint32_t i = 0; i < x.n; i++) buf_add(&r->text, x.v[i].text.p, x.v[i].text.n);
    int rc = tokenizer_encode(t, (struct str){r->text.p, r->text.n}, specials(p), &r->ids, &r->off, e);
    if (rc < 0) return rc;
    mask_to(r, 0); /* of BOS; the others follow */
    u32vec_add(&r->at, (uint32_t)before);
    uint32_t i = 0;
    size_t n = r->off.n, start = 0; /* of part i */
    for (size_t k = 0; k < n; k++) {
        size_t from = r->off.v[k], to = k + 1 < n ? r->off.v[k + 1] : r->text.n;
        uint32_t first = i;
        bool all = true, any = false; /* of the parts that it has text of, trained on */
        while (i + 1 < x.n && to > start + x.v[i].text.n) {
            if (from < start + x.v[i].text.n && x.v[i].text.n)
                all = all && x.v[i].train, any = any || x.v[i].train;
            else
                first = i + 1;
            start += x.v[i++].text.n;
            bool in_both = from < start;
            u32vec_add(&r->at, (uint32_t)(before + k + (in_both && p->straddle == STRADDLE_MASK)));
        }
        all = all && x.v[i].train, any = any || x.v[i].train;
        if (any && !all) {
            r->straddles = true;
            if (p->straddle == STRADDLE_ERROR) return straddling(t, x, r->ids.v[before + k], first, i, e);
            if (p->straddle == STRADDLE_SPLIT) {
                r->ids.n = r->mask.n = before;
                r->at.n = 0;
                return apart(t, p, x, r, e);
            }
        }
        r->mask.p[before + k] = p->straddle == STRADDLE_TRAIN ? any : all;
    }
    while (r->at.n < x.n) u32vec_add(&r->at, (uint32_t)r->ids.n); /* parts without text at the end */
    return 0;
}

/* Is there a token in from..to-1 that is trained on? */
static bool trained(const struct row_tokens *r, size_t from, size_t to)
{
    return from < to && memchr(r->mask.p + from, 1, to - from);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }
static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static void cut(const struct row_policy *p, struct parts x, struct row_tokens *r, bool has_bos)
{
    size_t n = r->ids.n, max = (size_t)p->max_len;
    if (p->max_len == 0 || n <= max) return;
    if (p->truncate == TRUNCATE_DROP) {
        r->fate = ROW_TOO_LONG;
        return;
    }
    r->truncated = true;
    bool left = p->truncate == TRUNCATE_LEFT, had_prompt = r->n_prompt > has_bos;
    size_t keep = left && has_bos ? 1 : 0, gone = n - max;
    size_t from = left ? keep + gone : 0, to = left ? n : max; /* what stays, but for BOS */
    uint32_t last = r->last, lost = 0;
    bool some = false;
    for (uint32_t i = 0; i < x.n; i++) {
        size_t a = least(r->at.v[i], n), b = i + 1 < x.n ? least(r->at.v[i + 1], n) : n;
        if (!x.v[i].train || !trained(r, a, b)) continue;
        if (trained(r, most(a, from), least(b, to)))
            last = i, some = true;
        else
            lost++;
    }
    if (some) {
        r->last = last;
        r->n_prompt = r->at.v[last];
        r->cut_parts = lost;
    }
    if (left) { /* BOS stays in its place */
        memmove(r->ids.v + keep, r->ids.v + from, (max - keep) * sizeof *r->ids.v);
        memmove(r->mask.p + keep, r->mask.p + from, max - keep);
        r->n_prompt = r->n_prompt > from ? r->n_prompt - (uint32_t)gone : (uint32_t)keep;
    }
    r->lost_prompt = left && had_prompt && r->n_prompt <= keep;
    r->ids.n = r->mask.n = max;
    if (r->n_prompt > max) r->n_prompt = (uint32_t)max;
}

int row_tokenize_parts(const struct tokenizer *t, const struct row_policy *p, const struct part *part, uint32_t n_parts,
                       struct row_tokens *r, struct err *e)
{
    int bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    bool put_bos = bos >= 0 && (p->bos == BOS_YES || (p->bos == BOS_AUTO && tokenizer_adds_bos(t)));
    struct parts x = {part, n_parts};
    r->ids.n = r->mask.n = r->at.n = 0;
    r->fate = ROW_KEPT;
    r->had_eos = r->straddles = r->truncated = r->lost_prompt = false;
    r->cut_parts = r->specials = 0;
    r->last = (uint32_t)parts_last(part, n_parts);
    if (put_bos) u32vec_add(&r->ids, (uint32_t)bos);
    mask_to(r, 0);
    int rc = p->boundary == ROW_JOINT ? together(t, p, x, r, e) : apart(t, p, x, r, e);
    if (rc < 0) return rc;
    for (size_t i = put_bos; i < r->ids.n; i++) r->specials += tokenizer_is_special(t, r->ids.v[i]);
    r->n_prompt = r->at.v[r->last];
    if (bos >= 0 && r->ids.n > 1 && r->ids.v[0] == (uint32_t)bos && r->ids.v[1] == (uint32_t)bos &&
        !p->allow_double_bos) {
        struct str s = tokenizer_piece(t, (uint32_t)bos);
        err_set(e, E_BOS_TWICE, "the row begins with %s twice", err_quote(s.p, s.n));
        return err_hint(e, put_bos ? "the prompt begins with it already: give --bos no (or "
                                     "--allow-double-bos, if it is meant)"
                                   : "the prompt holds it twice: correct the template (or "
                                     "--allow-double-bos, if it is meant)");
    }
    size_t n = r->ids.n;
    r->had_eos = eos >= 0 && n > r->n_prompt && r->ids.v[n - 1] == (uint32_t)eos;
    if (p->eos == EOS_APPEND && !r->had_eos) {
        u32vec_add(&r->ids, (uint32_t)eos);
        mask_to(r, part[n_parts - 1].train);
    } else if (p->eos == EOS_NONE && r->had_eos) {
        r->ids.n--;
        r->mask.n--;
    }
    cut(p, x, r, bos >= 0 && r->ids.n && r->ids.v[0] == (uint32_t)bos);
    if (r->fate == ROW_KEPT && (r->mask.n == 0 || !memchr(r->mask.p, 1, r->mask.n))) r->fate = ROW_NO_TARGET;
    return 0;
}

int row_tokenize(const struct tokenizer *t, const struct row_policy *p, struct str prompt, struct str target,
                 struct row_tokens *r, struct err *e)
{
    const struct part pair[] = {{prompt, false}, {target, true}};
    return row_tokenize_parts(t, p, pair, 2, r, e);
}

int row_example(const struct tokenizer *t, const struct row_policy *p, const struct example *x, struct row_tokens *r,
                struct err *e)
{
    if (x->n_parts) return row_tokenize_parts(t, p, x->parts, x->n_parts, r, e);
    return row_tokenize(t, p, x->prompt, x->target, r, e);
}

void row_tokens_fini(struct row_tokens *r)
{
    free(r->ids.v);
    free(r->off.v);
    free(r->at.v);
    buf_fini(&r->mask);
    buf_fini(&r->text);
    *r = (struct row_tokens){0};
}
