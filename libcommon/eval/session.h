/* session: model, tokenizer, adapter and one inference decoder: what peft-eval works with. */
#ifndef PEFT_EVAL_SESSION_H
#define PEFT_EVAL_SESSION_H
#include "libcommon/eval/eval_opts.h"
#include "libcommon/eval/score.h"
#include "libcommon/peft/compose.h"

struct session {
    struct device *dev;
    struct model *model;
    struct tokenizer *tok;
    struct composition adapters; /* n == 0: the model alone */
    struct hooks hooks;          /* of the adapters */
    struct gen_opts gen;
    struct u32vec ends; /* gen.ends */
    struct decoder dec;
};
/* Load and attach. */
int session_open(struct session *s, const struct eval_opts *o, int64_t threads, int64_t seed, struct err *e);
/* Plan and allocate the decoder for prompts and rows of these lengths. */
int session_ready(struct session *s, const struct eval_opts *o, uint32_t longest_prompt, uint32_t longest_row,
                  struct err *e);
/* E_ADAPTER_NOOP if the adapters change no logit of the first rows, or one of those that rows choose none of its first
 * row: a scale of zero, an untrained or a wrong adapter. */
int session_check_adapter(struct session *s, const struct dataset *d, struct err *e);
/* Logits that predict the first target token of each row, [rows][V] f32, tensor "logits". */
int session_logits(struct session *s, const struct dataset *d, const char *path, bool force, struct err *e);
void session_close(struct session *s);
#endif
