/* peft-tok: turn examples into token ids and a loss mask.
 * Reads an examples stream (FILE or stdin), writes a tokens stream. What a row becomes is decided in token/row.c; this
 * file reads the stream, has its rows made by token/rows.c, and writes or shows them. peft-prep qa.csv | peft-tok -m
 * model.gguf | peft-train -m model.gguf -o run */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/msg.h"
#include "libcommon/base/relay.h"
#include "libcommon/stream/stream.h"
#include "libcommon/token/idlines.h"
#include "libcommon/token/rows.h"
#include "libcommon/token/view.h"

struct options {
    struct opt_common c;
    char *model, *tokenizer;
    struct row_policy policy;
    double max_drop;
    int64_t show;
    bool stats, encode, decode;
};

static const struct opt rows[] = {
    OPT(struct options, model, "model", OPT_STR, "model", .file = true, .ch = 'm', .key = "model.name_or_path",
        .arg = "MODEL", .help = "model whose tokenizer to use: directory or GGUF file"),
    OPT(struct options, tokenizer, "tokenizer", OPT_STR, "tokenizer", .file = true, .ch = 't', .key = "tokenizer.path",
        .arg = "FILE", .help = "tokenizer.json, tokenizer.model or GGUF file to use instead of the model's"),
    OPT(struct options, policy.boundary, "boundary", OPT_ENUM, "tokenizer", .choices = "separate|joint",
        .def = "separate", .arg = "HOW", .help = "encode prompt and target apart, as inference does, or as one text"),
    OPT(struct options, policy.straddle, "straddle", OPT_ENUM, "tokenizer", .choices = "mask|train|split|error",
        .def = "mask", .arg = "WHAT", .help = "with --boundary joint: what to do with a token on both sides"),
    OPT(struct options, policy.eos, "eos", OPT_ENUM, "tokenizer", .choices = "append|keep|none", .def = "append",
        .arg = "WHAT",
        .help = "end-of-text token: append it unless it is there, keep the text as it is, or take "
                "it off"),
    OPT(struct options, policy.bos, "bos", OPT_ENUM, "tokenizer", .choices = "auto|yes|no", .def = "auto",
        .arg = "WHEN", .help = "put the beginning-of-text token first; auto: if the tokenizer does"),
    OPT(struct options, policy.specials, "specials", OPT_ENUM, "tokenizer", .choices = "token|text", .def = "token",
        .arg = "HOW", .help = "special tokens that are written out in a text: recognise them, or take them as text"),
    OPT(struct options, policy.allow_double_bos, "allow-double-bos", OPT_FLAG, "tokenizer",
        .help = "accept rows that begin with two of them"),
    OPT(struct options, policy.max_len, "max-len", OPT_INT, "tokenizer", .arg = "N", .def = "0", .lo = 0, .hi = 1e9,
        .help = "longest row in tokens; 0 is any"),
    OPT(struct options, policy.truncate, "truncate", OPT_ENUM, "tokenizer", .choices = "left|right|drop", .def = "drop",
        .arg = "WHERE", .help = "what to do with a longer row: cut its beginning, its end, or drop it"),
    OPT(struct options, max_drop, "max-drop", OPT_FLOAT, "tokenizer", .arg = "FRACTION", .def = "0.1", .lo = 0, .hi = 1,
        .help = "fail if more than this part of the rows is dropped"),
    OPT(struct options, show, "show", OPT_INT, NULL, .arg = "N", .lo = 0, .hi = 1e9, .bare = "5",
        .help = "print the first N rows for reading, trained tokens marked, and no stream"),
    OPT(struct options, stats, "stats", OPT_FLAG, NULL, .help = "print counts and lengths of the rows and no stream"),
    OPT(struct options, encode, "encode", OPT_FLAG, NULL,
        .help = "lines of text to lines of ids; with --json, JSON strings to arrays"),
    OPT(struct options, decode, "decode", OPT_FLAG, NULL,
        .help = "lines of ids to lines of text; with --json, arrays to JSON strings"),
    OPT_END};

struct job {
    const struct options *o;
    const struct tokenizer *t;
    const char *name;        /* of the input */
    struct stream_writer *w; /* NULL: no stream is written */
    struct out *out;         /* of --show and --stats */
    struct view_stats stats;
    bool color;
    struct rows_count n;
};

static int put_row(void *ctx, const struct example *x, const struct row_tokens *r, struct err *e)
{
    struct job *j = ctx;
    if (j->o->show) {
        int rc = view_row(j->t, x->row, r, j->color, j->out, e);
        if (rc < 0) return rc;
    }
    if (r->fate != ROW_KEPT) return 0;
    if (j->o->stats) view_stats_add(&j->stats, r);
    if (!j->w) return 0;
    struct record rec = {.kind = STREAM_TOKENS,
                         .tokens = {.row = x->row,
                                    .ids = r->ids.v,
                                    .mask = (const uint8_t *)r->mask.p,
                                    .n = (uint32_t)r->ids.n,
                                    .n_prompt = r->n_prompt,
                                    .prompt = x->prompt,
                                    .target = x->target,
                                    .adapter = x->adapter}};
    return stream_put(j->w, &rec, e);
}

static void notes(const struct job *j)
{
    static const char *const done[] = {"masked", "trained on", "avoided by encoding the row apart", ""};
    if (j->n.had_eos) msg_note("%llu rows ended in the end-of-text token already", (unsigned long long)j->n.had_eos);
    if (j->o->policy.boundary == ROW_JOINT)
        msg_note("%llu tokens straddle the boundary: %s", (unsigned long long)j->n.straddles,
                 done[j->o->policy.straddle]);
    if (j->n.cut_parts)
        msg_warn("%llu parts to be trained on were cut away whole, of rows that have others left: --truncate drop "
                 "drops such rows, a larger --max-len keeps them",
                 (unsigned long long)j->n.cut_parts);
    uint64_t of_template = j->n.specials_least * j->n.specials_rows;
    if (j->n.specials_all > of_template)
        msg_warn(
            "%llu special tokens in %llu rows are none of a template, as other rows have only %llu: texts of columns "
            "hold them; --specials text takes all as text",
            (unsigned long long)(j->n.specials_all - of_template),
            (unsigned long long)(j->n.specials_rows - j->n.specials_least_rows),
            (unsigned long long)j->n.specials_least);
    if (j->n.lost_prompt)
        msg_warn("%llu rows lost their whole prompt, as their target alone fills --max-len %lld: --truncate drop drops "
                 "such rows",
                 (unsigned long long)j->n.lost_prompt, (long long)j->o->policy.max_len);
    if (j->n.truncated)
        msg_note("%llu rows were cut to %lld tokens", (unsigned long long)j->n.truncated,
                 (long long)j->o->policy.max_len);
}

static int account(const struct job *j, struct accounting *a, struct err *e)
{
    static const char *const reason[] = {"", "too_long", "no_target"};
    *a = (struct accounting){.in = j->n.in, .out = j->n.out};
    size_t n = 0;
    for (int i = 1; i < 3; i++) {
        a->dropped += j->n.dropped[i];
        if (j->n.dropped[i])
            n += (size_t)snprintf(a->reasons + n, sizeof a->reasons - n, "%s%s:%llu", n ? "," : "", reason[i],
                                  (unsigned long long)j->n.dropped[i]);
    }
    /* no dropped rows: in = out + dropped holds without them */
    if (j->n.cut_parts)
        n += (size_t)snprintf(a->reasons + n, sizeof a->reasons - n, "%scut_parts:%llu", n ? "," : "",
                              (unsigned long long)j->n.cut_parts);
    if (j->n.lost_prompt)
        snprintf(a->reasons + n, sizeof a->reasons - n, "%slost_prompt:%llu", n ? "," : "",
                 (unsigned long long)j->n.lost_prompt);
    notes(j);
    msg_account(a->in, a->out, a->dropped, a->reasons);
    if (j->o->show || (double)a->dropped <= j->o->max_drop * (double)a->in) return 0;
    err_set(e, E_DROPPED, "%s: %llu of %llu rows dropped (%s), more than --max-drop %g allows", j->name,
            (unsigned long long)a->dropped, (unsigned long long)a->in, a->reasons, j->o->max_drop);
    return err_hint(e, j->n.dropped[ROW_TOO_LONG]
                           ? "a larger --max-len, --truncate right, or a larger --max-drop"
                           : "rows lose their target when they are cut: a larger --max-len, or --truncate left");
}

static int run_stream(struct job *j, const struct tool_run *run, struct err *e)
{
    const struct options *o = j->o;
    bool writes = !o->show && !o->stats && !o->c.dry_run;
    struct out text = {.fd = -1};
    struct accounting a;
    struct stream_reader *in = stream_open_all(&run->operands, STREAM_EXAMPLES, e);
    if (!in) return -e->id;
    int rc = 0, threads = relay_threads(o->c.threads);
    if (writes) {
        struct stream_info info = {.kind = STREAM_TOKENS,
                                   .has_tokenizer = true,
                                   .vocab = (uint32_t)tokenizer_size(j->t),
                                   .max_len = (uint32_t)o->policy.max_len,
                                   .has = stream_info_of(in)->has, /* names of adapters go on; parts become a mask */
                                   .eos = tokenizer_eos(j->t)};
        memcpy(info.tokenizer, tokenizer_digest(j->t), 32);
        j->w = stream_create(o->c.output, o->c.force, &info, run, in, e);
        if (j->w)
            stream_threads(j->w, threads);
        else
            rc = -e->id;
    } else if (!o->c.dry_run) {
        rc = out_open(&text, o->c.output, o->c.force, false, e);
        j->out = &text;
        j->color = o->show && !o->c.output && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    }
    struct rows rows_of = {.tokenizer = j->t,
                           .policy = &o->policy,
                           .in = in,
                           .name = j->name,
                           .threads = threads,
                           .limit = o->show ? (uint64_t)o->show : UINT64_MAX,
                           .put = put_row,
                           .ctx = j};
    if (rc == 0) rc = rows_run(&rows_of, &j->n, e);
    if (rc == 0) rc = account(j, &a, e);
    if (rc == 0 && o->stats) rc = view_stats_print(&j->stats, o->c.json, &text, e);
    if (rc == 0 && j->out) rc = out_commit(&text, e);
    if (rc < 0) out_abort(&text);
    if (rc == 0 && j->w) {
        stream_upstream(j->w, in);
        rc = stream_finish(j->w, &a, NULL, e);
    } else {
        stream_abort(j->w, e);
    }
    stream_close(in);
    return rc;
}

static int run_lines(const struct options *o, const struct tokenizer *t, const struct tool_run *run, struct err *e)
{
    if (run->operands.n > 1)
        return err_set(e, E_USAGE, "--%s: found operand %s, expected one file", o->encode ? "encode" : "decode",
                       err_quotez(run->operands.v[1]));
    const char *path = run->operands.n && strcmp(run->operands.v[0], "-") != 0 ? run->operands.v[0] : NULL;
    FILE *in = path ? fopen(path, "r") : stdin;
    struct out out = {.fd = -1};
    if (!in) return err_sys(e, E_NOINPUT, "%s", path);
    int64_t rc = out_open(&out, o->c.output, o->c.force, false, e);
    bool bos = o->policy.bos == BOS_YES || (o->policy.bos == BOS_AUTO && tokenizer_adds_bos(t));
    unsigned flags = o->policy.specials == SPECIALS_TEXT ? 0 : TOK_SPECIAL;
    if (rc == 0 && o->encode) rc = idlines_encode(t, in, path ? path : "<stdin>", bos, flags, o->c.json, &out, e);
    if (rc == 0 && o->decode) rc = idlines_decode(t, in, path ? path : "<stdin>", o->c.json, &out, e);
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
        struct job j = {.o = o,
                        .t = t,
                        .name = r->operands.n > 1 ? "<streams>" : stream_name(r->operands.n ? r->operands.v[0] : NULL)};
        rc = run_stream(&j, r, e);
        view_stats_fini(&j.stats);
    }
    tokenizer_free(t);
    return rc;
}

int main(int argc, char **argv)
{
    const struct opt_group groups[] = {{opt_common_rows, offsetof(struct options, c), 0}, {rows, 0, 0}, {NULL, 0, 0}};
    const struct tool tool = {
        .name = "peft-tok",
        .summary = "turn examples into token ids and a loss mask",
        .usage = "[OPTION]... -m MODEL [EXAMPLES...]",
        .example = "peft-prep qa.csv | peft-tok -m model.gguf | peft-train -m model.gguf -o run",
        .groups = groups,
        .opts_size = sizeof(struct options),
        .max_operands = -1,
        .run = run,
    };
    return tool_main(&tool, argc, argv);
}
