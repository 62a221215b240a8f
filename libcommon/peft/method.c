/* method.c: the registry of methods.def, and the tensors of an adapter. */
#include "libcommon/peft/method.h"
#include <stdarg.h>
#include <string.h>
#include "libcommon/base/mem.h"

#define METHOD(name) extern const struct peft_method peft_##name;
#include "libcommon/peft/methods.def"
#undef METHOD
const struct peft_method *const peft_methods[] = {
#define METHOD(name) &peft_##name,
#include "libcommon/peft/methods.def"
#undef METHOD
    NULL};

/* A configuration may have these keys in the method's map too. */
#define KEYS(key) "peft." key " peft.lora." key " peft.ia3." key
const struct opt adapter_opt_rows[] = {
    OPT(struct adapter_opts, target, "target-modules", OPT_LIST, "peft", .key = KEYS("target_modules"), .arg = "LIST",
        .def = "auto",
        .help = "projections to adapt: names, all-linear, or one expression for the module path; auto: what the method "
                "usually adapts"),
    OPT(struct adapter_opts, exclude, "exclude-modules", OPT_LIST, "peft", .key = KEYS("exclude_modules"),
        .arg = "LIST", .help = "of them not these: names, or one expression for the module path"),
    OPT(struct adapter_opts, layers, "layers-to-transform", OPT_LIST, "peft", .key = KEYS("layers_to_transform"),
        .arg = "LIST", .help = "of them only those in these layers, from 0: numbers, or spans such as 4-11"),
    OPT(struct adapter_opts, layers_pattern, "layers-pattern", OPT_LIST, "peft", .key = KEYS("layers_pattern"),
        .arg = "LIST", .help = "expressions for the name of the list of layers that the numbers count in; unset: any"),
    OPT_END};

const struct peft_method *peft_method_find(const char *name_or_type)
{
    for (int i = 0; peft_methods[i]; i++)
        if (!strcmp(peft_methods[i]->name, name_or_type) ||
            (*peft_methods[i]->peft_type && !strcmp(peft_methods[i]->peft_type, name_or_type)))
            return peft_methods[i];
    return NULL;
}

int peft_method_count(void)
{
    int n = 0;
    while (peft_methods[n]) n++;
    return n;
}

const char *peft_method_names(void)
{
    static const char names[] =
#define METHOD(name) ", " #name
#include "libcommon/peft/methods.def"
#undef METHOD
        ;
    return names + 2;
}

int peft_method_groups(struct opt_group *from)
{
    int n = 0;
    from[n++] = (struct opt_group){adapter_opt_rows, 0, sizeof(struct adapter_opts)};
    for (int i = 0; peft_methods[i]; i++)
        from[n++] = (struct opt_group){peft_methods[i]->opts, 0, peft_methods[i]->opts_size};
    return n;
}

struct param *param_add(struct adapter *a, const struct site *site, int role, int rows, int cols, enum init init,
                        double spread, const char *name, ...)
{
    va_list ap;
    struct buf b = {0};
    va_start(ap, name);
    buf_vprintf(&b, name, ap);
    va_end(ap);
    a->param = mem_grow(a->param, &a->cap_param, (size_t)a->n_param + 1, sizeof *a->param);
    struct param *p = &a->param[a->n_param++];
    *p = (struct param){.name = mem_dupz(buf_str(&b)),
                        .site = site,
                        .layer = site ? site->layer : -1,
                        .role = role,
                        .rows = rows,
                        .cols = cols,
                        .off = a->size,
                        .init = init,
                        .spread = spread};
    buf_fini(&b);
    a->size += param_size(p);
    a->n_trained += param_size(p);
    return p;
}

void param_freeze(struct adapter *a, struct param *p)
{
    p->frozen = true;
    a->n_trained -= param_size(p);
}

const struct param *param_of(const struct adapter *a, const struct site *s, int role)
{
    for (int i = 0; i < a->n_param; i++)
        if (a->param[i].site == s && a->param[i].role == role) return &a->param[i];
    return NULL;
}

int adapter_projections(const struct adapter *a)
{
    int n = 0;
    const struct site *last = NULL; /* a site's tensors stand together */
    for (int i = 0; i < a->n_param; i++) {
        const struct site *s = a->param[i].site;
        n += s && s != last && s->kind == SITE_LINEAR;
        last = s;
    }
    return n;
}
