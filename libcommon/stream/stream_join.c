/* stream_join: the questions that a reader answers, for one file and for several read as one. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/stream/reader.h"

/* What several files are as one stream. */
struct join {
    struct stream_reader *now;
    uint64_t rows; /* added to the row numbers of `now` */
    struct stream_info info;
    struct accounting acc;
    unsigned char digest[32];
    char *steps, *upstream; /* JSON */
};

/* "[a]" and "[b]" are "[a,b]". */
static char *list_join(char *a, const char *b)
{
    bool comma = strlen(a) > 2 && strlen(b) > 2;
    char *both = mem_printf("%.*s%s%s", (int)strlen(a) - 1, a, comma ? "," : "", b + 1);
    free(a);
    return both;
}

/* The count of a reason in "too_long:3,duplicate:1", or 0. */
static long long reason_count(const char *list, const char *name, size_t n)
{
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, name, n) && p[n] == ':') return atoll(p + n + 1);
    return 0;
}

static void reasons_add(char to[512], const char *from)
{
    struct buf b = {0};
    for (int pass = 0; pass < 2; pass++) { /* those of `to`, then those of `from` alone */
        for (const char *p = pass ? from : to; *p; p += strcspn(p, ","), p += *p == ',') {
            size_t n = strcspn(p, ":");
            long long had = reason_count(to, p, n);
            if (pass && had) continue;
            buf_printf(&b, "%s%.*s:%lld", b.n ? "," : "", (int)n, p, had + reason_count(from, p, n));
        }
    }
    if (b.n < 512) strcpy(to, buf_str(&b));
    buf_fini(&b);
}

static void count(struct accounting *to, const struct accounting *a)
{
    to->in += a->in;
    to->out += a->out;
    to->dropped += a->dropped;
    reasons_add(to->reasons, a->reasons);
}

/* All have ended. */
static void join_end(struct stream_reader *r)
{
    struct sha256 *h = sha256_new();
    struct join *j = r->join;
    j->upstream = mem_dupz("[]");
    for (const struct stream_reader *x = r; x; x = x->then) {
        count(&j->acc, &x->tail.acc);
        sha256_add(h, x->tail.digest, 32);
        j->upstream = list_join(j->upstream, x->tail.json);
    }
    sha256_done(h, j->digest);
}

int stream_next(struct stream_reader *r, struct record *rec, struct err *e)
{
    struct join *j = r->join;
    if (!j) return stream_file_next(r, rec, e);
    for (;;) {
        int rc = stream_file_next(j->now, rec, e);
        if (rc < 0) return rc;
        if (rc == 1) {
            uint64_t *row = record_row(rec);
            if (row) *row += j->rows;
            return 1;
        }
        if (!j->now->then) break;
        j->rows += j->now->last_row;
        j->now = j->now->then;
    }
    if (!j->upstream) join_end(r);
    return 0;
}

static int join_check(const struct stream_reader *r, struct stream_info *all, struct err *e)
{
    const struct stream_info *s = &r->head.info;
    const char *what = s->kind != all->kind ? "kind"
                       : s->has_tokenizer != all->has_tokenizer || memcmp(s->tokenizer, all->tokenizer, 32) ||
                               s->vocab != all->vocab || s->eos != all->eos
                           ? "tokenizer"
                       : s->has_base != all->has_base || memcmp(s->base, all->base, 32) ? "base model"
                                                                                        : NULL;
    if (what) return err_set(e, E_MISMATCH, "%s: of another %s than the streams before it", r->name, what);
    all->has |= s->has;
    all->max_len = all->max_len && s->max_len > all->max_len ? s->max_len : s->max_len ? all->max_len : 0;
    return 0;
}

struct stream_reader *stream_open_all(const struct strlist *paths, int kind, struct err *e)
{
    struct stream_reader *first = stream_open(paths->n ? paths->v[0] : NULL, kind, e), *last = first;
    if (!first || paths->n < 2) return first;
    struct join *j = first->join = mem_alloc(1, sizeof *j);
    j->now = first;
    j->info = first->head.info;
    j->steps = mem_dupz(first->head.json);
    for (int i = 1; i < paths->n; i++) {
        last = last->then = stream_open(paths->v[i], kind, e);
        if (!last || join_check(last, &j->info, e)) {
            stream_close(first);
            return NULL;
        }
        j->steps = list_join(j->steps, last->head.json);
    }
    return first;
}

const struct stream_reader *stream_then(const struct stream_reader *r) { return r->then; }
const struct stream_info *stream_info_of(const struct stream_reader *r)
{
    return r->join ? &r->join->info : &r->head.info;
}
const struct accounting *stream_accounting(const struct stream_reader *r)
{
    return r->join ? &r->join->acc : &r->tail.acc;
}
const unsigned char *stream_digest(const struct stream_reader *r) { return r->join ? r->join->digest : r->tail.digest; }
const char *stream_provenance(const struct stream_reader *r) { return r->join ? r->join->steps : r->head.json; }
const char *stream_upstreams(const struct stream_reader *r)
{
    const char *json = r->join ? r->join->upstream : r->tail.json;
    return json ? json : "[]";
}
uint64_t stream_offset(const struct stream_reader *r) { return r->src.offset + (r->then ? stream_offset(r->then) : 0); }
uint64_t stream_records(const struct stream_reader *r) { return r->records + (r->then ? stream_records(r->then) : 0); }

void stream_join_free(struct join *j)
{
    if (!j) return;
    free(j->steps);
    free(j->upstream);
    free(j);
}
