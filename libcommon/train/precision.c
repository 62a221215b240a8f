/* precision.c: see precision.h. */
#include "libcommon/train/precision.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"

static enum precision asked(const struct train_opts *o)
{
    if (o->precision != PRECISION_AUTO) return (enum precision)o->precision;
    if (o->fp16) return PRECISION_FP16;
    if (o->bf16) return PRECISION_BF16;
    switch (o->torch_dtype) {
    case TORCH_FLOAT32:
        return PRECISION_F32;
    case TORCH_FLOAT16:
        return PRECISION_FP16;
    case TORCH_BFLOAT16:
        return PRECISION_BF16;
    default:
        return PRECISION_AUTO;
    }
}

/* "precision" of a JSON file of the run. A file that is absent or damaged says nothing here; who needs it complains. */
static bool recorded_in(const char *path, enum dtype *type)
{
    struct err e = {0};
    json_t *o = file_exists(path) ? json_parse_file(path, 64u << 20, E_CHECKPOINT, &e) : NULL;
    const char *name = json_string_value(json_object_get(o, "precision"));
    const bool f32 = name && !strcmp(name, "f32"), bf16 = name && !strcmp(name, "bf16");
    if (f32 || bf16) *type = f32 ? DT_F32 : DT_BF16;
    json_decref(o);
    return f32 || bf16;
}

/* Every checkpoint of a run says the same, so any that can be read will do. */
static bool recorded(const char *run, enum dtype *type)
{
    char *path = path_join(run, "manifest.json");
    bool found = recorded_in(path, type);
    free(path);
    char *dir = path_join(run, "checkpoints");
    DIR *d = found ? NULL : opendir(dir);
    for (struct dirent *f; !found && d && (f = readdir(d));) {
        if (strncmp(f->d_name, "step-", 5) != 0) continue;
        path = mem_printf("%s/%s/state.json", dir, f->d_name);
        found = recorded_in(path, type);
        free(path);
    }
    if (d) closedir(d);
    free(dir);
    return found;
}

struct run_precision run_precision(const struct train_opts *o, const char *run, const struct device *d)
{
    const enum precision p = asked(o);
    struct run_precision r = {.why = NULL};
    if (p != PRECISION_AUTO) {
        r.type = precision_pick(p, d);
    } else if (o->resume && recorded(run, &r.type)) {
        r.why = "as the run began";
    } else {
        const struct precision_choice c = precision_auto_on(d);
        r.type = c.type;
        r.why = c.why;
    }
    return r;
}
