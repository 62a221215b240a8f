/* report: the scores of an evaluation: for people, as JSON, and against --min. */
#ifndef PEFT_EVAL_REPORT_H
#define PEFT_EVAL_REPORT_H
#include <jansson.h>
#include "libcommon/eval/score.h"

struct report {
    const struct score_set *scores;
    const struct dataset *set;
    bool has_nll;
    double nll; /* summed */
    uint64_t labels;
    uint64_t generated_tokens;
    bool has_adapter;
    const size_t *trained_rows; /* rows that the adapter was trained on; NULL: it does not say */
};
void report_notes(const struct report *r); /* one msg_note for each metric, with its signature */
json_t *report_json(const struct report *r);
/* E_NEGATIVE naming the first figure that misses its bound; E_USAGE for a malformed or unknown one. */
int report_min(const struct report *r, const struct strlist *min, struct err *e);
/* before the work: E_USAGE only */
int report_min_check(const struct score_set *s, const struct strlist *min, struct err *e);
#endif
