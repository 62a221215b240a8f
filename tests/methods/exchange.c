/* exchange: what llama.cpp finds in a GGUF LoRA of ours: names, alpha, factors, and the order of B's rows. */
#include <math.h>
#include <unistd.h>
#include "libcommon/format/gguf.h"
#include "libcommon/peft/lora_set.h"
#include "tests/methods/fixture.h"

static void order_of_rows(void)
{
    struct err e = {0};
    struct fixture f;
    struct lora_set s = {0};
    char path[] = "/tmp/peft-lora-XXXXXX";
    CHECK_MSG(!fx_open(&f, "gqa_tied", true, &e), "%s", e.msg);
    if (e.id) return;
    const int C = f.m->cfg.C, D = f.m->cfg.D, half = D / 2;
    static const char *const leaf[] = {"q_proj", "k_proj", "v_proj"};
    for (int i = 0; i < 3; i++) {
        char *site = mem_printf("model.layers.1.self_attn.%s", leaf[i]);
        const int out = site_rows(model_site(f.m, site));
        /* v has twice the factor: of one number for all it keeps the first's, and its B doubles */
        struct lora_pair *p = lora_set_add(&s, site, 2, C, out, i == 2 ? 3 : 1.5);
        for (int r = 0; r < 2 * out; r++) p->b[r] = (float)r;
        p->a[0] = (float)(i + 1);
        free(site);
    }
    close(mkstemp(path));
    CHECK_MSG(!lora_gguf_write(&s, f.m, path, true, &e), "%s", e.msg);
    struct gguf *g = gguf_open(path, &e);
    double alpha = 0;
    CHECK(gguf_get_f64(g, "adapter.lora.alpha", &alpha, &e) == 1 && alpha == 3);
    CHECK(g->n_t == 6);
    static const char *const name[] = {"blk.1.attn_q.weight.lora_b", "blk.1.attn_k.weight.lora_b",
                                       "blk.1.attn_v.weight.lora_b"};
    for (int i = 0; i < 3; i++) {
        const struct gguf_tensor *t = gguf_tensor_find(g, name[i]);
        CHECK_MSG(t && t->ne[0] == 2 && t->type == 0, "%s", name[i]);
        for (int row = 0; t && row < t->ne[1]; row++) {
            /* llama.cpp rotates neighbours: row 2j + i of a head is Hugging Face's j + i D/2 */
            const int in = row % D, from = i == 2 ? row : row - in + in / 2 + (in % 2) * half;
            float have[2];
            memcpy(have, t->data + (size_t)row * sizeof have, sizeof have);
            const float want = (float)(2 * from) * (i == 2 ? 2 : 1);
            CHECK_MSG(have[0] == want, "%s, row %d: %g, expected %g", name[i], row, have[0], want);
        }
    }
    gguf_close(g);
    unlink(path);
    lora_set_fini(&s);
    fx_close(&f);
}

int main(void)
{
    RUN(order_of_rows, "exchange.gguf: rows of q and k");
    return test_failed;
}
