/* arch.c: which architecture a model file is of. */
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/config_table.h"
#include "libcommon/model/model_internal.h"

const struct arch *arch_refuse(enum weights_kind kind, const char *path, struct str name, struct err *e)
{
    struct buf known = {0};
    for (int i = 0; archs[i]; i++)
        buf_printf(&known, "%s%s", i ? ", " : "", kind == WEIGHTS_GGUF ? archs[i]->gguf_name : archs[i]->hf_names);
    err_set(e, E_ARCH, "%s: architecture %s is not supported", path, err_quote(name.p, name.n));
    err_hint(e, "supported: %s", buf_str(&known));
    buf_fini(&known);
    return NULL;
}

const struct arch *arch_of(const struct weights *w, struct err *e)
{
    char family[FAMILY_MAX];
    if (w->kind == WEIGHTS_HF) return config_arch_hf(w, family, e);
    struct str name = {0};
    int rc = gguf_get_str(w->gguf, "general.architecture", &name, e);
    if (rc < 0) return NULL;
    if (!rc) return err_set(e, E_GGUF, "%s: key general.architecture is missing", w->path), NULL;
    for (int i = 0; archs[i]; i++)
        if (name.n == strlen(archs[i]->gguf_name) && !memcmp(name.p, archs[i]->gguf_name, name.n)) return archs[i];
    return arch_refuse(WEIGHTS_GGUF, w->path, name, e);
}
