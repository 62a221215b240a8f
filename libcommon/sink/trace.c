/* trace: the provenance chain: which tools made the stream, in order, with their options, inputs and counts. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/sink/sink.h"
#include "libcommon/stream/jsontext.h"

static struct str text_of(const json_t *map, const char *key)
{
    const json_t *v = json_object_get(map, key);
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : (struct str){"", 0};
}

static void words(struct buf *b, const char *label, const json_t *list)
{
    size_t i;
    json_t *v;
    if (!json_array_size(list)) return;
    buf_printf(b, "   %-9s", label);
    json_array_foreach(list, i, v)
    {
        struct str s = {json_string_value(v), json_string_length(v)};
        bool bare = s.n > 0;
        for (size_t k = 0; k < s.n; k++) bare = bare && s.p[k] > ' ' && !strchr("'\"\\{}$;&|<>()*?#", s.p[k]);
        buf_addc(b, ' ');
        if (bare)
            plain_text(b, s);
        else
            json_text(b, s);
    }
    buf_addc(b, '\n');
}

static void counts(struct buf *b, const json_t *a, struct str digest)
{
    const char *reason;
    json_t *n;
    buf_printf(b, "   counts    in=%lld out=%lld dropped=%lld", (long long)json_integer_value(json_object_get(a, "in")),
               (long long)json_integer_value(json_object_get(a, "out")),
               (long long)json_integer_value(json_object_get(a, "dropped")));
    json_object_foreach(json_object_get(a, "reasons"), reason, n)
    {
        buf_addc(b, ' ');
        plain_text(b, STRZ(reason));
        buf_printf(b, "=%lld", (long long)json_integer_value(n));
    }
    buf_addz(b, "\n   digest    ");
    plain_text(b, digest);
    buf_addc(b, '\n');
}

/* This stream's own END in the form in which it would stand among a later stage's upstreams. */
static json_t *own_end(const struct sink_job *j)
{
    const struct accounting *a = stream_accounting(j->in);
    json_t *reasons = json_object();
    char hex[65], *text = mem_dupz(a->reasons), *save = NULL;
    for (char *p = strtok_r(text, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(p, ':');
        if (!colon) continue;
        *colon = 0;
        json_object_set_new(reasons, p, json_integer(strtoll(colon + 1, NULL, 10)));
    }
    free(text);
    digest_hex(stream_digest(j->in), hex);
    return json_pack("{s:s, s:I, s:{s:I, s:I, s:I, s:o}}", "digest", hex, "records", (json_int_t)stream_records(j->in),
                     "accounting", "in", (json_int_t)a->in, "out", (json_int_t)a->out, "dropped",
                     (json_int_t)a->dropped, "reasons", reasons);
}

/* Files that are no streams: name, rows, SHA-256. */
static void files(struct buf *b, const json_t *list)
{
    size_t i;
    json_t *f;
    if (json_array_size(list)) buf_addz(b, "files read:\n");
    json_array_foreach(list, i, f)
    {
        buf_addz(b, " - ");
        plain_text(
            b, (struct str){text_of(f, "tool").p + strlen(STREAM_FILE), text_of(f, "tool").n - strlen(STREAM_FILE)});
        buf_printf(b, ", %lld rows, SHA-256 ", (long long)json_integer_value(json_object_get(f, "records")));
        plain_text(b, text_of(f, "digest"));
        buf_addc(b, '\n');
    }
}

/* all: what was read to make the stream, and itself. */
static void people(struct buf *b, const json_t *steps, const json_t *all)
{
    json_t *s, *ends = json_array(), *read = json_array();
    size_t i;
    json_array_foreach(all, i, s)
        json_array_append(!strncmp(text_of(s, "tool").p, STREAM_FILE, strlen(STREAM_FILE)) ? read : ends, s);
    files(b, read);
    size_t n = json_array_size(steps), k = json_array_size(ends);
    json_array_foreach(steps, i, s)
    {
        buf_printf(b, "%zu  ", i + 1);
        plain_text(b, text_of(s, "tool"));
        buf_addc(b, ' ');
        plain_text(b, text_of(s, "version"));
        if (text_of(s, "git_sha").n) {
            buf_addz(b, " (");
            plain_text(b, text_of(s, "git_sha"));
            buf_addc(b, ')');
        }
        buf_printf(b, ", seed %lld\n", (long long)json_integer_value(json_object_get(s, "seed")));
        words(b, "arguments", json_object_get(s, "argv"));
        words(b, "inputs", json_object_get(s, "inputs"));
        buf_addz(b, "   options   ");
        plain_text(b, text_of(s, "config_digest"));
        buf_addc(b, '\n');
        const json_t *end = n == k ? json_array_get(ends, i) : NULL; /* a straight chain */
        if (end) counts(b, json_object_get(end, "accounting"), text_of(end, "digest"));
    }
    if (n != k) buf_addz(b, "streams read, and this one:\n");
    json_array_foreach(n != k ? ends : NULL, i, s)
    {
        buf_addz(b, " - ");
        plain_text(b, text_of(s, "tool"));
        buf_addc(b, '\n');
        counts(b, json_object_get(s, "accounting"), text_of(s, "digest"));
    }
    json_decref(ends);
    json_decref(read);
}

static int run(const struct sink_job *j, struct err *e)
{
    struct record r;
    struct buf b = {0};
    int rc;
    while ((rc = stream_next(j->in, &r, e)) == 1) continue;
    json_t *steps = json_loads(stream_provenance(j->in), 0, NULL), *ends = json_loads(stream_upstreams(j->in), 0, NULL);
    if (!steps) steps = json_array();
    if (!ends) ends = json_array();
    if (rc == 0) json_array_append_new(ends, own_end(j));
    if (j->json) {
        json_t *all = json_pack("{s:s, s:O, s:O}", "kind", stream_kind_names[stream_info_of(j->in)->kind], "steps",
                                steps, "streams", ends);
        char *text = json_dumps(all, JSON_COMPACT | JSON_ENSURE_ASCII);
        buf_addz(&b, text ? text : "{}");
        buf_addc(&b, '\n');
        free(text);
        json_decref(all);
    } else {
        people(&b, steps, ends);
    }
    json_decref(steps);
    json_decref(ends);
    int written = out_write(j->out, b.p, b.n, e);
    buf_fini(&b);
    return rc < 0 ? rc : written;
}

const struct sink sink_trace = {.name = "trace", .each = true, .run = run};
