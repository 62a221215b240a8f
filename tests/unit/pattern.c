/* Expressions of target_modules against Python's re.fullmatch, as tests/parity/record_patterns.py recorded it; the file
 * may be named on the command line. */
#include <time.h>
#include "libcommon/peft/pattern.h"
#include "tests/test.h"

enum { PATHS = 64 };
static const char *file = "tests/parity/vectors/patterns.tsv";
static char *path[PATHS];
static int n_path, supported, refused;

static void read_paths(char *line)
{
    for (char *p = strtok(line, "\t"); p && n_path < PATHS; p = strtok(NULL, "\t")) path[n_path++] = strdup(p);
}

/* by_hand: it has to be supported if it is an expression in Python. */
static void one(const char *expression, const char *want, bool by_hand)
{
    struct err e = {0};
    const bool valid = strcmp(want, "error") != 0;
    struct pattern *p = pattern_new(expression, &e);
    if (!p) {
        CHECK_MSG(e.id == E_TARGET && strlen(e.msg) > 20, "%s: %s", expression, e.msg);
        CHECK_MSG(!valid || !by_hand, "%s is refused: %s", expression, e.msg);
        refused += valid;
        return;
    }
    CHECK_MSG(valid, "%s is no expression", expression);
    supported += valid;
    for (int i = 0; i < n_path && valid; i++) {
        int got = pattern_matches(p, path[i], &e);
        CHECK_MSG(got == want[i] - '0', "%s on %s: %d %s", expression, path[i], got, got < 0 ? e.msg : "");
    }
    pattern_free(p);
}

static void recorded(void)
{
    char line[4096];
    bool by_hand = false, first = true;
    FILE *in = fopen(file, "r");
    CHECK(in);
    while (in && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        char *tab = strrchr(line, '\t');
        if (first)
            read_paths(line), by_hand = !strstr(file, "random");
        else if (!tab)
            by_hand = false;
        else
            *tab = 0, one(line, tab + 1, by_hand);
        first = false;
    }
    if (in) fclose(in);
    fprintf(stderr, "%d expressions supported, %d refused that Python takes\n", supported, refused);
    CHECK(supported > 500 && refused < supported / 2);
}

/* What would take for ever ends soon, with an error that says why. */
static void endless(void)
{
    static const char *const bad[] = {"(a+)+b", "(a|a)*b", "((a*)*)*b", "(.*)*(.*)*(.*)*x", "(a?){40}a{40}b"};
    char text[81] = {0};
    memset(text, 'a', 80);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        const clock_t from = clock();
        struct pattern *p = pattern_new(bad[i], &e);
        int got = p ? pattern_matches(p, text, &e) : -1;
        CHECK_MSG(p && (got == 0 || (got == -E_TARGET && strstr(e.msg, "too many steps"))), "%s: %d %s", bad[i], got,
                  e.msg);
        CHECK(clock() - from < 2 * CLOCKS_PER_SEC);
        pattern_free(p);
    }
}

/* Sizes of the expression itself. */
static void bombs(void)
{
    struct err e = {0};
    char *big = calloc(1, 6000), deep[401] = {0};
    memset(big, 'a', 5999);
    CHECK(!pattern_new(big, &e) && strstr(e.msg, "at most 4096"));
    memset(deep, '(', 200), memset(deep + 200, ')', 200);
    e = (struct err){0};
    CHECK(!pattern_new(deep, &e) && strstr(e.msg, "too many groups"));
    e = (struct err){0};
    CHECK(!pattern_new("((((a{1000}){1000}){1000}){1000}){1000}", &e) && e.id == E_TARGET);
    free(big);
}

int main(int argc, char **argv)
{
    if (argc > 1) file = argv[1];
    RUN(recorded, "pattern: as Python's fullmatch");
    RUN(endless, "pattern: endless expressions");
    RUN(bombs, "pattern: too large");
    return test_failed;
}
