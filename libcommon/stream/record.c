/* record: see record.h. One loop over the field table in each direction. */
#include "libcommon/stream/record.h"
#include <endian.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/utf8.h"

const char *const stream_kind_names[STREAM_KINDS] = {"examples", "tokens", "metrics", "predictions", "telemetry"};
const char *const stream_feature_names[] = {"parts", "adapter", NULL};
const char *const field_type_names[] = {"u64", "u32",   "i64",  "f64", "str",         "str",
                                        "str", "u32[]", "u8[]", "map", "[str,bool][]"};

static const struct field all_fields[] = {
#define FIELD(kind, key, type, member, count, when) \
    {key, FIELD_##type, offsetof(struct record, member), offsetof(struct record, count), WHEN_##when},
#include "libcommon/stream/records.def"
#undef FIELD
};
static const unsigned char all_kinds[] = {
#define FIELD(kind, key, type, member, count, when) kind,
#include "libcommon/stream/records.def"
#undef FIELD
};
enum { FIELDS = sizeof all_kinds };

const struct field *record_fields(enum stream_kind kind, int *n)
{
    int first = 0;
    while (first < FIELDS && all_kinds[first] != kind) first++;
    *n = 0;
    while (first + *n < FIELDS && all_kinds[first + *n] == kind) ++*n;
    return all_fields + first;
}

#define MEMBER(r, f, type) (*(type const *)field_at(r, f))

unsigned kind_features(enum stream_kind kind)
{
    int n;
    unsigned all = 0;
    const struct field *f = record_fields(kind, &n);
    for (int i = 0; i < n; i++) all |= field_feature(&f[i]);
    return all;
}

static bool empty(const struct record *r, const struct field *f)
{
    if (f->type == FIELD_TEXT || f->type == FIELD_LOSSY) return MEMBER(r, f, struct str).n == 0;
    if (f->type == FIELD_NAME) return !MEMBER(r, f, char *);
    return (f->type == FIELD_SCORES || f->type == FIELD_PARTS) && field_count(r, f) == 0;
}

bool field_absent(const struct record *r, const struct field *f)
{
    if (f->when == WHEN_PAIR) return r->example.n_parts > 0;
    return f->when != WHEN_ALWAYS && empty(r, f);
}

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -1;
}

int64_t parts_last(const struct part *p, uint32_t n)
{
    int64_t last = (int64_t)n - 1;
    while (last >= 0 && !p[last].train) last--;
    return last;
}

void example_pair(struct example *x, uint32_t last, struct buf *room)
{
    room->n = 0;
    for (uint32_t i = 0; i < last; i++) buf_add(room, x->parts[i].text.p, x->parts[i].text.n);
    x->prompt = (struct str){buf_str(room), room->n};
    x->target = x->parts[last].text;
}

bool adapter_name_ok(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n <= 64 && !name[n] && !strchr("._-", name[0]);
}

/* What holds of a whole record, whoever made it. */
static int check(const struct record *r, const char **why)
{
    const char *adapter = r->kind == STREAM_EXAMPLES ? r->example.adapter
                          : r->kind == STREAM_TOKENS ? r->tokens.adapter
                                                     : NULL;
    if (adapter && !adapter_name_ok(adapter)) return refuse(why, "adapter is not a name");
    if (r->kind == STREAM_TOKENS && r->tokens.n_prompt > r->tokens.n)
        return refuse(why, "n_prompt above the number of ids");
    if (r->kind == STREAM_EXAMPLES && r->example.n_parts && parts_last(r->example.parts, r->example.n_parts) < 0)
        return refuse(why, "no part is trained on");
    return 0;
}

uint64_t *record_row(struct record *r)
{
    switch (r->kind) {
    case STREAM_EXAMPLES:
        return &r->example.row;
    case STREAM_TOKENS:
        return &r->tokens.row;
    case STREAM_PREDICTIONS:
        return &r->prediction.row;
    default:
        return NULL;
    }
}

/* ---- writing ---- */
static int put_ids(struct buf *b, const uint32_t *ids, uint32_t n, const struct stream_info *info, const char **why)
{
    for (uint32_t i = 0; info->vocab && i < n; i++)
        if (ids[i] >= info->vocab) return refuse(why, "token id not below the vocabulary's size");
    size_t len = (size_t)n * 4;
    if (__BYTE_ORDER == __LITTLE_ENDIAN) {
        mp_put_bin(b, ids, len);
        return 0;
    }
    uint32_t *le = mem_alloc(n, 4);
    for (uint32_t i = 0; i < n; i++) le[i] = htole32(ids[i]);
    mp_put_bin(b, le, len);
    free(le);
    return 0;
}

static int put_scores(struct buf *b, const struct named_value *m, uint32_t n, bool nan_ok, const char **why)
{
    if (n > MP_MAP_MAX) return refuse(why, "too many metrics");
    mp_put_map(b, n);
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strlen(m[i].key);
        if (len > 255 || utf8_valid(m[i].key, len) != len) return refuse(why, "metric name too long or not UTF-8");
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(m[i].key, m[j].key)) return refuse(why, "two metrics of one name");
        if (!nan_ok && !isfinite(m[i].value)) return refuse(why, "score is not finite");
        mp_put_str(b, m[i].key, len);
        mp_put_f64(b, m[i].value);
    }
    return 0;
}

static int put_parts(struct buf *b, const struct part *p, uint32_t n, const char **why)
{
    if (n > MP_ARRAY_MAX) return refuse(why, "too many parts");
    mp_put_array(b, n);
    for (uint32_t i = 0; i < n; i++) {
        struct str s = p[i].text;
        if (utf8_valid(s.p, s.n) != s.n) return refuse(why, "text is not valid UTF-8");
        mp_put_array(b, 2);
        mp_put_str(b, s.p ? s.p : "", s.n);
        mp_put_bool(b, p[i].train);
    }
    return 0;
}

static int put_field(struct buf *b, const struct record *r, const struct field *f, const struct stream_info *info,
                     const char **why)
{
    struct str s;
    double x;
    uint32_t n;
    switch (f->type) {
    case FIELD_U64:
        mp_put_uint(b, MEMBER(r, f, uint64_t));
        return 0;
    case FIELD_U32:
        mp_put_uint(b, MEMBER(r, f, uint32_t));
        return 0;
    case FIELD_I64:
        mp_put_int(b, MEMBER(r, f, int64_t));
        return 0;
    case FIELD_F64:
        x = MEMBER(r, f, double);
        if (!isfinite(x)) return refuse(why, "number is not finite");
        mp_put_f64(b, x);
        return 0;
    case FIELD_TEXT:
        s = MEMBER(r, f, struct str);
        if (utf8_valid(s.p, s.n) != s.n) return refuse(why, "text is not valid UTF-8");
        mp_put_str(b, s.p ? s.p : "", s.n);
        return 0;
    case FIELD_LOSSY:
        s = MEMBER(r, f, struct str);
        mp_put_lossy(b, s.p ? s.p : "", s.n);
        return 0;
    case FIELD_NAME:
        mp_put_strz(b, MEMBER(r, f, char *) ? MEMBER(r, f, char *) : "");
        return 0;
    case FIELD_IDS:
        return put_ids(b, MEMBER(r, f, uint32_t *), field_count(r, f), info, why);
    case FIELD_MASK:
        n = field_count(r, f);
        for (uint32_t i = 0; i < n; i++)
            if (MEMBER(r, f, uint8_t *)[i] > 1) return refuse(why, "mask is not 0 or 1");
        mp_put_bin(b, MEMBER(r, f, uint8_t *), n);
        return 0;
    case FIELD_SCORES:
        return put_scores(b, MEMBER(r, f, struct named_value *), field_count(r, f), r->kind == STREAM_METRICS, why);
    case FIELD_PARTS:
        return put_parts(b, MEMBER(r, f, struct part *), field_count(r, f), why);
    }
    return refuse(why, "field of unknown type");
}

int record_put(struct buf *b, const struct record *r, const struct stream_info *info, const char **why)
{
    int n;
    const struct field *f = record_fields(r->kind, &n);
    uint32_t present = 0;
    if (check(r, why)) return -1;
    for (int i = 0; i < n; i++) {
        if (field_absent(r, &f[i])) continue;
        if (!field_listed(&f[i], info)) return refuse(why, "a field that the header does not list");
        present++;
    }
    mp_put_map(b, present);
    for (int i = 0; i < n; i++) {
        if (field_absent(r, &f[i])) continue;
        mp_put_strz(b, f[i].key);
        if (put_field(b, r, &f[i], info, why)) return -1;
    }
    return 0;
}

/* ---- reading ---- */
void record_room_fini(struct record_room *m)
{
    free(m->ids);
    free(m->metric);
    free(m->part);
    buf_fini(&m->names);
    buf_fini(&m->prompt);
}

/* Names are kept as offsets + 1 into m->names until all are read, since the buffer may move. */
static bool keep_name(struct record_room *m, struct str s, const char **at)
{
    if (memchr(s.p, 0, s.n)) return false;
    *at = (const char *)(uintptr_t)(m->names.n + 1);
    buf_add(&m->names, s.p, s.n);
    buf_addc(&m->names, 0);
    return true;
}
static const char *name_at(const struct record_room *m, const char *off) { return m->names.p + ((uintptr_t)off - 1); }

static int get_scores(struct record *r, const struct field *f, const struct mp_value *v, struct record_room *m,
                      const char **why)
{
    uint32_t n;
    struct str key;
    if (!mp_map(v, &n)) return refuse(why, "field is not a map");
    m->metric = mem_grow(m->metric, &m->metric_cap, n + 1, sizeof *m->metric);
    for (uint32_t i = 0; i < n; i++) {
        key = mp_key(v, i);
        if (!mp_f64(mp_val(v, i), &m->metric[i].value)) return refuse(why, "metric is not a f64");
        if (r->kind != STREAM_METRICS && !isfinite(m->metric[i].value)) return refuse(why, "score is not finite");
        if (!keep_name(m, key, &m->metric[i].key)) return refuse(why, "metric name with a NUL");
    }
    *(int *)((char *)r + f->n_off) = (int)n;
    *(const struct named_value **)((char *)r + f->off) = m->metric;
    return 0;
}

static int get_parts(struct record *r, const struct mp_value *v, struct record_room *m, const char **why)
{
    uint32_t n, two;
    if (!mp_array(v, &n) || !n) return refuse(why, "parts are not a list of parts");
    m->part = mem_grow(m->part, &m->part_cap, n, sizeof *m->part);
    for (uint32_t i = 0; i < n; i++) {
        const struct mp_value *p = mp_at(v, i);
        if (!mp_array(p, &two) || two != 2 || !mp_str(mp_at(p, 0), &m->part[i].text) ||
            !mp_bool(mp_at(p, 1), &m->part[i].train))
            return refuse(why, "part is not [str, bool]");
    }
    r->example.parts = m->part;
    r->example.n_parts = n;
    return 0;
}

static int get_ids(struct record *r, const struct mp_value *v, const struct stream_info *info, struct record_room *m,
                   const char **why)
{
    struct str s;
    if (!mp_bin(v, &s) || s.n % 4) return refuse(why, "ids are not a bin of whole u32");
    uint32_t n = (uint32_t)(s.n / 4);
    m->ids = mem_grow(m->ids, &m->ids_cap, n + 1, 4);
    if (n) memcpy(m->ids, s.p, s.n); /* the bytes of a frame are not aligned */
    for (uint32_t i = 0; i < n; i++) {
        m->ids[i] = le32toh(m->ids[i]);
        if (info->vocab && m->ids[i] >= info->vocab) return refuse(why, "token id not below the vocabulary's size");
    }
    r->tokens.ids = m->ids;
    r->tokens.n = n;
    return 0;
}

static int get_field(struct record *r, const struct field *f, const struct mp_value *v, const struct stream_info *info,
                     struct record_room *m, const char **why)
{
    char *to = (char *)r + f->off;
    struct str s;
    uint64_t u;
    switch (f->type) {
    case FIELD_U64:
        return mp_uint(v, (uint64_t *)(void *)to) ? 0 : refuse(why, "field is not an unsigned integer");
    case FIELD_U32:
        if (!mp_uint(v, &u) || u > UINT32_MAX) return refuse(why, "field is not a 32-bit unsigned integer");
        *(uint32_t *)(void *)to = (uint32_t)u;
        return 0;
    case FIELD_I64:
        return mp_int(v, (int64_t *)(void *)to) ? 0 : refuse(why, "field is not an integer");
    case FIELD_F64:
        if (!mp_f64(v, (double *)(void *)to)) return refuse(why, "field is not a f64");
        return isfinite(*(double *)(void *)to) ? 0 : refuse(why, "number is not finite");
    case FIELD_TEXT:
    case FIELD_LOSSY:
        return mp_str(v, (struct str *)(void *)to) ? 0 : refuse(why, "field is not a str");
    case FIELD_NAME:
        if (!mp_str(v, &s) || s.n > 255) return refuse(why, "field is not a short str");
        return keep_name(m, s, (const char **)(void *)to) ? 0 : refuse(why, "name with a NUL");
    case FIELD_IDS:
        return get_ids(r, v, info, m, why);
    case FIELD_MASK:
        if (!mp_bin(v, &s) || s.n != r->tokens.n) return refuse(why, "mask is not a bin as long as the ids");
        for (size_t i = 0; i < s.n; i++)
            if ((unsigned char)s.p[i] > 1) return refuse(why, "mask is not 0 or 1");
        *(const uint8_t **)(void *)to = (const uint8_t *)s.p;
        return 0;
    case FIELD_SCORES:
        return get_scores(r, f, v, m, why);
    case FIELD_PARTS:
        return get_parts(r, v, m, why);
    }
    return refuse(why, "field of unknown type");
}

/* Turn the kept offsets into pointers. */
static void names_settle(struct record *r, const struct field *f, int n, struct record_room *m)
{
    for (int i = 0; i < n; i++) {
        if (f[i].type == FIELD_NAME) {
            const char **p = (const char **)(void *)((char *)r + f[i].off);
            if (*p) *p = name_at(m, *p);
        } else if (f[i].type == FIELD_SCORES) {
            for (uint32_t j = 0; j < field_count(r, &f[i]); j++) m->metric[j].key = name_at(m, m->metric[j].key);
        }
    }
}

int record_get(struct record *r, enum stream_kind kind, const struct mp_value *v, const struct stream_info *info,
               struct record_room *m, const char **why)
{
    int n;
    uint32_t pairs, at = 0, halves = 0; /* of prompt and target */
    const struct field *f = record_fields(kind, &n);
    memset(r, 0, sizeof *r);
    r->kind = kind;
    m->names.n = 0;
    if (!mp_map(v, &pairs)) return refuse(why, "body is not a map");
    for (int i = 0; i < n; i++) {
        if (at < pairs && str_is(mp_key(v, at), f[i].key)) {
            if (!field_listed(&f[i], info)) return refuse(why, "a field that the header does not list");
            if (get_field(r, &f[i], mp_val(v, at), info, m, why)) return -1;
            if (f[i].when != WHEN_PAIR && field_absent(r, &f[i]))
                return refuse(why, "empty optional field that must be left out");
            halves += f[i].when == WHEN_PAIR;
            at++;
        } else if (f[i].when == WHEN_ALWAYS) {
            return refuse(why, "field missing, unknown or out of its order");
        }
    }
    if (at != pairs) return refuse(why, "field unknown or out of its order");
    if (kind == STREAM_EXAMPLES && halves != (r->example.n_parts ? 0 : 2))
        return refuse(why, "field missing, unknown or out of its order: either prompt and target, or parts");
    names_settle(r, f, n, m);
    if (check(r, why)) return -1;
    if (kind == STREAM_EXAMPLES && r->example.n_parts)
        example_pair(&r->example, (uint32_t)parts_last(r->example.parts, r->example.n_parts), &m->prompt);
    return 0;
}
