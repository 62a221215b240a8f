/* decoder: the computation of a decoder-only model over packed tokens, the same for every architecture of archs.def.
 *
 * Two uses of one layer function: training (activations kept, or recomputed layer by layer in the backward pass) and
 * inference (one layer's buffers reused; keys and values in a cache). Tokens of all sequences lie side by side without
 * padding; results of a token do not depend on what else is in the batch. */
#ifndef PEFT_MODEL_DECODER_H
#define PEFT_MODEL_DECODER_H
#include "libcommon/model/hooks.h"
#include "libcommon/model/plan.h"

enum { DECODER_CHUNK = 96 }; /* for decoder_size.chunk: 18 MiB of logits at a vocabulary of 49152 */

enum decoder_use { DECODER_TRAIN, DECODER_INFER };

struct decoder_size {
    long T;          /* packed tokens at most in a call */
    long n;          /* rows that get a loss at most in a call, or logits if that is more */
    int B;           /* sequences at most in a call */
    int chunk;       /* decoder_loss: label rows of the LM head at a time; 0: decoder_loss is not called */
    long logits;     /* INFER: rows of logits at most in a call of decoder_logits; 0: it is not called */
    long cache_rows; /* INFER: rows of the key/value cache in all; 0: none */
    int spans;       /* adapters that have rows of their own in a call (see lin_rows.span); 0: none */
    bool recompute;  /* TRAIN: keep only the residual stream, recompute each layer in the backward pass */
};

/* A call's tokens, in host memory. */
struct batch {
    long T;
    int B;
    const int32_t *ids, *pos;       /* [T]; the id of a virtual token is any */
    const uint64_t *uid;            /* [T] identity of each token for dropout; NULL: no dropout */
    const int32_t *q_start, *q_len; /* [B] */
    /* Where keys and values lie: rows of the cache; NULL without cache, and with n_virtual rows of a prefix rows of the
     * call's own, at most decoder_size.T. */
    const int32_t *kv_start, *kv_len; /* [B] rows of the sequence after this call */
    const int32_t *cache_row;         /* [T] row that each token's key and value go to */
    long n;
    const int32_t *row;   /* [n] tokens (indices in the call, each once) that get a loss or logits */
    const int32_t *label; /* [n] the token that follows; NULL for logits only */
    const float *weight;  /* [n] factor of each row's loss in what the gradient is of; NULL: no backward pass */
    int n_span;           /* adapters with rows of their own; their rows among all, and among the label rows */
    const struct span *span, *label_span; /* [n_span] */
    /* Rows of virtual tokens in all, and which they are: of the call's tokens (embed_hook), or of keys and values
     * (prefix_hook); 0 where the cache holds them already. */
    long n_virtual;
    const int32_t *virtual_row, *virtual_id; /* [n_virtual] */
};

/* Weights outside of the products, as the decoder reads them: the model's, or what a hook set has in their place. */
struct norm_weight {
    const float *w; /* [C] */
    float *d_w;     /* NULL: not trained */
};
struct table_weight {
    struct mat w; /* [V][C] */
    float *d_w;   /* NULL: not trained */
};

struct layer_acts {
    void *res_in, *qkv, *o, *res_mid, *gu;
    void *sub[HOOK_PLACES];   /* what o and down gave, where a hook stands behind them */
    float *hook[HOOK_PLACES]; /* what the hooks keep */
    float *rstd1, *rstd2, *lse;
    struct lin_kept kept[LIN_COUNT];
};

struct decoder {
    struct model *m;
    const struct hooks *hooks; /* NULL: the base model */
    enum decoder_use use;
    struct decoder_size size;
    uint64_t seed;         /* of dropout; the trainer's */
    struct op_ctx cx;      /* of the layers */
    struct op_ctx head_cx; /* of the LM head: its scratch lies over cx.scratch, ffn, d_wide and d_ffn, idle meanwhile */
    struct plan plan;
    struct linear *lin;        /* [L][LIN_COUNT] the model's products with what the hooks add */
    struct norm_weight *norms; /* [L][2] of attention's input and the MLP's */
    struct norm_weight final_norm;
    struct table_weight embed, head;
    int lowest;               /* lowest layer with a trained part; -1: below the layers; L: none */
    struct step_dev *step;    /* on the device; decoder_step_* */
    struct layer_acts *layer; /* [L]; INFER and recompute: the buffers of all layers are one set */
    /* The last layer computes only rows with a label or logits once attention has mixed the tokens: its inputs from
     * there on, and the residual stream after it. */
    void *last_res, *last_o, *x_last; /* [n][C], [n][H*D], [n][C] */
    void *norm, *ffn;                 /* [T][C], [T][F] */
    void *shared;                     /* see head_cx */
    size_t ffn_at, wide_at, d_ffn_at;
    void *d_res, *d_norm, *d_wide, *d_ffn; /* [T][C], [T][max(C, H*D)], [T][max(2F, (H+2K)D)], [T][F] */
    void *d_sub;                           /* [T][C] with hooks */
    float *hook_scratch;
    void *kv, *d_kv;          /* [T][2*K*D] with a prefix: keys and values of a layer, the prefix' among them */
    void *rows_norm, *d_rows; /* [n][C] */
    float *rows_rstd, *nll, *logits;
    int32_t *best;
    void **k_cache, **v_cache; /* [L] of [cache_rows][K*D] */
    /* The batch of the call as one block: packed on the host, copied once. */
    unsigned char *block, *block_host; /* the same memory on the CPU */
    size_t block_bytes;
    struct {
        uint64_t *uid, *row_uid;
        int32_t *ids, *pos, *q_start, *q_len, *kv_start, *kv_len, *cache_row, *row, *label, *virtual_row, *virtual_id;
        float *weight;
        struct span *span, *label_span;
    } dev;
    struct lin_rows rows, label_rows; /* what linears know of all rows, and of those of the last layer */
};

/* Lay out the plan (nothing is allocated yet, so that --plan can print it). hooks: what adapters bind, or NULL; it
 * outlives the decoder. E_PLAN, E_DEVICE (the device lacks an op). prec: DT_F32 or DT_BF16. */
int decoder_init(struct decoder *d, struct model *m, const struct hooks *hooks, enum decoder_use use, enum dtype prec,
                 const struct decoder_size *size, struct err *e);
int decoder_alloc(struct decoder *d, struct err *e);
void decoder_fini(struct decoder *d);
/* Compute with other hooks from now on: none (NULL), or those of decoder_init. INFER only. */
void decoder_bind(struct decoder *d, const struct hooks *hooks);

/* The step's scalars: written before the first micro-batch (the sum of losses starts at 0), read once at the end. */
int decoder_step_begin(struct decoder *d, const struct step_dev *s, struct err *e);
int decoder_step_end(struct decoder *d, struct step_dev *s, struct err *e);
/* Forward over the batch and the loss of its label rows, added to the step's. With backward, dropout is on and
 * gradients of sum(weight * nll) are added to those that the hooks name (TRAIN only). */
int decoder_loss(struct decoder *d, const struct batch *b, bool backward, struct err *e);
/* The rows' losses and (unless NULL) best tokens of the last decoder_loss, in host memory. */
int decoder_nll(struct decoder *d, long n, float *nll, int32_t *best, struct err *e);
/* Forward (through the cache if the batch names rows of it) and logits[n][V] f32 in host memory. INFER only.
 * Without b->row (n == 0) the cache is filled and nothing is returned. E_DIVERGED: one is not finite. */
int decoder_logits(struct decoder *d, const struct batch *b, float *logits, struct err *e);
/* Keys and values of the prefix (prefix_hook) into the cache's rows from `to` on. INFER only. */
int decoder_cache_prefix(struct decoder *d, long to, struct err *e);
/* n cache rows of all layers, from `from` also to `to` (the two apart): a sequence that begins as another one does.
 * INFER only. */
int decoder_cache_copy(struct decoder *d, long from, long to, long n, struct err *e);

/* FLOPs of matrix products and attention of one call, for --plan and throughput figures. */
double decoder_flops(const struct model *m, const struct hooks *hooks, long T, long n, double mean_len, bool backward);
#endif
