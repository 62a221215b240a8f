/* precision: the type of the inputs of matrix products in a run. It decides the result, so a run keeps the one that it
 * began with: asked for, or chosen by the device where it began (--precision auto). */
#ifndef PEFT_TRAIN_PRECISION_H
#define PEFT_TRAIN_PRECISION_H
#include "libcommon/train/train_opts.h"

struct run_precision {
    enum dtype type;
    const char *why; /* for people; NULL: asked for */
};
/* auto on --resume is what the run's manifest, or else a checkpoint of it says; with neither, what the device does
 * fastest. run: its directory, which need not be there. */
struct run_precision run_precision(const struct train_opts *o, const char *run, const struct device *d);
#endif
