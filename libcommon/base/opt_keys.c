/* opt_keys: which paths a config file may hold, and which one was probably meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/opt_set.h"

const struct config_key opt_config_keys[] = {
#define KEY(path, tools, option, note) {path, tools, option, note},
#include "libcommon/base/config_keys.def"
#undef KEY
    {0},
};

/* Is path the map of k with the name of its option, "training.lr" for "training.learning_rate"? */
static bool names_option(const struct config_key *k, const char *path)
{
    const char *dot = strrchr(k->path, '.');
    size_t n = dot ? (size_t)(dot + 1 - k->path) : 0;
    if (!k->option || strncmp(k->path, path, n) != 0) return false;
    const char *a = k->option, *b = path + n;
    while (*a && (*a == *b || (*a == '-' && *b == '_'))) a++, b++;
    return !*a && !*b;
}

const struct config_key *opt_config_key(const char *path)
{
    for (const struct config_key *k = opt_config_keys; k->path; k++)
        if (!strcmp(k->path, path)) return k;
    for (const struct config_key *k = opt_config_keys; k->path; k++)
        if (names_option(k, path)) return k;
    return NULL;
}

bool opt_key_owned(const struct config_key *k, const char *tool)
{
    size_t n = strlen(tool);
    for (const char *s = k->tools; (s = strstr(s, tool)); s += n)
        if ((s == k->tools || s[-1] == ' ') && (!s[n] || s[n] == ' ')) return true;
    return false;
}

bool opt_key_of_method(const struct opt_set *s, const char *path)
{
    static const char map[] = "peft.";
    const size_t n = sizeof map - 1;
    if (strncmp(path, map, n) != 0 || !strchr(path + n, '.')) return false;
    for (int i = 0; i < s->n; i++) { /* a tool with rows in such maps knows all of them */
        const char *section = s->rows[i].o->section;
        if (section && !strncmp(section, map, n)) return false;
    }
    return true;
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

const char *opt_leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

struct names {
    char **v;
    size_t n, cap;
};

/* path and the maps that it lies in: "peft.lora.r", "peft.lora", "peft". */
static void names_add(struct names *a, const char *path)
{
    for (size_t n = strlen(path); n; n--) {
        if (path[n] && path[n] != '.') continue;
        a->v = mem_grow(a->v, &a->cap, a->n + 1, sizeof *a->v);
        a->v[a->n++] = mem_dup(path, n);
    }
}

/* Is x in the same map as path? */
static bool beside(const char *x, const char *path)
{
    return opt_leaf(x) - x == opt_leaf(path) - path && !strncmp(x, path, (size_t)(opt_leaf(x) - x));
}

/* In its own map a misspelt or shortened word; elsewhere the same word in the wrong map. */
static const char *pick(const struct names *a, const char *path)
{
    const char **here = mem_alloc(a->n, sizeof *here), *best;
    int n = 0;
    for (size_t i = 0; i < a->n; i++)
        if (beside(a->v[i], path)) here[n++] = opt_leaf(a->v[i]);
    best = err_nearest(opt_leaf(path), here, n);
    for (int i = 0; i < n && !best; i++)
        if (strlen(opt_leaf(path)) > 2 && !strncmp(here[i], opt_leaf(path), strlen(opt_leaf(path)))) best = here[i];
    for (size_t i = 0; i < a->n && !best; i++)
        if (!strcmp(opt_leaf(a->v[i]), opt_leaf(path))) best = opt_leaf(a->v[i]);
    free(here);
    return best;
}

const char *opt_nearest_path(const struct opt_set *s, const char *path)
{
    static _Thread_local char found[128];
    struct names a = {0};
    char *p;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; (p = opt_path(s->rows[i].o, k)); k++) {
            names_add(&a, p);
            free(p);
        }
    for (const struct config_key *k = opt_config_keys; k->path; k++) names_add(&a, k->path);
    const char *best = pick(&a, path);
    found[0] = '\0';
    for (size_t i = 0; i < a.n; i++) {
        if (best && best == opt_leaf(a.v[i])) snprintf(found, sizeof found, "%s", a.v[i]);
    }
    for (size_t i = 0; i < a.n; i++) free(a.v[i]);
    free(a.v);
    return found[0] ? found : NULL;
}
