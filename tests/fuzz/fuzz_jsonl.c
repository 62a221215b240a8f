/* fuzz_jsonl: any bytes as JSON lines, and each row's columns through a template, its parts and adapter's name read.
 * What is accepted can be written. */
#include <stdlib.h>
#include "libcommon/base/utf8.h"
#include "libcommon/format/jsonl.h"
#include "libcommon/format/parts.h"
#include "libcommon/format/template.h"
#include "libcommon/stream/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e = {0};
    struct jsonl_row j;
    struct buf b = {0};
    struct part_list parts = {0};
    bool blank;
    struct input *in = input_open_mem(data, n, "<memory>");
    struct jsonl *f = jsonl_open(in, ENC_UTF8);
    struct template *t = template_parse("{a}{b?}\\n", "--prompt", &e);
    int rc;
    while ((rc = jsonl_next(f, &j, &e)) == 1) {
        struct row row = {"<memory>", j.line, j.n, j.key, j.value, j.type, j.source, j.object};
        struct err skip = {0};
        for (int i = 0; i < j.n; i++)
            if (j.value[i].p && utf8_valid(j.value[i].p, j.value[i].n) != j.value[i].n) abort();
        b.n = 0;
        if (template_render(t, &row, &b, &blank, &skip) && !skip.msg[0]) abort();
        row_json(&row, &b);
        const struct stream_info info = {.has = STREAM_HAS_PARTS | STREAM_HAS_ADAPTER};
        struct record r = {.kind = STREAM_EXAMPLES};
        const char *why;
        struct err no = {0};
        if (row_has(&row, "parts") && row_parts(&row, &parts, &no) == 0)
            r.example.parts = parts.v, r.example.n_parts = parts.n;
        if (!no.id) row_adapter(&row, &r.example.adapter, &no);
        if (no.id ? !no.msg[0] : record_put(&b, &r, &info, &why)) abort();
    }
    if (rc < 0 && (!e.id || !e.msg[0])) abort();
    template_free(t);
    jsonl_close(f);
    input_close(in);
    buf_fini(&b);
    free(parts.v);
    return 0;
}
