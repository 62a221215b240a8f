/* report: what became of the figures (lines of JSON, see bench.h): a table, one JSON file, the regression gate. The
 * picture is report_svg.h's.
 *
 * A name that occurs again (a retry) replaces the first one if its share is better. The gate holds shares and ratios,
 * never seconds: tests/bench/gate.tsv. usage: report [--meta KEY=VALUE]... [--gate FILE ISA] [--json FILE] [--svg FILE
 * TITLE] [--failed] FIGURES exit 1: a figure is below the gate (its name on stdout with --failed, which prints nothing
 * else). */
#include <fnmatch.h>
#include <jansson.h>
#include <math.h>
#include "libcommon/base/mem.h"
#include "tests/bench/report_svg.h"

struct gate {
    char pattern[64], isa[16];
    double least, target;
};
static struct gate gate[128];
static int n_gate;
static struct figure *figure;
static size_t n_figure, figure_cap;

static int read_gate(const char *path)
{
    char line[256];
    FILE *f = fopen(path, "r");
    if (!f) return perror(path), -1;
    while (fgets(line, sizeof line, f) && n_gate < 128) {
        struct gate *g = &gate[n_gate];
        if (*line == '#' || *line == '\n') continue;
        if (sscanf(line, "%63s %15s %lf %lf", g->pattern, g->isa, &g->least, &g->target) != 4)
            return fclose(f), fprintf(stderr, "report: %s: not PATTERN ISA LEAST TARGET: %s", path, line), -1;
        n_gate++;
    }
    fclose(f);
    return 0;
}

static char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return mem_dupz(s ? s : "");
}

static void add(json_t *j, const char *isa)
{
    struct figure x = {.name = text_of(j, "name"),
                       .group = text_of(j, "group"),
                       .unit = text_of(j, "unit"),
                       .what = text_of(j, "what"),
                       .value = json_number_value(json_object_get(j, "value")),
                       .share = NAN,
                       .peak = json_number_value(json_object_get(j, "peak")),
                       .least = NAN,
                       .target = NAN};
    if (json_is_number(json_object_get(j, "share"))) x.share = json_number_value(json_object_get(j, "share"));
    if (json_is_number(json_object_get(j, "target"))) x.target = json_number_value(json_object_get(j, "target"));
    for (int i = 0; i < n_gate && !isnan(x.share); i++)
        if (!fnmatch(gate[i].pattern, x.name, 0) && !fnmatch(gate[i].isa, isa, 0)) {
            x.least = gate[i].least, x.target = gate[i].target;
            break;
        }
    for (size_t i = 0; i < n_figure; i++)
        if (!strcmp(figure[i].name, x.name)) {
            if (!(figure[i].share >= x.share)) figure[i] = x;
            return;
        }
    figure = mem_grow(figure, &figure_cap, n_figure + 1, sizeof *figure);
    figure[n_figure++] = x;
}

static int read_figures(const char *path, const char *isa)
{
    FILE *f = fopen(path, "r");
    if (!f) return perror(path), -1;
    for (json_t *j; (j = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); json_decref(j))
        if (json_object_get(j, "name")) add(j, isa);
    int bad = !feof(f);
    fclose(f);
    if (bad) fprintf(stderr, "report: %s: a line is not JSON\n", path);
    return bad ? -1 : 0;
}

/* Figures of a group stand together, groups in the order of their first figure. */
static void sort_groups(void)
{
    for (size_t i = 0, at = 0; i < n_figure; i = at) {
        at = i;
        for (size_t k = i; k < n_figure; k++) {
            if (strcmp(figure[k].group, figure[i].group) != 0) continue;
            struct figure x = figure[k];
            memmove(&figure[at + 1], &figure[at], (k - at) * sizeof x);
            figure[at++] = x;
        }
    }
}

static void print_table(void)
{
    for (size_t i = 0; i < n_figure; i++) {
        const struct figure *x = &figure[i];
        if (!i || strcmp(x->group, figure[i - 1].group) != 0) printf("\n%s\n", x->group);
        printf("  %-28s %10.4g %-8s", x->name, x->value, x->unit);
        if (!isnan(x->share)) printf(" %5.1f %% of %.4g", 100 * x->share, x->peak);
        if (!isnan(x->least)) printf("%s(gate %.0f %%)", isnan(x->share) ? " " : "  ", 100 * x->least);
        printf("%s\n", figure_below(x) ? "  BELOW THE GATE" : "");
    }
}

static int write_json(const char *path, json_t *meta)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_figure; i++) {
        const struct figure *x = &figure[i];
        json_t *o = json_pack("{s:s,s:s,s:f,s:s,s:s}", "name", x->name, "group", x->group, "value", x->value, "unit",
                              x->unit, "what", x->what);
        json_object_set_new(o, "share", isnan(x->share) ? json_null() : json_real(x->share));
        json_object_set_new(o, "peak", x->peak > 0 ? json_real(x->peak) : json_null());
        json_object_set_new(o, "gate", isnan(x->least) ? json_null() : json_real(x->least));
        json_array_append_new(list, o);
    }
    json_t *all = json_pack("{s:O,s:o}", "run", meta, "figures", list);
    int rc = json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(all);
    if (rc) fprintf(stderr, "report: cannot write %s\n", path);
    return rc;
}

int main(int argc, char **argv)
{
    const char *isa = "", *json = NULL, *svg = NULL, *title = "", *input = NULL;
    bool names_only = false, bad = false;
    json_t *meta = json_object();
    for (int i = 1; i < argc && !bad; i++) {
        const char *a = argv[i];
        char *eq = i + 1 < argc ? strchr(argv[i + 1], '=') : NULL;
        if (!strcmp(a, "--failed")) {
            names_only = true;
        } else if (!strcmp(a, "--meta") && eq) {
            json_object_set_new(meta, mem_dup(argv[i + 1], (size_t)(eq - argv[i + 1])), json_string(eq + 1));
            i++;
        } else if (!strcmp(a, "--gate") && i + 2 < argc) {
            bad = read_gate(argv[i + 1]) != 0;
            isa = argv[i + 2], i += 2;
        } else if (!strcmp(a, "--json") && i + 1 < argc) {
            json = argv[++i];
        } else if (!strcmp(a, "--svg") && i + 2 < argc) {
            svg = argv[i + 1], title = argv[i + 2], i += 2;
        } else {
            bad = input || *a == '-';
            input = a;
        }
    }
    if (bad || !input) {
        fprintf(stderr, "usage: report [--meta KEY=VALUE]... [--gate FILE ISA] [--json FILE] "
                        "[--svg FILE TITLE] [--failed] FIGURES\n");
        return 64;
    }
    if (read_figures(input, isa)) return 65;
    sort_groups();
    int below = 0;
    for (size_t i = 0; i < n_figure; i++) {
        below += figure_below(&figure[i]);
        if (names_only && figure_below(&figure[i])) printf("%s\n", figure[i].name);
    }
    if (names_only) return below ? 1 : 0;
    print_table();
    if (json && write_json(json, meta)) return 74;
    if (svg && svg_write(svg, title, figure, n_figure)) return 74;
    fflush(stdout); /* the two may be one pipe: gate.sh looks for the lines below */
    for (size_t i = 0; i < n_figure; i++)
        if (figure_below(&figure[i]))
            fprintf(stderr, "below the gate: %s: found %.1f %% of its limit, expected at least %.1f %%\n",
                    figure[i].name, 100 * figure[i].share, 100 * figure[i].least);
    json_decref(meta);
    return below ? 1 : 0;
}
