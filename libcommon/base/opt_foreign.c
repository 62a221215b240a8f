/* opt_foreign: names that users bring from other trainers, answered with ours. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/opt_set.h"

static const struct {
    const char *name, *path, *note;
} names[] = {
#define NAME(theirs, ours, note) {theirs, ours, note},
#include "libcommon/base/foreign_names.def"
#undef NAME
};

/* a-b is a_b */
static bool same(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b))) return false;
    return *a == *b;
}

static int find(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same(names[i].name, opt_leaf(name))) return (int)i;
    return -1;
}

bool opt_foreign_key(const char *path, struct buf *answer)
{
    int i = find(path);
    if (i < 0) return false;
    const char *ours = names[i].path, *note = names[i].note ? names[i].note : "";
    if (*ours) buf_printf(answer, "here it is %s", ours);
    if (*note) buf_printf(answer, *ours ? " (%s)" : "%s", note);
    return true;
}

/* The option of this tool, or the tool and option of another, that a key of ours binds. */
static void option_of(const struct opt_set *s, const char *path, struct buf *answer)
{
    const struct opt_row *r = opt_row_at(s, path);
    const struct config_key *k = r ? NULL : opt_config_key(path);
    if (r)
        buf_printf(answer, "here it is --%s", r->o->name);
    else if (k && k->option)
        buf_printf(answer, "here it is --%s of %.*s", k->option, (int)strcspn(k->tools, " "), k->tools);
    else
        buf_printf(answer, "here it is %s in a configuration of peft-train", path);
}

bool opt_foreign_option(const struct opt_set *s, const char *name, struct buf *answer)
{
    for (int i = 0; i < s->n; i++)
        if (same(s->rows[i].o->name, name)) return false; /* ours, with underscores */
    for (int i = 0; i < s->n; i++) {                      /* our own key's name as an option, --num_train_epochs */
        char *path;
        bool is = false;
        for (int k = 0; !is && (path = opt_path(s->rows[i].o, k)); k++) {
            is = same(opt_leaf(path), name);
            if (is) option_of(s, path, answer);
            free(path);
        }
        if (is) return true;
    }
    for (const struct config_key *k = opt_config_keys; k->path; k++) {
        if (!k->option || !same(opt_leaf(k->path), name)) continue;
        option_of(s, k->path, answer);
        return true;
    }
    int i = find(name);
    if (i < 0) return false;
    const char *note = names[i].note ? names[i].note : "";
    if (*names[i].path) option_of(s, names[i].path, answer);
    if (*note) buf_printf(answer, answer->n ? " (%s)" : "%s", note);
    return true;
}
