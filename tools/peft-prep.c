/* peft-prep: rows of CSV, TSV, JSON lines or a stream of examples become a stream of examples: a prompt and a target
 * each, from templates, or the parts that a row of JSON lines has. Reads files, pipes or stdin, compressed or not;
 * writes one stream, or train.mpz and test.mpz into a directory. Memory is constant, but for --dedup (32 bytes a row).
 * What is held out is a pure function: see libcommon/format/split.h. peft-prep --split train qa.csv | peft-tok -m
 * model.gguf | ... */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/lock.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/base/relay.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/filter.h"
#include "libcommon/format/jsonl.h"
#include "libcommon/format/parts.h"
#include "libcommon/format/table.h"
#include "libcommon/format/split.h"
#include "libcommon/format/template.h"
#include "libcommon/stream/jsontext.h"
#include "libcommon/stream/stream.h"

struct opts {
    struct opt_common common;
    int format, split, encoding, quote;
    bool dedup, lenient, strict;
    struct strlist columns;
    char *prompt, *target, *split_to, *group_by, *adapter_by, *filter, *delimiter, *input;
    double test_size;
    int64_t limit;
};
enum { SPLIT_ALL, SPLIT_TRAIN, SPLIT_TEST };
enum { QUOTE_DOUBLE, QUOTE_NONE };

static const struct opt rows_of_opts[] = {
    OPT(struct opts, format, "format", OPT_ENUM, "dataset", .arg = "FORMAT", .def = "auto",
        .choices = "auto|csv|tsv|jsonl", .help = "what the input is; auto: by name, else by content"),
    OPT(struct opts, columns, "columns", OPT_LIST, "dataset", .arg = "A,B",
        .help = "names of the columns if there is no header, or those to take as {question},{answer}"),
    OPT(struct opts, prompt, "prompt", OPT_STR, "dataset", .arg = "TEMPLATE",
        .def = "Q: {question}\\nA:", .help = "what the model is given; {column}, \\n, \\t"),
    OPT(struct opts, target, "target", OPT_STR, "dataset", .arg = "TEMPLATE", .def = " {answer}",
        .help = "what the model must say"),
    OPT(struct opts, split, "split", OPT_ENUM, "dataset", .arg = "SIDE", .def = "all", .choices = "all|train|test",
        .help = "rows to write"),
    OPT(struct opts, test_size, "test-size", OPT_FLOAT, "dataset", .arg = "FRACTION", .def = "0.1", .lo = 1e-6,
        .hi = 0.999999, .help = "part of the rows that is held out for testing"),
    OPT(struct opts, split_to, "split-to", OPT_STR, NULL, .file = true, .arg = "DIR",
        .help = "write DIR/train.mpz and DIR/test.mpz in one pass"),
    OPT(struct opts, group_by, "group-by", OPT_STR, "dataset", .arg = "COLUMN",
        .help = "keep rows of one value on one side of the split"),
    OPT(struct opts, adapter_by, "adapter-by", OPT_STR, "dataset", .arg = "COLUMN",
        .help = "column that names the adapter that a row is for; empty: none"),
    OPT(struct opts, dedup, "dedup", OPT_FLAG, "dataset",
        .help = "drop a row whose prompt and target were there before"),
    OPT(struct opts, limit, "limit", OPT_INT, "dataset", .arg = "N", .def = "0", .hi = 9e15,
        .help = "stop after N rows written (with --filter: read); 0: all"),
    OPT(struct opts, filter, "filter", OPT_STR, NULL, .arg = "CMD",
        .help = "pass the rows as JSON lines through a shell command"),
    OPT(struct opts, encoding, "encoding", OPT_ENUM, "dataset", .arg = "NAME", .def = "utf8",
        .choices = "utf8|latin1|cp1252|replace", .help = "of the input; replace: invalid bytes become U+FFFD"),
    OPT(struct opts, delimiter, "delimiter", OPT_STR, "dataset", .arg = "CHAR",
        .help = "between the fields of CSV; a character or tab"),
    OPT(struct opts, quote, "quote", OPT_ENUM, "dataset", .arg = "RULE", .def = "double", .choices = "double|none",
        .help = "of CSV and TSV: double quotes enclose fields, or are text like other characters"),
    OPT(struct opts, lenient, "lenient", OPT_FLAG, "dataset",
        .help = "take bare quotes in CSV as text, with a warning"),
    OPT(struct opts, strict, "strict", OPT_FLAG, NULL, .help = "refuse CSV that breaks RFC 4180 (the default)"),
    OPT(struct opts, input, "input", OPT_STR, "dataset", .file = true, .key = "dataset.path", .arg = "FILE",
        .help = "file to read when none is given as operand"),
    OPT_END};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows_of_opts, 0, 0}, {NULL, 0, 0}};

struct prep {
    struct tool_run *run;
    const struct opts *o;
    struct table_opts ro;
    struct strlist files;
    int next_file;
    struct table *rows;   /* of the open file */
    struct table *stream; /* the file that is a stream of examples, once its rows are read; its chain goes on */
    struct input_note {
        char *name;
        unsigned char sha256[32];
        uint64_t rows;
    } * inputs; /* files that were read to their end */
    size_t n_inputs, cap_inputs;
    uint64_t opened_at; /* rows read before the open file */
    uint64_t read;      /* rows of all files */
    uint64_t number;    /* of the row at hand: from the files, or from the filter */
    struct filter *filter;
    struct jsonl *parsed; /* lines of the filter */
    struct template *prompt, *target;
    struct split split;
    struct overlap overlap;
    struct seen seen;
    struct buf text[2], key, adapter;
    struct part_list parts;
    bool templates;             /* asked for: a field "parts" is a column like others */
    unsigned has;               /* features of the stream: what the first row has */
    int first_rc;               /* of reading it: 1 until it is used */
    struct row first;           /* read before the outputs are opened, as their header says what it has */
    struct stream_writer *w[2]; /* train, test; one stream alone is w[0] */
    struct lock lock;           /* of --split-to's directory: halves of two runs do not belong together */
    uint64_t out[2], side[2];   /* written; rows on each side, kept or not */
    uint64_t blank_prompt, blank_target, duplicate;
    uint64_t space_after, no_space, two_blanks; /* rows by what is between prompt and target */
};

/* ---- where rows come from ---- */
static int open_file(struct prep *p, struct err *e)
{
    const char *path = p->files.v[p->next_file++];
    p->rows = table_open(path, &p->ro, e);
    p->opened_at = p->read;
    if (!p->rows) return -e->id;
    if (!table_stream(p->rows) || p->files.n == 1) return 0;
    err_set(e, E_USAGE, "%s: is a stream of examples, which is read alone; found %d files", stream_name(path),
            p->files.n);
    return err_hint(e, "its rows as JSON lines: peft-log cat");
}

/* The open file is at its end: keep what the provenance says of it. */
static void close_file(struct prep *p)
{
    struct input_note note = {.rows = p->read - p->opened_at};
    if (table_stream(p->rows)) {
        p->stream = p->rows;
    } else {
        if (table_digest(p->rows, note.sha256)) {
            const char *path = p->files.v[p->next_file - 1];
            note.name = strcmp(path, "-") ? path_note(path) : mem_dupz(stream_name(path));
            p->inputs = mem_grow(p->inputs, &p->cap_inputs, p->n_inputs + 1, sizeof *p->inputs);
            p->inputs[p->n_inputs++] = note;
        }
        table_close(p->rows);
    }
    p->rows = NULL;
}

static int file_row(struct prep *p, struct row *row, struct err *e)
{
    for (;;) {
        if (!p->rows) {
            if (p->next_file >= p->files.n) return 0;
            if (open_file(p, e)) return -e->id;
        }
        int rc = table_next(p->rows, row, e);
        if (rc < 0) return rc;
        if (rc == 1) {
            p->read++;
            return 1;
        }
        close_file(p);
    }
}

static int feed(void *ctx, struct buf *b, struct err *e)
{
    struct prep *p = ctx;
    struct row row;
    if (p->o->limit && p->read >= (uint64_t)p->o->limit) return 0;
    int rc = file_row(p, &row, e);
    if (rc == 1) {
        row_json(&row, b);
        buf_addc(b, '\n');
    }
    return rc;
}

static int read_row(struct prep *p, struct row *row, struct err *e)
{
    struct str line;
    struct jsonl_row j;
    if (!p->filter) {
        int rc = file_row(p, row, e);
        p->number = p->read;
        return rc;
    }
    int rc = filter_next(p->filter, &line, e);
    if (rc <= 0) return rc;
    p->number++;
    if (jsonl_parse(p->parsed, line, "<filter>", p->number, &j, e) < 0) return -e->id;
    *row = (struct row){"<filter>", p->number, j.n, j.key, j.value, j.type, j.source, j.object};
    return 1;
}

/* A stream has prompts and targets already; the defaults of the templates are for tables. */
static void pass_on(struct prep *p, struct err *e)
{
    if (opt_given(p->run->set, "prompt") == OPT_FROM_DEFAULT) {
        template_free(p->prompt);
        p->prompt = template_parse("{prompt}", "--prompt", e);
    }
    if (opt_given(p->run->set, "target") == OPT_FROM_DEFAULT) {
        template_free(p->target);
        p->target = template_parse("{target}", "--target", e);
    }
}

/* Read the first row, to know what the stream will have. */
static void peek(struct prep *p, struct err *e)
{
    p->first_rc = read_row(p, &p->first, e);
    if (p->rows && table_stream(p->rows)) pass_on(p, e);
    if (p->first_rc != 1) return;
    if (!p->templates && row_has(&p->first, "parts")) p->has |= STREAM_HAS_PARTS;
    if (p->o->adapter_by || row_has(&p->first, "adapter")) p->has |= STREAM_HAS_ADAPTER;
}

static int next_row(struct prep *p, struct row *row, struct err *e)
{
    int rc = p->first_rc;
    p->first_rc = 0;
    if (rc != 1) return read_row(p, row, e);
    *row = p->first;
    return 1;
}

/* ---- a row ---- */
static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

/* Look at the white space between prompt and target. A line break there is the template's own doing, and no blank is
 * wanted behind it, nor behind a special token's bracket. */
static void boundary(struct prep *p, struct str prompt, struct str target)
{
    if (!prompt.n || !target.n) return;
    char before = prompt.p[prompt.n - 1], behind = target.p[0];
    bool blank_before = before == ' ' || before == '\t', blank_behind = behind == ' ' || behind == '\t';
    bool template_blank = !strncmp(p->o->target, " {", 2) && target.n > 1 && target.p[1] == ' ';
    if ((blank_before && blank_behind) || template_blank)
        p->two_blanks++;
    else if (blank_before)
        p->space_after++;
    else if (!is_space(before) && !is_space(behind) && before != '>' && before != ']')
        p->no_space++;
}

static int from_templates(struct prep *p, const struct row *row, struct example *x, bool blank[2], struct err *e)
{
    p->text[0].n = p->text[1].n = 0;
    if (template_render(p->prompt, row, &p->text[0], &blank[0], e) ||
        template_render(p->target, row, &p->text[1], &blank[1], e))
        return -e->id;
    x->prompt = (struct str){buf_str(&p->text[0]), p->text[0].n};
    x->target = (struct str){buf_str(&p->text[1]), p->text[1].n};
    return 0;
}

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr(" \t\r\n\v\f", s.p[i])) return false;
    return true;
}

/* What was written down as parts is taken as it is: without a prompt it is a text to learn. */
static int from_parts(struct prep *p, const struct row *row, struct example *x, bool blank[2], struct err *e)
{
    if (row_parts(row, &p->parts, e)) return -e->id;
    x->parts = p->parts.v;
    x->n_parts = p->parts.n;
    for (uint32_t i = 0; i < x->n_parts; i++) blank[1] = blank[1] || (x->parts[i].train && is_blank(x->parts[i].text));
    example_pair(x, (uint32_t)parts_last(x->parts, x->n_parts), &p->text[0]);
    return 0;
}

/* A stream says in its header, which goes before all rows, whether they have parts or name adapters. */
static int unlike_first(const struct row *row, const char *what, const char *first, const char *hint, struct err *e)
{
    err_set(e, E_JSON, "%s:%llu: this row %s, the first row %s", row->file, (unsigned long long)row->line, what, first);
    return err_hint(e, "%s", hint);
}

static bool seen(struct prep *p, const struct example *x)
{
    struct buf *b = &p->key;
    if (!x->n_parts && !x->adapter) return seen_before(&p->seen, x->prompt, x->target);
    b->n = 0; /* all that makes rows differ, in a form that no text has twice */
    json_parts(b, x->parts, x->n_parts);
    if (!x->n_parts) json_text(b, x->prompt), json_text(b, x->target);
    return seen_before(&p->seen, (struct str){b->p, b->n}, x->adapter ? STRZ(x->adapter) : (struct str){"", 0});
}

static int adapter_of_column(struct prep *p, const struct row *row, struct example *x, struct err *e)
{
    struct str s;
    if (row_text(row, STRZ(p->o->adapter_by), &s, e)) return -e->id;
    p->adapter.n = 0;
    buf_add(&p->adapter, s.p, s.n);
    const char *name = buf_str(&p->adapter);
    if (s.n && (strlen(name) != s.n || !adapter_name_ok(name))) return row_adapter_wrong(row, p->o->adapter_by, s, e);
    x->adapter = s.n ? name : NULL;
    return 0;
}

/* Make the row an example. 1: keep it, 0: dropped and counted. */
static int render(struct prep *p, const struct row *row, struct example *x, struct err *e)
{
    static const char *const same = "rows with parts and rows without go into streams of their own";
    bool blank[2] = {false, false}, parts = !p->templates && row_has(row, "parts");
    *x = (struct example){.row = p->number};
    if (parts && !(p->has & STREAM_HAS_PARTS)) return unlike_first(row, "has parts", "has none", same, e);
    if (!parts && (p->has & STREAM_HAS_PARTS)) return unlike_first(row, "has no parts", "has some", same, e);
    if (parts ? from_parts(p, row, x, blank, e) : from_templates(p, row, x, blank, e)) return -e->id;
    if (p->o->adapter_by ? adapter_of_column(p, row, x, e) : row_adapter(row, &x->adapter, e)) return -e->id;
    if (x->adapter && !(p->has & STREAM_HAS_ADAPTER))
        return unlike_first(row, "names an adapter", "has no such field",
                            "\"adapter\": null in the first row says that others name one", e);
    if (p->o->group_by && row_text(row, STRZ(p->o->group_by), &x->group, e)) return -e->id;
    p->blank_prompt += blank[0];
    p->blank_target += !blank[0] && blank[1];
    if (blank[0] || blank[1]) return 0;
    if (p->o->dedup && seen(p, x)) {
        p->duplicate++;
        return 0;
    }
    return 1;
}

static int put(struct prep *p, const struct example *x, struct err *e)
{
    bool splits = p->o->split || p->o->split_to;
    bool test = false;
    if (splits) {
        test = p->o->group_by ? split_group_is_test(&p->split, x->group) : split_row_is_test(&p->split, x->row);
        overlap_add(&p->overlap, x->prompt, x->row, test);
        p->side[test]++;
        if (!p->o->split_to && test != (p->o->split == SPLIT_TEST)) return 0;
    }
    int i = p->o->split_to && test;
    struct record r = {.kind = STREAM_EXAMPLES, .example = *x};
    if (!x->n_parts) boundary(p, x->prompt, x->target);
    int rc = stream_put(p->w[i], &r, e);
    if (rc == 0) p->out[i]++;
    return rc;
}

static int pass(struct prep *p, struct err *e)
{
    struct row row;
    struct example x;
    int rc;
    while ((rc = next_row(p, &row, e)) == 1) {
        rc = render(p, &row, &x, e);
        if (rc == 1) rc = put(p, &x, e);
        if (rc < 0) return rc;
        if ((p->read & 4095) == 0) msg_progress("%llu rows", (unsigned long long)p->read);
        if (!p->filter && p->o->limit && p->out[0] + p->out[1] >= (uint64_t)p->o->limit) return 0;
    }
    return rc;
}

/* ---- the end ---- */
static void reason(struct accounting *a, const char *name, uint64_t n)
{
    size_t at = strlen(a->reasons);
    if (n) snprintf(a->reasons + at, sizeof a->reasons - at, "%s%s:%llu", at ? "," : "", name, (unsigned long long)n);
}

/* The counts of stream i, or of both (i < 0). Rows that the filter added are no rows that came in: in + added = out +
 * dropped. */
static struct accounting account(const struct prep *p, int i)
{
    struct accounting a = {.in = p->read, .out = i < 0 ? p->out[0] + p->out[1] : p->out[i]};
    uint64_t removed = p->filter && p->number < p->read ? p->read - p->number : 0;
    uint64_t added = p->filter && p->number > p->read ? p->number - p->read : 0;
    uint64_t side = i < 0 && p->o->split_to ? 0 : p->side[0] + p->side[1] ? p->side[0] + p->side[1] - a.out : 0;
    a.dropped = p->blank_prompt + p->blank_target + p->duplicate + removed + side;
    reason(&a, "empty_prompt", p->blank_prompt);
    reason(&a, "empty_target", p->blank_target);
    reason(&a, "duplicate", p->duplicate);
    reason(&a, "other_split", side);
    reason(&a, "filter", removed);
    reason(&a, "added", added);
    return a;
}

static void warn(const struct prep *p)
{
    bool exact;
    uint64_t n = p->overlap.entry ? overlap_count(&p->overlap, &exact) : 0;
    if (n) {
        struct buf b = {0};
        for (uint64_t i = 0; i < 3 && i < p->overlap.count; i++)
            buf_printf(&b, "%s%llu and %llu", i ? ", " : "", (unsigned long long)p->overlap.example[i][0],
                       (unsigned long long)p->overlap.example[i][1]);
        msg_warn("%s%llu prompts are in both test and train (rows %s%s): test scores will be too "
                 "good; --group-by keeps them on one side",
                 exact ? "" : "about ", (unsigned long long)n, buf_str(&b), p->overlap.count > 3 ? ", ..." : "");
        buf_fini(&b);
    }
    if (p->space_after)
        msg_warn("%llu prompts end in white space: a token that begins with a space cannot follow; "
                 "move it to the target",
                 (unsigned long long)p->space_after);
    if (p->no_space)
        msg_warn("%llu targets do not begin with white space: they may fuse with the last word of "
                 "the prompt",
                 (unsigned long long)p->no_space);
    if (p->two_blanks)
        msg_warn("%llu rows have two blanks between prompt and target: one of a template and one of a column; take it "
                 "out of the template",
                 (unsigned long long)p->two_blanks);
    const char *unmet = template_unmet(p->prompt);
    if (!unmet) unmet = template_unmet(p->target);
    if (unmet && p->read && !(p->has & STREAM_HAS_PARTS)) msg_warn("no row has a column %s", unmet);
}

/* What was read goes into the provenance of stream w. Only what was read to its end is known. */
static void put_inputs(struct prep *p, struct stream_writer *w)
{
    enum { MOST = 4000 }; /* a stream's END has room for some more */
    if (p->stream) stream_upstream(w, table_stream(p->stream));
    for (size_t i = 0; i < p->n_inputs && i < MOST; i++)
        stream_input(w, p->inputs[i].name, p->inputs[i].sha256, p->inputs[i].rows);
    if (p->n_inputs > MOST) msg_warn("the digests of the first %d inputs of %zu are kept", MOST, p->n_inputs);
}

/* With --limit: rows that are not wanted, of a stream. What has not reached END is not to be trusted. */
static int read_rest(struct prep *p, struct err *e)
{
    struct row row;
    int rc = 0;
    if (!p->rows || !table_stream(p->rows)) return 0;
    while ((rc = table_next(p->rows, &row, e)) == 1) continue;
    if (rc == 0) close_file(p);
    return rc;
}

/* In messages about all rows. */
static const char *names_of_input(const struct prep *p)
{
    return p->files.n == 1 ? stream_name(p->files.v[0]) : "all files together";
}

static int finish(struct prep *p, struct err *e)
{
    if (read_rest(p, e)) return -e->id;
    int n = p->o->split_to ? 2 : 1;
    struct accounting all = account(p, -1);
    msg_progress(NULL);
    warn(p);
    msg_account(all.in, all.out, all.dropped, all.reasons);
    for (int i = 0; i < n; i++) {
        const char *side = p->o->split_to               ? i ? "test" : "train"
                           : p->o->split == SPLIT_TEST  ? "test"
                           : p->o->split == SPLIT_TRAIN ? "train"
                                                        : NULL;
        if (p->out[i]) continue;
        struct accounting a = account(p, i);
        err_set(e, E_NOROWS, "%s: no rows%s%s: %llu read, %llu dropped (%s)", names_of_input(p), side ? " for " : "",
                side ? side : "", (unsigned long long)a.in, (unsigned long long)a.dropped,
                a.reasons[0] ? a.reasons : "the input has none");
        return side ? err_hint(e, "--test-size sets the part that is held out") : -e->id;
    }
    for (int i = 0; i < n; i++) {
        struct accounting a = account(p, i);
        struct stream_writer *w = p->w[i];
        p->w[i] = NULL;
        put_inputs(p, w);
        if (stream_finish(w, &a, NULL, e) < 0) return -e->id;
    }
    return 0;
}

/* ---- the beginning ---- */
static int open_outputs(struct prep *p, struct err *e)
{
    struct stream_info info = {.kind = STREAM_EXAMPLES, .eos = -1, .has = p->has};
    const struct opt_common *c = &p->o->common;
    const struct table *from = p->rows ? p->rows : p->stream;
    const struct stream_reader *before = from ? table_stream(from) : NULL;
    if (!p->o->split_to) {
        p->w[0] = stream_create(c->output, c->force, &info, p->run, before, e);
        return p->w[0] ? 0 : -e->id;
    }
    if (dir_make(p->o->split_to, e) || lock_take(&p->lock, p->o->split_to, e)) return -e->id;
    for (int i = 0; i < 2; i++) {
        char *path = path_join(p->o->split_to, i ? "test.mpz" : "train.mpz");
        for (int k = 0; k < p->files.n && !e->id; k++)
            if (file_is_same(p->files.v[k], path))
                err_set(e, E_POLICY, "%s: is an input of this command, and is not replaced", path);
        if (e->id) {
            free(path);
            return -e->id;
        }
        p->w[i] = stream_create(path, c->force, &info, p->run, before, e);
        free(path);
        if (!p->w[i]) return -e->id;
    }
    return 0;
}

static int settle(struct prep *p, struct err *e)
{
    const struct opts *o = p->o;
    p->ro = (struct table_opts){.format = (enum table_format)o->format,
                                .enc = (enum encoding)o->encoding,
                                .quoting = o->quote == QUOTE_NONE ? CSV_QUOTES_NONE
                                           : o->lenient           ? CSV_QUOTES_LENIENT
                                                                  : CSV_QUOTES_STRICT,
                                .columns = &o->columns,
                                .unique = o->filter != NULL};
    if (o->lenient && o->strict) return err_set(e, E_USAGE, "--lenient and --strict exclude each other");
    if (o->quote == QUOTE_NONE && (o->lenient || o->strict))
        return err_set(e, E_USAGE, "--quote none excludes --lenient and --strict, which are about quotes");
    if (o->split_to && (o->split || o->common.output))
        return err_set(e, E_USAGE, "--split-to writes both sides: it takes neither --split nor -o");
    if (o->delimiter) {
        bool tab = !strcmp(o->delimiter, "tab") || !strcmp(o->delimiter, "\\t") || !strcmp(o->delimiter, "\t");
        p->ro.delimiter = tab ? '\t' : o->delimiter[0];
        if (!tab &&
            (strlen(o->delimiter) != 1 || strchr("\"\r\n", o->delimiter[0]) || (unsigned char)o->delimiter[0] > '~'))
            return err_set(e, E_USAGE, "--delimiter: expected one ASCII character or tab, found %s",
                           err_quotez(o->delimiter));
    }
    p->prompt = template_parse(o->prompt, "--prompt", e);
    p->target = p->prompt ? template_parse(o->target, "--target", e) : NULL;
    if (!p->target) return -e->id;
    if (o->columns.n > 0 && opt_given(p->run->set, "prompt") == OPT_FROM_DEFAULT)
        template_alias(p->prompt, "question", o->columns.v[0]);
    if (o->columns.n > 1 && opt_given(p->run->set, "target") == OPT_FROM_DEFAULT)
        template_alias(p->target, "answer", o->columns.v[1]);
    p->templates = o->columns.n || opt_given(p->run->set, "prompt") != OPT_FROM_DEFAULT ||
                   opt_given(p->run->set, "target") != OPT_FROM_DEFAULT;
    static char *standard_input[] = {"-"};
    p->files = p->run->operands;
    if (!p->files.n) p->files = (struct strlist){1, o->input ? (char **)(uintptr_t)&o->input : standard_input};
    split_init(&p->split, (uint64_t)o->common.seed, o->test_size);
    if (o->split || o->split_to) overlap_init(&p->overlap);
    if (!o->filter) return 0;
    p->parsed = jsonl_open(NULL, ENC_UTF8);
    p->filter = filter_open(o->filter, feed, p, e);
    return p->filter ? 0 : -e->id;
}

/* -n: what would be done, and the first rows as they would be. */
static int show(struct prep *p, struct err *e)
{
    struct row row;
    struct example x;
    struct buf b = {0};
    int rc = 1;
    for (int i = 0; i < p->files.n; i++) buf_printf(&b, "read   %s\n", stream_name(p->files.v[i]));
    if (p->o->filter) buf_printf(&b, "filter %s\n", p->o->filter);
    if (p->o->split_to)
        buf_printf(&b, "write  %s/train.mpz, %s/test.mpz (test %g)\n", p->o->split_to, p->o->split_to, p->o->test_size);
    else
        buf_printf(&b, "write  %s%s\n", p->o->common.output ? p->o->common.output : "<stdout>",
                   p->o->split == SPLIT_TRAIN  ? ", the train side"
                   : p->o->split == SPLIT_TEST ? ", the test side"
                                               : "");
    peek(p, e);
    if (p->first_rc < 0) rc = p->first_rc;
    for (int i = 0; i < 3 && rc >= 0 && (rc = next_row(p, &row, e)) == 1; i++) {
        if ((rc = render(p, &row, &x, e)) < 0) break;
        buf_printf(&b, "row %llu%s\n", (unsigned long long)p->number, rc ? "" : " (dropped)");
        if (x.adapter) buf_printf(&b, "  adapter %s\n", x.adapter);
        for (uint32_t k = 0; k < x.n_parts; k++) {
            buf_addz(&b, x.parts[k].train ? "  train  " : "  given  ");
            json_text(&b, x.parts[k].text);
            buf_addc(&b, '\n');
        }
        if (x.n_parts) continue;
        buf_addz(&b, "  prompt ");
        json_text(&b, x.prompt);
        buf_addz(&b, "\n  target ");
        json_text(&b, x.target);
        buf_addc(&b, '\n');
    }
    if (rc == 0 && !p->read) rc = err_set(e, E_NOROWS, "%s: no rows: the input has none", names_of_input(p));
    if (rc >= 0) fwrite(b.p, 1, b.n, stdout);
    buf_fini(&b);
    return rc < 0 ? rc : 0;
}

static void fini(struct prep *p)
{
    if (p->rows) table_close(p->rows);
    if (p->stream) table_close(p->stream);
    for (size_t i = 0; i < p->n_inputs; i++) free(p->inputs[i].name);
    free(p->inputs);
    filter_close(p->filter);
    jsonl_close(p->parsed);
    template_free(p->prompt);
    template_free(p->target);
    split_fini(&p->split);
    overlap_fini(&p->overlap);
    seen_fini(&p->seen);
    buf_fini(&p->text[0]);
    buf_fini(&p->text[1]);
    buf_fini(&p->key);
    buf_fini(&p->adapter);
    free(p->parts.v);
}

static int run(struct tool_run *t, void *opts, struct err *e)
{
    struct prep p = {.run = t, .o = opts};
    int rc = settle(&p, e);
    if (rc == 0 && p.o->common.dry_run) {
        rc = show(&p, e);
    } else if (rc == 0) {
        struct err later = {0};
        peek(&p, &later);
        rc = open_outputs(&p, e); /* also if there is no first row: who reads the stream is told in it */
        if (rc == 0 && later.id) *e = later, rc = -e->id;
        for (int i = 0; i < 2 && rc == 0; i++)
            if (p.w[i]) stream_threads(p.w[i], relay_threads(p.o->common.threads));
        if (rc == 0) rc = pass(&p, e);
        if (rc == 0) rc = finish(&p, e);
    }
    for (int i = 0; i < 2; i++)
        if (p.w[i]) stream_abort(p.w[i], e);
    lock_release(&p.lock);
    fini(&p);
    return rc;
}

static const struct tool peft_prep = {
    .name = "peft-prep",
    .summary = "Make prompt and target pairs out of CSV, TSV or JSON lines.",
    .usage = "[OPTION]... [FILE]...",
    .example = "peft-prep --split train qa.csv | peft-tok -m model.gguf -o train.mpz",
    .groups = groups,
    .opts_size = sizeof(struct opts),
    .max_operands = -1,
    .run = run,
};

int main(int argc, char **argv) { return tool_main(&peft_prep, argc, argv); }
