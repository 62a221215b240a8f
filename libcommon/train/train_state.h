/* train_state: the counters of a training between two steps, which a checkpoint carries in state.json beside arrays and
 * the log. */
#ifndef PEFT_TRAIN_TRAIN_STATE_H
#define PEFT_TRAIN_TRAIN_STATE_H
#include <jansson.h>
#include <stdbool.h>
#include "libcommon/base/err.h"

struct train_state {
    int64_t step;    /* steps done */
    int64_t updates; /* of them, not skipped: AdamW's t */
    int64_t skips;   /* skipped in all */
    int64_t skips_in_row;
    double log_loss; /* sum of step losses since the last record */
    int64_t log_steps, log_tokens;
    double log_norm; /* gradient norm of the last step */
    bool has_best;
    double best; /* value of --metric */
    int64_t best_step, bad_evals;
    bool stopped; /* early */
};

json_t *train_state_json(const struct train_state *s);
/* Every counter has to be there, with its type, and to agree with the others. E_CHECKPOINT names the one that does not.
 */
int train_state_read(struct train_state *s, const json_t *in, struct err *e);
#endif
