/* method_options: the options of a method from a line of text, for tests and benches. */
#ifndef TESTS_METHOD_OPTIONS_H
#define TESTS_METHOD_OPTIONS_H
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/method.h"

/* Options of a method as a command line gives them; the set owns what opt_block finds in it. */
static inline struct opt_set *method_options(const char *line)
{
    static char text[512];
    static char *argv[64];
    static struct opt_common common;
    struct opt_group *groups = mem_alloc((size_t)peft_method_count() + 3, sizeof *groups);
    struct strlist operands;
    struct err e = {0};
    int n = 0;
    snprintf(text, sizeof text, "test %s", line);
    for (char *w = strtok(text, " "); w && n < 63; w = strtok(NULL, " ")) argv[n++] = w;
    argv[n] = NULL;
    memset(&common, 0, sizeof common);
    groups[0] = (struct opt_group){opt_common_rows, 0, 0};
    peft_method_groups(groups + 1);
    struct opt_set *set = opt_parse("test", groups, &common, n, argv, &operands, &e);
    if (!set) fprintf(stderr, "%s: %s\n", line, e.msg), abort();
    free(groups);
    return set;
}
#endif
