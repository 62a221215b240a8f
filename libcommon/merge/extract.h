/* extract: what a fine-tuned model differs from its base by, as a LoRA adapter: of each projection that was changed the
 * closest update of a rank. */
#ifndef PEFT_MERGE_EXTRACT_H
#define PEFT_MERGE_EXTRACT_H
#include "libcommon/model/model.h"
#include "libcommon/peft/lora_set.h"

struct extract {
    int rank;
    /* results */
    double left_out; /* share of the squared differences of the projections that the rank cannot say */
    int unsaid;      /* tensors other than projections that differ: not in the adapter */
};
/* Into out, zeroed. The models have the same architecture and shapes. E_MISMATCH: they do not; E_ADAPTER_NOOP: no
 * projection differs. */
int extract(struct extract *x, const struct model *base, const struct model *tuned, struct lora_set *out,
            struct err *e);
#endif
