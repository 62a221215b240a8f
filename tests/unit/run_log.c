/* run_log: metric records of any number of figures with names of any length, through a checkpoint's JSON and back. */
#include "libcommon/train/run_log.h"
#include <math.h>
#include <stdlib.h>
#include "tests/test.h"

enum { FIGURES = 100 };

static void name_of(int i, char name[160]) { snprintf(name, 160, "eval_%0*d_%d", 3 * (i % 40) + 1, 0, i); }

static void check(const struct run_log *g)
{
    CHECK(g->n == 2);
    CHECK(!strcmp(g->row[0].event, "an event with a name") && g->row[0].step == 7 && g->row[0].n == FIGURES);
    for (int i = 0; i < g->row[0].n; i++) {
        char name[160];
        name_of(i, name);
        CHECK_MSG(!strcmp(g->row[0].v[i].key, name), "%s", g->row[0].v[i].key);
        CHECK(i ? g->row[0].v[i].value == i / 3.0 : isnan(g->row[0].v[i].value));
    }
    CHECK(g->row[1].n == 0 && g->row[1].step == 8);
}

static void whole(void)
{
    struct run_log g = {0}, back = {0};
    struct run_row *r = run_log_add(&g, "an event with a name", 7, 0.5);
    for (int i = 0; i < FIGURES; i++) {
        char name[160];
        name_of(i, name);
        run_row_put(r, name, i ? i / 3.0 : NAN);
    }
    run_log_add(&g, "eval", 8, 0.6);
    check(&g);
    json_t *j = run_log_json(&g);
    struct err e = {0};
    run_log_add(&back, "of before", 1, 0.1); /* what is read takes its place */
    CHECK(!run_log_read(&back, j, &e));
    check(&back);
    json_decref(j);
    run_log_fini(&g);
    run_log_fini(&back);
}

static void refused(void)
{
    static const char *const bad[] = {"[[1, 2, 3, []]]", "[[\"eval\", 2, 3]]", "[[\"eval\", 2, 3, [[1, 2]]]]", "[7]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct run_log g = {0};
        struct err e = {0};
        json_t *j = json_loads(bad[i], 0, NULL);
        CHECK_MSG(j && run_log_read(&g, j, &e) == -E_CHECKPOINT, "%s", bad[i]);
        json_decref(j);
        run_log_fini(&g);
    }
}

int main(void)
{
    RUN(whole, "run_log/whole");
    RUN(refused, "run_log/refused");
    return test_failed;
}
