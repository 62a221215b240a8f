/* generate: text from prompts, many at a time: prompts and single decode steps of different sequences share each
 * forward pass (continuous batching), keys and values are cached, a finished sequence's slot goes to the next prompt at
 * once. What all prompts begin with (a template, a system prompt) is computed once.
 *
 * A sequence's text does not depend on the others in the batch, nor on the batch size; results are given in the order
 * of the prompts, each as soon as it and all before it are finished. */
#ifndef PEFT_EVAL_GENERATE_H
#define PEFT_EVAL_GENERATE_H
#include "libcommon/base/opt.h"
#include "libcommon/model/decoder.h"
#include "libcommon/token/tokenizer.h"

struct gen_opts {
    int max_new;        /* tokens at most */
    int slots;          /* sequences at a time */
    double temperature; /* 0: greedy (the lowest id among equals) */
    double top_p;       /* 1: off */
    int top_k;          /* 0: off */
    uint64_t seed;
    const struct u32vec *ends;  /* ids that end a text; NULL: none */
    const struct strlist *stop; /* strings that end a text; NULL: none */
    /* Called after each new token of any sequence with all that it has so far (to show one prompt's text as it grows);
     * or NULL. */
    int (*on_token)(void *ctx, const uint32_t *ids, size_t n, struct err *e);
};
struct gen_prompt {
    const int32_t *ids;
    uint32_t n;
    uint64_t row; /* picks the random numbers when sampling */
    int span;     /* of the row (dataset_row.span), for a decoder planned with spans; else 0 */
};
enum gen_end { GEN_EOS, GEN_STOP, GEN_LENGTH };
extern const char *const gen_end_names[];
struct gen_result {
    struct str text; /* without EOS and the stop string */
    uint32_t n_tokens;
    enum gen_end end;
};

/* Called in order of the prompts; < 0 stops the run with that error. */
typedef int gen_emit(void *ctx, size_t index, const struct gen_result *r, struct err *e);

/* What the decoder must be planned for. */
struct decoder_size gen_size(const struct gen_opts *o, uint32_t longest_prompt, int n_virtual);
int generate(struct decoder *d, const struct tokenizer *tok, const struct gen_opts *o, const struct gen_prompt *prompt,
             size_t n, gen_emit *emit, void *ctx, struct err *e);
/* The next token of a row of logits [V]; position counts the row's generated tokens. */
int32_t gen_sample(const struct gen_opts *o, const float *logits, int V, uint64_t row, uint32_t position);
#endif
