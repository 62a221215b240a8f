/* train_state.c: see train_state.h. */
#include "libcommon/train/train_state.h"
#include <math.h>
#include "libcommon/format/json.h"

/* The counters, once, for writing and reading. */
#define INTS(X)  X(step) X(updates) X(skips) X(skips_in_row) X(log_steps) X(log_tokens) X(best_step) X(bad_evals)
#define REALS(X) X(log_loss) X(log_norm) X(best)
#define BOOLS(X) X(has_best) X(stopped)

json_t *train_state_json(const struct train_state *s)
{
    json_t *o = json_object();
#define X(f) json_object_set_new(o, #f, json_integer(s->f));
    INTS(X)
#undef X
#define X(f) json_object_set_new(o, #f, json_real_or_null(s->f));
    REALS(X)
#undef X
#define X(f) json_object_set_new(o, #f, json_boolean(s->f));
    BOOLS(X)
#undef X
    return o;
}

static int refuse(const char *name, const char *want, struct err *e)
{
    return err_set(e, E_CHECKPOINT, "the checkpoint's state.json: %s: expected %s", name, want);
}

static int counter(int64_t *to, const json_t *in, const char *name, struct err *e)
{
    const json_t *v = json_object_get(in, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0) return refuse(name, "a count", e);
    *to = json_integer_value(v);
    return 0;
}

static int real(double *to, const json_t *in, const char *name, struct err *e)
{
    const json_t *v = json_object_get(in, name);
    if (!json_is_number(v) && !json_is_null(v)) return refuse(name, "a number or null", e);
    *to = json_is_number(v) ? json_number_value(v) : NAN;
    return 0;
}

static int flag(bool *to, const json_t *in, const char *name, struct err *e)
{
    const json_t *v = json_object_get(in, name);
    if (!json_is_boolean(v)) return refuse(name, "true or false", e);
    *to = json_is_true(v);
    return 0;
}

int train_state_read(struct train_state *s, const json_t *in, struct err *e)
{
#define X(f) \
    if (counter(&s->f, in, #f, e)) return -e->id;
    INTS(X)
#undef X
#define X(f) \
    if (real(&s->f, in, #f, e)) return -e->id;
    REALS(X)
#undef X
#define X(f) \
    if (flag(&s->f, in, #f, e)) return -e->id;
    BOOLS(X)
#undef X
    /* each step was an update or a skip; no sum here, which a file could have overflow */
    if (s->skips > s->step || s->updates != s->step - s->skips) return refuse("updates", "the steps but the skips", e);
    if (s->skips_in_row > s->skips) return refuse("skips_in_row", "at most the skips", e);
    if (s->best_step > s->step) return refuse("best_step", "a step that was done", e);
    return 0;
}
