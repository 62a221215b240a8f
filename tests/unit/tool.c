/* tool: what a process shows to the shell: exit codes, messages, help, signals, and the closing of stdout. */
#include "libcommon/base/tool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "tests/test.h"

struct options {
    struct opt_common common;
    char *act;
};
static const struct opt rows[] = {
    {.name = "act", .type = OPT_STR, .off = offsetof(struct options, act), .section = "training", .help = "what to do"},
    OPT_END,
};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {0}};
static char dir[] = "/tmp/peft-tool-XXXXXX";
static char file[64];

static int run(struct tool_run *t, void *opts, struct err *e)
{
    const struct options *o = opts;
    const char *act = o->act ? o->act : "";
    struct out out;
    if (!strcmp(act, "fail")) {
        err_set(e, E_CSV_QUOTE, "data.csv:3:1: unterminated quote");
        return err_hint(e, "first\nsecond");
    }
    if (!strcmp(act, "control")) return err_set(e, E_IO, "a\033[2Jb");
    if (!strcmp(act, "silent")) return -E_IO;
    if (!strcmp(act, "bug")) return err_set(e, E_BUG, "impossible");
    if (!strcmp(act, "memory")) mem_alloc(SIZE_MAX / 2, 3);
    if (!strcmp(act, "say")) {
        msg_warn("w %d", 1);
        msg_note("n \"x\"");
        msg_debug("d");
        msg_progress("never on a file");
        msg_account(3, 2, 1, "too_long:1");
    }
    if (!strcmp(act, "args")) printf("%d %s %d\n", t->argc, t->argv[1], t->operands.n);
    if (!strcmp(act, "print")) puts("data");
    if (!strcmp(act, "signal") || !strcmp(act, "leave")) {
        if (out_open(&out, file, true, true, e) || out_write(&out, "x", 1, e)) return -e->id;
        if (!strcmp(act, "signal")) raise(SIGTERM);
        return err_set(e, E_NOROWS, "left open");
    }
    return 0;
}

static const struct tool tool = {.name = "peft-x",
                                 .summary = "Test.",
                                 .usage = "[FILE]",
                                 .example = "peft-x a",
                                 .groups = groups,
                                 .opts_size = sizeof(struct options),
                                 .max_operands = 1,
                                 .run = run};

static char said[2][1 << 15]; /* stdout, stderr of the last child */
static int status;

/* Run tool_main in a child; stdout goes to a file, or to `to`. The exit code, or 1000 + the signal. */
static int go(const char *line, const char *to)
{
    char text[256], names[2][80];
    char *argv[16];
    int argc = 0;
    snprintf(text, sizeof text, "peft-x %s", line);
    for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
    argv[argc] = NULL;
    snprintf(names[0], sizeof names[0], "%s/stdout", dir);
    snprintf(names[1], sizeof names[1], "%s/stderr", dir);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int out = to ? open(to, O_WRONLY) : open(names[0], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int err = open(names[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(120);
        _exit(tool_main(&tool, argc, argv));
    }
    waitpid(pid, &status, 0);
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(names[i], "r");
        size_t n = f ? fread(said[i], 1, sizeof said[i] - 1, f) : 0;
        said[i][n] = '\0';
        if (f) fclose(f);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void messages(void)
{
    CHECK(go("", NULL) == 0 && !*said[0] && !*said[1]);
    CHECK(go("--act fail", NULL) == 65);
    CHECK_STR(said[1], "peft-x: error: data.csv:3:1: unterminated quote [E-CSV-QUOTE]\npeft-x: "
                       "hint: first\npeft-x: hint: second\n");
    CHECK(go("--act fail --errors json", NULL) == 65);
    CHECK_STR(said[1], "{\"tool\":\"peft-x\",\"level\":\"error\",\"id\":\"E-CSV-QUOTE\",\"code\":65,"
                       "\"message\":\"data.csv:3:1: unterminated quote\",\"hint\":\"first\\nsecond\"}\n");
    CHECK(go("--act control", NULL) == 74);
    CHECK_STR(said[1], "peft-x: error: a\\x1b[2Jb [E-IO]\n");
    CHECK(go("--act silent", NULL) == 74 && strstr(said[1], "failed without a message [E-IO]"));
    CHECK(go("--act bug", NULL) == 70 && strstr(said[1], "this is a bug in peft-x"));
    CHECK(go("--act memory", NULL) == 71 && strstr(said[1], "[E-NOMEM]"));
    CHECK(go("--bogus", NULL) == 64 && strstr(said[1], "peft-x: error: unknown option '--bogus' [E-USAGE]\n"));
    CHECK(go("--bogus --errors=json", NULL) == 64 && said[1][0] == '{');
    CHECK(go("a b", NULL) == 64 && strstr(said[1], "found operand 'b', expected at most 1"));
    CHECK(go("a --act args", NULL) == 0);
    CHECK_STR(said[0], "4 a 1\n");
}

static void levels(void)
{
    CHECK(go("--act say", NULL) == 0);
    CHECK_STR(said[1], "peft-x: warning: w 1\npeft-x: note: n \"x\"\npeft-x: in=3 out=2 dropped=1 "
                       "reason=too_long:1\n");
    CHECK(go("--act say -q", NULL) == 0);
    CHECK_STR(said[1], "peft-x: warning: w 1\n");
    CHECK(go("--act say -v", NULL) == 0 && strstr(said[1], "peft-x: debug: d\n"));
    CHECK(go("--act say --errors json", NULL) == 0);
    CHECK_STR(said[1], "{\"tool\":\"peft-x\",\"level\":\"warning\",\"message\":\"w 1\"}\n"
                       "{\"tool\":\"peft-x\",\"level\":\"note\",\"message\":\"n \\\"x\\\"\"}\n"
                       "{\"tool\":\"peft-x\",\"level\":\"account\",\"in\":3,\"out\":2,\"dropped\":"
                       "1,\"reason\":\"too_long:1\"}\n");
}

static void help_and_version(void)
{
    CHECK(go("--bogus -h", NULL) == 0 && !*said[1]);
    CHECK(!strncmp(said[0], "Usage: peft-x [FILE]\nTest.\nExample: peft-x a\n", 44));
    CHECK(strstr(said[0], "--act VALUE"));
    CHECK(go("-V", NULL) == 0 && !strncmp(said[0], "peft-x ", 7) && strstr(said[0], peft_version) &&
          strstr(said[0], "CUDA: "));
    CHECK(go("--print-config --act x", NULL) == 0 && strstr(said[0], "training:\n  act: \"x\"  # --act: what to do\n"));
}

static void one_value(void)
{
    CHECK(go("--get training.act --act a;b", NULL) == 0);
    CHECK_STR(said[0], "a;b\n");
    CHECK(go("--get seed", NULL) == 0);
    CHECK_STR(said[0], "42\n");
    CHECK(go("--get training.act", NULL) == 78 && !*said[0] &&
          strstr(said[1], "training.act: has no value [E-CONFIG]"));
    CHECK(go("--print-config a b c", NULL) == 64 && !*said[0]);
    CHECK(go("--get training.atc", NULL) == 64 && !*said[0] && strstr(said[1], "did you mean training.act?"));
    CHECK(go("--get dataset.path", NULL) == 64 && !*said[0] && strstr(said[1], "peft-prep"));
}

static void config_lines(void)
{
    char line[128], name[64];
    snprintf(name, sizeof name, "%s/c.yaml", dir);
    FILE *f = fopen(name, "w");
    CHECK(f && fputs("training: {atc: 1}\nseed: x\n", f) > 0 && !fclose(f));
    snprintf(line, sizeof line, "-c %s", name);
    CHECK(go(line, NULL) == 78);
    char *first = strstr(said[1], "unknown key 'training.atc'; did you mean training.act? [E-CONFIG]\npeft-x: error: ");
    CHECK(first && strstr(first, "c.yaml:2:7: seed: found 'x', expected an integer of at least 0 [E-CONFIG]\n"));
}

static void stdout_is_checked(void)
{
    if (!access("/dev/full", W_OK)) {
        CHECK(go("--act print", "/dev/full") == 74 &&
              strstr(said[1], "<stdout>: cannot write: No space left on device [E-IO]"));
        CHECK(go("-h", "/dev/full") == 74);
    }
    CHECK(go("--act print", "/dev/null") == 0);
}

static void unfinished_outputs(void)
{
    snprintf(file, sizeof file, "%s/result", dir);
    CHECK(go("--act signal", NULL) == 1000 + SIGTERM);
    CHECK(!file_exists(file));
    CHECK(go("--act leave", NULL) == 65 && !file_exists(file));
    char command[128];
    snprintf(command, sizeof command, "test -z \"$(ls -A %s | grep result)\"", dir);
    CHECK(system(command) == 0);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL);
    RUN(messages, "tool/messages");
    RUN(levels, "msg/levels");
    RUN(help_and_version, "tool/help");
    RUN(one_value, "tool/get");
    RUN(config_lines, "tool/config");
    RUN(stdout_is_checked, "tool/stdout");
    RUN(unfinished_outputs, "tool/unfinished");
    tree_remove(dir);
    return test_failed;
}
