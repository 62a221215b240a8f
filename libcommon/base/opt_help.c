/* opt_help: the text of --help, from the rows alone. The tool's own options come first, a block for each config
 * section; then those that all tools share. */
#include <string.h>

#include "libcommon/base/num.h"
#include "libcommon/base/opt_set.h"

enum { COLUMN = 30 };

static const char *argument(const struct opt *o)
{
    if (o->type == OPT_FLAG) return NULL;
    if (o->arg) return o->arg;
    if (o->type == OPT_ENUM) return o->choices;
    return o->type == OPT_BOOL ? "yes|no" : "VALUE";
}

static void print_row(FILE *f, const struct opt *o)
{
    struct buf b = {0};
    const char *arg = argument(o);
    if (o->ch)
        buf_printf(&b, "  -%c, --%s", o->ch, o->name);
    else
        buf_printf(&b, "      --%s", o->name);
    if (arg) buf_printf(&b, o->bare ? "[=%s]" : " %s", arg);
    fputs(buf_str(&b), f);
    if (b.n + 2 > COLUMN)
        fprintf(f, "\n%*s", COLUMN, "");
    else
        fprintf(f, "%*s", (int)(COLUMN - b.n), "");
    b.n = 0;
    if (o->type == OPT_ENUM && o->arg) buf_printf(&b, "%s", o->choices);
    if ((o->lo != 0 || o->hi != 0) && (o->type == OPT_INT || o->type == OPT_FLOAT)) {
        char lo[32], hi[32];
        num_format(o->lo, lo);
        num_format(o->hi, hi);
        if (o->hi >= 1e15)
            buf_printf(&b, "at least %s", lo);
        else
            buf_printf(&b, "%s to %s", lo, hi);
    }
    if (o->def && o->type != OPT_FLAG) {
        const char *q = strpbrk(o->def, " \n") ? "'" : "";
        buf_printf(&b, "%sdefault %s", b.n ? "; " : "", q);
        for (const char *c = o->def; *c; c++) {
            if (*c == '\n')
                buf_addz(&b, "\\n");
            else
                buf_addc(&b, *c);
        }
        buf_addz(&b, q);
    }
    fprintf(f, "%s%s%s%s\n", o->help ? o->help : "", b.n ? " (" : "", buf_str(&b), b.n ? ")" : "");
    buf_fini(&b);
}

/* The rows of one section ("": top; NULL: command line only) in the groups from..; a heading when there are any. */
static void print_section(FILE *f, const struct opt_group *groups, const char *section)
{
    bool any = false;
    for (const struct opt_group *g = groups; g->rows; g++) {
        if (g->rows == opt_common_rows) continue;
        for (const struct opt *o = g->rows; o->name; o++) {
            bool same = section && o->section ? !strcmp(o->section, section) : section == o->section;
            if (!same) continue;
            if (!any && section && *section)
                fprintf(f, "\nOptions, in a config file under %s:\n", section);
            else if (!any)
                fputs("\nOptions:\n", f);
            any = true;
            print_row(f, o);
        }
    }
}

/* Has the section of *row come up in an earlier row? */
static bool seen_before(const struct opt_group *groups, const struct opt *row)
{
    for (const struct opt_group *g = groups; g->rows; g++) {
        if (g->rows == opt_common_rows) continue;
        for (const struct opt *o = g->rows; o->name; o++) {
            if (o == row) return false;
            if (o->section && row->section ? !strcmp(o->section, row->section) : o->section == row->section)
                return true;
        }
    }
    return false;
}

void opt_help(FILE *f, const struct opt_group *groups)
{
    for (const struct opt_group *g = groups; g->rows; g++) {
        if (g->rows == opt_common_rows) continue;
        for (const struct opt *o = g->rows; o->name; o++)
            if (!seen_before(groups, o)) print_section(f, groups, o->section);
    }
    fputs("\nCommon options:\n", f);
    for (const struct opt *o = opt_common_rows; o->name; o++) print_row(f, o);
    for (const struct opt *o = opt_control_rows; o->name; o++) print_row(f, o);
    fputs("\nAn option given twice counts as last given; --FLAG=no takes a flag back. Weakest "
          "first, a value comes from its\n"
          "default, the config file, --set, the environment (PEFT_LORA_R for --lora-r), the "
          "command line.\n",
          f);
}
