/* rundir: the run directory: adapter/, checkpoints/, metrics.mpz, telemetry.mpz, manifest.json, config.yaml.
 * manifest.json is written last: where it is, the run is finished. */
#ifndef PEFT_TRAIN_RUNDIR_H
#define PEFT_TRAIN_RUNDIR_H
#include <stdbool.h>
#include "libcommon/base/lock.h"

struct rundir {
    const char *path;
    bool resume, force;
    struct lock lock; /* one process at a time, from when the directory is there */
};

/* May it be used? With resume an existing one is kept, with force its contents of an earlier run may be removed (and
 * nothing else), with neither an existing, non-empty one is E_EXISTS, as is one that another process uses. Changes
 * nothing but the lock. */
int rundir_open(struct rundir *d, const char *run, bool resume, bool force, struct err *e);
/* Make it, without what an earlier run left there unless resumed. Only once nothing but a full disk stands in the way
 * of the first step: a wrong option must not cost the run that -f would have replaced. */
int rundir_make(struct rundir *d, struct err *e);
void rundir_close(struct rundir *d); /* no-op on a zeroed struct */
/* 1: finished by a run with this fingerprint; 0: not finished; E_MISMATCH: finished by another run; E_ADAPTER: what it
 * made is not what is there. */
int rundir_finished(const char *run, const char *fingerprint, struct err *e);
#endif
