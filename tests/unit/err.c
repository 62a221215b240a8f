/* err: filling once, ids and codes, quoting of untrusted text, nearest names; and utf8, on which the quoting stands. */
#include "libcommon/base/err.h"

#include <errno.h>
#include <locale.h>

#include "libcommon/base/utf8.h"
#include "tests/test.h"

static void first_error_wins(void)
{
    struct err e = {0};
    CHECK(err_set(&e, E_CSV_QUOTE, "data.csv:%d: bad", 17) == -E_CSV_QUOTE);
    CHECK(err_set(&e, E_IO, "later") == -E_CSV_QUOTE);
    errno = ENOSPC;
    CHECK(err_sys(&e, E_IO, "later") == -E_CSV_QUOTE);
    CHECK_STR(e.msg, "data.csv:17: bad");
    CHECK(err_hint(&e, "first %s", "hint") == -E_CSV_QUOTE);
    err_hint(&e, "second");
    CHECK_STR(e.hint, "first hint\nsecond");
    err_prefix(&e, "layer %d: ", 3);
    CHECK_STR(e.msg, "layer 3: data.csv:17: bad");
}

static void long_texts_are_cut(void)
{
    struct err e = {0};
    char big[8000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_set(&e, E_IO, "%s", big);
    err_hint(&e, "%s", big);
    err_hint(&e, "%s", big);
    err_prefix(&e, "%s", big);
    CHECK(strlen(e.msg) == sizeof e.msg - 1);
    CHECK(strlen(e.hint) == sizeof e.hint - 1);
}

static void errno_chooses_the_id(void)
{
    static const struct {
        int no;
        enum err_id given, want;
    } c[] = {{ENOSPC, E_CREATE, E_IO}, {EIO, E_NOINPUT, E_IO},         {EDQUOT, E_CREATE, E_IO},
             {EFBIG, E_CREATE, E_IO},  {ENOENT, E_NOINPUT, E_NOINPUT}, {EACCES, E_CREATE, E_CREATE},
             {ENOMEM, E_IO, E_NOMEM}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct err e = {0};
        errno = c[i].no;
        CHECK_MSG(err_sys(&e, c[i].given, "f") == -(int)c[i].want, "errno %d", c[i].no);
        CHECK(!strncmp(e.msg, "f: ", 3) && strstr(e.msg, strerror(c[i].no)));
    }
}

static void names_and_codes(void)
{
    CHECK_STR(err_name(E_CSV_QUOTE), "E-CSV-QUOTE");
    CHECK(err_exit_code(E_USAGE) == 64 && err_exit_code(E_CONFIG) == 78 && err_exit_code(E_IO) == 74);
    CHECK(err_exit_code(E_COUNT) == 70 && err_exit_code(-1) == 70 && err_exit_code(0) == 70);
    static const int documented[] = {1, 64, 65, 66, 69, 70, 71, 73, 74, 75, 76, 77, 78, 80, 81, 82};
    for (int id = 1; id < E_COUNT; id++) {
        int found = 0;
        for (size_t i = 0; i < sizeof documented / sizeof *documented; i++) found |= documented[i] == err_exit_code(id);
        CHECK_MSG(found && !strncmp(err_name(id), "E-", 2), "%s: %d", err_name(id), err_exit_code(id));
    }
}

static void quoting(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    CHECK_STR(err_quotez("plain"), "'plain'");
    CHECK_STR(err_quotez("a'b\\c\n\t"), "'a\\'b\\\\c\\n\\t'");
    CHECK_STR(err_quote("a\0b\033[2J\x7f", 8), "'a\\x00b\\x1b[2J\\x7f'");
    CHECK_STR(err_quotez("gr\xc3\xbc\xc3\x9f"), "'gr\xc3\xbc\xc3\x9f'");
    CHECK_STR(err_quotez("\xc2\x9b"
                         "31m\xff"),
              "'\\xc2\\x9b31m\\xff'");
    CHECK_STR(err_quotez("a\xe2\x80\xae"
                         "b"),
              "'a\\xe2\\x80\\xaeb'"); /* right-to-left override */
    CHECK_STR(err_quotez(NULL), "(null)");
    setlocale(LC_CTYPE, "C");
    CHECK_STR(err_quotez("\xc3\x9f"), "'\\xc3\\x9f'");
    char long_text[200];
    memset(long_text, '\1', sizeof long_text);
    const char *q = err_quote(long_text, sizeof long_text);
    CHECK(strlen(q) == 80 * 4 + 5 && !strcmp(q + strlen(q) - 4, "...'"));
    setlocale(LC_CTYPE, "C.UTF-8");
    for (size_t i = 0; i + 4 <= sizeof long_text; i += 4) memcpy(long_text + i, "\xf3\xa0\x80\x81", 4);
    CHECK(strlen(err_quote(long_text, sizeof long_text)) <= 80 * 16 + 6);
    const char *a = err_quotez("1"), *b = err_quotez("2"), *c = err_quotez("3"), *d = err_quotez("4");
    CHECK(!strcmp(a, "'1'") && !strcmp(b, "'2'") && !strcmp(c, "'3'") && !strcmp(d, "'4'"));
}

static void nearest(void)
{
    static const char *const names[] = {"lora-r", "lora-alpha", "lr", "epochs", "batch-size"};
    CHECK_STR(err_nearest("lora-alhpa", names, 5), "lora-alpha");
    CHECK_STR(err_nearest("lora_alpha", names, 5), "lora-alpha");
    CHECK_STR(err_nearest("batchsize", names, 5), "batch-size");
    CHECK_STR(err_nearest("epoch", names, 5), "epochs");
    CHECK(!err_nearest("zzzz", names, 5));
    CHECK(!err_nearest("", names, 5));
    CHECK(!err_nearest("x", names, 5));
    char big[500];
    memset(big, 'l', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    CHECK(!err_nearest(big, names, 5));
}

static void utf8(void)
{
    uint32_t c;
    CHECK(utf8_next("", 0, &c) == 0);
    CHECK(utf8_next("\xf0\x9f\x9a\x80", 4, &c) == 4 && c == 0x1f680);
    CHECK(utf8_next("\xf0\x9f\x9a", 3, &c) == 0);
    CHECK(utf8_next("\xed\x9f\xbf", 3, &c) == 3 && c == 0xd7ff);
    static const char *const bad[] = {"\x80",         "\xc0\xaf",         "\xc1\xbf",         "\xe0\x80\xaf",
                                      "\xed\xa0\x80", "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                      "\xfe",         "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_MSG(!utf8_next(bad[i], strlen(bad[i]), &c), "%zu", i);
    CHECK(utf8_valid("ab\xc3\xa9\xff", 5) == 4);
    CHECK(utf8_valid("abc", 3) == 3);
}

int main(void)
{
    RUN(first_error_wins, "err/first-wins");
    RUN(long_texts_are_cut, "err/cut");
    RUN(errno_chooses_the_id, "err/errno");
    RUN(names_and_codes, "err/codes");
    RUN(quoting, "err/quote");
    RUN(nearest, "err/nearest");
    RUN(utf8, "utf8/well-formed");
    return test_failed;
}
