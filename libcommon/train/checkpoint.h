/* checkpoint: RUN/checkpoints/step-000123/: everything that a run needs to go on bit for bit. A directory is whole or
 * absent (built under another name, fsynced, renamed); MANIFEST, in sha256sum's format, is its last file.
 *
 *   adapter/            the adapter as it is now, a PEFT directory
 *   state.safetensors   optimizer moments, best adapter so far: flat f32 arrays
 *   state.json          counters, metric records, the type of the matrix products, the run's fingerprint and identity
 *   MANIFEST            `sha256sum -c MANIFEST` checks it
 *
 * The newest checkpoint is found by scanning, never by a stored pointer or file times; a damaged one is passed over
 * with a warning; one of another run (other fingerprint) is neither used nor removed. */
#ifndef PEFT_TRAIN_CHECKPOINT_H
#define PEFT_TRAIN_CHECKPOINT_H
#include <jansson.h>
#include "libcommon/peft/method.h"

struct ckpt_array {
    const char *name;
    float *data; /* host */
    long n;      /* 0: not there */
};

/* Path of the newest good checkpoint with this fingerprint into *path (malloc'ed) and its step: 1; 0 when there is none
 * at all; E_CHECKPOINT when there are some and none is good, E_MISMATCH when they belong to a run with other options or
 * data. */
int ckpt_find(const char *run, const char *fingerprint, const char *identity, char **path, int64_t *step,
              struct err *e);
/* Write one, then remove the oldest beyond `keep`. state has "step" already, gets
 * "version" and "fingerprint", and is not consumed. */
int ckpt_save(const char *run, int64_t step, const char *fingerprint, const struct adapter *a, const struct model *m,
              const struct ckpt_array *arrays, int n, json_t *state, int64_t keep, struct err *e);
/* Keep the newest `keep` checkpoints of the run up to step `newest`; damaged ones and another run's are left alone.
 * ckpt_save does it; a resumed run does it too, in case the one before was stopped just there. */
void ckpt_tidy(const char *run, int64_t newest, const char *fingerprint, int64_t keep);
/* Read the arrays (each must be there with its size; one that the caller expects with n == -1 is optional and gets
 * malloc'ed data) and the state (new reference). The adapter is read by adapter_load(path/adapter). */
int ckpt_load(const char *path, struct ckpt_array *arrays, int n, json_t **state, struct err *e);
#endif
