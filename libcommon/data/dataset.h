/* dataset: a tokens stream in memory. Training reads rows in a random order, so they are held: 5 bytes a token and the
 * texts. */
#ifndef PEFT_DATA_DATASET_H
#define PEFT_DATA_DATASET_H
#include "libcommon/stream/stream.h"
#include "libcommon/token/tokenizer.h"

struct dataset_row {
    uint64_t row; /* number in the source */
    size_t first; /* index of its first token */
    uint32_t n, n_prompt;
    uint32_t n_label; /* tokens with the mask set that have a predecessor */
    struct str prompt, target;
    char *adapter; /* that the row names, or NULL */
    int span;      /* which of several adapters' rows it is among, where rows choose (peft/compose.h); else 0 */
};
struct dataset {
    struct dataset_row *row;
    size_t n, cap;
    int32_t *ids; /* all rows' tokens */
    uint8_t *mask;
    size_t n_ids, cap_ids, cap_mask;
    uint64_t labels; /* trained tokens in all */
    uint32_t max_len, max_prompt;
    struct stream_info info;
    unsigned char digest[32]; /* of the stream */
    char *provenance;         /* JSON of the stream's chain */
    char *upstreams;          /* and of what was read for it */
    struct accounting account;
};

/* Read the whole stream, keep the first `limit` rows (0: all), check each id against vocab. The reader stays open. With
 * a tokenizer a stream of examples will do too: its rows are made as peft-tok makes them by default. A row that names
 * an adapter is refused (E_VERSION). E_STREAM_KIND, E_MISMATCH, E_NOROWS, stream errors. */
int dataset_read(struct dataset *d, struct stream_reader *r, const struct tokenizer *tok, int vocab, uint64_t limit,
                 struct err *e);
/* The same, but with `adapters` rows may name them: only for who does not take one for the other. */
int dataset_read_adapters(struct dataset *d, struct stream_reader *r, const struct tokenizer *tok, int vocab,
                          uint64_t limit, bool adapters, struct err *e);
void dataset_free(struct dataset *d);
#endif
