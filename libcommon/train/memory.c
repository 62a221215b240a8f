/* memory.c: what a run needs, each thing counted once: for the check before the first step, and for --plan. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/num.h"
#include "libcommon/train/precision.h"
#include "libcommon/train/trainer.h"

struct need {
    uint64_t weights, adapter, training, generation;
};

static struct need need_of(const struct trainer *t)
{
    /* what is mapped from the file here has to lie in the memory of another device */
    struct need n = {.weights = plan_bytes(&t->model->plan) + t->model->mapped_bytes,
                     .training = plan_bytes(&t->dec.plan)};
    for (int i = 0; i < TRAIN_JOBS; i++)
        n.adapter += (uint64_t)t->job[i].adapter->size * 4 + plan_bytes(&t->job[i].plan);
    n.adapter += t->hooks.derived_bytes;
    if (t->has_gen) n.generation = plan_bytes(&t->gen.plan);
    return n;
}

static uint64_t total_of(const struct need *n) { return n->weights + n->adapter + n->training + n->generation; }

/* Of it, what set-up has allocated already; weights that are mapped count where they will be read. */
static uint64_t held(const struct trainer *t, const struct need *n) { return plan_bytes(&t->model->plan) + n->adapter; }

static int does_not_fit(const char *where, const struct need *n, uint64_t avail, struct err *e)
{
    err_set(e, E_PLAN, "%s: needs %s (weights %s, adapter and optimizer %s, training %s, generation %s), %s free",
            where, num_bytes(total_of(n)), num_bytes(n->weights), num_bytes(n->adapter), num_bytes(n->training),
            num_bytes(n->generation), num_bytes(avail));
    return err_hint(
        e, "--gradient-checkpointing, a smaller --micro-tokens or --eval-batch-size need less; --plan shows the "
           "table");
}

int train_alloc(struct trainer *t, struct err *e)
{
    const struct need n = need_of(t);
    const uint64_t avail = dev_memory_free(t->dev) + held(t, &n);
    if (total_of(&n) > avail) return does_not_fit(dev_name(t->dev), &n, avail, e);
    int rc = decoder_alloc(&t->dec, e);
    if (!rc && t->has_gen) rc = decoder_alloc(&t->gen, e);
    if (rc) return rc;
    packer_init(&t->packer, t->dec.size.T, t->dec.size.B, &t->hooks);
    t->perm = mem_alloc(t->train.n, sizeof *t->perm);
    return 0;
}

int train_plan_print(const struct trainer *t, FILE *f, struct err *e)
{
    double mean = (double)t->train.n_ids / (double)t->train.n;
    double rows = (double)(t->rows_per_step < (int64_t)t->train.n ? t->rows_per_step : (int64_t)t->train.n);
    double T = rows * mean, n = rows * (double)t->train.labels / (double)t->train.n;
    double flops = decoder_flops(t->model, &t->hooks, (long)T, (long)n, mean, true);
    fprintf(f, "base      %s\n", t->o->model);
    const enum quantize q = quantize_of(&t->o->quantize);
    fprintf(f, "weights   %llu parameters, %s %s%s\n", (unsigned long long)model_parameters(t->model),
            num_bytes(model_weight_bytes(t->model)), q ? "with the layers' matrices in " : "as stored",
            q ? quantize_name(q) : "");
    const struct adapter *a = t->job->adapter;
    fprintf(f, "adapter   %ld trainable parameters (%.4f %%)", a->n_trained,
            100.0 * (double)a->n_trained / (double)model_parameters(t->model));
    if (adapter_projections(a))
        fprintf(f, ", in %d of %d projections", adapter_projections(a), model_projections(t->model));
    fprintf(f, "\n");
    fprintf(f, "data      %zu rows, %zu tokens, %llu trained, longest %u\n", t->train.n, t->train.n_ids,
            (unsigned long long)t->train.labels, t->train.max_len);
    fprintf(f, "steps     %lld (%lld an epoch), %.0f tokens and %.3g FLOP a step, %.3g FLOP in all\n",
            (long long)t->total_steps, (long long)t->steps_per_epoch, T, flops, flops * (double)t->total_steps);
    const char *why = run_precision(t->o, t->run_dir, t->dev).why;
    fprintf(f, "device    %s, matrix products in %s%s%s\n\n", dev_name(t->dev), dtype_info[t->prec].name,
            why ? ": " : "", why ? why : "");
    plan_print(&t->job->plan, f);
    if (t->hooks.derived_bytes)
        fprintf(f, "%-8s %-26s %22s %6s %14llu\n", "adapter", "derived of parameters", "", "",
                (unsigned long long)t->hooks.derived_bytes);
    plan_print(&t->dec.plan, f);
    if (t->has_gen) fprintf(f, "\ngeneration during the evaluation:\n"), plan_print(&t->gen.plan, f);
    const struct need need = need_of(t);
    const uint64_t total = total_of(&need);
    uint64_t avail = dev_memory_free(t->dev) + held(t, &need);
    const char *where = dev_name(t->dev), *card = t->o->device_memory;
    if (card) num_size(card, strlen(card), &avail), where = "--device-memory";
    fprintf(f, "\nin all    %llu bytes, %s: weights %s, adapter and optimizer %s, training %s, generation %s; %s %s\n",
            (unsigned long long)total, num_bytes(total), num_bytes(need.weights), num_bytes(need.adapter),
            num_bytes(need.training), num_bytes(need.generation), num_bytes(avail), card ? "there" : "free");
    return total <= avail ? 0 : does_not_fit(where, &need, avail, e);
}
