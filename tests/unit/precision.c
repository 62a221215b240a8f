/* precision: what --precision auto is on which processor, and that a run that goes on keeps what it began with. */
#include "libcommon/train/precision.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/test.h"

static enum dtype cpu(const char *vendor, enum bf16_unit bf16) { return precision_auto(DEVICE_CPU, vendor, bf16).type; }

static void by_processor(void)
{
    CHECK(cpu("AuthenticAMD", BF16_VECTORS) == DT_BF16 && cpu("HygonGenuine", true) == DT_BF16);
    CHECK(cpu("GenuineIntel", BF16_VECTORS) == DT_F32);
    CHECK(cpu("CentaurHauls", true) == DT_F32 && cpu("", true) == DT_F32);
    CHECK(cpu("AuthenticAMD", BF16_EMULATED) == DT_F32 && cpu("GenuineIntel", false) == DT_F32 &&
          cpu("", false) == DT_F32);
    CHECK(precision_auto(DEVICE_CUDA, "", BF16_MATRIX).type == DT_BF16);
    CHECK(strstr(precision_auto(DEVICE_CPU, "GenuineIntel", BF16_VECTORS).why, "slower"));
    CHECK(strstr(precision_auto(DEVICE_CPU, "AuthenticAMD", BF16_VECTORS).why, "faster"));
    CHECK(strstr(precision_auto(DEVICE_CPU, "AuthenticAMD", BF16_EMULATED).why, "no bf16"));
}

static void vendor(void)
{
    struct device *d = dev_open(DEVICE_CPU, 0, NULL);
    bool linux_agrees = false;
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "vendor_id", 9)) linux_agrees |= strstr(line, dev_vendor(d)) != NULL;
    if (f) fclose(f);
#if defined(__x86_64__)
    CHECK_MSG(linux_agrees && strlen(dev_vendor(d)) == 12, "%s", dev_vendor(d));
#else
    CHECK(!*dev_vendor(d) && !linux_agrees);
#endif
    dev_close(d);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}

static void kept(void)
{
    char dir[] = "/tmp/peft-precision-XXXXXX", path[96];
    CHECK(mkdtemp(dir));
    struct device *d = dev_open(DEVICE_CPU, 0, NULL);
    const enum dtype here = precision_auto_on(d).type, other = here == DT_F32 ? DT_BF16 : DT_F32;
    struct train_opts o = {.resume = true};
#define TYPE (run_precision(&o, dir, d).type)
    CHECK(TYPE == here && strcmp(run_precision(&o, dir, d).why, "as the run began") != 0);
    snprintf(path, sizeof path, "%s/checkpoints", dir), mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/checkpoints/step-000002", dir), mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/checkpoints/step-000002/state.json", dir);
    put(path, "{\"step\": 2}"); /* written before it was recorded */
    CHECK(TYPE == here);
    char text[64];
    snprintf(text, sizeof text, "{\"precision\": \"%s\"}", dtype_info[other].name);
    put(path, text);
    CHECK(TYPE == other && !strcmp(run_precision(&o, dir, d).why, "as the run began"));
    o.resume = false; /* begun anew */
    CHECK(TYPE == here);
    o.resume = true, o.precision = here == DT_F32 ? PRECISION_F32 : PRECISION_BF16; /* asked for */
    CHECK(TYPE == here && !run_precision(&o, dir, d).why);
    o.precision = PRECISION_AUTO, o.bf16 = true;
    CHECK(TYPE == DT_BF16 && !run_precision(&o, dir, d).why);
    o.bf16 = false, o.torch_dtype = TORCH_FLOAT32;
    CHECK(TYPE == DT_F32);
    o.torch_dtype = TORCH_AUTO;
    put(path, "{\"precision\": \"f3"); /* damaged */
    CHECK(TYPE == here);
    unlink(path);
    snprintf(path, sizeof path, "%s/manifest.json", dir);
    put(path, text);
    CHECK(TYPE == other);
    unlink(path);
    snprintf(path, sizeof path, "%s/checkpoints/step-000002", dir), rmdir(path);
    snprintf(path, sizeof path, "%s/checkpoints", dir), rmdir(path);
    CHECK(!rmdir(dir));
    dev_close(d);
}

int main(void)
{
    RUN(by_processor, "precision/by_processor");
    RUN(vendor, "precision/vendor");
    RUN(kept, "precision/kept");
    return test_failed;
}
