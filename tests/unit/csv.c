/* csv: text without bare quotes is split the same by the strict splitter and by libcsv, which reads lenient text; and
 * the strict one refuses exactly what has a bare quote. Random text of the bytes that matter, in lines and fields of
 * all shapes. */
#include "libcommon/format/csv.h"

#include "tests/test.h"

static uint64_t state = 88172645463325252u;
static unsigned pick(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

/* Rows and fields as one text, with their lines; how many rows had bare quotes. */
static int64_t split(const char *s, size_t n, char delimiter, bool lenient, struct buf *b, struct err *e)
{
    struct input *in = input_open_mem(s, n, "<memory>");
    struct csv *c = csv_open(in, ENC_UTF8, delimiter, lenient);
    struct csv_row row;
    uint64_t first;
    int rc;
    b->n = 0;
    while ((rc = csv_next(c, &row, e)) == 1) {
        buf_printf(b, "%llu:", (unsigned long long)row.line);
        for (int i = 0; i < row.n; i++) {
            buf_printf(b, "<%zu>", row.field[i].n);
            buf_add(b, row.field[i].p, row.field[i].n);
        }
        buf_addc(b, '\n');
    }
    int64_t bare = (int64_t)csv_bare_quotes(c, &first);
    csv_close(c);
    input_close(in);
    return rc < 0 ? rc : bare;
}

static void agrees(void)
{
    static const char bytes[] = "\"\"\"\",,\n\n\rab \t;";
    struct buf strict = {0}, lenient = {0};
    int good = 0, refused = 0;
    for (int k = 0; k < 200000; k++) {
        char s[24];
        size_t n = pick(sizeof s);
        for (size_t i = 0; i < n; i++) s[i] = bytes[pick(sizeof bytes - 1)];
        struct err e = {0}, f = {0};
        char delimiter = ",;\t"[pick(3)];
        int64_t a = split(s, n, delimiter, false, &strict, &e), z = split(s, n, delimiter, true, &lenient, &f);
        bool same = strict.n == lenient.n && (!strict.n || !memcmp(strict.p, lenient.p, strict.n));
        if (a == 0) {
            good++;
            CHECK_MSG(z == 0 && same, "%s: strict %s lenient %s (%d bare)", err_quote(s, n),
                      err_quote(strict.p, strict.n), err_quote(lenient.p, lenient.n), (int)z);
        } else {
            refused++;
            CHECK_MSG(a == -E_CSV_QUOTE && z != 0, "%s: %s", err_quote(s, n), e.msg);
        }
    }
    CHECK(good > 20000 && refused > 20000);
    buf_fini(&strict);
    buf_fini(&lenient);
}

static void places(void)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"a,b\n1,2\"3\n", "<memory>:2:4: quote inside a field that does not begin with one"},
        {"a,b\n\"1\n2\"x,3\n", "<memory>:3:3: text behind the closing quote of the field that began at "
                               "line 2, column 1"},
        {"a,b\n1,\"2\n\n3", "<memory>:2:3: unterminated quote (the record began on line 2)"},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        CHECK(split(cases[i].text, strlen(cases[i].text), ',', false, &b, &e) == -E_CSV_QUOTE);
        CHECK_STR(e.msg, cases[i].said);
    }
    buf_fini(&b);
}

int main(void)
{
    RUN(agrees, "csv: strict and lenient agree on 200000 random texts");
    RUN(places, "csv: errors name line and column");
    return test_failed;
}
