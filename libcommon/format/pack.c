/* pack: see pack.h. The first line decides what the stream's header announces, as the header goes before all records.
 */
#include "libcommon/format/pack.h"

#include "libcommon/base/msg.h"
#include "libcommon/format/jsonl.h"
#include "libcommon/stream/jsonrecord.h"
#include "libcommon/stream/record.h"

struct packer {
    const struct pack *o;
    const struct tool_run *run;
    struct stream_writer *w;
    struct stream_info info;
    struct json_room room;
    uint64_t records, last_row;
    const char *file;
};

static int bad(const struct packer *p, const struct jsonl_row *row, const char *why, struct err *e)
{
    return err_set(e, E_JSON, "%s:%llu: %s", p->file, (unsigned long long)row->line, why);
}

/* Tokenizer, vocabulary, base and features of another stream. */
static int take_after(struct stream_info *to, const char *path, struct err *e)
{
    struct stream_reader *r = stream_open(path, -1, e);
    if (!r) return -e->id;
    struct stream_info mine = *to;
    *to = *stream_info_of(r);
    to->kind = mine.kind;
    to->has |= mine.has;
    to->max_len = 0;
    stream_close(r);
    return 0;
}

static int begin(struct packer *p, const struct jsonl_row *row, struct err *e)
{
    int kind = p->o->kind < 0 ? json_record_kind(row->object) : p->o->kind;
    if (kind < 0) {
        bad(p, row, "the fields are those of no kind of record", e);
        return err_hint(
            e, "--kind says which it is meant to be, and then what is missing; for prompts and targets of other "
               "names use peft-prep");
    }
    p->info = (struct stream_info){.kind = (enum stream_kind)kind, .eos = -1};
    if (json_object_get(row->object, "parts")) p->info.has |= STREAM_HAS_PARTS;
    if (json_object_get(row->object, "adapter")) p->info.has |= STREAM_HAS_ADAPTER;
    if (p->o->like && take_after(&p->info, p->o->like, e)) return -e->id;
    p->w = stream_create(p->o->output, p->o->force, &p->info, p->run, NULL, e);
    return p->w ? 0 : -e->id;
}

static int put(struct packer *p, const struct jsonl_row *row, struct err *e)
{
    const char *why;
    struct record r;
    if (!p->w && begin(p, row, e)) return -e->id;
    r.kind = p->info.kind;
    if (json_record_get(&r, row->object, p->last_row + 1, &p->room, &why)) return bad(p, row, why, e);
    uint64_t *number = record_row(&r);
    if (number && *number <= p->last_row) {
        bad(p, row, "row is not above that of the line before", e);
        return err_hint(e, "lines without row are numbered: jq -c 'del(.row)'");
    }
    if (number) p->last_row = *number;
    p->records++;
    if (stream_put(p->w, &r, e) == 0) return 0;
    if (e->id == E_STREAM_RECORD)
        err_hint(
            e,
            "the first line says which of the fields parts and adapter there are; --like takes those of a stream too");
    return err_prefix(e, "%s:%llu: ", p->file, (unsigned long long)row->line);
}

static int pack_file(struct packer *p, const char *path, struct err *e)
{
    struct input *in = input_open(path, e);
    if (!in) return -e->id;
    struct jsonl *lines = jsonl_open(in, ENC_UTF8);
    struct jsonl_row row;
    int rc;
    p->file = input_name(in);
    while ((rc = jsonl_next(lines, &row, e)) == 1 && (rc = put(p, &row, e)) == 0) continue;
    jsonl_close(lines);
    input_close(in);
    return rc;
}

int pack_run(const struct pack *o, const struct tool_run *run, struct err *e)
{
    struct packer p = {.o = o, .run = run};
    int rc = o->paths.n ? 0 : pack_file(&p, NULL, e);
    for (int i = 0; rc == 0 && i < o->paths.n; i++) rc = pack_file(&p, o->paths.v[i], e);
    if (rc == 0 && !p.w) rc = err_set(e, E_NOROWS, "no records: the input has no lines");
    if (rc == 0) {
        msg_account(p.records, p.records, 0, "");
        struct stream_writer *w = p.w;
        p.w = NULL;
        rc = stream_finish(w, NULL, NULL, e);
    }
    if (p.w) stream_abort(p.w, e);
    json_room_fini(&p.room);
    return rc;
}
