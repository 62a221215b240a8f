/* setup.c: everything before the first step: model, data, adapter, memory, and the checks that make a run fail early.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/sums.h"
#include "libcommon/peft/consumer.h"
#include "libcommon/peft/run_manifest.h"
#include "libcommon/train/checkpoint.h"
#include "libcommon/train/precision.h"
#include "libcommon/train/trainer.h"

/* Streams are made for a tokenizer; the model must have the same one. */
static int check_tokenizer(const struct trainer *t, const struct stream_info *info, const char *what, struct err *e)
{
    if (!t->tok || !info->has_tokenizer || !memcmp(info->tokenizer, tokenizer_digest(t->tok), 32)) return 0;
    err_set(e, E_MISMATCH, "%s: made with another tokenizer than that of %s", what, t->o->model);
    return err_hint(e, "run peft-tok with -m %s", t->o->model);
}

static int open_eval(struct trainer *t, struct err *e)
{
    struct stream_reader *r = stream_open(t->o->eval, STREAM_TOKENS, e);
    if (!r) return -e->id;
    int rc = dataset_read(&t->eval, r, NULL, t->model->cfg.V, 0, e);
    stream_close(r);
    if (rc) return err_prefix(e, "%s: ", t->o->eval);
    t->has_eval = true;
    return check_tokenizer(t, &t->eval.info, t->o->eval, e);
}

static int metric_hint(struct err *e)
{
    struct buf names = {0};
    for (int i = 0; metrics[i]; i++)
        for (int k = 0; metrics[i]->results[k]; k++) {
            char *name = metric_eval_name(metrics[i]->results[k]);
            buf_printf(&names, ", %s", name);
            free(name);
        }
    int rc = err_hint(e, "eval_loss%s", buf_str(&names));
    buf_fini(&names);
    return rc;
}

/* --metric is eval_loss or a figure of a metric, which then must be computed. */
static int setup_metric(struct trainer *t, struct err *e)
{
    const char *name = t->o->metric ? t->o->metric : t->o->patience ? "eval_loss" : NULL;
    t->metric_index = -2;
    if (!name) return 0;
    if (!t->has_eval) {
        err_set(e, E_USAGE, "--metric %s needs rows to evaluate on", name);
        return err_hint(e, "give them with -e EVAL.mpz");
    }
    if (!strcmp(name, "eval_loss") || !strcmp(name, "loss")) return t->metric_index = -1, 0;
    t->metric = metric_find_result(name, &t->metric_index);
    if (!t->metric) {
        err_set(e, E_USAGE, "--metric %s: no such figure", err_quotez(name));
        return metric_hint(e);
    }
    for (int i = 0; i < t->scores.n; i++)
        if (t->scores.m[i] == t->metric) return 0;
    if (t->scores.n == SCORE_METRICS) return err_set(e, E_USAGE, "--eval-metrics: too many");
    t->scores.m[t->scores.n++] = t->metric;
    return 0;
}

/* The rows of a group that decide the result, as text; the others (where, how often saved, how many threads) may change
 * on --resume. */
static void add_rows(const struct trainer *t, const struct opt *rows, struct buf *b)
{
    for (const struct opt *o = rows; o->name; o++) {
        const char *v = o->free ? NULL : opt_text(t->run->set, o->name);
        if (v) buf_printf(b, "%s=%s\n", o->name, v);
    }
}

/* An adapter that a run begins with or stands on, by its content. The model card says nothing of it. */
static int add_adapter(const char *given, struct buf *b, struct err *e)
{
    struct sums s = {0};
    char *dir = adapter_find(given, e);
    int rc = dir ? sums_add_tree(&s, dir, "", e) : -e->id;
    for (size_t i = 0; i < s.n; i++)
        if (!strcmp(s.v[i].name, "README.md")) memset(s.v[i].sha256, 0, sizeof s.v[i].sha256);
    sums_text(&s, b);
    sums_fini(&s);
    free(dir);
    return rc;
}

/* What goes into the fingerprint, by name. The content of a first adapter is covered by the fingerprint alone. */
static void name_parts(struct trainer *t, const struct peft_method *method)
{
    struct buf b = {0};
    char hex[65];
    add_rows(t, train_opt_rows, &b);
    add_rows(t, t->job->optim->opts, &b);
    add_rows(t, method->opts, &b);
    if (method->targets) add_rows(t, adapter_opt_rows, &b);
    buf_printf(&b, "quantize=%s\nseed=%lld\nprecision=%s\n", quantize_name(quantize_of(&t->o->quantize)),
               (long long)t->c->seed, dtype_info[t->prec].name);
    digest_hex(t->model->digest, hex);
    buf_printf(&b, "the base=%s\n", hex);
    digest_hex(t->train.digest, hex);
    buf_printf(&b, "the training data=%s\n", hex);
    if (t->has_eval) digest_hex(t->eval.digest, hex);
    buf_printf(&b, "the evaluation data=%s\n", t->has_eval ? hex : "none");
    t->identity = mem_dupz(buf_str(&b));
    buf_fini(&b);
}

static int fingerprint(struct trainer *t, const struct peft_method *method, struct err *e)
{
    struct sha256 *h = sha256_new();
    struct buf b = {0};
    int rc = t->start ? add_adapter(t->start, &b, e) : 0;
    for (int i = 0; i < t->adapters.n && !rc; i++) {
        const struct composed *p = &t->adapters.part[i];
        if (t->adapters.n > 1) buf_printf(&b, "adapter %d of %d: %.17g\n", i, t->adapters.n, p->factor);
        if (i != t->trained) rc = add_adapter(p->dir, &b, e);
    }
    add_rows(t, train_opt_rows, &b);
    add_rows(t, t->job->optim->opts, &b);
    add_rows(t, method->opts, &b);
    if (method->targets) add_rows(t, adapter_opt_rows, &b);
    if (quantize_of(&t->o->quantize)) buf_printf(&b, "quantize=%s\n", quantize_name(quantize_of(&t->o->quantize)));
    buf_printf(&b, "seed=%lld\nprecision=%d\n", (long long)t->c->seed, (int)t->prec);
    sha256_add(h, b.p, b.n);
    sha256_add(h, t->model->digest, 32);
    sha256_add(h, t->train.digest, 32);
    if (t->has_eval) sha256_add(h, t->eval.digest, 32);
    unsigned char d[32];
    sha256_done(h, d);
    digest_hex(d, t->fingerprint);
    buf_fini(&b);
    name_parts(t, method);
    return rc;
}

static void setup_steps(struct trainer *t)
{
    const struct train_opts *o = t->o;
    t->rows_per_step = o->batch_size * o->accumulate;
    t->steps_per_epoch = ((int64_t)t->train.n + t->rows_per_step - 1) / t->rows_per_step;
    t->total_steps = o->max_steps ? o->max_steps : (int64_t)ceil(o->epochs * (double)t->steps_per_epoch);
    t->warmup = o->warmup_steps ? o->warmup_steps : (int64_t)ceil(o->warmup_ratio * (double)t->total_steps);
    t->save_every = o->save_steps;
    t->eval_every = o->eval_steps;
    t->perm_epoch = -1;
}

/* An adapter brings its own configuration; say so where the command says otherwise. */
static void note_adapter_options(const struct trainer *t, const struct peft_method *method)
{
    const struct opt *tables[] = {method->opts, method->targets ? adapter_opt_rows : NULL};
    for (int i = 0; i < 2; i++)
        for (const struct opt *o = tables[i]; o && o->name; o++)
            if (opt_given(t->run->set, o->name) != OPT_FROM_DEFAULT)
                msg_note("--%s: the configuration of %s holds instead", o->name, t->start);
}

/* An option of a method that is not trained has no effect: a mistake on the command line, but a configuration file may
 * describe several methods. */
static int check_foreign(const struct trainer *t, const struct opt *rows, const char *whose, struct err *e)
{
    for (const struct opt *o = rows; o->name; o++) {
        if (opt_given(t->run->set, o->name) <= OPT_FROM_CONFIG) continue;
        err_set(e, E_USAGE, "--%s: has no effect with --method %s", o->name, t->o->method);
        return whose ? err_hint(e, "it belongs to --method %s", whose) : -e->id;
    }
    return 0;
}

static const struct peft_method *find_method(const struct trainer *t, struct err *e)
{
    const struct peft_method *method = peft_method_find(t->o->method);
    if (!method) {
        err_set(e, E_CONFIG, "peft.method: %s is not supported", err_quotez(t->o->method));
        err_hint(e, "methods: %s", peft_method_names());
        return NULL;
    }
    int rc = 0;
    for (int i = 0; peft_methods[i] && !rc; i++)
        if (peft_methods[i] != method) rc = check_foreign(t, peft_methods[i]->opts, peft_methods[i]->name, e);
    if (!rc && !method->targets) rc = check_foreign(t, adapter_opt_rows, NULL, e);
    return rc ? NULL : method;
}

static int find_optim(struct trainer *t, struct err *e)
{
    struct job *j = t->job;
    j->optim = optim_find(t->o->optim);
    if (!j->optim) {
        err_set(e, E_CONFIG, "training.optim: %s is not supported", err_quotez(t->o->optim));
        return err_hint(e, "optimizers: %s", optim_names());
    }
    j->optim_opts = opt_block(t->run->set, j->optim->opts);
    return 0;
}

/* Which adapters there are, and which of them is trained; none is opened yet. */
static int setup_composition(struct trainer *t, struct err *e)
{
    const struct train_opts *o = t->o;
    struct composition *c = &t->adapters;
    t->start = o->init_adapter;
    if (!o->adapters && o->train_adapter) return err_set(e, E_USAGE, "--train-adapter names one of --adapter");
    if (composition_parse(c, o->adapters ? o->adapters : "the run's", e)) return -e->id;
    if (!o->adapters) return 0;
    if (!o->train_adapter) {
        err_set(e, E_USAGE, "--adapter: which of them is to be trained is not said");
        return err_hint(e, "--train-adapter NAME; to train on from one adapter: --init-adapter DIR");
    }
    if (c->n_route) return err_set(e, E_USAGE, "--adapter: rows cannot choose their adapter in training");
    int found = -1;
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->part[i].dir, o->train_adapter)) t->trained = found = i;
    if (found < 0) return err_set(e, E_USAGE, "--train-adapter: %s is none of --adapter", err_quotez(o->train_adapter));
    if (!file_is_dir(o->train_adapter)) return 0;
    if (t->start) return err_set(e, E_USAGE, "--init-adapter and the directory of --train-adapter are both a start");
    t->start = c->part[t->trained].dir;
    return 0;
}

static int setup_adapter(struct trainer *t, char **ckpt, struct err *e)
{
    const struct train_opts *o = t->o;
    struct job *j = t->job;
    const struct peft_method *method = find_method(t, e);
    if (!method || find_optim(t, e) || setup_composition(t, e)) return -e->id;
    int64_t step;
    int found = fingerprint(t, method, e);
    if (found) return found;
    found = o->resume ? ckpt_find(t->run_dir, t->fingerprint, t->identity, ckpt, &step, e) : 0;
    if (found < 0) return found;
    if (found) {
        char *dir = mem_printf("%s/adapter", *ckpt);
        j->adapter = adapter_load(dir, t->model, false, e);
        free(dir);
        return j->adapter ? 0 : -e->id;
    }
    if (t->start) {
        j->adapter = adapter_load(t->start, t->model, o->force_base, e);
        if (!j->adapter) return -e->id;
        if (j->adapter->method != method)
            return err_set(e, E_MISMATCH, "%s: its method is %s, peft.method says %s", t->start,
                           j->adapter->method->name, o->method);
        note_adapter_options(t, method);
        return 0;
    }
    j->adapter = adapter_new(method, opt_block(t->run->set, method->opts), opt_block(t->run->set, adapter_opt_rows),
                             t->model, e);
    return j->adapter ? adapter_start(j->adapter, t->model, (uint64_t)t->c->seed, e) : -e->id;
}

/* LoRA+ is for what LoRA trains; a configuration file may describe several methods. */
static int check_loraplus(const struct trainer *t, struct err *e)
{
    const struct adapter *a = t->job->adapter;
    bool any = false;
    for (int i = 0; i < a->n_param; i++) any |= a->param[i].fast;
    if (any || opt_given(t->run->set, "loraplus-lr-ratio") <= OPT_FROM_CONFIG) return 0;
    return err_set(e, E_USAGE, "--loraplus-lr-ratio: has no effect with --method %s", a->method->name);
}

/* An expression that matches fewer modules than was meant shows here. */
static void note_targets(const struct trainer *t)
{
    const int n = adapter_projections(t->job->adapter);
    if (n) msg_note("%s: %d of %d projections", t->job->adapter->method->name, n, model_projections(t->model));
}

/* The gradient and the optimizer's state; small, and the decoder's plan depends on what is trained. */
static int setup_job(struct trainer *t, struct job *j, struct err *e)
{
    const long n = j->adapter->n_trained;
    struct plan *p = &j->plan;
    int rc = plan_add(p, ARENA_ADAPTER, &j->grad, 4, n, 1, e, "gradient");
    if (!rc) rc = plan_add(p, ARENA_ADAPTER, &j->part, 4, n, 1, e, "gradient of a micro-batch");
    for (int i = 0; i < j->optim->n_state && !rc; i++)
        rc = plan_add(p, ARENA_ADAPTER, &j->state[i], 4, n, 1, e, "%s", j->optim->state[i]);
    if (!rc) rc = plan_alloc(p, t->dev, 0, e);
    if (rc) return rc;
    for (int i = 0; i < j->optim->n_state; i++) j->host_state[i] = mem_alloc((size_t)n, 4);
    j->adapter->grad = j->part;
    return 0;
}

/* The job's adapter among the frozen ones, in the order of the text: so its evaluation and that of peft-eval with the
 * same text are the same sums. */
static int bind_adapters(struct trainer *t, struct err *e)
{
    t->adapters.part[t->trained].a = t->job->adapter;
    int rc = composition_load(&t->adapters, t->model, t->o->force_base, e);
    return rc ? rc : composition_bind(&t->adapters, &t->hooks, t->model, e);
}

static int setup_decoders(struct trainer *t, struct err *e)
{
    const struct train_opts *o = t->o;
    const int n_virtual = hooks_virtual(&t->hooks);
    long T = (long)o->micro_tokens, longest = t->train.max_len;
    if (t->has_eval && t->eval.max_len > longest) longest = t->eval.max_len;
    longest += n_virtual;
    int rc = model_check_rows(&t->model->cfg, longest, e);
    if (rc) return rc;
    if (longest > T) T = longest;
    struct decoder_size size = {.T = T, .n = T, .B = (int)T, .chunk = DECODER_CHUNK, .recompute = o->checkpointing};
    rc = model_check_length(t->model, longest, e);
    if (!rc) rc = decoder_init(&t->dec, t->model, &t->hooks, DECODER_TRAIN, t->prec, &size, e);
    if (rc || !t->has_eval || !score_generates(&t->scores)) return rc;
    t->has_gen = true;
    tokenizer_ends(t->tok, &t->ends);
    t->gen_opts = (struct gen_opts){
        .max_new = (int)o->eval_max_new, .slots = (int)o->eval_batch_size, .top_p = 1, .ends = &t->ends};
    size = gen_size(&t->gen_opts, t->eval.max_prompt, n_virtual);
    rc = model_check_length(t->model, n_virtual + (long)t->eval.max_prompt + t->gen_opts.max_new, e);
    return rc ? rc : decoder_init(&t->gen, t->model, &t->hooks, DECODER_INFER, t->prec, &size, e);
}

static int setup_resume(struct trainer *t, const char *ckpt, struct err *e)
{
    if (!ckpt) return 0;
    int rc = train_restore(t, ckpt, e);
    if (!rc) ckpt_tidy(t->run_dir, t->job->s.step, t->fingerprint, t->o->keep);
    if (!rc) msg_note("continuing at step %lld of %lld", (long long)t->job->s.step, (long long)t->total_steps);
    return rc;
}

int train_setup(struct trainer *t, struct stream_reader *tokens, struct err *e)
{
    const struct train_opts *o = t->o;
    if (!o->model) {
        err_set(e, E_USAGE, "no base model");
        return err_hint(e, "-m MODEL, or model.name_or_path in the configuration");
    }
    t->dev = device_pick(o->device, t->c->threads, e);
    if (!t->dev) return -e->id;
    const struct run_precision prec = run_precision(o, t->run_dir, t->dev);
    t->prec = prec.type;
    if (prec.why) msg_note("matrix products in %s: %s", dtype_info[t->prec].name, prec.why);
    t->model = model_load_as(o->model, t->dev, quantize_of(&o->quantize), e);
    if (!t->model) return -e->id;
    model_rename(t->model, o->base_name);
    t->tok = tokenizer_load(o->model, e);
    if (!t->tok) return -e->id;
    int rc = dataset_read(&t->train, tokens, NULL, t->model->cfg.V, 0, e);
    if (!rc) rc = check_tokenizer(t, &t->train.info, "the tokens", e);
    if (!rc && !t->train.labels) rc = err_set(e, E_NOROWS, "none of the %zu rows has a trained token", t->train.n);
    if (!rc && o->eval) rc = open_eval(t, e);
    if (!rc) rc = score_parse(&t->scores, &o->eval_metrics, e);
    if (!rc) rc = setup_metric(t, e);
    char *ckpt = NULL;
    if (!rc) rc = setup_adapter(t, &ckpt, e);
    if (!rc) rc = check_loraplus(t, e);
    if (!rc) rc = consumer_takes((enum consumer)t->o->consumer, t->job->adapter, t->model, e);
    if (!rc) {
        note_targets(t);
        row_set_add(&t->job->adapter->trained, &t->train);
        size_t seen = row_set_count(&t->job->adapter->trained, &t->eval);
        if (seen)
            msg_warn("%s: %zu of %zu rows are trained on: their scores tell nothing of others", t->o->eval, seen,
                     t->eval.n);
        setup_steps(t);
        if (!o->lr) msg_warn("--lr 0: no step changes anything");
        for (int i = 0; i < TRAIN_JOBS && !rc; i++) rc = setup_job(t, &t->job[i], e);
        if (!rc) rc = bind_adapters(t, e);
    }
    if (!rc) rc = setup_decoders(t, e);
    if (!rc) rc = setup_resume(t, ckpt, e);
    t->dec.seed = (uint64_t)t->c->seed;
    free(ckpt);
    return rc;
}

static void job_free(struct job *j)
{
    adapter_free(j->adapter);
    plan_free(&j->plan);
    for (int i = 0; i < OPTIM_STATES; i++) free(j->host_state[i]);
    free(j->best);
    run_log_fini(&j->log);
}

void train_free(struct trainer *t)
{
    decoder_fini(&t->dec);
    if (t->has_gen) decoder_fini(&t->gen);
    hooks_fini(&t->hooks);
    if (t->adapters.n) t->adapters.part[t->trained].a = NULL; /* the job's */
    composition_free(&t->adapters);
    for (int i = 0; i < TRAIN_JOBS; i++) job_free(&t->job[i]);
    if (t->packer.ids) packer_fini(&t->packer);
    dataset_free(&t->train);
    dataset_free(&t->eval);
    tokenizer_free(t->tok);
    free(t->ends.v);
    free(t->identity);
    model_free(t->model);
    if (t->dev) dev_close(t->dev);
    free(t->perm);
}
