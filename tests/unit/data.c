/* data: the rules of rows, the packer, and what a data set takes of a stream. */
#include <unistd.h>
#include "libcommon/base/out.h"
#include "libcommon/data/packer.h"
#include "libcommon/data/rules.h"
#include "libcommon/stream/mp.h"
#include "tests/test.h"

static char path[] = "/tmp/peft-data-XXXXXX";

static void rules(void)
{
    const uint8_t mask[] = {1, 0, 1, 1};
    static const bool label[] = {false, false, true, true}, has[] = {false, true, true, false};
    for (uint32_t i = 0; i < 4; i++)
        CHECK(data_is_label(mask, i, 4) == label[i] && data_has_label(mask, i, 4) == has[i]);
    CHECK(!data_is_label(mask, 4, 4) && !data_has_label(mask, 1, 2)); /* nothing behind the end */
    CHECK(data_uid(3, 7) == 3145735 && data_uid(1, 0) - data_uid(0, DATA_ROW_MAX) == 1);
}

/* Three rows of tokens; the second names an adapter if asked to. */
static struct stream_reader *tokens(bool adapter)
{
    static const uint32_t ids[] = {5, 6, 7, 8};
    static const uint8_t mask[] = {1, 0, 1, 1};
    struct err e = {0};
    struct stream_info info = {.kind = STREAM_TOKENS, .vocab = 10, .eos = -1, .has = STREAM_HAS_ADAPTER};
    struct stream_writer *w = stream_create(path, true, &info, NULL, NULL, &e);
    for (uint64_t i = 1; i <= 3; i++) {
        struct record r = {.kind = STREAM_TOKENS,
                           .tokens = {.row = i, .ids = ids, .mask = mask, .n = i < 3 ? 4 : 3, .n_prompt = 2}};
        if (adapter && i == 2) r.tokens.adapter = "french";
        CHECK_MSG(stream_put(w, &r, &e) == 0, "%s", e.msg);
    }
    CHECK(stream_finish(w, NULL, NULL, &e) == 0);
    return stream_open(path, STREAM_TOKENS, &e);
}

static void packed(void)
{
    struct err e = {0};
    struct dataset d;
    struct packer p;
    struct stream_reader *r = tokens(false);
    CHECK_MSG(dataset_read(&d, r, NULL, 10, 0, &e) == 0, "%s", e.msg);
    CHECK(d.n == 3 && d.labels == 5 && d.row[0].n_label == 2 && d.row[2].n_label == 1 && !d.row[1].adapter);
    packer_init(&p, 8, 2, NULL);
    CHECK(packer_add(&p, &d, 0, true) && packer_add(&p, &d, 2, true) && !packer_add(&p, &d, 1, true));
    CHECK(p.b.T == 7 && p.b.B == 2 && p.b.n == 3);
    static const int32_t row[] = {1, 2, 5}, label[] = {7, 8, 7};
    CHECK(!memcmp(p.row, row, sizeof row) && !memcmp(p.label, label, sizeof label));
    CHECK(p.pos[4] == 0 && p.uid[4] == data_uid(3, 0) && p.uid[3] == data_uid(1, 3) && p.q_start[1] == 4);
    packer_fini(&p);
    dataset_free(&d);
    stream_close(r);
}

static void adapters(void)
{
    struct err e = {0};
    struct dataset d;
    struct stream_reader *r = tokens(true);
    CHECK(dataset_read(&d, r, NULL, 10, 0, &e) == -E_VERSION);
    CHECK_MSG(strstr(e.msg, "row 2 names adapter 'french', "), "%s", e.msg);
    dataset_free(&d);
    stream_close(r);
    r = tokens(true);
    e = (struct err){0};
    CHECK_MSG(dataset_read_adapters(&d, r, NULL, 10, 0, true, &e) == 0, "%s", e.msg);
    CHECK(!d.row[0].adapter && !strcmp(d.row[1].adapter, "french") && !d.row[2].adapter);
    dataset_free(&d);
    stream_close(r);
    /* an announcement alone names none */
    r = tokens(false);
    CHECK(dataset_read(&d, r, NULL, 10, 0, &e) == 0);
    dataset_free(&d);
    stream_close(r);
}

/* Examples of several parts become the rows that peft-tok makes of them. */
static void parts(void)
{
    const char *dir = getenv("PEFT_DATA");
    char *file = path_join(dir ? dir : "../shared/data/", "tokenizers/gpt2");
    struct err e = {0};
    struct tokenizer *t = file_is_dir(file) ? tokenizer_load(file, &e) : NULL;
    free(file);
    if (!t) {
        SKIP("data: parts", "no tokenizers under PEFT_DATA");
        return;
    }
    const struct part x[] = {
        {STRZ("Q: a\nA:"), false}, {STRZ(" b"), true}, {STRZ("\nQ: c\nA:"), false}, {STRZ(" d"), true}};
    struct stream_info info = {.kind = STREAM_EXAMPLES, .eos = -1, .has = STREAM_HAS_PARTS};
    struct stream_writer *w = stream_create(path, true, &info, NULL, NULL, &e);
    struct record rec = {.kind = STREAM_EXAMPLES, .example = {.row = 7, .parts = x, .n_parts = 4}};
    CHECK(stream_put(w, &rec, &e) == 0 && stream_finish(w, NULL, NULL, &e) == 0);
    struct stream_reader *r = stream_open(path, STREAM_EXAMPLES, &e);
    struct dataset d;
    CHECK_MSG(dataset_read(&d, r, t, tokenizer_size(t), 0, &e) == 0, "%s", e.msg);
    CHECK(d.n == 1 && d.row[0].n_label == 3); /* " b", " d" and the end-of-text token */
    CHECK(d.row[0].n == d.row[0].n_prompt + 2 && d.mask[d.row[0].n_prompt] && !d.mask[d.row[0].n_prompt - 1]);
    CHECK(str_is(d.row[0].prompt, "Q: a\nA: b\nQ: c\nA:") && str_is(d.row[0].target, " d"));
    dataset_free(&d);
    stream_close(r);
    tokenizer_free(t);
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd >= 0) close(fd);
    RUN(rules, "data: labels and names of tokens");
    RUN(packed, "data: rows in a batch");
    RUN(adapters, "data: rows that name an adapter");
    RUN(parts, "data: examples of several parts");
    unlink(path);
    return test_failed;
}
