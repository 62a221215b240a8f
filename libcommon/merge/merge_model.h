/* merge_model: a base model and an adapter as one model's tensors, computed one at a time in f32 and handed to a writer
 * row by row. Memory: one projection of one layer. merge_hf.c, merge_gguf.c and merge_pt.c write the three kinds of
 * output; none of them replaces its target before `check` (may be NULL) has passed on the finished temporary: a merge
 * that does not verify leaves nothing behind. */
#ifndef PEFT_MERGE_MERGE_MODEL_H
#define PEFT_MERGE_MERGE_MODEL_H
#include "libcommon/peft/compose.h"

struct merge {
    const struct model *m;
    const struct composition *adapters; /* on the CPU, without routes */
    double factor;                      /* on the effect of all; 1: as trained */
    enum dtype dtype;                   /* of merged matrices */
    bool convert_all;                   /* GGUF: convert the other matrices too, instead of keeping them as stored */
    bool base_named;                    /* by the user: the model's name holds, whatever the adapter says */
    uint64_t shard_bytes;               /* HF: largest weight file */
    bool force;                         /* replace the output */
    /* Called with the tensors of the complete but uncommitted output, which it then owns. */
    int (*check)(void *ctx, struct weights *w, struct err *e);
    void *check_ctx;
    /* results */
    int tensors, merged;
    uint64_t bytes;
    double max_delta; /* largest change of a weight */
};

/* What one merge writes: tensors in the order of their names. */
struct merge_item {
    const struct tensor *t;
    enum dtype dtype; /* in the output */
    bool touched;     /* by the adapter */
};
/* The items for the output; gguf: types as merge.convert_all says, vectors f32. Otherwise all are merge.dtype. Buffers
 * that a loader recomputes (inv_freq, rope_freqs) and a head that equals the tied embedding are left out of non-GGUF
 * outputs and of those that a Hugging Face base gives. Returns their number, or < 0: E_ADAPTER (a tensor of the adapter
 * belongs to no weight), E_VERSION. malloc'ed array. */
int merge_items(struct merge *g, bool gguf, struct merge_item **items, struct err *e);
uint64_t merge_item_bytes(const struct merge_item *it);

typedef int merge_sink(void *writer, const void *data, size_t n, struct err *e);
/* Compute one item and hand it to sink, rows in GGUF's order if interleaved (and the tensor is q or k). E_MODEL: the
 * result is not finite or does not fit the dtype. */
int merge_write(struct merge *g, const struct merge_item *it, bool interleaved, merge_sink *sink, void *writer,
                struct err *e);

/* After the last item: has the adapter changed anything? E_ADAPTER_NOOP unless force. */
int merge_changed(const struct merge *g, struct err *e);

bool merge_head_is_tied(const struct merge *g); /* should the output have no head of its own? */

int merge_hf(struct merge *g, const char *out, struct err *e);
int merge_gguf(struct merge *g, const char *out, struct err *e);
int merge_pt(struct merge *g, const char *out, struct err *e);
#endif
