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

static int apart(const struct tokenizer *t, struct str prompt, struct str target, struct row_tokens *r, struct err *e)
{
    int rc = tokenizer_encode(t, prompt, TOK_SPECIAL, &r->ids, NULL, e);
    if (rc < 0) return err_prefix(e, "prompt: ");
    mask_to(r, 0);
    r->n_prompt = (uint32_t)r->ids.n;
    rc = tokenizer_encode(t, target, TOK_SPECIAL | (prompt.n ? TOK_CONTINUE : 0), &r->ids, NULL, e);
    if (rc < 0) return err_prefix(e, "target: ");
    mask_to(r, 1);
    return 0;
}

/* A token belongs to the prompt if it ends at or before the boundary, to the target if it begins there or later. */
static int together(const struct tokenizer *t, const struct row_policy *p, struct str prompt, struct str target,
                    struct row_tokens *r, struct err *e)
{
    size_t before = r->ids.n;
    r->text.n = r->off.n = 0;
    buf_add(&r->text, prompt.p, prompt.n);
    buf_add(&r->text, target.p, target.n);
    int rc = tokenizer_encode(t, (struct str){r->text.p, r->text.n}, TOK_SPECIAL, &r->ids, &r->off, e);
    if (rc < 0) return rc;
    size_t n = r->off.n, k = 0;
    while (k < n && (k + 1 < n ? r->off.v[k + 1] : r->text.n) <= prompt.n) k++;
    r->straddles = k < n && r->off.v[k] < prompt.n;
    if (r->straddles && p->straddle == STRADDLE_ERROR) {
        struct str s = tokenizer_piece(t, r->ids.v[before + k]);
        err_set(e, E_STRADDLE, "the token %s holds the end of the prompt and the beginning of the target",
                err_quote(s.p, s.n));
        return err_hint(e, "end the prompt, or begin the target, at white space; or choose another "
                           "--straddle, or --boundary separate");
    }
    if (r->straddles && p->straddle == STRADDLE_SPLIT) {
        r->ids.n = before;
        return apart(t, prompt, target, r, e);
    }
    if (r->straddles && p->straddle == STRADDLE_MASK) k++;
    r->n_prompt = (uint32_t)(before + k);
    for (size_t i = 0; i < before + k; i++) buf_addc(&r->mask, 0);
    r->mask.n = before + k;
    mask_to(r, 1);
    return 0;
}

static void cut(const struct row_policy *p, struct row_tokens *r, bool has_bos)
{
    size_t n = r->ids.n, max = (size_t)p->max_len;
    if (p->max_len == 0 || n <= max) return;
    if (p->truncate == TRUNCATE_DROP) {
        r->fate = ROW_TOO_LONG;
        return;
    }
    r->truncated = true;
    if (p->truncate == TRUNCATE_LEFT) { /* BOS stays in its place */
        size_t keep = has_bos ? 1 : 0, from = n - max + keep;
        memmove(r->ids.v + keep, r->ids.v + from, (max - keep) * sizeof *r->ids.v);
        memmove(r->mask.p + keep, r->mask.p + from, max - keep);
        uint32_t gone = (uint32_t)(n - max);
        r->n_prompt = r->n_prompt > gone + keep ? r->n_prompt - gone : (uint32_t)keep;
    }
    r->ids.n = r->mask.n = max;
    if (r->n_prompt > max) r->n_prompt = (uint32_t)max;
}

int row_tokenize(const struct tokenizer *t, const struct row_policy *p, struct str prompt, struct str target,
                 struct row_tokens *r, struct err *e)
{
    int bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    bool put_bos = bos >= 0 && (p->bos == BOS_YES || (p->bos == BOS_AUTO && tokenizer_adds_bos(t)));
    r->ids.n = r->mask.n = 0;
    r->fate = ROW_KEPT;
    r->had_eos = r->straddles = r->truncated = false;
    if (put_bos) u32vec_add(&r->ids, (uint32_t)bos);
    int rc = p->boundary == ROW_JOINT ? together(t, p, prompt, target, r, e) : apart(t, prompt, target, r, e);
    if (rc < 0) return rc;
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
        mask_to(r, 1);
    } else if (p->eos == EOS_NONE && r->had_eos) {
        r->ids.n--;
        r->mask.n--;
    }
    cut(p, r, bos >= 0 && r->ids.n && r->ids.v[0] == (uint32_t)bos);
    if (r->fate == ROW_KEPT && (r->mask.n == 0 || !memchr(r->mask.p, 1, r->mask.n))) r->fate = ROW_NO_TARGET;
    return 0;
}

void row_tokens_fini(struct row_tokens *r)
{
    free(r->ids.v);
    free(r->off.v);
    buf_fini(&r->mask);
    buf_fini(&r->text);
    *r = (struct row_tokens){0};
}
