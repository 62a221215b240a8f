/* cat: one JSON object a record. */
#include "libcommon/sink/sink.h"
#include "libcommon/stream/jsontext.h"

static int run(const struct sink_job *j, struct err *e)
{
    struct record r;
    struct buf b = {0};
    int rc;
    while ((rc = stream_next(j->in, &r, e)) == 1) {
        b.n = 0;
        json_record(&b, &r);
        buf_addc(&b, '\n');
        rc = out_write(j->out, b.p, b.n, e);
        if (rc == 0 && stream_is_log(r.kind)) rc = out_flush(j->out, e); /* somebody may be watching */
        if (rc < 0) break;
    }
    buf_fini(&b);
    return rc;
}

const struct sink sink_cat = {.name = "cat", .run = run};
