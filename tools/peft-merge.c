/* peft-merge: a base model and an adapter become one model; several adapters become one.
 * Reads a Hugging Face directory or a GGUF file, and a PEFT adapter directory; writes a Hugging Face directory, a GGUF
 * file or a torch file, tensor by tensor. No network, no Python. peft-merge -m model.gguf -a run/adapter -o merged
 * --verify test.mpz */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
#include "libcommon/base/sums.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/json.h"
#include "libcommon/merge/combine_dirs.h"
#include "libcommon/merge/extract.h"
#include "libcommon/merge/merge_model.h"
#include "libcommon/merge/merge_verify.h"
#include "libcommon/peft/consumer.h"
#include "libcommon/peft/run_manifest.h"

enum format { F_AUTO, F_HF, F_GGUF, F_PT, F_PEFT, F_GGUF_LORA, F_MLX };
enum out_dtype { D_AUTO, D_F32, D_BF16, D_F16, D_Q8_0, D_Q4_1, D_Q4_0 };

struct options {
    struct opt_common c;
    char *model, *adapter, *ckpt, *verify, *check, *base_name;
    int format, dtype;
    double scale, tol, shard_size;
    int64_t verify_rows;
    bool adapter_only;
    int combine, majority;
    double density;
    int64_t rank;
    char *extract;
    int consumer; /* enum consumer */
};
enum { COMBINE_NOTHING }; /* of options.combine; the others are enum combine_how + 1 */

static const struct opt rows[] = {
    OPT(struct options, model, "model", OPT_STR, "model", .file = true, .ch = 'm', .key = "model.name_or_path",
        .arg = "MODEL", .help = "base model: Hugging Face directory or GGUF file"),
    OPT(struct options, adapter, "adapter", OPT_STR, "merge", .file = true, .ch = 'a', .arg = "ADAPTER",
        .help = "adapter directory, or a run that has one; or several: stack(A,B), average(A:0.3,B:0.7)"),
    OPT(struct options, ckpt, "ckpt", OPT_STR, "merge", .file = true, .arg = "DIR",
        .help = "same as --adapter; also RUN/checkpoints/step-N"),
    OPT(struct options, format, "format", OPT_ENUM, "merge", .def = "auto",
        .choices = "auto|hf|gguf|pt|peft|gguf-lora|mlx", .arg = "FORMAT",
        .help = "of the output; auto: by its name, .gguf, .pt, else hf (of an adapter: gguf-lora, else peft)"),
    OPT(struct options, dtype, "dtype", OPT_ENUM, "merge", .def = "auto", .choices = "auto|f32|bf16|f16|q8_0|q4_1|q4_0",
        .arg = "TYPE", .help = "of the weights; auto: f32 if the base is f32, else bf16"),
    OPT(struct options, scale, "scale", OPT_FLOAT, "merge", .def = "1", .lo = -100, .hi = 100, .arg = "X",
        .help = "factor on the adapter's effect"),
    OPT(struct options, shard_size, "max-shard-size", OPT_FLOAT, "merge", .def = "5", .lo = 1e-6, .hi = 1e6,
        .arg = "GB", .help = "largest weight file of a Hugging Face directory, in 10^9 bytes"),
    OPT(struct options, verify, "verify", OPT_STR, "merge", .file = true, .arg = "DATA.mpz",
        .help = "compare logits with base and adapter on rows of this stream before the output "
                "appears"),
    OPT(struct options, tol, "tol", OPT_FLOAT, "merge", .def = "0", .lo = 0, .hi = 1e6, .arg = "X",
        .help = "largest difference of a logit; 0: 0.001 for f32, 0.1 f16, 0.5 bf16, 2 q8_0, 8 q4"),
    OPT(struct options, verify_rows, "verify-rows", OPT_INT, "merge", .def = "16", .lo = 1, .hi = 1000000, .arg = "N",
        .help = "rows to verify with"),
    OPT(struct options, base_name, "base-name", OPT_STR, "model", .arg = "NAME",
        .help = "what the model card calls the base, such as its name on the hub; unset: that, if it is known"),
    OPT(struct options, check, "check", OPT_STR, NULL, .file = true, .arg = "DIR",
        .help = "compare a directory that this tool has written with the digests in its MANIFEST, and exit"),
    OPT(struct options, extract, "extract", OPT_STR, NULL, .file = true, .arg = "TUNED",
        .help = "make a LoRA adapter of --rank of what this model differs from MODEL by"),
    OPT(struct options, consumer, "for", OPT_ENUM, NULL, .def = "none", .choices = CONSUMER_CHOICES, .arg = "CONSUMER",
        .help = "say why this program would refuse the adapter, and exit; with 1 if it would"),
    OPT(struct options, adapter_only, "adapter-only", OPT_FLAG, "merge",
        .help = "write the adapter alone, as peft, gguf-lora or mlx"),
    OPT(struct options, combine, "combine", OPT_ENUM, NULL, .def = "none", .choices = "none|" COMBINE_CHOICES,
        .arg = "HOW", .help = "make one LoRA adapter of the operands, each an adapter directory or DIR:WEIGHT"),
    OPT(struct options, density, "density", OPT_FLOAT, NULL, .def = "1", .lo = 1e-6, .hi = 1, .arg = "SHARE",
        .help = "of the values that ties, dare and magnitude_prune keep"),
    OPT(struct options, majority, "majority-sign", OPT_ENUM, NULL, .def = "total", .choices = MAJORITY_CHOICES,
        .arg = "BY", .help = "what elects the sign in ties: the sum of the values, or the number of adapters"),
    OPT(struct options, rank, "rank", OPT_INT, NULL, .def = "0", .lo = 0, .hi = 1024, .arg = "R",
        .help = "of --extract and of what ends in svd, there 0: the largest of the adapters"),
    OPT_END};

struct job {
    const struct options *o;
    struct device *dev;
    struct model *m;
    struct composition adapters;
    char *base; /* path of the base model */
    struct merge g;
    struct merge_verify v;
    bool verified;
};

/* ---- inputs -------------------------------------------------------------------------------- */

static char *base_of(const char *dir, struct err *e)
{
    if (lora_gguf_is(dir)) {
        err_set(e, E_USAGE, "no base model: %s names none", dir);
        err_hint(e, "-m MODEL");
        return NULL;
    }
    char *path = path_join(dir, "adapter_config.json");
    json_t *j = json_parse_file(path, 1 << 20, E_ADAPTER, e);
    const char *base = json_string_value(json_object_get(j, "base_model_name_or_path"));
    char *found = NULL;
    if (j && !base) {
        err_set(e, E_USAGE, "no base model: %s names none", path);
        err_hint(e, "-m MODEL");
    } else if (j && !file_exists(base)) {
        err_set(e, E_NOINPUT, "%s: the base model %s is not there", path, err_quotez(base));
        err_hint(e, "-m MODEL, a local directory or GGUF file; nothing is downloaded");
    } else if (j) {
        found = mem_dupz(base);
    }
    json_decref(j);
    free(path);
    return found;
}

static int open_model(struct job *j, const char *path, struct err *e)
{
    const struct options *o = j->o;
    struct dev_reason why;
    if (o->c.threads) cpu_set_threads((int)o->c.threads);
    j->dev = dev_open(DEVICE_CPU, 0, &why);
    if (!j->dev) return err_set(e, E_DEVICE, "CPU device: %s", why.text);
    j->m = model_load(path, j->dev, e);
    if (j->m) model_rename(j->m, o->base_name);
    return -e->id;
}

static int open_inputs(struct job *j, struct err *e)
{
    const struct options *o = j->o;
    if (o->adapter && o->ckpt) return err_set(e, E_USAGE, "--adapter and --ckpt are the same; give one");
    const char *given = o->adapter ? o->adapter : o->ckpt;
    if (!given) {
        err_set(e, E_USAGE, "no adapter");
        return err_hint(e, "-a DIR (an adapter directory or a run)");
    }
    struct composition *c = &j->adapters;
    if (composition_parse(c, given, e)) return -e->id;
    if (c->n_route) return err_set(e, E_USAGE, "rows choose in a route(...): merged weights are the same for all rows");
    for (int i = 0; i < c->n; i++) {
        char *dir = adapter_find(c->part[i].dir, e);
        if (!dir) return -e->id;
        free(c->part[i].dir);
        c->part[i].dir = dir;
    }
    j->base = o->model ? mem_dupz(o->model) : base_of(c->part[0].dir, e);
    if (!j->base || open_model(j, j->base, e)) return -e->id;
    for (int i = 0; i < c->n && !e->id; i++)
        if (run_manifest_quantized(c->part[i].dir, e) > 0)
            msg_note(
                "%s was trained on a base held in nf4, and is merged into the base as it is stored: its scores may "
                "differ; peft-eval without --quantize gives them",
                c->part[i].dir);
    if (e->id) return -e->id;
    return composition_load(c, j->m, o->c.force, e);
}

static void close_all(struct job *j)
{
    merge_verify_free(&j->v);
    composition_free(&j->adapters);
    model_free(j->m);
    if (j->dev) dev_close(j->dev);
    free(j->base);
}

/* ---- choices ------------------------------------------------------------------------------- */

static bool adapter_alone(const struct options *o)
{
    return o->adapter_only || o->extract || o->combine != COMBINE_NOTHING;
}

static int output_format(const struct options *o)
{
    if (o->format != F_AUTO) return o->format;
    if (adapter_alone(o)) return ends_with(o->c.output, ".gguf") ? F_GGUF_LORA : F_PEFT;
    if (ends_with(o->c.output, ".gguf")) return F_GGUF;
    return ends_with(o->c.output, ".pt") || ends_with(o->c.output, ".pth") ? F_PT : F_HF;
}

/* Merged matrices are never put back into the base's coarse type unasked: a rounding step of 4 bits can swallow the
 * adapter. */
static enum dtype output_dtype(const struct options *o, const struct model *m)
{
    static const enum dtype given[] = {[D_F32] = DT_F32,   [D_BF16] = DT_BF16, [D_F16] = DT_F16,
                                       [D_Q8_0] = DT_Q8_0, [D_Q4_1] = DT_Q4_1, [D_Q4_0] = DT_Q4_0};
    if (o->dtype != D_AUTO) return given[o->dtype];
    return model_site_kind(m, SITE_LINEAR)->weight->dtype == DT_F32 ? DT_F32 : DT_BF16;
}

static double tolerance(const struct options *o, enum dtype t)
{
    if (o->tol > 0) return o->tol;
    switch (t) {
    case DT_F32:
        return 1e-3;
    case DT_F16:
        return 0.1;
    case DT_BF16:
        return 0.5;
    case DT_Q8_0:
        return 2;
    default:
        return 8;
    }
}

/* ---- verification -------------------------------------------------------------------------- */

static int check(void *ctx, struct weights *w, struct err *e)
{
    struct job *j = ctx;
    double tol = tolerance(j->o, j->g.dtype);
    struct model *made = model_from(w, j->dev, e);
    if (!made) return err_prefix(e, "the merged model does not load: ");
    struct hooks hooks;
    int rc = composition_bind(&j->adapters, &hooks, j->m, e);
    if (!rc) rc = merge_verify_run(&j->v, j->m, &hooks, made, e);
    hooks_fini(&hooks);
    model_free(made);
    if (rc) return rc;
    const struct merge_verify *v = &j->v;
    msg_note("verify: %d rows, %ld positions: largest difference of a logit %.3g (tolerance %g), "
             "mean %.2g, same choice at %ld",
             v->n, v->positions, v->max_abs, tol, v->mean_abs, v->agree);
    j->verified = true;
    if (v->max_abs <= tol) return 0;
    err_set(e, E_VERIFY, "%s: logits differ by up to %g from base and adapter, tolerance %g; not written",
            j->o->c.output, v->max_abs, tol);
    return err_hint(e, "--dtype f32 merges without rounding; --tol sets the tolerance");
}

/* ---- the two jobs -------------------------------------------------------------------------- */

static int report(const struct job *j)
{
    const struct merge *g = &j->g;
    msg_account((unsigned long long)g->tensors, (unsigned long long)g->tensors, 0, "");
    msg_note("%s: %d tensors, %d of them merged, %s, %s", j->o->c.output, g->tensors, g->merged,
             dtype_info[g->dtype].name, num_bytes(g->bytes));
    if (!j->o->c.json) return 0;
    json_t *o = json_pack("{s:s, s:s, s:I, s:i, s:i, s:f}", "output", j->o->c.output, "dtype",
                          dtype_info[g->dtype].name, "bytes", (json_int_t)g->bytes, "tensors", g->tensors, "merged",
                          g->merged, "max_weight_change", g->max_delta);
    if (j->verified)
        json_object_set_new(o, "verify",
                            json_pack("{s:i, s:I, s:f, s:f, s:f, s:f}", "rows", j->v.n, "positions",
                                      (json_int_t)j->v.positions, "max_abs", j->v.max_abs, "mean_abs", j->v.mean_abs,
                                      "argmax_agreement", (double)j->v.agree / (double)j->v.positions, "tol",
                                      tolerance(j->o, g->dtype)));
    char *text = json_dumps(o, JSON_REAL_PRECISION(9));
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(o);
    return 0;
}

static int merge(struct job *j, int format, struct err *e)
{
    const struct options *o = j->o;
    int rc = 0;
    j->g = (struct merge){.m = j->m,
                          .adapters = &j->adapters,
                          .factor = o->scale,
                          .dtype = output_dtype(o, j->m),
                          .base_named = o->base_name != NULL,
                          .convert_all = o->dtype != D_AUTO,
                          .shard_bytes = (uint64_t)(o->shard_size * 1e9),
                          .force = o->c.force};
    if (o->verify) {
        rc = merge_verify_read(&j->v, o->verify, j->m, (int)o->verify_rows, e);
        j->g.check = check;
        j->g.check_ctx = j;
    }
    if (rc) return rc;
    if (o->c.dry_run) {
        struct merge_item *it;
        int n = merge_items(&j->g, format == F_GGUF, &it, e);
        if (n < 0) return n;
        for (int i = 0; i < n; i++) {
            j->g.bytes += merge_item_bytes(&it[i]);
            j->g.merged += it[i].touched;
        }
        j->g.tensors = n;
        free(it);
        return report(j);
    }
    rc = format == F_GGUF ? merge_gguf(&j->g, o->c.output, e)
         : format == F_PT ? merge_pt(&j->g, o->c.output, e)
                          : merge_hf(&j->g, o->c.output, e);
    return rc ? rc : report(j);
}

/* --check: is a merged directory, or an adapter written alone, what this tool wrote? */
static int check_dir(const struct options *o, struct err *e)
{
    if (o->c.output || o->adapter || o->ckpt || o->verify)
        return err_set(e, E_USAGE,
                       "--check reads a directory and does nothing else: it goes with neither -o nor -a nor --verify");
    struct sums s = {0};
    int rc = sums_read(&s, o->check, E_VERIFY, e);
    if (!rc) rc = sums_check(&s, o->check, E_VERIFY, e);
    char *foreign = rc ? NULL : sums_foreign(&s, o->check);
    if (foreign) msg_warn("%s: holds %s, which is not listed", o->check, err_quotez(foreign));
    if (!rc) msg_note("%s: %zu files are as they were written", o->check, s.n);
    free(foreign);
    sums_fini(&s);
    return rc;
}

/* ---- several adapters as one --------------------------------------------------------------- */

/* Options of other ways to combine are no whim: who gives them expects something of them. */
static int combine_options(const struct opt_set *set, const struct options *o, struct err *e)
{
    const bool on = o->combine != COMBINE_NOTHING;
    const enum combine_how how = on ? (enum combine_how)(o->combine - 1) : COMBINE_LINEAR;
    const bool density = opt_given(set, "density") != OPT_FROM_DEFAULT;
    if (density && !(on && combine_prunes(how)))
        return err_set(e, E_USAGE, "--density goes with --combine ties, dare_linear, dare_ties or magnitude_prune");
    if (on && combine_prunes(how) && !density) {
        err_set(e, E_USAGE, "--combine %s: no density", opt_text(set, "combine"));
        return err_hint(e, "--density 0.5 keeps half of the values");
    }
    if (opt_given(set, "majority-sign") != OPT_FROM_DEFAULT && !(on && combine_elects(how)))
        return err_set(e, E_USAGE, "--majority-sign goes with --combine ties and dare_ties");
    if (o->rank && !o->extract && !(on && combine_decomposes(how)))
        return err_set(e, E_USAGE, "--rank goes with --extract, --combine svd and those that end in _svd");
    if (on && (o->adapter || o->ckpt || o->verify))
        return err_set(e, E_USAGE, "--combine takes adapters as operands, and none of -a, --ckpt and --verify");
    return 0;
}

static int put_set(struct job *j, struct lora_set *s, int format, struct err *e)
{
    const struct options *o = j->o;
    const enum outdir_old old = o->c.force ? OUTDIR_REPLACE_MADE : OUTDIR_KEEP;
    int rc = j->m ? lora_set_fits(s, j->m, o->c.force, e) : 0;
    if (!rc && format == F_GGUF_LORA && !j->m) {
        err_set(e, E_USAGE, "--format gguf-lora: names and order of rows are the base model's");
        rc = err_hint(e, "-m MODEL");
    }
    if (rc || o->c.dry_run) return rc;
    rc = format == F_GGUF_LORA ? lora_gguf_write(s, j->m, o->c.output, o->c.force, e)
         : format == F_MLX     ? lora_mlx_write(s, o->c.output, old, e)
                               : lora_set_save(s, o->c.output, old, e);
    if (!rc) msg_note("%s: LoRA for %d modules", o->c.output, s->n);
    return rc;
}

static int combine_operands(struct job *j, const struct strlist *operands, int format, struct err *e)
{
    const struct options *o = j->o;
    const struct combine c = {.how = (enum combine_how)(o->combine - 1),
                              .density = o->density,
                              .rank = (int)o->rank,
                              .by_number = o->majority,
                              .seed = (uint64_t)o->c.seed,
                              .force = o->c.force};
    struct lora_set s = {0};
    int rc = o->model ? open_model(j, o->model, e) : 0;
    if (!rc) rc = combine_dirs(&c, operands, o->scale, o->c.output, j->m, &s, e);
    if (!rc) rc = put_set(j, &s, format, e);
    lora_set_fini(&s);
    return rc;
}

/* The adapter has been loaded, and so fits the model; formats of others are made of its file once more. */
static int adapter_only(struct job *j, int format, struct err *e)
{
    const struct options *o = j->o;
    struct lora_set s;
    if (j->adapters.n > 1 || j->adapters.part[0].factor != 1) {
        err_set(e, E_USAGE, "--adapter-only takes one adapter");
        return err_hint(e, "--combine makes one of several");
    }
    if (o->verify) return err_set(e, E_USAGE, "--verify compares merged models: it does not go with --adapter-only");
    if (format == F_PEFT && o->scale == 1)
        return o->c.dry_run ? 0
                            : adapter_save(j->adapters.part[0].a, o->c.output,
                                           o->c.force ? OUTDIR_REPLACE_MADE : OUTDIR_KEEP, NULL, j->m, NULL, e);
    int rc = lora_set_read(&s, j->adapters.part[0].dir, j->m, e);
    if (rc) return rc;
    for (int i = 0; i < s.n; i++) s.pair[i].scale *= o->scale;
    rc = put_set(j, &s, format, e);
    lora_set_fini(&s);
    return rc;
}

/* --extract: the difference of two models. */
static int extract_models(struct job *j, int format, struct err *e)
{
    const struct options *o = j->o;
    struct extract x = {.rank = (int)o->rank};
    struct lora_set s = {0};
    if (o->adapter || o->ckpt || o->verify || o->adapter_only || o->combine != COMBINE_NOTHING || o->scale != 1)
        return err_set(e, E_USAGE,
                       "--extract compares two models: it goes with -m, --rank and -o, and with no adapter");
    if (!o->model || !o->rank) {
        err_set(e, E_USAGE, "--extract: no %s", o->model ? "rank" : "base model");
        return err_hint(e, "peft-merge -m BASE --extract TUNED --rank 16 -o NEW");
    }
    int rc = open_model(j, o->model, e);
    struct model *tuned = rc ? NULL : model_load(o->extract, j->dev, e);
    rc = tuned ? extract(&x, j->m, tuned, &s, e) : -e->id;
    if (!rc && x.unsaid)
        msg_warn("%d tensors that are no projections differ too (norms, embedding, head): the adapter lacks that",
                 x.unsaid);
    if (!rc) rc = put_set(j, &s, format, e);
    if (!rc) msg_note("rank %d leaves out %.3g of the squared differences", x.rank, x.left_out);
    lora_set_fini(&s);
    model_free(tuned);
    return rc;
}

/* --for: a line on standard output for each reason. */
static int ask_consumer(const struct options *o, struct err *e)
{
    const char *given = o->adapter ? o->adapter : o->ckpt;
    const enum consumer c = (enum consumer)o->consumer;
    if (!given || o->c.output || o->verify || o->check)
        return err_set(e, E_USAGE, "--for looks at the adapter of -a and does nothing else: it goes with no output");
    if (lora_gguf_is(given)) return err_set(e, E_VERSION, "%s: --for looks at directories", given);
    char *dir = adapter_find(given, e), *path = dir ? path_join(dir, "adapter_config.json") : NULL;
    json_t *config = path ? json_parse_file(path, 1 << 20, E_ADAPTER, e) : NULL;
    struct buf why = {0};
    const int n = config ? consumer_refuses(c, config, &why) : 0;
    if (n) {
        printf("%s", buf_str(&why));
        err_set(e, E_NEGATIVE, "%s: %s would refuse it, for %d reason%s", given, consumer_name(c), n, n > 1 ? "s" : "");
    } else if (config) {
        msg_note("%s: nothing in it that %s would refuse", given, consumer_name(c));
    }
    buf_fini(&why);
    json_decref(config);
    free(path);
    free(dir);
    return -e->id;
}

static int run(struct tool_run *r, void *opts, struct err *e)
{
    struct job j = {.o = opts};
    const struct options *o = opts;
    if (r->operands.n && o->combine == COMBINE_NOTHING)
        return err_set(e, E_USAGE, "found operand %s, expected none without --combine", err_quotez(r->operands.v[0]));
    if (combine_options(r->set, o, e)) return -e->id;
    if (o->consumer != FOR_NONE) return ask_consumer(o, e);
    if (o->check) return check_dir(o, e);
    if (!o->c.output) {
        err_set(e, E_USAGE, "no output");
        return err_hint(e, "-o OUT: a directory, or a name that ends in .gguf or .pt");
    }
    const int format = output_format(o);
    if (adapter_alone(o) != (format >= F_PEFT))
        return err_set(
            e, E_USAGE,
            "--format peft, gguf-lora and mlx go with --adapter-only, --combine and --extract, and only with them");
    int rc;
    if (o->extract) {
        rc = extract_models(&j, format, e);
    } else if (o->combine != COMBINE_NOTHING) {
        rc = combine_operands(&j, &r->operands, format, e);
    } else {
        rc = open_inputs(&j, e);
        if (!rc) rc = o->adapter_only ? adapter_only(&j, format, e) : merge(&j, format, e);
    }
    close_all(&j);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct opt_group groups[] = {
        {opt_common_rows, offsetof(struct options, c), 0}, {rows, 0, 0}, {NULL, 0, 0}};
    static const struct tool tool = {
        .name = "peft-merge",
        .summary = "make one model of a base model and an adapter",
        .usage = "[OPTION]... -m MODEL -a ADAPTER -o OUT\n"
                 "       peft-merge [OPTION]... --combine HOW -o NEW ADAPTER[:WEIGHT]...",
        .example = "peft-merge -m model.gguf -a run/adapter -o merged --verify test.mpz",
        .groups = groups,
        .opts_size = sizeof(struct options),
        .max_operands = -1,
        .run = run,
    };
    return tool_main(&tool, argc, argv);
}
