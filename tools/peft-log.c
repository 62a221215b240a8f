/* peft-log: any stream as text: for people, JSON lines, CSV; verified; traced to where it comes from. Reads a file, a
 * file that grows, or a pipe. peft-train ... | peft-log          peft-log trace test.mpz */
#include <langinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libcommon/base/tool.h"
#include "libcommon/format/pack.h"
#include "libcommon/sink/sink.h"

struct opts {
    struct opt_common common;
    bool follow;
    int kind; /* 0: unset, else 1 + enum stream_kind */
    char *like;
};
static const struct opt rows[] = {
    OPT(struct opts, follow, "follow", OPT_FLAG, NULL, .ch = 'F',
        .help = "wait at the end of a file that grows, until its END"),
    OPT(struct opts, kind, "kind", OPT_ENUM, NULL, .arg = "KIND", .def = "auto",
        .choices = "auto|examples|tokens|metrics|predictions|telemetry", .help = "pack: what the records are"),
    OPT(struct opts, like, "like", OPT_STR, NULL, .arg = "FILE",
        .help = "pack: a stream of the same tokenizer and model, whose digests the new one names"),
    OPT_END,
};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {NULL, 0, 0}};

static int unknown(const char *word, int n, struct err *e)
{
    const char *names[16];
    int k = 0;
    for (; sinks[k]; k++) names[k] = sinks[k]->name;
    names[k++] = "pack";
    const char *near = err_nearest(word, names, k);
    if (n > 1)
        err_set(e, E_USAGE, "unknown subcommand %s", err_quotez(word));
    else
        err_set(e, E_NOINPUT, "%s: neither a file nor a subcommand", err_quotez(word));
    if (near) return err_hint(e, "did you mean %s?", near);
    return err_hint(e, "subcommands:\n%s", sinks_help);
}

/* Ctrl-C while a file is followed: what was read is summed up, then the signal does what it does. */
static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig) { interrupted = sig; }

/* One stream, or several as one, through a sink. */
static int show(const struct sink *sink, const struct opts *o, const struct strlist *paths, struct out *out,
                struct err *e)
{
    struct stream_reader *in = o->follow ? stream_open_follow(paths->n ? paths->v[0] : NULL, -1, &interrupted, e)
                                         : stream_open_all(paths, -1, e);
    if (!in) return -e->id;
    struct sink_job job = {.in = in,
                           .out = out,
                           .name = paths->n > 1 ? "<streams>" : stream_name(paths->n ? paths->v[0] : NULL),
                           .json = o->common.json,
                           .terminal = !o->common.output && isatty(STDOUT_FILENO),
                           .quiet = o->common.quiet,
                           .utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8")};
    int rc = sink->run(&job, e);
    stream_close(in);
    return rc;
}

static int show_each(const struct sink *sink, const struct opts *o, const struct strlist *paths, struct out *out,
                     struct err *e)
{
    int rc = 0;
    for (int i = 0; i < paths->n && rc == 0; i++) rc = show(sink, o, &(struct strlist){1, &paths->v[i]}, out, e);
    return rc;
}

/* Of a run what is meant is its metrics stream. */
static void take_runs(struct strlist *paths)
{
    for (int i = 0; i < paths->n; i++) {
        char *metrics = file_is_dir(paths->v[i]) ? path_join(paths->v[i], "metrics.mpz") : NULL;
        const bool run = metrics && file_exists(metrics);
        paths->v[i] = run ? metrics : mem_dupz(paths->v[i]);
        if (!run) free(metrics);
    }
}

/* The subcommand, taken off the operands; NULL: pack. */
static const struct sink *subcommand(struct strlist *args, bool terminal, bool *pack)
{
    const struct sink *sink = args->n ? sink_find(args->v[0]) : NULL;
    *pack = args->n && !strcmp(args->v[0], "pack");
    if (sink || *pack)
        *args = (struct strlist){args->n - 1, args->v + 1};
    else
        sink = terminal ? &sink_tty : &sink_cat;
    return sink;
}

/* Ctrl-C goes to all stages of a pipe. The one before ends its stream, and what it says then is shown; a second Ctrl-C
 * ends this tool too. */
static struct sigaction second_time;
static void first_time(int sig) { sigaction(sig, &second_time, NULL); }

static void outlive_the_stage_before(void)
{
    struct stat st;
    struct sigaction once = {.sa_handler = first_time, .sa_flags = SA_RESTART};
    if (fstat(STDIN_FILENO, &st) || !S_ISFIFO(st.st_mode)) return;
    sigaction(SIGINT, NULL, &second_time);
    if (second_time.sa_handler != SIG_IGN) sigaction(SIGINT, &once, NULL);
}

/* All of it into the output: a file is whole or absent, stdout has what was read. */
static int show_into(const struct sink *sink, const struct opts *o, const struct strlist *paths, struct err *e)
{
    struct out out = {.fd = -1};
    int rc = out_open(&out, o->common.output, o->common.force, false, e);
    if (rc < 0) return rc;
    rc = sink->each && paths->n > 1 ? show_each(sink, o, paths, &out, e) : show(sink, o, paths, &out, e);
    struct err second = {0};
    int done = rc < 0 && o->common.output ? rc : out_commit(&out, rc < 0 ? &second : e);
    if (rc == 0) rc = done;
    out_abort(&out);
    return rc;
}

static void sum_up_when_interrupted(void)
{
    struct sigaction once = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, old;
    sigaction(SIGINT, NULL, &old);
    if (old.sa_handler != SIG_IGN) sigaction(SIGINT, &once, NULL);
}

static int run(struct tool_run *t, void *opts, struct err *e)
{
    const struct opts *o = opts;
    struct strlist args = t->operands;
    bool pack;
    const struct sink *sink = subcommand(&args, !o->common.output && isatty(STDOUT_FILENO), &pack);
    if (pack) {
        struct pack p = {args, o->kind - 1, o->like, o->common.output, o->common.force};
        return pack_run(&p, t, e);
    }
    if (o->kind || o->like)
        return err_set(e, E_USAGE, "--kind and --like belong to pack, the subcommand that makes a stream");
    if (o->follow && args.n > 1)
        return err_set(e, E_USAGE, "--follow: found operand %s, expected one file", err_quotez(args.v[1]));
    /* The first operand may be meant as a subcommand. */
    bool word = args.n && args.n == t->operands.n && !strpbrk(args.v[0], "/.-");
    if (word && access(args.v[0], F_OK)) return unknown(args.v[0], args.n, e);
    if (!args.n || !strcmp(args.v[0], "-"))
        outlive_the_stage_before();
    else if (o->follow)
        sum_up_when_interrupted();
    struct strlist paths = {args.n, mem_alloc((size_t)args.n, sizeof *paths.v)};
    memcpy(paths.v, args.v, (size_t)args.n * sizeof *paths.v);
    take_runs(&paths);
    const int rc = show_into(sink, o, &paths, e);
    for (int i = 0; i < paths.n; i++) free(paths.v[i]);
    free(paths.v);
    if (interrupted) raise(SIGINT);
    return rc;
}

static const struct tool peft_log = {
    .name = "peft-log",
    .summary =
        "Show, convert, verify or trace streams, or make one of JSON lines. SUB: tty, cat, csv, verify, trace, pack.",
    .usage = "[OPTION]... [SUB] [FILE...]",
    .example = "peft-log -F run/metrics.mpz",
    .groups = groups,
    .opts_size = sizeof(struct opts),
    .max_operands = -1,
    .run = run,
};

int main(int argc, char **argv) { return tool_main(&peft_log, argc, argv); }
