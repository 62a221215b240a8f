/* opt_keys: which paths a config file may hold, and which one was probably meant. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/opt_set.h"

const struct config_key opt_config_keys[] = {
#define KEY(path, tools, option, note) {path, tools, option, note},
#include "libcommon/base/config_keys.def"
#undef KEY
    {0},
};

const struct config_key *opt_config_key(const char *path)
{
    for (const struct config_key *k = opt_config_keys; k->path; k++)
        if (!strcmp(k->path, path)) return k;
    return NULL;
}

bool opt_key_owned(const struct config_key *k, const char *tool)
{
    size_t n = strlen(tool);
    for (const char *s = k->tools; (s = strstr(s, tool)); s += n)
        if ((s == k->tools || s[-1] == ' ') && (!s[n] || s[n] == ' ')) return true;
    return false;
}

char *opt_path(const struct opt *o, int k)
{
    if (!o->section) return NULL;
    const char *s = o->key;
    for (; s && *s; k--) {
        size_t n = strcspn(s, " ");
        if (k == 0) return mem_dup(s, n);
        s += n + strspn(s + n, " ");
    }
    if (k != 0) return NULL;
    char *path = mem_printf("%s%s%s", o->section, *o->section ? "." : "", o->name);
    for (char *c = path + strlen(o->section); *c; c++)
        if (*c == '-') *c = '_';
    return path;
}

struct opt_row *opt_row_at(const struct opt_set *s, const char *path)
{
    for (int i = 0; i < s->n; i++) {
        char *p;
        bool same = false;
        for (int k = 0; !same && (p = opt_path(s->rows[i].o, k)); k++) {
            same = !strcmp(p, path);
            free(p);
        }
        if (same) return &s->rows[i];
    }
    return NULL;
}

static const char *leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* Compared as whole paths first; a key in the wrong map is found by its last part. */
const char *opt_nearest_path(const struct opt_set *s, const char *path)
{
    static _Thread_local char found[128];
    char **all = NULL, *p;
    size_t n = 0, cap = 0;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; (p = opt_path(s->rows[i].o, k)); k++) {
            all = mem_grow(all, &cap, n + 1, sizeof *all);
            all[n++] = p;
        }
    for (const struct config_key *k = opt_config_keys; k->path; k++) {
        all = mem_grow(all, &cap, n + 1, sizeof *all);
        all[n++] = mem_dupz(k->path);
    }
    const char *best = NULL;
    for (size_t i = 0; i < n && !best; i++)
        if (!strcmp(leaf(all[i]), leaf(path))) best = all[i];
    if (!best) best = err_nearest(path, (const char *const *)all, (int)n);
    if (best) {
        strncpy(found, best, sizeof found - 1);
        best = found;
    }
    for (size_t i = 0; i < n; i++) free(all[i]);
    free(all);
    return best;
}
