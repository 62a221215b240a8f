/* text: speed of peft-prep and peft-tok as whole processes on a CSV of question,answer rows made up from the words of
 * some files.
 *
 * No machine has a limit for text; the yardstick is one pass of FNV-1a (a dependent multiplication a byte) over the
 * same bytes by one thread, so that a share says something about the program and not about the machine. The output goes
 * to /dev/null.
 *
 * usage: text BIN_DIR MODEL WORK_DIR MIB ROUNDS WORD_FILE...     figures text.prep, text.tok, their peak memory
 * (bench.h) */
#include <ctype.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "tests/bench/bench.h"

static struct buf words; /* NUL-separated */
static size_t *word_at, n_words, words_cap;

static void read_words(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) return;
    bool inside = false;
    for (int c; (c = getc(f)) != EOF;) {
        if (isalpha(c)) {
            if (!inside) {
                word_at = mem_grow(word_at, &words_cap, n_words + 1, sizeof *word_at);
                word_at[n_words++] = words.n;
            }
            buf_addc(&words, (char)c);
        } else if (inside) {
            buf_addc(&words, 0);
        }
        inside = isalpha(c);
    }
    if (inside) buf_addc(&words, 0);
    fclose(f);
}

static uint64_t lcg = 1;
static uint64_t pick(uint64_t n)
{
    lcg = lcg * 6364136223846793005u + 1442695040888963407u;
    return (lcg >> 33) % n;
}

/* Questions of 6 to 17 words, one in eight quoted with a comma, some with a number; answers of 1 to 4. */
static void make_rows(struct buf *b, size_t bytes)
{
    while (b->n < bytes) {
        bool quoted = !pick(8);
        if (quoted) buf_addc(b, '"');
        for (uint64_t i = 0, n = 6 + pick(12); i < n; i++) {
            if (i) buf_addz(b, quoted && i == 4 ? ", " : " ");
            if (pick(24))
                buf_addz(b, words.p + word_at[pick(n_words)]);
            else
                buf_printf(b, "%d", (int)pick(100000));
        }
        buf_addz(b, quoted ? "?\"," : "?,");
        for (uint64_t i = 0, n = 1 + pick(4); i < n; i++) {
            if (i) buf_addc(b, ' ');
            buf_addz(b, words.p + word_at[pick(n_words)]);
        }
        buf_addc(b, '\n');
    }
}

static double hash_mb_s(const struct buf *b)
{
    double t = bench_now();
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < b->n; i++) h = (h ^ (unsigned char)b->p[i]) * 1099511628211u;
    __asm__ volatile("" : : "m"(h));
    return (double)b->n / (bench_now() - t) * 1e-6;
}

/* Run a command with stdout to /dev/null; seconds, and its peak memory in MiB. */
static double run(char *const argv[], double *mib)
{
    double t = bench_now();
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        int null = open("/dev/null", O_WRONLY);
        if (null < 0 || dup2(null, STDOUT_FILENO) < 0) _exit(126);
        execv(argv[0], argv);
        _exit(127);
    }
    int status;
    struct rusage u;
    if (pid < 0 || wait4(pid, &status, 0, &u) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "text: %s failed\n", argv[0]);
        exit(1);
    }
    *mib = (double)u.ru_maxrss / 1024;
    return bench_now() - t;
}

static void measure(const char *name, char *const argv[], const struct buf *bytes, double text_bytes, int rounds,
                    const char *what)
{
    double value[BENCH_ROUNDS], peak[BENCH_ROUNDS], share[BENCH_ROUNDS], mib = 0;
    char memory[64];
    for (int r = 0; r < rounds; r++) {
        double before = hash_mb_s(bytes), m;
        value[r] = text_bytes * 1e-6 / run(argv, &m);
        peak[r] = 0.5 * (before + hash_mb_s(bytes));
        share[r] = value[r] / peak[r];
        if (m > mib) mib = m;
    }
    struct bench_speed s = {bench_median(value, rounds), bench_median(peak, rounds), bench_median(share, rounds)};
    bench_figure(stdout, "text, beside one FNV-1a pass", name, "MB/s", s, what);
    snprintf(memory, sizeof memory, "%s.memory", name);
    bench_figure(stdout, "memory and start", memory, "MiB", (struct bench_speed){mib, 0, 0}, "largest resident size");
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "usage: text BIN_DIR MODEL WORK_DIR MIB ROUNDS WORD_FILE...\n");
        return 64;
    }
    int rounds = atoi(argv[5]);
    if (rounds < 1 || rounds > BENCH_ROUNDS) rounds = 3;
    for (int i = 6; i < argc; i++) read_words(argv[i]);
    if (!n_words) return fprintf(stderr, "text: no words in %s\n", argv[6]), 1;
    char *path = mem_printf("%s/text.csv", argv[3]), *mpz = mem_printf("%s/text.mpz", argv[3]);
    char *prep = mem_printf("%s/peft-prep", argv[1]), *tok = mem_printf("%s/peft-tok", argv[1]);
    /* a MiB at a time: a child's peak memory counts what this process had when it forked */
    struct buf csv = {0};
    double bytes = 0;
    FILE *f = fopen(path, "w");
    if (!f) return perror(path), 1;
    fputs("question,answer\n", f);
    for (long i = 0; i < atol(argv[4]); i++) {
        csv.n = 0;
        make_rows(&csv, 1 << 20);
        bytes += (double)csv.n;
        fwrite(csv.p, 1, csv.n, f);
    }
    if (ferror(f) | fclose(f)) return perror(path), 1;
    double mib;
    measure("text.prep", (char *[]){prep, "-q", path, NULL}, &csv, bytes, rounds,
            "peft-prep of a CSV, whole process: MB of CSV a second");
    run((char *[]){prep, "-q", "-f", "-o", mpz, path, NULL}, &mib);
    measure("text.tok", (char *[]){tok, "-q", "-m", argv[2], mpz, NULL}, &csv, bytes, rounds,
            "peft-tok of the same rows, whole process: MB of CSV a second");
    unlink(path), unlink(mpz);
    free(path), free(mpz), free(prep), free(tok), free(word_at);
    buf_fini(&csv), buf_fini(&words);
    return 0;
}
