/* plan: what is planned is what is printed and allocated; names whole, one line for an array of all layers. */
#include "libcommon/model/plan.h"
#include <stdlib.h>
#include "tests/test.h"

static char *table(const struct plan *p)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    plan_print(p, f);
    fclose(f);
    return text;
}

static int lines_with(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) n++;
    return n;
}

#define LONG_NAME "an array whose name is longer than forty-seven characters, all of them"

static void lines(void)
{
    struct plan p = {0};
    struct err e = {0};
    float *q[12], *of[2], *other, *saved, *none = (float *)&p;
    for (int l = 0; l < 12; l++) CHECK(!plan_add(&p, ARENA_SCRATCH, &q[l], 4, 10, 3, &e, "layer %d q of %s", l, "qkv"));
    for (int l = 0; l < 2; l++) CHECK(!plan_add(&p, ARENA_SCRATCH, &of[l], 4, 1, 1, &e, "layer %d " LONG_NAME, l));
    CHECK(!plan_add(&p, ARENA_SCRATCH, &other, 4, 1, 1, &e, "q of qkv"));           /* of no layer: a line of its own */
    CHECK(!plan_add(&p, ARENA_SAVED, &saved, 4, 1, 1, &e, "layer %d q of qkv", 3)); /* another arena, too */
    CHECK(!plan_add(&p, ARENA_SCRATCH, &none, 4, 0, 9, &e, "layer %d nothing", 3) && !none);
    CHECK(p.n == 16 && p.item[11].layer == 11 && p.item[14].layer == -1 && !strcmp(p.item[11].name, "q of qkv"));
    char *text = table(&p);
    CHECK_MSG(lines_with(text, "layer * q of qkv") == 2 && lines_with(text, "q of qkv") == 3, "%s", text);
    CHECK_MSG(strstr(text, "            [10][3] x 4 B     12           1440\n"), "%s", text);
    CHECK_MSG(lines_with(text, "layer * " LONG_NAME " ") == 1 && !strstr(text, "nothing"), "%s", text);
    free(text);
    struct device *d = dev_open(DEVICE_CPU, 0, NULL);
    CHECK(!plan_alloc(&p, d, 0, &e) && (char *)q[1] == (char *)q[0] + 256 && saved && other);
    plan_free(&p);
    dev_close(d);
}

static void too_large(void)
{
    struct plan p = {0};
    struct err e = {0};
    float *x;
    CHECK(plan_add(&p, ARENA_SCRATCH, &x, 4, 1L << 40, 1L << 40, &e, "layer %d %s", 17, "logits") == -E_PLAN);
    CHECK_MSG(strstr(e.msg, "layer 17 logits: [1099511627776][1099511627776] of 4 bytes"), "%s", e.msg);
    e = (struct err){0};
    CHECK(plan_add(&p, ARENA_SCRATCH, &x, 4, 1L << 45, 1, &e, "row %d", 5) == -E_PLAN);
    CHECK_MSG(strstr(e.msg, "plan: row 5: "), "%s", e.msg);
    CHECK(!p.n);
    plan_free(&p);
}

int main(void)
{
    RUN(lines, "plan/lines");
    RUN(too_large, "plan/too_large");
    return test_failed;
}
