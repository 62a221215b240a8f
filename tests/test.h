/* test: what a C test needs. A test program prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why` for each case;
 * tests/run.sh counts them. A program that prints nothing, or exits non-zero, is a failure too. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_bad; /* checks failed in the current case */
static int test_failed;

#define CHECK(cond)                                                           \
    do {                                                                      \
        if (!(cond)) {                                                        \
            test_bad++;                                                       \
            fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond); \
        }                                                                     \
    } while (0)
#define CHECK_MSG(cond, ...)                                                  \
    do {                                                                      \
        if (!(cond)) {                                                        \
            test_bad++;                                                       \
            fprintf(stderr, "%s:%d: CHECK(%s): ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                     \
            fputc('\n', stderr);                                              \
        }                                                                     \
    } while (0)
#define CHECK_STR(a, b)                                                                                    \
    do {                                                                                                   \
        const char *a_ = (a), *b_ = (b);                                                                   \
        CHECK_MSG(a_ &&b_ && !strcmp(a_, b_), "\"%s\" != \"%s\"", a_ ? a_ : "(null)", b_ ? b_ : "(null)"); \
    } while (0)

/* Run one case: RUN(function, "name"); the function has no arguments. */
#define RUN(fn, name)                                       \
    do {                                                    \
        test_bad = 0;                                       \
        fn();                                               \
        if (test_bad) {                                     \
            printf("FAIL %s: %d checks\n", name, test_bad); \
            test_failed = 1;                                \
        } else {                                            \
            printf("ok %s\n", name);                        \
        }                                                   \
        fflush(stdout);                                     \
    } while (0)
#define SKIP(name, why) printf("skip %s: %s\n", name, why)
#endif
