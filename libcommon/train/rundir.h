/* rundir: the run directory: adapter/, checkpoints/, metrics.mpz, manifest.json, config.yaml. manifest.json is written last: where
 * it is, the run is finished. */
#ifndef PEFT_TRAIN_RUNDIR_H
#define PEFT_TRAIN_RUNDIR_H
#include <stdbool.h>
#include "libcommon/base/err.h"

/* Make it, or make it usable: with resume an existing one is kept, with force its contents of an earlier run are removed (and
 * nothing else), with neither an existing, non-empty one is E_EXISTS. */
int rundir_open(const char *run, bool resume, bool force, struct err *e);
/* 1: finished by a run with this fingerprint; 0: not finished; E_MISMATCH: finished by another run. */
int rundir_finished(const char *run, const char *fingerprint, struct err *e);
#endif
