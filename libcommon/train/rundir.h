/* rundir: the run directory: adapter/, checkpoints/, metrics.mpz, telemetry.mpz, manifest.json, config.yaml.
 * manifest.json is written last: where it is, the run is finished. */
#ifndef PEFT_TRAIN_RUNDIR_H
#define PEFT_TRAIN_RUNDIR_H
#include <stdbool.h>
#include "libcommon/base/err.h"

/* May it be used? With resume an existing one is kept, with force its contents of an earlier run may be removed (and
 * nothing else), with neither an existing, non-empty one is E_EXISTS. Changes nothing. */
int rundir_check(const char *run, bool resume, bool force, struct err *e);
/* Make it, without what an earlier run left there unless resumed. Only once nothing but a full disk stands in the way
 * of the first step: a wrong option must not cost the run that -f would have replaced. */
int rundir_make(const char *run, bool resume, bool force, struct err *e);
/* 1: finished by a run with this fingerprint; 0: not finished; E_MISMATCH: finished by another run. */
int rundir_finished(const char *run, const char *fingerprint, struct err *e);
#endif
