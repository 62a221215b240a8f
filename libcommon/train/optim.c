/* optim.c: the registry of optims.def. */
#include "libcommon/train/optim.h"
#include <string.h>

#define OPTIM(name) extern const struct optim optim_##name;
#include "libcommon/train/optims.def"
#undef OPTIM
const struct optim *const optims[] = {
#define OPTIM(name) &optim_##name,
#include "libcommon/train/optims.def"
#undef OPTIM
    NULL};

const struct optim *optim_find(const char *name)
{
    /* The Python Trainer's names of the same arithmetic; the variants differ in how it is run. */
    static const char *const torch[] = {"adamw_torch", "adamw_torch_fused"};
    for (int i = 0; i < 2; i++)
        if (!strcmp(name, torch[i])) name = "adamw";
    for (int i = 0; optims[i]; i++)
        if (!strcmp(optims[i]->name, name)) return optims[i];
    return NULL;
}

const char *optim_names(void)
{
    static const char names[] =
#define OPTIM(name) ", " #name
#include "libcommon/train/optims.def"
#undef OPTIM
        ;
    return names + 2;
}

int optim_count(void)
{
    int n = 0;
    while (optims[n]) n++;
    return n;
}

int optim_groups(struct opt_group *from)
{
    int n = 0;
    for (; optims[n]; n++) from[n] = (struct opt_group){optims[n]->opts, 0, optims[n]->opts_size};
    return n;
}
