/* run_manifest: what the run that made an adapter says of it. RUN/manifest.json and RUN/checkpoints/step-N/MANIFEST
 * have the SHA-256 of every file that was written; a directory without them (from the hub, or of an older run) is taken
 * as it is. */
#ifndef PEFT_PEFT_RUN_MANIFEST_H
#define PEFT_PEFT_RUN_MANIFEST_H
#include <jansson.h>
#include "libcommon/base/sums.h"

/* dir, or dir/adapter where dir is a run or a checkpoint, malloc'ed; also a GGUF file. E_NOINPUT, E_ADAPTER: neither is
 * an adapter. */
char *adapter_find(const char *dir, struct err *e);
/* The manifest of the run whose adapter dir is, a new reference; NULL without an error: there is none. */
json_t *run_manifest_of(const char *adapter_dir, struct err *e);
/* Was the adapter (as adapter_find takes it) trained on a base held in nf4? 1, 0, or an error of the manifest. */
int run_manifest_quantized(const char *given, struct err *e);
/* Add the manifest's digests of files whose names begin with `below`; none in those of older runs. E_ADAPTER. */
int run_manifest_sums(const json_t *manifest, const char *below, struct sums *s, struct err *e);
/* Is the adapter what its run or checkpoint wrote? E_ADAPTER names the file that is not. */
int adapter_check_written(const char *adapter_dir, struct err *e);
#endif
