/* peft-log: any stream as text: for people, JSON lines, CSV; verified; traced to where it comes from. Reads a file, a
 * file that grows, or a pipe. peft-train ... | peft-log          peft-log trace test.mpz */
#include <langinfo.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libcommon/base/tool.h"
#include "libcommon/sink/sink.h"

struct opts {
    struct opt_common common;
    bool follow;
};
static const struct opt rows[] = {
    OPT(struct opts, follow, "follow", OPT_FLAG, NULL, .ch = 'F',
        .help = "wait at the end of a file that grows, until its END"),
    OPT_END,
};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {NULL, 0, 0}};

static int unknown(const char *word, int n, struct err *e)
{
    const char *names[16];
    int k = 0;
    for (; sinks[k]; k++) names[k] = sinks[k]->name;
    const char *near = err_nearest(word, names, k);
    if (n > 1)
        err_set(e, E_USAGE, "unknown subcommand %s", err_quotez(word));
    else
        err_set(e, E_NOINPUT, "%s: neither a file nor a subcommand", err_quotez(word));
    if (near) return err_hint(e, "did you mean %s?", near);
    return err_hint(e, "subcommands:\n%s", sinks_help);
}

static int run(struct tool_run *t, void *opts, struct err *e)
{
    const struct opts *o = opts;
    struct strlist args = t->operands;
    bool terminal = !o->common.output && isatty(STDOUT_FILENO);
    const struct sink *sink = args.n ? sink_find(args.v[0]) : NULL;
    if (sink)
        args = (struct strlist){args.n - 1, args.v + 1};
    else
        sink = terminal ? &sink_tty : &sink_cat;
    const char *path = args.n ? args.v[0] : NULL;
    if (args.n > 1 && args.n < t->operands.n)
        return err_set(e, E_USAGE, "found operand %s, expected one file", err_quotez(args.v[1]));
    bool word = path && args.n == t->operands.n && !strpbrk(path, "/.-"); /* may be meant as a subcommand */
    if (args.n > 1 || (word && access(path, F_OK))) return unknown(path, args.n, e);
    struct stream_reader *in = o->follow ? stream_open_follow(path, -1, e) : stream_open(path, -1, e);
    if (!in) return -e->id;
    struct out out = {.fd = -1};
    int rc = out_open(&out, o->common.output, o->common.force, false, e);
    if (rc == 0) {
        struct sink_job job = {
            in, &out, stream_name(path), o->common.json, terminal, !strcmp(nl_langinfo(CODESET), "UTF-8")};
        rc = sink->run(&job, e);
        struct err second = {0};
        int done = rc < 0 && o->common.output
                       ? rc
                       : out_commit(&out, rc < 0 ? &second : e); /* on stdout what was read is shown */
        if (rc == 0) rc = done;
        out_abort(&out);
    }
    stream_close(in);
    return rc;
}

static const struct tool peft_log = {
    .name = "peft-log",
    .summary = "Show, convert, verify or trace a stream. SUB: tty, cat, csv, verify, trace.",
    .usage = "[OPTION]... [SUB] [FILE]",
    .example = "peft-log -F run/metrics.mpz",
    .groups = groups,
    .opts_size = sizeof(struct opts),
    .max_operands = 3,
    .run = run,
};

int main(int argc, char **argv) { return tool_main(&peft_log, argc, argv); }
