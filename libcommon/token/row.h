/* row: one example (prompt and target, or any number of parts) as ids and a loss mask. The mask is made here, from the
 * texts' boundaries, and is data from then on: nothing derives it from ids, so an EOS that is also the pad token is
 * trained on like any other. */
#ifndef PEFT_TOKEN_ROW_H
#define PEFT_TOKEN_ROW_H
#include "libcommon/stream/stream.h"
#include "libcommon/token/tokenizer.h"

enum row_boundary { ROW_SEPARATE, ROW_JOINT };
enum row_straddle { STRADDLE_MASK, STRADDLE_TRAIN, STRADDLE_SPLIT, STRADDLE_ERROR };
enum row_eos { EOS_APPEND, EOS_KEEP, EOS_NONE };
enum row_bos { BOS_AUTO, BOS_YES, BOS_NO };
enum row_specials { SPECIALS_TOKEN, SPECIALS_TEXT };
enum row_truncate { TRUNCATE_LEFT, TRUNCATE_RIGHT, TRUNCATE_DROP };

struct row_policy {
    int boundary;    /* enum row_boundary: texts encoded apart, as inference does, or as one */
    int straddle;    /* of a joint token with text that is trained on and text that is not; SPLIT: that row is encoded
                      * apart */
    int eos;         /* at the end of the row. APPEND: once, trained on if the last part is; KEEP: as in the text; NONE:
                      * taken off */
    int bos;         /* AUTO: as the tokenizer does */
    int specials;    /* special tokens that are written out in a text: TOKEN: recognised; TEXT: text like other text */
    int64_t max_len; /* 0: any */
    int truncate;    /* of a longer row */
    bool allow_double_bos;
};

enum row_fate { ROW_KEPT, ROW_TOO_LONG, ROW_NO_TARGET };

struct row_tokens {             /* {0} is valid; reused from row to row */
    struct u32vec ids, off, at; /* at: before cutting, the token with which each part begins */
    struct buf mask, text;
    uint32_t last;      /* the part that is the target: the last with a token that is trained on */
    uint32_t n_prompt;  /* tokens before it */
    uint32_t cut_parts; /* of a row that is kept: parts to be trained on of which nothing is left */
    uint32_t specials;  /* special tokens that were written out in its text */
    enum row_fate fate;
    bool had_eos, straddles, truncated;
    bool lost_prompt; /* cutting left nothing of the prompt */
};

/* E_TOKENIZER: the policy needs a BOS or EOS that the tokenizer does not have. */
int row_policy_check(const struct row_policy *p, const struct tokenizer *t, struct err *e);
/* Fills *r; r->fate tells whether the row can be used. One part at least is to be trained on. E_BOS_TWICE, E_STRADDLE,
 * E_ENCODING. */
int row_tokenize_parts(const struct tokenizer *t, const struct row_policy *p, const struct part *part, uint32_t n,
                       struct row_tokens *r, struct err *e);
int row_example(const struct tokenizer *t, const struct row_policy *p, const struct example *x, struct row_tokens *r,
                struct err *e);
/* The parts (prompt, false), (target, true). */
int row_tokenize(const struct tokenizer *t, const struct row_policy *p, struct str prompt, struct str target,
                 struct row_tokens *r, struct err *e);
void row_tokens_fini(struct row_tokens *r);
#endif
