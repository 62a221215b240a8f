/* fuzz_checkpoint: any bytes as MANIFEST and, behind the first NUL, state.json of the only checkpoint of a run. It is
 * taken, belongs to another run, or is damaged, and then nothing is removed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/train/checkpoint.h"

static char run[] = "/tmp/fuzz-checkpoint-XXXXXX", step[96];

static void put(const char *name, const void *data, size_t size)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", step, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size)) abort();
    close(fd);
}

static void prepare(void)
{
    if (!mkdtemp(run)) abort();
    snprintf(step, sizeof step, "%s/checkpoints", run);
    if (mkdir(step, 0700)) abort();
    snprintf(step, sizeof step, "%s/checkpoints/step-000001", run);
    char adapter[128];
    snprintf(adapter, sizeof adapter, "%s/adapter", step);
    if (mkdir(step, 0700) || mkdir(adapter, 0700)) abort();
    put("state.safetensors", "x", 1);
    put("adapter/adapter_config.json", "{}", 2);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    char *path = NULL;
    int64_t number;
    if (!step[0]) prepare();
    const unsigned char *cut = memchr(data, 0, size);
    const size_t n = cut ? (size_t)(cut - data) : size;
    put("MANIFEST", data, n);
    put("state.json", cut ? cut + 1 : data, cut ? size - n - 1 : 0);
    int rc = ckpt_find(run, "f", &path, &number, &e);
    if (rc < 0 && (!e.id || !e.msg[0])) abort();
    if (!file_exists(step)) abort();
    free(path);
    return 0;
}
