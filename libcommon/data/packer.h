/* packer: rows of a data set as the host arrays of one decoder call. */
#ifndef PEFT_DATA_PACKER_H
#define PEFT_DATA_PACKER_H
#include "libcommon/data/dataset.h"
#include "libcommon/model/decoder.h"

/* Host arrays for one decoder call, filled row by row. */
struct packer {
    struct batch b;
    int32_t *ids, *pos, *q_start, *q_len, *row, *label;
    uint64_t *uid;
    long T_max;
    int B_max;
};
void packer_init(struct packer *p, long T_max, int B_max);
void packer_clear(struct packer *p);
/* Append a row if it fits (1), else nothing (0). labels: also its label rows. */
int packer_add(struct packer *p, const struct dataset *d, size_t row, bool labels);
void packer_fini(struct packer *p);
#endif
