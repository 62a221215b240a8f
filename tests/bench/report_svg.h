/* report_svg: the picture of report.c: a bar for each figure that has a share, by groups in three columns; a line marks
 * the target, a bar below its gate is red. A picture where a share is above 1.5 (ratios) has its axis up to one and a
 * half times the largest target; longer bars are cut. */
#ifndef TESTS_BENCH_REPORT_SVG_H
#define TESTS_BENCH_REPORT_SVG_H
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct figure {
    char *name, *group, *unit, *what;
    double value, share, peak, least, target; /* share, least, target: NaN for none */
};

static inline bool figure_below(const struct figure *x) { return !isnan(x->least) && !(x->share >= x->least); }

enum { SVG_ROW = 17, SVG_LABEL = 190, SVG_BAR = 170, SVG_VALUE = 150, SVG_COLUMNS = 3, SVG_TOP = 70 };
enum { SVG_WIDTH = SVG_LABEL + SVG_BAR + SVG_VALUE };

static inline void svg_escape(FILE *f, const char *s)
{
    for (; *s; s++)
        if (*s == '&' || *s == '<')
            fputs(*s == '&' ? "&amp;" : "&lt;", f);
        else
            putc(*s, f);
}

static inline void svg_text(FILE *f, int x, int y, const char *class, const char *s)
{
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
    svg_escape(f, s);
    fputs("</text>\n", f);
}

/* Rows that figures [from, n) need at most `rows` of: the end of the column that begins at from. */
static inline size_t svg_column(const struct figure *x, size_t n, size_t from, int rows)
{
    size_t i = from;
    for (const char *group = ""; i < n && rows > 0; i++) {
        if (isnan(x[i].share)) continue;
        if (strcmp(group, x[i].group) != 0) rows -= 2;
        group = x[i].group;
        if (rows-- <= 0) break;
    }
    return i;
}

static inline int svg_rows(const struct figure *x, size_t n, size_t from)
{
    int rows = 0;
    const char *group = "";
    for (size_t i = from; i < n; i++) {
        if (isnan(x[i].share)) continue;
        if (strcmp(group, x[i].group) != 0) rows += 2;
        group = x[i].group;
        rows++;
    }
    return rows;
}

static inline void svg_figure(FILE *f, const struct figure *x, int left, int y, double axis)
{
    double part = x->share / axis > 1 ? 1 : x->share / axis;
    int bar = left + SVG_LABEL;
    char text[64];
    svg_text(f, bar - 8, y + 12, "name", x->name);
    fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"rail\"/>\n", bar, y + 3, SVG_BAR,
            SVG_ROW - 6);
    fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>\n", bar, y + 3, part * SVG_BAR,
            SVG_ROW - 6, figure_below(x) ? "bad" : "bar");
    if (x->target <= axis)
        fprintf(f, "<rect x=\"%.1f\" y=\"%d\" width=\"2\" height=\"%d\" class=\"target\"/>\n",
                bar + x->target / axis * SVG_BAR - 1, y + 1, SVG_ROW - 2);
    if (axis > 1)
        snprintf(text, sizeof text, "%.2fx   %.3g %s", x->share, x->value, x->unit);
    else
        snprintf(text, sizeof text, "%.0f %%   %.3g %s", 100 * x->share, x->value, x->unit);
    svg_text(f, bar + SVG_BAR + 8, y + 12, "value", text);
}

static inline int svg_write(const char *path, const char *title, const struct figure *x, size_t n)
{
    double axis = 1;
    for (size_t i = 0; i < n; i++)
        if (x[i].share > 1.5 || x[i].target > 1.5) axis = 2;
    for (size_t i = 0; i < n && axis > 1; i++)
        if (x[i].target > axis / 1.5) axis = 1.5 * x[i].target;
    int total = svg_rows(x, n, 0), columns = total > 24 ? SVG_COLUMNS : 1, rows = total / columns + 3;
    FILE *f = fopen(path, "w");
    if (!f) return perror(path), -1;
    int width = columns * SVG_WIDTH + 40, height = SVG_TOP + rows * SVG_ROW + 20;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d "
            "%d\">\n"
            "<style>text{font:12px "
            "sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.group{font-weight:bold}"
            ".note{fill:#666}.name{text-anchor:end}.rail{fill:#eee}.bar{fill:#3b75af}.bad{fill:#"
            "c4402f}.target{fill:#111}</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            width, height, width, height, width, height);
    svg_text(f, 20, 28, "title", title);
    svg_text(f, 20, 48, "note",
             axis > 1 ? "ratio to the peer in the same run; black line: what is to be reached"
                      : "share of this machine's limit, measured in the same round; black line: "
                        "what is to be reached; red: below the gate");
    size_t at = 0;
    for (int c = 0; c < columns; c++) {
        size_t end = c + 1 == columns ? n : svg_column(x, n, at, rows);
        int y = SVG_TOP, left = 20 + c * SVG_WIDTH;
        const char *group = "";
        for (; at < end; at++) {
            if (isnan(x[at].share)) continue;
            if (strcmp(group, x[at].group) != 0) {
                svg_text(f, left, y + SVG_ROW + 8, "group", x[at].group);
                y += 2 * SVG_ROW;
                group = x[at].group;
            }
            svg_figure(f, &x[at], left, y, axis);
            y += SVG_ROW;
        }
    }
    fputs("</svg>\n", f);
    int bad = ferror(f) | fclose(f);
    return bad ? fprintf(stderr, "%s: cannot write\n", path), -1 : 0;
}
#endif
