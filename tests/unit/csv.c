/* csv: strict reading is libcsv's in its strict mode, for rows and refusals alike; lenient reading is that of Python's
 * csv module, and libcsv's where text does not follow a closing quote; without quoting a line is a row. Random text of
 * the bytes that matter, in lines and fields of all shapes: over a million rows in the long tier. */
#include "libcommon/format/csv.h"

#include <csv.h>
#include "tests/test.h"

static uint64_t state = 88172645463325252u;
static unsigned pick(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

static void add_field(struct buf *b, const char *p, size_t n)
{
    buf_printf(b, "<%zu>", n);
    buf_add(b, p, n);
}

/* Rows and fields as one text; how many rows had bare quotes. */
static int64_t split(struct str s, char delimiter, enum csv_quoting quoting, struct buf *b, struct err *e)
{
    struct input *in = input_open_mem(s.p, s.n, "<memory>");
    struct csv *c = csv_open(in, ENC_UTF8, delimiter, quoting);
    struct csv_row row;
    uint64_t first;
    int rc;
    b->n = 0;
    while ((rc = csv_next(c, &row, e)) == 1) {
        for (int i = 0; i < row.n; i++) add_field(b, row.field[i].p, row.field[i].n);
        buf_addc(b, '\n');
    }
    int64_t bare = (int64_t)csv_bare_quotes(c, &first);
    csv_close(c);
    input_close(in);
    return rc < 0 ? rc : bare;
}

static void lib_field(void *p, size_t n, void *b) { add_field(b, p, n); }
static void lib_row(int terminator, void *b)
{
    (void)terminator;
    buf_addc(b, '\n');
}
static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

/* libcsv alone over the whole text; -1: it refuses. */
static int by_libcsv(struct str s, char delimiter, int options, struct buf *b)
{
    struct csv_parser p;
    b->n = 0;
    csv_init(&p, (unsigned char)options);
    csv_set_delim(&p, (unsigned char)delimiter);
    csv_set_space_func(&p, no_space);
    bool good = csv_parse(&p, s.p, s.n, lib_field, lib_row, b) == s.n && !csv_fini(&p, lib_field, lib_row, b);
    csv_free(&p);
    return good ? 0 : -1;
}

/* As Python reads it: behind a closing quote a field goes on without quoting. How many fields did; -1: the quoted part
 * of one of them has several lines, or a quote is never closed. */
static int by_hand(struct str s, char delimiter, bool quoting, struct buf *b)
{
    struct buf field = {0};
    size_t i = 0;
    int behind = 0;
    bool bad = false;
    b->n = 0;
    while (i < s.n && !bad) {
        if (s.p[i] == '\n' || s.p[i] == '\r') {
            i++;
            continue;
        }
        for (bool more = true; more && !bad;) { /* the fields of a row */
            bool lines = false, was_quoted = quoting && i < s.n && s.p[i] == '"';
            field.n = 0;
            if (was_quoted) {
                for (i++; i < s.n && (s.p[i] != '"' || (i + 1 < s.n && s.p[i + 1] == '"')); i++) {
                    lines = lines || s.p[i] == '\n';
                    i += s.p[i] == '"';
                    buf_addc(&field, s.p[i]);
                }
                bad = i++ == s.n;
            }
            size_t from = i;
            while (i < s.n && s.p[i] != delimiter && s.p[i] != '\n' && s.p[i] != '\r') buf_addc(&field, s.p[i++]);
            if (was_quoted && i > from) {
                behind++;
                bad = bad || lines;
            }
            add_field(b, field.p, field.n);
            more = i < s.n && s.p[i] == delimiter;
            i += i < s.n; /* the separator */
        }
        buf_addc(b, '\n');
    }
    buf_fini(&field);
    return bad ? -1 : behind;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->p, b->p, a->n));
}

static uint64_t rows_of(const struct buf *b)
{
    uint64_t n = 0;
    for (size_t i = 0; i < b->n; i++) n += b->p[i] == '\n';
    return n;
}

static void agrees(void)
{
    static const char bytes[] = "\"\"\"\",,\n\n\rab \t;";
    const char *tier = getenv("PEFT_TIER");
    int texts = tier && !strcmp(tier, "long") ? 3200000 : 100000, good = 0, refused = 0, behind = 0;
    struct buf ours = {0}, libs = {0}, hand = {0};
    uint64_t rows = 0;
    for (int k = 0; k < texts; k++) {
        char text[24], delimiter = ",;\t"[pick(3)];
        struct str s = {text, pick(sizeof text)};
        for (size_t i = 0; i < s.n; i++) text[i] = bytes[pick(sizeof bytes - 1)];
        struct err e = {0}, f = {0}, g = {0};

        int64_t rc = split(s, delimiter, CSV_QUOTES_STRICT, &ours, &e);
        int lib = by_libcsv(s, delimiter, CSV_STRICT | CSV_STRICT_FINI, &libs);
        CHECK_MSG(lib ? rc == -E_CSV_QUOTE : rc == 0 && same(&ours, &libs), "strict %s: %s", err_quote(text, s.n),
                  e.msg);
        rows += lib ? 0 : rows_of(&ours);
        good += !lib;
        refused += lib != 0;

        rc = split(s, delimiter, CSV_QUOTES_LENIENT, &ours, &f);
        int after = by_hand(s, delimiter, true, &hand);
        CHECK_MSG(after < 0 ? rc == -E_CSV_QUOTE : rc >= (after > 0) && same(&ours, &hand), "lenient %s: %s, not %s",
                  err_quote(text, s.n), err_quote(ours.p, ours.n), err_quote(hand.p, hand.n));
        if (after == 0) CHECK_MSG(!by_libcsv(s, delimiter, 0, &libs) && same(&ours, &libs), "%s", err_quote(text, s.n));
        if (after == 0) CHECK_MSG((rc > 0) == (lib != 0), "%s: %d bare", err_quote(text, s.n), (int)rc);
        behind += after > 0;

        by_hand(s, delimiter, false, &hand);
        CHECK_MSG(split(s, delimiter, CSV_QUOTES_NONE, &ours, &g) == 0 && same(&ours, &hand), "none %s",
                  err_quote(text, s.n));
    }
    CHECK(good > texts / 10 && refused > texts / 10 && behind > texts / 100);
    CHECK_MSG(rows >= (texts > 100000 ? 1000000 : 30000), "%d rows", (int)rows);
    buf_fini(&ours);
    buf_fini(&libs);
    buf_fini(&hand);
}

static void places(void)
{
    static const struct {
        const char *text, *said;
        enum csv_quoting quoting;
    } cases[] = {
        {"a,b\n1,2\"3\n", "<memory>:2:4: quote inside a field that does not begin with one", CSV_QUOTES_STRICT},
        {"a,b\n\"1\n2\"x,3\n",
         "<memory>:3:3: text behind the closing quote of the field that began at line 2, column 1", CSV_QUOTES_STRICT},
        {"a,b\n\"1\n2\"x,3\n",
         "<memory>:3:3: text behind the closing quote of the field that began at line 2, column 1", CSV_QUOTES_LENIENT},
        {"a,b\n1,\"2\n\n3", "<memory>:2:3: unterminated quote (the record began on line 2)", CSV_QUOTES_STRICT},
        {"a,b\n1,\"2\n\n3", "<memory>:2:3: unterminated quote (the record began on line 2)", CSV_QUOTES_LENIENT},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        CHECK(split(STRZ(cases[i].text), ',', cases[i].quoting, &b, &e) == -E_CSV_QUOTE);
        CHECK_STR(e.msg, cases[i].said);
    }
    buf_fini(&b);
}

static void counts(void)
{
    struct buf b = {0};
    struct err e = {0};
    CHECK(split(STRZ("x\"y\"z,\"a\"b\"c\"\n\"p\nq\",r\"\n\"\",1\n"), ',', CSV_QUOTES_LENIENT, &b, &e) == 2);
    CHECK_STR(buf_str(&b), "<5>x\"y\"z<5>ab\"c\"\n<3>p\nq<2>r\"\n<0><1>1\n");
    buf_fini(&b);
}

static void lines(void)
{
    static const char text[] = "\na,\"b\nc\"\r\n\"d\",e\nf,g\n\"h\",i";
    static const uint64_t at[] = {2, 4, 5, 6};
    struct input *in = input_open_mem(text, sizeof text - 1, "<memory>");
    struct csv *c = csv_open(in, ENC_UTF8, ',', CSV_QUOTES_STRICT);
    struct csv_row row;
    struct err e = {0};
    for (int i = 0; i < 4; i++) CHECK(csv_next(c, &row, &e) == 1 && row.line == at[i] && row.n == 2);
    CHECK(csv_next(c, &row, &e) == 0);
    csv_close(c);
    input_close(in);
}

int main(void)
{
    RUN(agrees, "csv: strict, lenient and without quoting on random texts");
    RUN(places, "csv: errors name line and column");
    RUN(counts, "csv: lenient rows are counted once");
    RUN(lines, "csv: rows know their lines");
    return test_failed;
}
