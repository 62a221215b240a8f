/* combine: adapters combined as peft's add_weighted_adapter has combined them (tests/parity/record_combine.py), and
 * what it refuses. */
#include "libcommon/merge/combine.h"

#include <math.h>

#include "libcommon/format/safetensors.h"
#include "libcommon/merge/prune.h"
#include "tests/test.h"

#define DIR "tests/parity/combine/"

static const struct {
    enum combine_how how;
    double weight[3];
    int n;
    double density;
    int rank;
    bool by_number;
} cases[] = {
    {COMBINE_LINEAR, {0.7, 0.3}, 2, 0, 0, false},        {COMBINE_LINEAR, {1, -0.5}, 2, 0, 0, false},
    {COMBINE_CAT, {0.7, 0.3, -1}, 3, 0, 0, false},       {COMBINE_SVD, {0.7, 0.3, -1}, 3, 0, 0, false},
    {COMBINE_SVD, {0.7, 0.3, -1}, 3, 0, 3, false},       {COMBINE_TIES, {0.7, 0.3}, 2, 0.5, 0, false},
    {COMBINE_TIES, {0.7, 0.3}, 2, 0.5, 0, true},         {COMBINE_TIES_SVD, {0.7, 0.3, 0.4}, 3, 0.5, 6, false},
    {COMBINE_DARE_LINEAR, {0.7, 0.3}, 2, 0.6, 0, false}, {COMBINE_DARE_LINEAR_SVD, {0.7, 0.3}, 2, 0.6, 0, false},
    {COMBINE_DARE_TIES, {0.7, 0.3}, 2, 0.6, 0, false},   {COMBINE_DARE_TIES_SVD, {0.7, 0.3}, 2, 0.6, 0, false},
    {COMBINE_PRUNE, {0.7, -0.3}, 2, 0.4, 0, false},      {COMBINE_PRUNE_SVD, {0.7, 0.3}, 2, 0.4, 0, false},
};
static size_t at; /* the case */

static int read_three(struct lora_set in[3], struct err *e)
{
    static const char *const dir[] = {DIR "a", DIR "b", DIR "c"};
    int rc = 0;
    for (int i = 0; i < 3; i++) in[i] = (struct lora_set){0};
    for (int i = 0; i < 3 && !rc; i++) rc = lora_set_read(&in[i], dir[i], NULL, e);
    CHECK_MSG(!rc, "%s", e->msg);
    return rc;
}

static void close_three(struct lora_set in[3])
{
    for (int i = 0; i < 3; i++) lora_set_fini(&in[i]);
}

/* Largest difference to the recorded tensor, by its largest value; 0: there is none of the name. */
static int compare(const struct safetensors *st, const char *path, const char *what, const float *x, long n)
{
    char name[128];
    snprintf(name, sizeof name, "%zu.%s.%s", at, path, what);
    const struct st_tensor *t = safetensors_find(st, name);
    double most = 0, size = 0;
    if (!t) return 0;
    CHECK_MSG(t->end - t->begin == (uint64_t)n * 4, "%s: other shape", name);
    if (t->end - t->begin != (uint64_t)n * 4) return 1;
    for (long i = 0; i < n; i++) {
        const double want = ((const float *)t->data)[i];
        most = fmax(most, fabs(x[i] - want));
        size = fmax(size, fabs(want));
    }
    CHECK_MSG(most <= 1e-5 * size, "%s differs by %g of %g", name, most, size);
    return 1;
}

static void of_case(void)
{
    struct err e = {0};
    struct lora_set in[3], out;
    struct safetensors *st = safetensors_open(DIR "expect.safetensors", &e);
    struct combine c = {cases[at].how, cases[at].density, cases[at].rank, cases[at].by_number, 42, false};
    if (!st || read_three(in, &e)) return;
    CHECK_MSG(!combine(&c, in, cases[at].weight, cases[at].n, &out, &e), "%s", e.msg);
    int seen = 0;
    for (int k = 0; k < out.n; k++) {
        const struct lora_pair *p = &out.pair[k];
        CHECK(p->scale == 1);
        float *w = mem_alloc((size_t)p->out * (size_t)p->in, sizeof *w);
        for (int i = 0; i < p->out; i++)
            for (int j = 0; j < p->in; j++) {
                double x = 0;
                for (int r = 0; r < p->r; r++) x += (double)p->b[i * p->r + r] * p->a[r * p->in + j];
                w[i * p->in + j] = (float)x;
            }
        seen += compare(st, p->path, "W", w, (long)p->out * p->in);
        seen += compare(st, p->path, "A", p->a, (long)p->r * p->in);
        seen += compare(st, p->path, "B", p->b, (long)p->out * p->r);
        free(w);
    }
    const int modules = cases[at].n == 3 ? 8 : 6;
    CHECK_MSG(out.n == modules && seen == (combine_decomposes(c.how) ? 1 : 2) * modules, "%d modules, %d tensors",
              out.n, seen);
    lora_set_fini(&out);
    close_three(in);
    safetensors_close(st);
}

/* The sum of updates by the factors and by the whole matrix: a density of 1 prunes nothing. */
static void two_ways(void)
{
    struct err e = {0};
    struct lora_set in[3], out[2];
    const double weight[] = {0.7, 0.3, -1};
    if (read_three(in, &e)) return;
    for (int k = 0; k < 2; k++) {
        struct combine c = {k ? COMBINE_PRUNE_SVD : COMBINE_SVD, 1, 3, false, 0, false};
        CHECK_MSG(!combine(&c, in, weight, 3, &out[k], &e), "%s", e.msg);
    }
    for (int i = 0; i < out[0].n; i++) {
        const struct lora_pair *p = &out[0].pair[i], *q = &out[1].pair[i];
        for (int r = 0; r < 3; r++) {
            double same = 0, size = 0; /* a triple's sign is free */
            for (int j = 0; j < p->in; j++) {
                same += (double)p->a[r * p->in + j] * q->a[r * q->in + j];
                size += (double)p->a[r * p->in + j] * p->a[r * p->in + j];
            }
            CHECK_MSG(fabs(fabs(same) - size) < 1e-5, "%s, triple %d: %g of %g", p->path, r, same, size);
        }
    }
    for (int k = 0; k < 2; k++) lora_set_fini(&out[k]);
    close_three(in);
}

static void refused(void)
{
    struct err e = {0};
    struct lora_set in[3], out;
    const double weight[] = {1, 1, 1};
    struct combine c = {.how = COMBINE_LINEAR};
    if (read_three(in, &e)) return;
    CHECK(combine(&c, in, weight, 3, &out, &e) == -E_MISMATCH && strstr(e.msg, "rank"));
    lora_set_fini(&out);
    e = (struct err){0};
    in[0].has_base_digest = in[1].has_base_digest = true;
    in[1].base_digest[5] = 1;
    CHECK(combine(&c, in, weight, 2, &out, &e) == -E_MISMATCH && strstr(e.msg, DIR "a") && strstr(e.msg, DIR "b"));
    lora_set_fini(&out);
    e = (struct err){0};
    in[1].base_digest[5] = 0;
    in[1].pair[1].out++;
    CHECK(combine(&c, in, weight, 2, &out, &e) == -E_MISMATCH && strstr(e.msg, "matrix"));
    in[1].pair[1].out--;
    lora_set_fini(&out);
    close_three(in);
}

static void pruned(void)
{
    double x[] = {3, -1, 1, -1, 0.5, 2};
    prune_small(x, 6, 0.5); /* of three equal ones the first stays */
    const double want[] = {3, -1, 0, 0, 0, 2};
    CHECK(!memcmp(x, want, sizeof x));
    prune_small(x, 6, 0.1);
    for (int i = 0; i < 6; i++) CHECK(x[i] == 0);
    double y[1000], sum = 0;
    for (int i = 0; i < 1000; i++) y[i] = 1;
    prune_random(y, 1000, 0.25, 9);
    for (int i = 0; i < 1000; i++) {
        CHECK(y[i] == 0 || y[i] == 4);
        sum += y[i];
    }
    CHECK_MSG(fabs(sum - 1000) < 200, "%g", sum);
}

int main(void)
{
    for (at = 0; at < sizeof cases / sizeof *cases; at++) {
        char name[64];
        snprintf(name, sizeof name, "combine.parity.%zu", at);
        RUN(of_case, name);
    }
    RUN(two_ways, "combine.svd_of_factors");
    RUN(refused, "combine.refused");
    RUN(pruned, "combine.pruned");
    return test_failed;
}
