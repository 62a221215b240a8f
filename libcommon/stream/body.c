/* body: see body.h. */
#include "libcommon/stream/body.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/num.h"
#include "libcommon/base/utf8.h"
#include "libcommon/stream/record.h"

const unsigned char stream_preamble[18] = {0x50, 0x2a, 0x4d, 0x18, 10,           0, 0, 0, 'P', 'E', 'F', 'T',
                                           'S',  'T',  'R',  'M',  STREAM_MAJOR, 0};

int stream_minor(const struct stream_info *info) { return info->has || info->kind == STREAM_TELEMETRY; }

static void put_hex(struct buf *b, bool has, const unsigned char d[32])
{
    char hex[65];
    if (!has) {
        mp_put_nil(b);
        return;
    }
    digest_hex(d, hex);
    mp_put_str(b, hex, 64);
}

static bool get_hex(const struct mp_value *v, bool *has, unsigned char d[32])
{
    struct str s;
    char hex[65] = "";
    *has = !mp_is_nil(v);
    if (!*has) return true;
    if (!mp_str(v, &s) || s.n != 64) return false;
    memcpy(hex, s.p, 64);
    if (strspn(hex, "0123456789abcdef") != 64) return false; /* one spelling per digest */
    return digest_parse(hex, d) == 0;
}

static void put_chain(struct buf *b, const struct chain *c)
{
    mp_put_array(b, c->n);
    buf_add(b, c->raw.p, c->raw.n);
}

/* Is v a map with exactly these keys, in this order? */
static bool has_keys(const struct mp_value *v, const char *const *keys)
{
    uint32_t n, i = 0;
    if (!mp_map(v, &n)) return false;
    for (; i < n; i++)
        if (!keys[i] || !str_is(mp_key(v, i), keys[i])) return false;
    return !keys[i];
}

static bool all_str(const struct mp_value *v)
{
    uint32_t n;
    struct str s;
    if (!mp_array(v, &n)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!mp_str(mp_at(v, i), &s)) return false;
    return true;
}

static char *dump(const struct mp_value *v)
{
    json_t *j = mp_json(v);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text ? text : mem_dupz("[]");
}

/* ---- header ---- */
void header_put(struct buf *b, const struct header *h)
{
    int n;
    uint32_t listed = 0, critical = 0;
    const struct field *f = record_fields(h->info.kind, &n);
    for (int i = 0; i < n; i++) listed += field_listed(&f[i], &h->info);
    for (int i = 0; stream_feature_names[i]; i++) critical += h->info.has >> i & 1;
    mp_put_map(b, 12);
    mp_put_strz(b, "major");
    mp_put_uint(b, STREAM_MAJOR);
    mp_put_strz(b, "minor");
    mp_put_uint(b, (uint64_t)stream_minor(&h->info));
    mp_put_strz(b, "kind");
    mp_put_strz(b, stream_kind_names[h->info.kind]);
    mp_put_strz(b, "critical");
    mp_put_array(b, critical);
    for (int i = 0; stream_feature_names[i]; i++)
        if (h->info.has >> i & 1) mp_put_strz(b, stream_feature_names[i]);
    mp_put_strz(b, "optional");
    mp_put_array(b, 0);
    mp_put_strz(b, "fields");
    mp_put_array(b, listed);
    for (int i = 0; i < n; i++) {
        if (!field_listed(&f[i], &h->info)) continue;
        mp_put_array(b, 2);
        mp_put_strz(b, f[i].key);
        mp_put_strz(b, field_type_names[f[i].type]);
    }
    mp_put_strz(b, "tokenizer");
    put_hex(b, h->info.has_tokenizer, h->info.tokenizer);
    mp_put_strz(b, "base");
    put_hex(b, h->info.has_base, h->info.base);
    mp_put_strz(b, "vocab");
    mp_put_uint(b, h->info.vocab);
    mp_put_strz(b, "max_len");
    mp_put_uint(b, h->info.max_len);
    mp_put_strz(b, "eos");
    mp_put_int(b, h->info.eos);
    mp_put_strz(b, "steps");
    put_chain(b, &h->steps);
}

static bool step_ok(const struct mp_value *s)
{
    static const char *const keys[] = {"tool", "version", "git_sha", "argv", "config_digest", "seed", "inputs", NULL};
    struct str t;
    unsigned char d[32];
    bool has;
    int64_t seed;
    return has_keys(s, keys) && mp_str(mp_val(s, 0), &t) && mp_str(mp_val(s, 1), &t) && mp_str(mp_val(s, 2), &t) &&
           all_str(mp_val(s, 3)) && get_hex(mp_val(s, 4), &has, d) && has && mp_int(mp_val(s, 5), &seed) &&
           all_str(mp_val(s, 6));
}

static bool may_lack(const struct field *f) { return f->when != WHEN_ALWAYS && f->when != WHEN_PAIR; }

/* The list of fields may lack optional ones (an older writer); a field that is not in our table is a newer format.
 * Those of a feature are listed exactly where the feature is named. */
static int fields_get(const struct stream_info *s, const struct mp_value *v, struct err *e)
{
    int n, at = 0;
    uint32_t listed;
    unsigned has = 0;
    const struct field *f = record_fields(s->kind, &n);
    if (!mp_array(v, &listed)) return err_set(e, E_STREAM_RECORD, "header: fields is not a list");
    for (uint32_t i = 0; i < listed; i++) {
        uint32_t two;
        struct str key, type;
        if (!mp_array(mp_at(v, i), &two) || two != 2 || !mp_str(mp_at(mp_at(v, i), 0), &key) ||
            !mp_str(mp_at(mp_at(v, i), 1), &type))
            return err_set(e, E_STREAM_RECORD, "header: fields is not a list of [name, type]");
        while (at < n && !str_is(key, f[at].key) && may_lack(&f[at])) at++;
        if (at == n || !str_is(key, f[at].key) || !str_is(type, field_type_names[f[at].type]))
            return err_set(e, E_VERSION, "header: field %s of type %s is not known to this program",
                           err_quote(key.p, key.n), err_quote(type.p, type.n));
        has |= field_feature(&f[at++]);
    }
    while (at < n && may_lack(&f[at])) at++;
    if (at < n) return err_set(e, E_STREAM_RECORD, "header: field \"%s\" is missing", f[at].key);
    return has == s->has ? 0 : err_set(e, E_STREAM_RECORD, "header: fields and features do not agree");
}

static int features_get(const struct mp_value *critical, const struct mp_value *optional, unsigned *has, struct err *e)
{
    uint32_t n;
    struct str s;
    if (!all_str(critical) || !all_str(optional))
        return err_set(e, E_STREAM_RECORD, "header: features are not lists of names");
    mp_array(critical, &n);
    for (uint32_t i = 0; i < n; i++) {
        int k = 0;
        mp_str(mp_at(critical, i), &s);
        while (stream_feature_names[k] && !str_is(s, stream_feature_names[k])) k++;
        if (!stream_feature_names[k])
            return err_set(e, E_VERSION, "the stream needs the feature %s, which this program does not know",
                           err_quote(s.p, s.n));
        if (*has >> k) return err_set(e, E_STREAM_RECORD, "header: features doubled or out of their order");
        *has |= 1u << k;
    }
    return 0;
}

/* A name for messages: printable ASCII, everything else as '?'. */
static void plain(char *to, size_t cap, struct str s)
{
    size_t n = 0;
    for (; n < s.n && n + 1 < cap; n++)
        to[n] = s.p[n] > ' ' && s.p[n] <= '~' && s.p[n] != '[' && s.p[n] != ']' ? s.p[n] : '?';
    to[n] = 0;
}

static int steps_get(struct header *h, const struct mp_value *v, struct err *e)
{
    uint32_t n;
    if (!mp_array(v, &n)) return err_set(e, E_STREAM_RECORD, "header: steps is not a list");
    if (n > STREAM_STEPS_MAX)
        return err_set(e, E_STREAM_RECORD, "header: %u steps, expected at most %d", (unsigned)n, STREAM_STEPS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const struct mp_value *s = mp_at(v, i);
        if (!step_ok(s)) return err_set(e, E_STREAM_RECORD, "header: step %u malformed", (unsigned)i);
        mp_put_value(&h->steps.raw, s);
        h->steps.n++;
        if (i + 1 == n) {
            struct str tool, version;
            mp_str(mp_val(s, 0), &tool);
            mp_str(mp_val(s, 1), &version);
            plain(h->writer, 48, tool);
            size_t len = strlen(h->writer);
            h->writer[len++] = ' ';
            plain(h->writer + len, 40, version);
        }
    }
    h->json = dump(v);
    return 0;
}

int header_get(struct header *h, const struct mp_value *v, int minor, struct err *e)
{
    static const char *const keys[] = {"major", "minor", "kind",    "critical", "optional", "fields", "tokenizer",
                                       "base",  "vocab", "max_len", "eos",      "steps",    NULL};
    uint64_t maj, min, vocab, max_len;
    int64_t eos;
    struct str kind;
    struct stream_info *s = &h->info;
    uint32_t n;
    /* A later minor version may add keys; it says so in the first two, and what must be known in `critical`. */
    if (!mp_map(v, &n) || n < 5 || !str_is(mp_key(v, 0), "major") || !mp_uint(mp_val(v, 0), &maj) ||
        !str_is(mp_key(v, 1), "minor") || !mp_uint(mp_val(v, 1), &min))
        return err_set(e, E_STREAM_RECORD, "header malformed");
    if (maj != STREAM_MAJOR || min != (uint64_t)minor)
        return err_set(e, E_STREAM_RECORD, "header: version differs from the first bytes of the stream");
    if (str_is(mp_key(v, 3), "critical") && str_is(mp_key(v, 4), "optional") &&
        features_get(mp_val(v, 3), mp_val(v, 4), &s->has, e))
        return -e->id;
    if (!has_keys(v, keys))
        return minor > STREAM_MINOR ? err_set(e, E_VERSION, "header of format version 1.%d, this program reads 1.%d",
                                              minor, STREAM_MINOR)
                                    : err_set(e, E_STREAM_RECORD, "header: key missing, unknown or out of its order");
    if (!mp_str(mp_val(v, 2), &kind)) return err_set(e, E_STREAM_RECORD, "header: kind is not a str");
    int k = 0;
    while (k < STREAM_KINDS && !str_is(kind, stream_kind_names[k])) k++;
    if (k == STREAM_KINDS)
        return err_set(e, E_VERSION, "stream of kind %s, which this program does not know", err_quote(kind.p, kind.n));
    s->kind = (enum stream_kind)k;
    if (fields_get(s, mp_val(v, 5), e)) return -e->id;
    if (minor < stream_minor(s))
        return err_set(e, E_STREAM_RECORD, "header: version 1.%d does not have what it announces", minor);
    if (!get_hex(mp_val(v, 6), &s->has_tokenizer, s->tokenizer) || !get_hex(mp_val(v, 7), &s->has_base, s->base))
        return err_set(e, E_STREAM_RECORD, "header: digest malformed");
    if (!mp_uint(mp_val(v, 8), &vocab) || !mp_uint(mp_val(v, 9), &max_len) || !mp_int(mp_val(v, 10), &eos) ||
        vocab > UINT32_MAX || max_len > UINT32_MAX || eos < -1 || eos > INT32_MAX)
        return err_set(e, E_STREAM_RECORD, "header: number out of range");
    if (vocab && eos >= (int64_t)vocab)
        return err_set(e, E_STREAM_RECORD, "header: eos is %lld, the vocabulary has %llu ids", (long long)eos,
                       (unsigned long long)vocab);
    s->vocab = (uint32_t)vocab;
    s->max_len = (uint32_t)max_len;
    s->eos = (int32_t)eos;
    return steps_get(h, mp_val(v, 11), e);
}

/* ---- END ---- */
static void put_reasons(struct buf *b, const char *text)
{
    struct buf m = {0};
    uint32_t n = 0;
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, ","), colon = len;
        while (colon > 0 && p[colon - 1] != ':') colon--;
        int64_t count = 0;
        if (colon > 1 && num_i64(p + colon, len - colon, &count)) {
            mp_put_str(&m, p, colon - 1);
            mp_put_int(&m, count);
            n++;
        }
        p += len + (p[len] == ',');
    }
    mp_put_map(b, n);
    buf_add(b, m.p, m.n);
    buf_fini(&m);
}

static bool get_reasons(const struct mp_value *v, char *to, size_t cap)
{
    uint32_t n;
    size_t at = 0;
    to[0] = 0;
    if (!mp_map(v, &n)) return false;
    for (uint32_t i = 0; i < n; i++) {
        struct str k = mp_key(v, i);
        int64_t count;
        for (size_t j = 0; j < k.n; j++)
            if (k.p[j] < ' ' || k.p[j] > '~' || k.p[j] == ',') return false;
        if (!mp_int(mp_val(v, i), &count)) return false;
        int len = snprintf(to + at, cap - at, "%s%.*s:%lld", i ? "," : "", (int)k.n, k.p, (long long)count);
        if (len < 0 || (size_t)len >= cap - at) return false;
        at += (size_t)len;
    }
    return true;
}

static void put_accounting(struct buf *b, const struct accounting *a)
{
    mp_put_map(b, 4);
    mp_put_strz(b, "in");
    mp_put_uint(b, a->in);
    mp_put_strz(b, "out");
    mp_put_uint(b, a->out);
    mp_put_strz(b, "dropped");
    mp_put_uint(b, a->dropped);
    mp_put_strz(b, "reasons");
    put_reasons(b, a->reasons);
}

static bool get_accounting(const struct mp_value *v, struct accounting *a)
{
    static const char *const keys[] = {"in", "out", "dropped", "reasons", NULL};
    return has_keys(v, keys) && mp_uint(mp_val(v, 0), &a->in) && mp_uint(mp_val(v, 1), &a->out) &&
           mp_uint(mp_val(v, 2), &a->dropped) && get_reasons(mp_val(v, 3), a->reasons, sizeof a->reasons);
}

void upstream_put(struct chain *c, const char *tool, const struct tail *t)
{
    mp_put_map(&c->raw, 4);
    mp_put_strz(&c->raw, "tool");
    mp_put_lossy(&c->raw, tool, strlen(tool)); /* the name of a file may be any bytes */
    mp_put_strz(&c->raw, "digest");
    put_hex(&c->raw, true, t->digest);
    mp_put_strz(&c->raw, "records");
    mp_put_uint(&c->raw, t->records);
    mp_put_strz(&c->raw, "accounting");
    put_accounting(&c->raw, &t->acc);
    c->n++;
}

static bool upstream_ok(const struct mp_value *v)
{
    static const char *const keys[] = {"tool", "digest", "records", "accounting", NULL};
    struct str s;
    unsigned char d[32];
    bool has;
    uint64_t n;
    struct accounting a;
    return has_keys(v, keys) && mp_str(mp_val(v, 0), &s) && get_hex(mp_val(v, 1), &has, d) && has &&
           mp_uint(mp_val(v, 2), &n) && get_accounting(mp_val(v, 3), &a);
}

void tail_put(struct buf *b, const struct tail *t)
{
    mp_put_map(b, 9);
    mp_put_strz(b, "records");
    mp_put_uint(b, t->records);
    mp_put_strz(b, "frames");
    mp_put_uint(b, t->frames);
    mp_put_strz(b, "bytes");
    mp_put_uint(b, t->bytes);
    mp_put_strz(b, "tokens");
    mp_put_uint(b, t->tokens);
    mp_put_strz(b, "digest");
    put_hex(b, true, t->digest);
    mp_put_strz(b, "upstream");
    put_chain(b, &t->upstream);
    mp_put_strz(b, "accounting");
    put_accounting(b, &t->acc);
    mp_put_strz(b, "status");
    mp_put_strz(b, "ok");
    mp_put_strz(b, "seal");
    put_hex(b, true, t->seal);
}

int tail_get(struct tail *t, const struct mp_value *v, const char **why)
{
    static const char *const keys[] = {"records",  "frames",     "bytes",  "tokens", "digest",
                                       "upstream", "accounting", "status", "seal",   NULL};
    uint32_t n;
    struct str status;
    bool has, sealed;
    *why = "END record malformed";
    if (!has_keys(v, keys) || !mp_uint(mp_val(v, 0), &t->records) || !mp_uint(mp_val(v, 1), &t->frames) ||
        !mp_uint(mp_val(v, 2), &t->bytes) || !mp_uint(mp_val(v, 3), &t->tokens) ||
        !get_hex(mp_val(v, 4), &has, t->digest) || !has || !mp_array(mp_val(v, 5), &n) || n > STREAM_UPSTREAM_MAX ||
        !get_accounting(mp_val(v, 6), &t->acc) || !mp_str(mp_val(v, 7), &status) || !str_is(status, "ok") ||
        !get_hex(mp_val(v, 8), &sealed, t->seal) || !sealed)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (!upstream_ok(mp_at(mp_val(v, 5), i))) return -1;
        mp_put_value(&t->upstream.raw, mp_at(mp_val(v, 5), i));
        t->upstream.n++;
    }
    t->json = dump(mp_val(v, 5));
    return 0;
}

/* ---- ABORT ---- */
#define BECAUSE "stopped because "
#define FAILED  " failed: "

void abort_put(struct buf *b, const char *stage, const struct err *why)
{
    const char *id = err_name(why->id), *msg = why->msg, *at = strstr(msg, BECAUSE);
    char first[64], code[32];
    size_t len = strlen(msg);
    const char *mid = at ? strstr(at, FAILED) : NULL, *bracket = strrchr(msg, '[');
    /* A stage that stops because of an ABORT passes the first cause on, not its own consequence. */
    if ((why->id == E_STREAM_ABORT || why->id == E_INTR) && mid && bracket > mid && msg[len - 1] == ']') {
        at += strlen(BECAUSE);
        snprintf(first, sizeof first, "%.*s", (int)(mid - at), at);
        snprintf(code, sizeof code, "%.*s", (int)(msg + len - 1 - (bracket + 1)), bracket + 1);
        stage = first;
        id = code;
        msg = mid + strlen(FAILED);
        len = (size_t)(bracket > msg ? bracket - 1 - msg : 0);
    }
    mp_put_map(b, 3);
    mp_put_strz(b, "code");
    mp_put_lossy(b, id, strlen(id));
    mp_put_strz(b, "message");
    mp_put_lossy(b, msg, len);
    mp_put_strz(b, "stage");
    mp_put_lossy(b, stage, strlen(stage));
}

int abort_get(const struct mp_value *v, const char *place, struct err *e)
{
    static const char *const keys[] = {"code", "message", "stage", NULL};
    struct str code, msg, stage;
    char safe[900];
    size_t n = 0;
    if (!has_keys(v, keys) || !mp_str(mp_val(v, 0), &code) || !mp_str(mp_val(v, 1), &msg) ||
        !mp_str(mp_val(v, 2), &stage))
        return err_set(e, E_STREAM_RECORD, "%s: ABORT record malformed", place);
    /* a message is one line already; anything else in it is not ours */
    uint32_t c;
    for (size_t i = 0, len; i < msg.n && n + 4 < sizeof safe; i += len ? len : 1) {
        len = (size_t)utf8_next(msg.p + i, msg.n - i, &c);
        if (!len || utf8_is_control(c)) {
            safe[n++] = '?';
            continue;
        }
        memcpy(safe + n, msg.p + i, len);
        n += len;
    }
    safe[n] = 0;
    char first[64], id[32];
    plain(first, sizeof first, stage);
    plain(id, sizeof id, code);
    return err_set(e, strcmp(id, err_name(E_INTR)) ? E_STREAM_ABORT : E_INTR, "%s: " BECAUSE "%s" FAILED "%s [%s]",
                   place, first, safe, id);
}
