/* test: what a C test needs. A test program prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why` for each case;
 * tests/run.sh counts them. A program that prints nothing, or exits non-zero, is a failure too. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_bad; /* checks failed in the current case */
static int test_failed;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            test_bad++;                                                                            \
            fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond);                      \
        }                                                                                          \
    } while (0)
#define CHECK_MSG(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            test_bad++;                                                                            \
            fprintf(stderr, "%s:%d: CHECK(%s): ", __FILE__, __LINE__, #cond);                      \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
        }                                                                                          \
    } while (0)
#define CHECK_STR(a, b)                                                                            \
    CHECK_MSG((a) && (b) && !strcmp((a), (b)), "\"%s\" != \"%s\"", (a) ? (a) : "(null)", (b) ? (b) : "(null)")

/* Run one case: RUN(function, "name"); the function has no arguments. */
#define RUN(fn, name)                                                                              \
    do {                                                                                           \
        test_bad = 0;                                                                              \
        fn();                                                                                      \
        if (test_bad) {                                                                            \
            printf("FAIL %s: %d checks\n", name, test_bad);                                        \
            test_failed = 1;                                                                       \
        } else {                                                                                   \
            printf("ok %s\n", name);                                                               \
        }                                                                                          \
        fflush(stdout);                                                                            \
    } while (0)
#define SKIP(name, why) printf("skip %s: %s\n", name, why)
#endif
