/* tool: the frame around run(): what comes before it (options, signals) and what must not be forgotten after it (the
 * message, the exit code, unfinished outputs, the closing of stdout). */
#include "libcommon/base/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"

static void on_signal(int sig)
{
    out_cleanup_all();
    raise(sig); /* SA_RESETHAND: the default action now, seen by the shell and by make */
}

static void catch_signals(const struct tool *tool)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction old, sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
        sigemptyset(&sa.sa_mask);
        if (!sigaction(sigs[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(sigs[i], &sa, NULL); /* nohup stays */
    }
    signal(SIGPIPE, tool->sigpipe_ignored ? SIG_IGN : SIG_DFL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a write error like any other */
}

/* A descriptor closed by the caller would be given to the next file opened, and messages would go into it. */
static void fill_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
            int got = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY); /* the wrong way round: using it is an error */
            if (got >= 0 && got != fd) close(got);
        }
}

static void on_exhausted(size_t bytes)
{
    char line[96]; /* no allocation here */
    int n = snprintf(line, sizeof line, "error: out of memory: %zu bytes wanted [E-NOMEM]\n", bytes);
    out_cleanup_all();
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0) _exit(71);
    _exit(71);
}

static void print_help(const struct tool *t)
{
    printf("Usage: %s %s\n%s\n", t->name, t->usage, t->summary);
    if (t->example) printf("Example: %s\n", t->example);
    opt_help(stdout, t->groups);
    printf("\nThe manual: man %s, peft-config(5), peft-errors(7).\n", t->name);
}

static void print_version(const struct tool *t)
{
#ifdef HAVE_CUDA
    const char *cuda = "built in";
#else
    const char *cuda = "not built in";
#endif
    printf("%s %s (%s)\nCUDA: %s\n", t->name, peft_version, peft_revision, cuda);
}

/* Nothing was lost on the way to stdout, or an error. */
static void close_stdout(struct err *e)
{
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (close(STDOUT_FILENO) && errno != EBADF) failed = true;
    if (failed && !errno) errno = EIO;
    if (failed) err_sys(e, E_IO, "<stdout>: cannot write");
}

/* -f replaces an old result, not what the new one is made of. */
static int check_output(const struct tool_run *t, const struct opt_common *common, struct err *e)
{
    if (!common->force || !common->output) return 0;
    const struct opt *o = opt_of_file(t->set, common->output, "output");
    bool operand = false;
    for (int i = 0; i < t->operands.n; i++) operand = operand || file_is_same(t->operands.v[i], common->output);
    if (!o && !operand) return 0;
    err_set(e, E_POLICY, "%s: is an input of this command (%s%s), and is not replaced", common->output,
            operand ? "an operand" : "--", operand ? "" : o->name);
    return err_hint(e, "give another -o");
}

static void run(const struct tool *tool, struct tool_run *t, void *opts, int argc, char **argv, struct err *e)
{
    const struct opt_common *common = opts;
    t->set = opt_parse(tool->name, tool->groups, opts, argc, argv, &t->operands, e);
    if (!t->set) return;
    msg_init(tool->name, common->quiet, common->verbose, common->errors == ERRORS_JSON);
    if (!common->get) opt_notes(t->set);
    if (tool->max_operands >= 0 && t->operands.n > tool->max_operands) {
        err_set(e, E_USAGE, "found operand %s, expected at most %d", err_quotez(t->operands.v[tool->max_operands]),
                tool->max_operands);
        err_hint(e, "usage: %s %s", tool->name, tool->usage);
    } else if (common->get) {
        opt_print_value(t->set, common->get, stdout, e);
    } else if (common->print_config) {
        if (opt_print_yaml(t->set, stdout, false))
            err_set(e, E_ENCODING, "--print-config: an option's value is not UTF-8");
    } else if (!check_output(t, common, e)) {
        int rc = tool->run(t, opts, e);
        if (rc < 0 && !e->id) err_set(e, (enum err_id) - rc, "%s failed without a message", tool->name);
    }
}

int tool_main(const struct tool *tool, int argc, char **argv)
{
    bool json;
    struct err e = {0};
    struct tool_run t = {.tool = tool, .argc = argc, .argv = argv};
    fill_descriptors();
    setlocale(LC_CTYPE, ""); /* which characters stderr can show; numbers stay in the C locale */
    mem_on_exhausted(on_exhausted);
    catch_signals(tool);
    char **args = mem_alloc((size_t)argc + 1, sizeof *args); /* getopt permutes; t.argv stays as started */
    memcpy(args, argv, (size_t)argc * sizeof *args);
    void *opts = mem_alloc(tool->opts_size, 1);
    int wants = opt_wants(tool->groups, argc, argv, &json);
    msg_init(tool->name, false, false, json);
    if (wants == 'h')
        print_help(tool);
    else if (wants == 'V')
        print_version(tool);
    else
        run(tool, &t, opts, argc, args, &e);
    msg_progress(NULL);
    close_stdout(&e);
    out_cleanup_all();
    if (e.id) {
        msg_error(&e);
        if (err_exit_code(e.id) == 70) msg_note("this is a bug in %s %s; please report it", tool->name, peft_version);
    }
    opt_set_free(t.set);
    free(opts);
    free(args);
    return e.id ? err_exit_code(e.id) : 0;
}
