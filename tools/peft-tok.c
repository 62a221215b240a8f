/* peft-tok: turn examples into token ids and a loss mask.
 * Reads an examples stream (FILE or stdin), writes a tokens stream. What a row becomes is decided in token/row.c; this file reads
 * rows by batches, hands them to threads, and writes them in the order they came.
 *   peft-prep qa.csv | peft-tok -m model.gguf | peft-train -m model.gguf -o run */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/msg.h"
#include "libcommon/stream/stream.h"
#include "libcommon/token/idlines.h"
#include "libcommon/token/row.h"
#include "libcommon/token/view.h"

struct options {
    struct opt_common c;
    char *model, *tokenizer;
    struct row_policy policy;
    double max_drop;
    int64_t show;
    bool stats, encode, decode;
};

#define ROW(opt_name, opt_type, field, ...)                                         \
    {                                                                               \
        .name = opt_name, .type = opt_type, .off = offsetof(struct options, field), \
        .section = "tokenizer", __VA_ARGS__                                         \
    }
static const struct opt rows[] = {
    {.name = "model",
     .ch = 'm',
     .type = OPT_STR,
     .off = offsetof(struct options, model),
     .section = "model",
     .key = "model.name_or_path",
     .arg = "MODEL",
     .help = "model whose tokenizer to use: directory or GGUF file"},
    {.name = "tokenizer",
     .ch = 't',
     .type = OPT_STR,
     .off = offsetof(struct options, tokenizer),
     .section = "tokenizer",
     .key = "tokenizer.path",
     .arg = "FILE",
     .help = "tokenizer.json, tokenizer.model or GGUF file to use instead of the model's"},
    ROW("boundary", OPT_ENUM, policy.boundary, .choices = "separate|joint", .def = "separate",
        .arg = "HOW", .help = "encode prompt and target apart, as inference does, or as one text"),
    ROW("straddle", OPT_ENUM, policy.straddle, .choices = "mask|train|split|error", .def = "mask",
        .arg = "WHAT", .help = "with --boundary joint: what to do with a token on both sides"),
    ROW("eos", OPT_ENUM, policy.eos, .choices = "append|keep|none", .def = "append", .arg = "WHAT",
        .help = "end-of-text token: append it unless it is there, keep the text as it is, or take "
                "it off"),
    ROW("bos", OPT_ENUM, policy.bos, .choices = "auto|yes|no", .def = "auto", .arg = "WHEN",
        .help = "put the beginning-of-text token first; auto: if the tokenizer does"),
    ROW("allow-double-bos", OPT_FLAG, policy.allow_double_bos,
        .help = "accept rows that begin with two of them"),
    ROW("max-len", OPT_INT, policy.max_len, .arg = "N", .def = "0", .lo = 0, .hi = 1e9,
        .help = "longest row in tokens; 0 is any"),
    ROW("truncate", OPT_ENUM, policy.truncate, .choices = "left|right|drop", .def = "drop",
        .arg = "WHERE",
        .help = "what to do with a longer row: cut its beginning, its end, or drop it"),
    ROW("max-drop", OPT_FLOAT, max_drop, .arg = "FRACTION", .def = "0.1", .lo = 0, .hi = 1,
        .help = "fail if more than this part of the rows is dropped"),
    {.name = "show",
     .type = OPT_INT,
     .off = offsetof(struct options, show),
     .arg = "N",
     .lo = 0,
     .hi = 1e9,
     .bare = "5",
     .help = "print the first N rows for reading, trained tokens marked, and no stream"},
    {.name = "stats",
     .type = OPT_FLAG,
     .off = offsetof(struct options, stats),
     .help = "print counts and lengths of the rows and no stream"},
    {.name = "encode",
     .type = OPT_FLAG,
     .off = offsetof(struct options, encode),
     .help = "lines of text to lines of ids; with --json, JSON strings to arrays"},
    {.name = "decode",
     .type = OPT_FLAG,
     .off = offsetof(struct options, decode),
     .help = "lines of ids to lines of text; with --json, arrays to JSON strings"},
    OPT_END,
};

enum { BATCH = 512 };
struct slot {
    uint64_t row;
    size_t at, n_prompt, n_target; /* in job.text */
    struct row_tokens r;
};
struct job {
    const struct options *o;
    const struct tokenizer *t;
    struct stream_reader *in;
    const char *name;        /* of the input */
    struct stream_writer *w; /* NULL: no stream is written */
    struct out *out;         /* of --show and --stats */
    struct view_stats stats;
    struct slot slot[BATCH];
    struct buf text;
    bool color;
    uint64_t n_in, n_out, dropped[3], had_eos, straddles, truncated;
};

/* Fill the slots; returns how many, 0 at END. */
static int read_batch(struct job *j, int max, struct err *e)
{
    int n = 0, rc = 1;
    j->text.n = 0;
    while (n < max) {
        struct record rec;
        rc = stream_next(j->in, &rec, e);
        if (rc <= 0) break;
        struct slot *s = &j->slot[n++];
        s->row = rec.example.row;
        s->at = j->text.n;
        s->n_prompt = rec.example.prompt.n;
        s->n_target = rec.example.target.n;
        buf_add(&j->text, rec.example.prompt.p, s->n_prompt);
        buf_add(&j->text, rec.example.target.p, s->n_target);
    }
    return rc < 0 ? rc : n;
}

static int tokenize_batch(struct job *j, int n, struct err *e)
{
    int failed =
        n; /* the first row that failed, so that the message does not depend on the threads */
    int threads = j->o->c.threads > 0 ? (int)j->o->c.threads : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads) if (n > 32)
    for (int i = 0; i < n; i++) {
        struct slot *s = &j->slot[i];
        struct str prompt = {j->text.p + s->at, s->n_prompt},
                   target = {prompt.p + s->n_prompt, s->n_target};
        struct err own = {0};
        if (row_tokenize(j->t, &j->o->policy, prompt, target, &s->r, &own) == 0) continue;
#pragma omp critical
        if (i < failed) {
            failed = i;
            *e = own;
        }
    }
    return failed < n
               ? err_prefix(e, "%s: row %llu: ", j->name, (unsigned long long)j->slot[failed].row)
               : 0;
}

static int put_row(struct job *j, const struct slot *s, struct err *e)
{
    const struct row_tokens *r = &s->r;
    j->had_eos += r->had_eos;
    j->straddles += r->straddles;
    j->truncated += r->truncated;
    if (j->o->show) {
        int rc = view_row(j->t, s->row, r, j->color, j->out, e);
        if (rc < 0) return rc;
    }
    if (r->fate != ROW_KEPT) {
        j->dropped[r->fate]++;
        return 0;
    }
    j->n_out++;
    if (j->o->stats) view_stats_add(&j->stats, r);
    if (!j->w) return 0;
    struct record rec = {.kind = STREAM_TOKENS,
                         .tokens = {.row = s->row,
                                    .ids = r->ids.v,
                                    .mask = (const uint8_t *)r->mask.p,
                                    .n = (uint32_t)r->ids.n,
                                    .n_prompt = r->n_prompt,
                                    .prompt = {j->text.p + s->at, s->n_prompt},
                                    .target = {j->text.p + s->at + s->n_prompt, s->n_target}}};
    return stream_put(j->w, &rec, e);
}

static int process(struct job *j, struct err *e)
{
    int n = 0, rc = 0;
    uint64_t limit = j->o->show ? (uint64_t)j->o->show : UINT64_MAX;
    while (rc == 0 && j->n_in < limit &&
           (n = read_batch(j, limit - j->n_in < BATCH ? (int)(limit - j->n_in) : BATCH, e)) > 0) {
        rc = tokenize_batch(j, n, e);
        for (int i = 0; i < n && rc == 0; i++) rc = put_row(j, &j->slot[i], e);
        j->n_in += (uint64_t)n;
        msg_progress("%llu rows", (unsigned long long)j->n_in);
    }
    msg_progress(NULL);
    return rc == 0 && n < 0 ? n : rc;
}

static void notes(const struct job *j)
{
    static const char *const done[] = {"masked", "trained on", "avoided by encoding the row apart",
                                       ""};
    if (j->had_eos)
        msg_note("%llu rows ended in the end-of-text token already",
                 (unsigned long long)j->had_eos);
    if (j->o->policy.boundary == ROW_JOINT)
        msg_note("%llu tokens straddle the boundary: %s", (unsigned long long)j->straddles,
                 done[j->o->policy.straddle]);
    if (j->truncated)
        msg_note("%llu rows were cut to %lld tokens", (unsigned long long)j->truncated,
                 (long long)j->o->policy.max_len);
}

static int account(const struct job *j, struct accounting *a, struct err *e)
{
    static const char *const reason[] = {"", "too_long", "no_target"};
    *a = (struct accounting){.in = j->n_in, .out = j->n_out};
    size_t n = 0;
    for (int i = 1; i < 3; i++) {
        a->dropped += j->dropped[i];
        if (j->dropped[i])
            n += (size_t)snprintf(a->reasons + n, sizeof a->reasons - n, "%s%s:%llu", n ? "," : "",
                                  reason[i], (unsigned long long)j->dropped[i]);
    }
    notes(j);
    msg_account(a->in, a->out, a->dropped, a->reasons);
    if (j->o->show || (double)a->dropped <= j->o->max_drop * (double)a->in) return 0;
    err_set(e, E_DROPPED, "%s: %llu of %llu rows dropped (%s), more than --max-drop %g allows",
            j->name, (unsigned long long)a->dropped, (unsigned long long)a->in, a->reasons,
            j->o->max_drop);
    return err_hint(
        e,
        j->dropped[ROW_TOO_LONG]
            ? "a larger --max-len, --truncate right, or a larger --max-drop"
            : "rows lose their target when they are cut: a larger --max-len, or --truncate left");
}

static int run_stream(struct job *j, const struct tool_run *run, struct err *e)
{
    const struct options *o = j->o;
    bool writes = !o->show && !o->stats && !o->c.dry_run;
    struct out text = {.fd = -1};
    struct accounting a;
    j->in = stream_open(run->operands.n ? run->operands.v[0] : NULL, STREAM_EXAMPLES, e);
    if (!j->in) return -e->id;
    int rc = 0;
    if (writes) {
        struct stream_info info = {.kind = STREAM_TOKENS,
                                   .has_tokenizer = true,
                                   .vocab = (uint32_t)tokenizer_size(j->t),
                                   .max_len = (uint32_t)o->policy.max_len,
                                   .eos = tokenizer_eos(j->t)};
        memcpy(info.tokenizer, tokenizer_digest(j->t), 32);
        j->w = stream_create(o->c.output, o->c.force, &info, run, j->in, e);
        if (!j->w) rc = -e->id;
    } else if (!o->c.dry_run) {
        rc = out_open(&text, o->c.output, o->c.force, false, e);
        j->out = &text;
        j->color = o->show && !o->c.output && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    }
    if (rc == 0) rc = process(j, e);
    if (rc == 0) rc = account(j, &a, e);
    if (rc == 0 && o->stats) rc = view_stats_print(&j->stats, o->c.json, &text, e);
    if (rc == 0 && j->out) rc = out_commit(&text, e);
    if (rc < 0) out_abort(&text);
    if (rc == 0 && j->w) {
        stream_upstream(j->w, j->in);
        rc = stream_finish(j->w, &a, NULL, e);
    } else {
        stream_abort(j->w, e);
    }
    stream_close(j->in);
    return rc;
}

static int run_lines(const struct options *o, const struct tokenizer *t, const struct tool_run *run,
                     struct err *e)
{
    const char *path =
        run->operands.n && strcmp(run->operands.v[0], "-") != 0 ? run->operands.v[0] : NULL;
    FILE *in = path ? fopen(path, "r") : stdin;
    struct out out = {.fd = -1};
    if (!in) return err_sys(e, E_NOINPUT, "%s", path);
    int64_t rc = out_open(&out, o->c.output, o->c.force, false, e);
    bool bos = o->policy.bos == BOS_YES || (o->policy.bos == BOS_AUTO && tokenizer_adds_bos(t));
    if (rc == 0 && o->encode)
        rc = idlines_encode(t, in, path ? path : "<stdin>", bos, o->c.json, &out, e);
    if (rc == 0 && o->decode)
        rc = idlines_decode(t, in, path ? path : "<stdin>", o->c.json, &out, e);
    if (rc >= 0) rc = out_commit(&out, e);
    if (rc < 0) out_abort(&out);
    if (path) fclose(in);
    return (int)rc;
}

static int run(struct tool_run *r, void *opts, struct err *e)
{
    const struct options *o = opts;
    const char *path = o->tokenizer ? o->tokenizer : o->model;
    if (!path) {
        err_set(e, E_USAGE, "no tokenizer");
        return err_hint(e, "-m MODEL (a directory or a GGUF file), or -t tokenizer.json");
    }
    if ((o->show != 0) + o->stats + o->encode + o->decode > 1)
        return err_set(e, E_USAGE, "--show, --stats, --encode and --decode exclude each other");
    struct tokenizer *t = tokenizer_load(path, e);
    if (!t) return -e->id;
    int rc;
    if (o->encode || o->decode) {
        struct row_policy lines = {.eos = EOS_KEEP, .bos = o->policy.bos};
        rc = row_policy_check(&lines, t, e);
        if (rc == 0) rc = run_lines(o, t, r, e);
    } else if ((rc = row_policy_check(&o->policy, t, e)) == 0) {
        struct job *j = mem_alloc(1, sizeof *j);
        *j = (struct job){.o = o,
                          .t = t,
                          .name = r->operands.n && strcmp(r->operands.v[0], "-") ? r->operands.v[0]
                                                                                 : "<stdin>"};
        rc = run_stream(j, r, e);
        for (int i = 0; i < BATCH; i++) row_tokens_fini(&j->slot[i].r);
        buf_fini(&j->text);
        view_stats_fini(&j->stats);
        free(j);
    }
    tokenizer_free(t);
    return rc;
}

int main(int argc, char **argv)
{
    const struct opt_group groups[] = {
        {opt_common_rows, offsetof(struct options, c)}, {rows, 0}, {NULL, 0}};
    const struct tool tool = {
        .name = "peft-tok",
        .summary = "turn examples into token ids and a loss mask",
        .usage = "[OPTION]... -m MODEL [EXAMPLES]",
        .example = "peft-prep qa.csv | peft-tok -m model.gguf | peft-train -m model.gguf -o run",
        .groups = groups,
        .opts_size = sizeof(struct options),
        .max_operands = 1,
        .run = run,
    };
    return tool_main(&tool, argc, argv);
}
