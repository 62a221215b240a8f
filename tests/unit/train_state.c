/* train_state: a checkpoint's counters through JSON and back; what is missing, of another type or contradicts itself is
 * refused by name. */
#include "libcommon/train/train_state.h"
#include <math.h>
#include "tests/test.h"

static const struct train_state some = {.step = 9,
                                        .updates = 7,
                                        .skips = 2,
                                        .skips_in_row = 1,
                                        .log_loss = 0.1,
                                        .log_steps = 3,
                                        .log_tokens = 1LL << 40,
                                        .log_norm = NAN,
                                        .has_best = true,
                                        .best = 1.0 / 3,
                                        .best_step = 8,
                                        .bad_evals = 4};

static void whole(void)
{
    struct err e = {0};
    struct train_state s = {.stopped = true};
    json_t *j = train_state_json(&some);
    CHECK_MSG(!train_state_read(&s, j, &e), "%s", e.msg);
    CHECK(s.step == 9 && s.updates == 7 && s.skips == 2 && s.skips_in_row == 1 && s.log_steps == 3);
    CHECK(s.log_tokens == 1LL << 40 && s.best_step == 8 && s.bad_evals == 4 && s.has_best && !s.stopped);
    CHECK(s.log_loss == 0.1 && isnan(s.log_norm) && s.best == 1.0 / 3);
    json_decref(j);
}

static void refused(void)
{
    static const struct {
        const char *key, *value; /* NULL: without the key */
    } bad[] = {{"step", "8"},        {"step", "9.0"},     {"step", "-9"},        {"updates", "8"},
               {"updates", "\"7\""}, {"skips", "3"},      {"skips_in_row", "3"}, {"best", "\"0\""},
               {"best", "false"},    {"log_norm", NULL},  {"has_best", "1"},     {"has_best", NULL},
               {"stopped", "null"},  {"best_step", "10"}, {"bad_evals", "-1"},   {"log_tokens", "1e3"},
               {"log_steps", NULL}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        struct train_state s;
        json_t *j = train_state_json(&some);
        if (bad[i].value)
            json_object_set_new(j, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(j, bad[i].key);
        CHECK_MSG(train_state_read(&s, j, &e) == -E_CHECKPOINT, "%s %s", bad[i].key, bad[i].value ? bad[i].value : "-");
        CHECK_MSG(strstr(e.msg, "state.json: "), "%s", e.msg);
        json_decref(j);
    }
}

int main(void)
{
    RUN(whole, "train_state/whole");
    RUN(refused, "train_state/refused");
    return test_failed;
}
