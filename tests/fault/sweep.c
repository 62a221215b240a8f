/* sweep: run one command again and again, each time with one fault, and hold it to what every tool promises: exit 0
 * with the same bytes as without a fault, or a documented exit with one message, no half output and no temporary; never
 * a signal, never a hang.
 *
 * usage: sweep KIND EVERY SEED SHIM DIR NAME COMMAND [ARG]...
 *
 * - memory: every allocation fails, alone and with all after it
 *
 * - calls: every call of shim.def fails, with each errno that fits
 *
 * - limits: file size, address space and descriptors, from nothing to enough
 *
 * - space: a file system of its own, in memory, from one page to enough, and with few inodes; given more room the same
 * command ends whole. It mounts: in a name space of its own (unshare -rm)
 *
 * - kill: SIGKILL at random moments, in chains; the next run ends with the same bytes
 *
 * - signals: SIGTERM, SIGINT, SIGHUP at random moments, some twice
 *
 * Of the faults one of EVERY is tried, chosen by SEED; of kills and signals 1000/EVERY. The command runs in DIR, which
 * is emptied before. If NAME begins with "train" the output may hold checkpoints after an error. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/fault/tree.h"

static const int exits[] = {
#define ERR(id, text, code, meaning) code,
#include "libcommon/base/errors.def"
#undef ERR
};

static const struct {
    const char *name;
    const char *how[6];
} faults[] = {
    {"mmap", {"12"}},
    {"read", {"5", "4", "short"}},
    {"write", {"28", "28+", "5", "4", "short", "short+"}},
    {"pwrite", {"28", "5", "4", "short"}},
    {"fsync", {"28", "5"}},
    {"close", {"28", "5"}},
    {"open", {"24", "24+", "13", "5"}},
    {"openat", {"24", "5"}},
    {"fstat", {"5"}},
    {"stat", {"5", "13"}},
    {"lstat", {"5", "13"}},
    {"opendir", {"24", "13"}},
    {"mkdir", {"28", "13"}},
    {"rename", {"28", "5", "13"}},
    {"renameat2", {"28", "5", "22"}},
    {"unlink", {"5", "13"}},
    {"unlinkat", {"5", "13"}},
    {"flock", {"11", "37"}},
};

static const char *shim, *dir, *name;
static char **command;
static char out_name[4096], count_name[4096];
static char said[1 << 16]; /* on stderr */
static int said_fd = -1;
static struct tree want, got;
static uint64_t want_out;
static double want_s;
static long every, turn, points, refused, whole, bad;
static unsigned rng;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void complain(const char *what, const char *detail, const char *fault)
{
    if (++bad <= 20) fprintf(stderr, "%s: %s: %s %s\n%.2000s", name, fault, what, detail, said);
}

/* Start the command; limit < 0: none. */
static pid_t start(const char *fault, int limit, rlim_t value)
{
    int err[2];
    if (pipe(err)) exit(70);
    pid_t pid = fork();
    if (pid) {
        close(err[1]);
        said_fd = err[0];
        return pid;
    }
    int in = open("/dev/null", O_RDONLY), out = open(out_name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err[1], 2) < 0 || chdir(dir)) _exit(120);
    for (int fd = 3; fd < 64; fd++) close(fd);
    if (limit >= 0 && setrlimit((__rlimit_resource_t)limit, &(struct rlimit){value, value})) _exit(120);
    if (fault) setenv("FAULT", fault, 1);
    if (fault) setenv("LD_PRELOAD", shim, 1);
    if (fault && !*fault) setenv("FAULT_COUNT", count_name, 1);
    execvp(command[0], command);
    _exit(120);
}

/* Is a thread of it ready to run, or waiting for a disk? Then it lacks a processor, as on a machine with other work,
 * and no more than that. */
static bool starved(pid_t pid)
{
    char path[300], line[512];
    bool ready = false;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *t; d && (t = readdir(d));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.200s/stat", (int)pid, t->d_name);
        FILE *f = fopen(path, "r");
        const char *state = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        ready |= state && (state[2] == 'R' || state[2] == 'D');
        if (f) fclose(f);
    }
    if (d) closedir(d);
    return ready;
}

/* Wait for it and read what it says; its status, or -1 for a hang: 30 s, or five minutes if it would run. */
static int finish(pid_t pid)
{
    int status = 0;
    bool ended = false;
    const double begin = seconds();
    for (double end = begin + 30; !ended && (seconds() < end || (seconds() < begin + 300 && starved(pid)));) {
        ended = waitpid(pid, &status, WNOHANG) == pid;
        if (!ended) usleep(200);
    }
    if (!ended) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    ssize_t n = read(said_fd, said, sizeof said - 1); /* a pipe holds as much */
    said[n < 0 ? 0 : n] = '\0';
    close(said_fd);
    return ended ? status : -1;
}

static bool documented(int code)
{
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        if (exits[i] == code && code != 70) return true;
    return false;
}

/* Did it say "peft-x: error: ... [E-...]", once? */
static bool has_message(void)
{
    const char *error = strstr(said, ": error: ");
    return !strncmp(said, "peft-", 5) && error && strstr(error, " [E-") && !strstr(error + 1, ": error: ");
}

/* A checkpoint that could not be looked at stays, with a word about it. */
static bool is_kept_checkpoint(const char *file) { return strstr(file, "checkpoints/") && strstr(said, ": warning: "); }

/* The promises, after a run that ended with status. code: the exit that the fault has to lead to, 0 for any documented
 * one, -1 if the command has to succeed. */
static void judge(int status, int code, const char *fault)
{
    char number[32];
    points++;
    tree_read(&got, dir);
    snprintf(number, sizeof number, "%d",
             status < 0            ? -1
             : WIFSIGNALED(status) ? WTERMSIG(status)
                                   : WEXITSTATUS(status));
    if (status == -1) return complain("hang", "", fault);
    if (WIFSIGNALED(status)) return complain("signal", number, fault);
    const char *left = strncmp(fault, "unlink", 6) ? tree_temporary(&got) : NULL;
    if (left) return complain("left behind:", left, fault);
    if (!WEXITSTATUS(status)) {
        whole++;
        const char *other = tree_beyond(&got, &want);
        if (!other) other = tree_beyond(&want, &got);
        if (other && is_kept_checkpoint(other)) return;
        if (other) return complain("exit 0 with other output:", other, fault);
        /* a run goes on without its reader, and a resumed one says less */
        bool may_differ = !strncmp(name, "train", 5) && (code < 0 || strstr(said, ": warning: "));
        if (!may_differ && hash_file(out_name) != want_out) complain("exit 0 with other", "<stdout>", fault);
        return;
    }
    refused++;
    if (code ? WEXITSTATUS(status) != code : !documented(WEXITSTATUS(status))) return complain("exit", number, fault);
    if (!has_message()) return complain("no message, exit", number, fault);
    const char *half = strncmp(name, "train", 5) ? tree_beyond(&got, &want) : NULL;
    if (half) complain("half an output:", half, fault);
}

/* One point of `every`, by a hash: a stride would always meet the same of the few ways in which each call is made to
 * fail. */
static bool my_turn(void) { return ((uint64_t)turn++ * 0x9e3779b97f4a7c15u >> 33) % (uint64_t)every == 0; }

static void try(const char *fn, long k, const char *how, int code)
{
    char fault[64];
    if (!my_turn()) return;
    snprintf(fault, sizeof fault, "%s:%ld:%s", fn, k, how);
    tree_empty(dir);
    judge(finish(start(fault, -1, 0)), code, fault);
}

/* How often the command calls fn. */
static long count(const char *fn)
{
    char line[128];
    long n = 0;
    FILE *f = fopen(count_name, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, fn, strlen(fn)) && line[strlen(fn)] == ' ') n = atol(line + strlen(fn));
    if (f) fclose(f);
    return n;
}

static void memory(void)
{
    for (long k = 0, n = count("malloc"); k < n; k++) {
        try("malloc", k, "12", 71);
        try("malloc", k, "12+", 71);
    }
}

static void calls(void)
{
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++)
        for (int h = 0; h < 6 && faults[f].how[h]; h++) {
            const char *how = faults[f].how[h];
            bool harmless = !strcmp(how, "4") || !strncmp(how, "short", 5); /* interrupted, or half: to be continued */
            for (long k = 0, n = count(faults[f].name); k < n; k++) try(faults[f].name, k, how, harmless ? -1 : 0);
        }
}

static void limits(void)
{
    static const struct {
        const char *what;
        int limit;
        rlim_t first, last;
        int code; /* 0: any */
    } of[] = {{"file size", RLIMIT_FSIZE, 0, 4 << 20, 74},
              {"descriptors", RLIMIT_NOFILE, 4, 16, 0},
              {"address space", RLIMIT_AS, 24 << 20, 1 << 28, 0}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        for (rlim_t v = of[i].first; v <= of[i].last; v += v < 64 && of[i].limit == RLIMIT_NOFILE ? 1
                                                           : v < 64                               ? 16
                                                                                                  : v / 16) {
            char fault[64];
            if (!my_turn()) continue;
            snprintf(fault, sizeof fault, "%s %lu", of[i].what, (unsigned long)v);
            tree_empty(dir);
            int status = finish(start(NULL, of[i].limit, v));
            /* below a certain size the dynamic linker ends the process: 127, and nothing of ours has run */
            if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 127) continue;
            judge(status, of[i].code, fault);
        }
}

static double random_s(void)
{
    rng = rng * 1664525u + 1013904223u;
    return want_s * 1.05 * (rng >> 8) / (1 << 24);
}

/* Run until it ends by itself; then it has to be whole. */
static void ends_whole(const char *fault)
{
    int status = finish(start(NULL, -1, 0));
    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status)) {
        complain("the run after it failed", "", fault);
        return;
    }
    judge(status, -1, fault);
}

/* Was it enough? */
static bool full(const char *what, unsigned long n)
{
    char fault[64], how[64];
    if (!my_turn()) return false;
    snprintf(fault, sizeof fault, "%s %lu", what, n);
    snprintf(how, sizeof how, "%s=%lu", what, n);
    tree_empty(dir);
    if (mount("tmpfs", dir, "tmpfs", 0, how)) {
        complain("cannot mount", strerror(errno), fault);
        return true;
    }
    int status = finish(start(NULL, -1, 0)), code = status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    judge(status, 0, fault);
    if (code && code != 73 && code != 74) complain("exit is none of a full disk", "", fault);
    if (mount(NULL, dir, NULL, MS_REMOUNT, "size=1g,nr_inodes=10000"))
        complain("cannot remount", strerror(errno), fault);
    else if (code)
        ends_whole(fault);
    umount2(dir, MNT_DETACH);
    return !code;
}

static void space(void)
{
    for (unsigned long v = 4096; v <= 16 << 20 && !full("size", v); v += (v / 16 + 4095) & ~4095ul) continue;
    for (unsigned long v = 2; v <= 64 && !full("nr_inodes", v); v++) continue;
}

static void kills(void)
{
    char fault[64];
    for (long done = 0, n = (1000 + every - 1) / every; done < n;) {
        tree_empty(dir);
        for (int chain = 1 + (int)(rng >> 16) % 4; chain > 0; chain--, done++) {
            double s = random_s();
            snprintf(fault, sizeof fault, "kill after %.4f s", s);
            pid_t pid = start(NULL, -1, 0);
            usleep((useconds_t)(s * 1e6));
            kill(pid, SIGKILL);
            finish(pid);
            tree_read(&got, dir);
            const char *half = strncmp(name, "train", 5) ? tree_beyond(&got, &want) : NULL;
            if (half) complain("half an output:", half, fault);
        }
        ends_whole(fault);
    }
}

static void signals(void)
{
    static const int sigs[] = {SIGTERM, SIGINT, SIGHUP};
    char fault[64];
    for (long i = 0, n = (1000 + every - 1) / every; i < n; i++) {
        double s = random_s();
        int sig = sigs[rng % 3];
        bool twice = rng >> 10 & 1;
        snprintf(fault, sizeof fault, "signal %d%s after %.4f s", sig, twice ? " twice" : "", s);
        tree_empty(dir);
        pid_t pid = start(NULL, -1, 0);
        usleep((useconds_t)(s * 1e6));
        kill(pid, sig);
        if (twice) usleep(1000);
        if (twice) kill(pid, sig);
        int status = finish(pid);
        tree_read(&got, dir);
        /* a second signal may meet the removal */
        const char *left = twice || strncmp(name, "train", 5) == 0 ? NULL : tree_temporary(&got);
        bool died = status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == sig;
        bool ended = status != -1 && WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 75);
        if (!died && !ended) complain("did not end by it", "", fault);
        if (left) complain("left behind:", left, fault);
        ends_whole(fault);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } kinds[] = {{"memory", memory}, {"calls", calls}, {"limits", limits},
                 {"space", space},   {"kill", kills},  {"signals", signals}};
    if (argc < 8) {
        fprintf(stderr, "usage: sweep KIND EVERY SEED SHIM DIR NAME COMMAND [ARG]...\n");
        return 64;
    }
    void (*run)(void) = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, argv[1])) run = kinds[i].run;
    every = atol(argv[2]);
    rng = (unsigned)atol(argv[3]) * 2654435761u + 1;
    shim = argv[4], dir = argv[5], name = argv[6], command = argv + 7;
    if (!run || every < 1) return 64;
    turn = (long)(rng >> 8);
    snprintf(out_name, sizeof out_name, "%s.out", dir);
    snprintf(count_name, sizeof count_name, "%s.count", dir);
    mkdir(dir, 0700);
    tree_empty(dir);
    double t = seconds();
    int status = finish(start("", -1, 0));
    want_s = seconds() - t;
    tree_read(&want, dir);
    want_out = hash_file(out_name);
    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status)) {
        complain("fails without a fault", "", "none");
        printf("FAIL fault.%s.%s: the command fails without a fault\n", argv[1], name);
        return 0;
    }
    run();
    if (bad)
        printf("FAIL fault.%s.%s: %ld of %ld points (seed %s)\n", argv[1], name, bad, points, argv[3]);
    else
        printf("ok fault.%s.%s: %ld points, %ld refused, %ld whole (seed %s, %.0f s)\n", argv[1], name, points, refused,
               whole, argv[3], seconds() - t);
    return 0;
}
