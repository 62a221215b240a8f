/* fuzz_checkpoint: the only checkpoint of a run with any bytes as MANIFEST, or, if the first byte is odd, as state.json
 * of one whose MANIFEST is right. It is taken, another run's, or damaged, and then nothing of it is removed; the
 * counters and records of one that is taken are written again as the same. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/base/sums.h"
#include "libcommon/train/checkpoint.h"
#include "libcommon/train/run_log.h"
#include "libcommon/train/train_state.h"
#include "tests/fuzz/scratch.h"

#define STEP "checkpoints/step-000001"
static unsigned char of_arrays[32];

static void prepare(void)
{
    scratch_dir("checkpoints");
    scratch_dir(STEP);
    scratch_put(STEP "/state.safetensors", "x", 1);
    sha256_of("x", 1, of_arrays);
}

static void put(const unsigned char *data, size_t size)
{
    struct sums s = {0};
    struct buf b = {0};
    unsigned char d[32];
    scratch_put(STEP "/state.json", data + 1, size - 1);
    sha256_of(data + 1, size - 1, d);
    sums_put(&s, "state.json", d);
    sums_put(&s, "state.safetensors", of_arrays);
    sums_text(&s, &b);
    if (data[0] & 1)
        scratch_put(STEP "/" SUMS_FILE, b.p, b.n);
    else
        scratch_put(STEP "/" SUMS_FILE, data + 1, size - 1);
    buf_fini(&b);
    sums_fini(&s);
}

/* What stands in a state that was taken, once more. */
static void again(const unsigned char *data, size_t size)
{
    struct err e = {0};
    struct train_state s = {0}, s2 = {0};
    struct run_log log = {0}, log2 = {0};
    json_t *j = json_loadb((const char *)data, size, 0, NULL);
    if (!train_state_read(&s, j, &e) && !run_log_read(&log, json_object_get(j, "log"), &e)) {
        json_t *first = train_state_json(&s), *second, *rows = run_log_json(&log), *rows2;
        if (train_state_read(&s2, first, &e) || run_log_read(&log2, rows, &e)) abort();
        second = train_state_json(&s2);
        rows2 = run_log_json(&log2);
        if (!json_equal(first, second) || !json_equal(rows, rows2)) abort();
        json_decref(first);
        json_decref(second);
        json_decref(rows);
        json_decref(rows2);
    } else if (e.id != E_CHECKPOINT || !e.msg[0]) {
        abort();
    }
    run_log_fini(&log);
    run_log_fini(&log2);
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    char *path = NULL;
    int64_t number = 0;
    if (!size) return 0;
    if (scratch_make()) prepare();
    put(data, size);
    int rc = ckpt_find(scratch, "f", "lr=1\n", &path, &number, &e);
    if (rc < 0 && ((e.id != E_CHECKPOINT && e.id != E_MISMATCH) || !e.msg[0])) abort();
    if (rc == 0 || (rc > 0 && (number != 1 || !path))) abort();
    if (rc > 0 && (data[0] & 1)) again(data + 1, size - 1);
    if (!file_exists(scratch_path(STEP "/state.json"))) abort();
    free(path);
    return 0;
}
