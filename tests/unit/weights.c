/* weights: Hugging Face directories (one file, shards, links as in the Hub's cache) and GGUF files behind one
 * interface, what is refused, and the digest with its cache. */
#include "libcommon/format/weights.h"
#include "libcommon/model/model_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/finite.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/format/safetensors_write.h"
#include "tests/test.h"

static char root[64];

/* The path in the test's directory, in one of 64 rotating buffers. */
static char *in(const char *name)
{
    static char buf[64][512];
    static int at;
    char *p = buf[at++ % 64];
    snprintf(p, sizeof buf[0], "%s/%s", root, name);
    return p;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A file of one tensor [n] whose values are `value`. */
static void shard(const char *path, const char *name, const char *dtype, int n, float value)
{
    struct err e = {0};
    struct st_writer *w = st_create(path, true, &e);
    CHECK(st_declare(w, name, dtype, 1, (int64_t[]){n}, &e) == 0 && st_begin(w, &e) == 0);
    size_t size = !strcmp(dtype, "F32") ? 4 : !strcmp(dtype, "I64") ? 8 : 2;
    for (int i = 0; i < n; i++)
        CHECK(st_data(w, (char[8]){0}, 0, &e) == 0 &&
              st_data(w, size == 4 ? (void *)&value : (void *)"\0\0\0\0\0\0\0", size, &e) == 0);
    CHECK(st_finish(w, &e) == 0);
}

static struct weights *open_as(const char *path, int want)
{
    struct err e = {0};
    struct weights *w = weights_open(path, &e);
    CHECK_MSG(want ? !w && e.id == want : w != NULL, "%s: %s %s", path, e.id ? err_name(e.id) : "accepted", e.msg);
    if (!want) return w;
    weights_close(w);
    return NULL;
}

static void test_single(void)
{
    char *dir = in("single");
    mkdir(dir, 0777);
    put(in("single/config.json"), "{\"hidden_size\": 3}");
    open_as(dir, E_MODEL); /* no weights */
    put(in("single/pytorch_model.bin"), "x");
    open_as(dir, E_POLICY);
    shard(in("single/model.safetensors"), "model.norm.weight", "F32", 3, 1.5f);
    struct weights *w = open_as(dir, 0);
    if (!w) return;
    const struct tensor *t = weights_find(w, "model.norm.weight");
    float v = 0;
    if (t) memcpy(&v, (const char *)t->data + 8, 4);
    CHECK(t && t->dtype == DT_F32 && t->ndim == 1 && t->shape[0] == 3 && t->bytes == 12 && v == 1.5f);
    CHECK(!weights_find(w, "model.norm") && w->kind == WEIGHTS_HF && !w->gguf);
    CHECK_STR(w->config_json, "{\"hidden_size\": 3}");
    unsigned char d[32];
    struct err e = {0};
    CHECK(sha256_file(in("single/model.safetensors"), d, &e) == 0 && !memcmp(d, w->digest, 32));
    weights_close(w);
    put(in("single/config.json"), "{\"hidden_size\": 3,}");
    open_as(dir, E_MODEL);
    put(in("single/config.json"), "{}");
    shard(in("single/model.safetensors"), "model.ids", "I64", 1, 0);
    open_as(dir, E_ARCH);
    open_as(in("single/model.safetensors"), E_MODEL);
    open_as(in("absent"), E_NOINPUT);
    put(in("model.pt"), "PK");
    open_as(in("model.pt"), E_POLICY);
    put(in("model.gguf"), "GGUX and so on, long enough");
    open_as(in("model.gguf"), E_GGUF);
}

static void test_shards(void)
{
    char *dir = in("shards"), *index = in("shards/model.safetensors.index.json");
    mkdir(dir, 0777);
    put(in("shards/config.json"), "{}");
    shard(in("shards/model-00001-of-00002.safetensors"), "a", "F32", 2, 1);
    shard(in("shards/model-00002-of-00002.safetensors"), "b", "BF16", 1, 2);
#define INDEX(map) put(index, "{\"metadata\":{\"total_size\":10},\"weight_map\":{" map "}}")
#define S1         "\"model-00001-of-00002.safetensors\""
#define S2         "\"model-00002-of-00002.safetensors\""
    INDEX("\"b\":" S2 ",\"a\":" S1);
    struct weights *w = open_as(dir, 0);
    if (w) {
        CHECK(w->n == 2 && weights_find(w, "a")->dtype == DT_F32 && weights_find(w, "b")->dtype == DT_BF16);
        unsigned char d[32];
        struct sha256 *s = sha256_new();
        for (int i = 1; i <= 2; i++) {
            size_t n;
            struct err e = {0};
            char *path = mem_printf("%s/model-0000%d-of-00002.safetensors", dir, i),
                 *text = file_read(path, 4096, &n, &e);
            sha256_add(s, text, n);
            free(text);
            free(path);
        }
        sha256_done(s, d);
        CHECK(!memcmp(d, w->digest, 32));
        weights_close(w);
    }
    INDEX("\"a\":" S1);
    w = open_as(dir, 0); /* a shard that nothing names is not opened */
    CHECK(w && w->n == 1);
    weights_close(w);
    INDEX("\"a\":" S2 ",\"b\":" S1);
    open_as(dir, E_MODEL); /* the wrong file */
    INDEX("\"a\":" S1 ",\"b\":" S2 ",\"c\":" S2);
    open_as(dir, E_MODEL); /* names a tensor that is not there */
    INDEX("\"a\":" S1 ",\"b\":\"model-00003-of-00002.safetensors\"");
    open_as(dir, E_NOINPUT);
    INDEX("\"a\":" S1 ",\"b\":\"../single/model.safetensors\"");
    open_as(dir, E_POLICY);
    mkdir(in("shards/d.safetensors"), 0777);
    INDEX("\"a\":" S1 ",\"b\":\"d.safetensors\"");
    open_as(dir, E_POLICY); /* no regular file */
    mkfifo(in("shards/f.safetensors"), 0666);
    INDEX("\"a\":" S1 ",\"b\":\"f.safetensors\"");
    open_as(dir, E_POLICY); /* and not waited for */
    CHECK(symlink(in("shards/model-00002-of-00002.safetensors"), in("shards/l.safetensors")) == 0);
    INDEX("\"a\":" S1 ",\"b\":\"l.safetensors\"");
    w = open_as(dir, 0); /* as in the Hub's cache */
    weights_close(w);
    shard(in("shards/model-00002-of-00002.safetensors"), "a", "F32", 1, 2);
    INDEX("\"a\":" S1 ",\"b\":" S2);
    open_as(dir, E_MODEL); /* the same name in two files */
}

static struct gguf_writer *begin_gguf(const char *path, const char *arch)
{
    struct err e = {0};
    struct gguf_writer *w = gguf_create(path, true, &e);
    if (arch) gguf_put_str(w, "general.architecture", STRZ(arch));
    return w;
}

static void end_gguf(struct gguf_writer *w, size_t bytes)
{
    struct err e = {0};
    char *zero = mem_alloc(bytes, 1);
    CHECK(gguf_begin(w, &e) == 0);
    for (size_t i = 0; i < bytes; i += 4) CHECK(gguf_data(w, zero, 4, &e) == 0);
    CHECK_MSG(gguf_finish(w, &e) == 0, "%s", e.msg);
    free(zero);
}

static void test_gguf(void)
{
    struct err e = {0};
    char *path = in("m.gguf");
    struct gguf_writer *w = begin_gguf(path, "llama");
    gguf_put_tensor(w, "blk.0.attn_q.weight", 2, (int64_t[]){4, 2}, 0, &e);
    gguf_put_tensor(w, "something.else", 1, (int64_t[]){2}, 1, &e);
    end_gguf(w, 36);
    struct weights *g = open_as(path, 0);
    if (g) {
        CHECK(weights_find(g, "blk.0.attn_q.weight") && weights_rename(g, &llama_names, &e) == 0);
        const struct tensor *t = weights_find(g, "model.layers.0.self_attn.q_proj.weight");
        CHECK(t && t->ndim == 2 && t->shape[0] == 4 && t->shape[1] == 2 && t->dtype == DT_F32);
        CHECK(weights_find(g, "something.else") && weights_find(g, "something.else")->dtype == DT_F16);
        CHECK(g->kind == WEIGHTS_GGUF && g->gguf && !g->config_json);
        weights_close(g);
    }
    w = begin_gguf(path, "qwen2");
    gguf_put_tensor(w, "v", 1, (int64_t[]){1}, 0, &e);
    end_gguf(w, 4);
    g = open_as(path, 0);
    CHECK(g);
    weights_close(g);
    w = begin_gguf(path, NULL);
    gguf_put_tensor(w, "v", 1, (int64_t[]){1}, 0, &e);
    end_gguf(w, 4);
    open_as(path, E_GGUF);
    w = begin_gguf(path, "llama");
    end_gguf(w, 0);
    open_as(path, E_GGUF); /* no tensors */
    w = begin_gguf(path, "llama");
    gguf_put_u32(w, "split.count", 2);
    gguf_put_tensor(w, "v", 1, (int64_t[]){1}, 0, &e);
    end_gguf(w, 4);
    open_as(path, E_VERSION);
    w = begin_gguf(path, "llama");
    gguf_put_tensor(w, "lm_head.weight", 1, (int64_t[]){1}, 0, &e);
    gguf_put_tensor(w, "output.weight", 1, (int64_t[]){1}, 0, &e);
    end_gguf(w, 8);
    struct err twice = {0};
    g = open_as(path, 0);
    CHECK(g && weights_rename(g, &llama_names, &twice) < 0 && twice.id == E_GGUF); /* two names for one tensor */
    weights_close(g);
    w = begin_gguf(path, "llama");
    gguf_put_tensor(w, "blk.0.ffn_up.weight", 1, (int64_t[]){512}, 14, &e);
    end_gguf(w, 420);
    struct err no = {0};
    CHECK(!weights_open(path, &no) && no.id == E_ARCH && strstr(no.msg, "Q6_K") &&
          strstr(no.msg, "blk.0.ffn_up.weight") && strstr(no.hint, "Q8_0"));
}

/* A file of 16 MiB and more is hashed once; a change of it is seen, and a damaged entry does no harm. */
static void test_digest_cache(void)
{
    setenv("XDG_CACHE_HOME", in("cache"), 1);
    mkdir(in("cache"), 0777);
    mkdir(in("big"), 0777);
    put(in("big/config.json"), "{}");
    char *path = in("big/model.safetensors");
    shard(path, "t", "F32", 5 << 20, 1);
    struct weights *w = open_as(in("big"), 0);
    if (!w) return;
    unsigned char first[32], direct[32];
    struct err e = {0};
    memcpy(first, w->digest, 32);
    weights_close(w);
    CHECK(sha256_file(path, direct, &e) == 0 && !memcmp(first, direct, 32));
    char *list = mem_printf("cat %s/cache/peft/checked/* | grep -q .", root);
    CHECK(system("exit 0") == 0 && system(list) == 0);
    free(list);
    w = open_as(in("big"), 0);
    CHECK(w && !memcmp(first, w->digest, 32));
    weights_close(w);
    struct stat st;
    stat(path, &st);
    FILE *f = fopen(path, "r+");
    fseek(f, -1, SEEK_END);
    fputc(7, f);
    fclose(f);
    struct timespec back[2] = {st.st_atim, st.st_mtim};
    utimensat(AT_FDCWD, path, back, 0); /* the old mtime does not hide the change */
    w = open_as(in("big"), 0);
    CHECK(w && memcmp(first, w->digest, 32));
    weights_close(w);
    char *spoil = mem_printf("for f in %s/cache/peft/checked/*; do echo nonsense >$f; done", root);
    CHECK(system(spoil) == 0);
    free(spoil);
    unsigned char second[32];
    CHECK(sha256_file(path, second, &e) == 0);
    w = open_as(in("big"), 0);
    CHECK(w && !memcmp(second, w->digest, 32));
    weights_close(w);
}

/* A name of the Hub that is no path: how to get it, and whether its Python client has. */
static void hub_hint(const char *name, const char *want, bool there)
{
    struct err e = {0};
    CHECK(!weights_open(name, &e) && e.id == E_NOINPUT);
    CHECK_MSG(there == (strstr(e.hint, want) != NULL), "%s: %s", name, e.hint);
}

static void test_hub(void)
{
    setenv("HF_HUB_CACHE", in("hub"), 1);
    char *make = mem_printf("cd %s && mkdir -p hub/models--org--name/refs hub/models--org--name/snapshots/0abc", root);
    CHECK(system(make) == 0);
    free(make);
    hub_hint("org/name", "hf download org/name", true);
    put(in("hub/models--org--name/refs/main"), "0abc");
    hub_hint("org/name", "hf download org/name", true); /* no model in it */
    put(in("hub/models--org--name/snapshots/0abc/config.json"), "{}");
    hub_hint("org/name", "hub/models--org--name/snapshots/0abc", true);
    put(in("hub/models--org--name/refs/main"), "../../0abc");
    hub_hint("org/name", "hf download", true);
    static const char *const paths[] = {"nowhere", "./nowhere", "/no/where", "a/b/c", "org/", "/name", "org/na me"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) hub_hint(paths[i], "Hub", false);
    setenv("HF_HUB_CACHE", "", 1);
    setenv("HF_HOME", root, 1);
    put(in("hub/models--org--name/refs/main"), "0abc");
    hub_hint("org/name", "hub/models--org--name/snapshots/0abc", true);
}

/* One value that is not finite, at the borders of what is looked at together, in each type; and one that is nearly. */
static void test_finite(void)
{
    static const struct {
        enum dtype type;
        size_t bytes, at; /* of the value: two bytes, the upper ones of an f32 */
        uint16_t bad, good;
        int64_t index;
    } c[] = {
        {DT_F32, 40000, 2, 0x7f80, 0x7f7f, 0},
        {DT_F32, 40000, 4 * 4095 + 2, 0xffc0, 0xff7f, 4095},
        {DT_F32, 40000, 4 * 4096 + 2, 0xff80, 0, 4096},
        {DT_F32, 40000, 39998, 0x7fff, 0x7f7f, 9999},
        {DT_F16, 20000, 0, 0x7c00, 0x7bff, 0},
        {DT_F16, 20000, 19998, 0xfe01, 0xfbff, 9999},
        {DT_BF16, 20000, 0, 0x7f80, 0x7f7f, 0},
        {DT_BF16, 20000, 19998, 0xffff, 0xff7f, 9999},
        {DT_Q4_0, 18 * 100, 18 * 99, 0x7c00, 0x7bff, 99 * 32},
        {DT_Q4_0, 18 * 100, 18 * 7 + 2, 0, 0xffff, -1},
        {DT_Q4_1, 20 * 100, 20 * 5, 0xfc00, 0x7bff, 5 * 32},
        {DT_Q4_1, 20 * 100, 20 * 99 + 2, 0x7e00, 0, 99 * 32},
        {DT_Q4_1, 20 * 100, 20 * 7 + 4, 0, 0xffff, -1},
        {DT_Q8_0, 34 * 100, 34 * 64, 0x7d00, 0x3c00, 64 * 32},
        {DT_Q8_0, 34 * 100, 34 * 7 + 2, 0, 0xffff, -1},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char *data = mem_alloc(c[i].bytes + 1, 1);
        memcpy(data + 1 + c[i].at, &c[i].good, 2); /* unaligned, as in a file */
        CHECK_MSG(finite_first_not(c[i].type, data + 1, c[i].bytes) == -1, "case %zu: a finite value", i);
        memcpy(data + 1 + c[i].at, &c[i].bad, 2);
        int64_t at = finite_first_not(c[i].type, data + 1, c[i].bytes);
        CHECK_MSG(at == c[i].index, "case %zu: %lld, not %lld", i, (long long)at, (long long)c[i].index);
        free(data);
    }
}

/* A bad value across the borders of the pieces that are hashed is found, names its tensor, and is not remembered as
 * good. */
static void test_finite_in_files(void)
{
    mkdir(in("nan"), 0777);
    put(in("nan/config.json"), "{}");
    char *path = in("nan/model.safetensors");
    shard(path, "model.t", "F32", 5 << 20, 1);
    static const long values[] = {0, (1 << 18) - 9, (1 << 18) - 8, 3 << 18, (5 << 20) - 1};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const long n = (5L << 20) - values[i];
        char want[64];
        FILE *bad = fopen(path, "r+");
        fseek(bad, -4 * n, SEEK_END);
        fwrite("\0\0\300\177", 4, 1, bad);
        fclose(bad);
        for (int again = 0; again < 2; again++) {
            struct err e = {0};
            CHECK(!weights_open(in("nan"), &e) && e.id == E_MODEL);
            snprintf(want, sizeof want, "'model.t': value %ld is", values[i]);
            CHECK_MSG(strstr(e.msg, want), "%s: %s", want, e.msg);
        }
        FILE *f = fopen(path, "r+");
        fseek(f, -4 * n, SEEK_END);
        fwrite("\0\0\0\0", 4, 1, f);
        fclose(f);
        struct weights *w = open_as(in("nan"), 0);
        CHECK(w);
        weights_close(w);
    }
}

/* Blocks of 18 bytes, one of which lies across the border of two pieces: the scale of each block near it. */
static void test_finite_across(void)
{
    enum { ROWS = 70000, PIECE = 1 << 20 };
    struct err e = {0};
    char *path = in("q.gguf");
    struct gguf_writer *g = begin_gguf(path, "llama");
    gguf_put_tensor(g, "t", 2, (int64_t[]){ROWS, 32}, 2, &e);
    end_gguf(g, ROWS * 18);
    struct weights *w = open_as(path, 0);
    if (!w) return;
    const long begin = (const char *)w->t[0].data - (const char *)w->gguf->data, border = (PIECE - begin) / 18;
    weights_close(w);
    for (long block = border - 1; block <= border + 1; block++) {
        char want[64];
        FILE *f = fopen(path, "r+");
        fseek(f, begin + 18 * block, SEEK_SET);
        fwrite("\0\174", 2, 1, f);
        fclose(f);
        struct err bad = {0};
        snprintf(want, sizeof want, "value %ld and those of its block", 32 * block);
        CHECK(!weights_open(path, &bad) && bad.id == E_GGUF);
        CHECK_MSG(strstr(bad.msg, want), "%s: %s", want, bad.msg);
        f = fopen(path, "r+");
        fseek(f, begin + 18 * block, SEEK_SET);
        fwrite("\0\0", 2, 1, f);
        fclose(f);
    }
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/peft-weights-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(root)) return 1;
    setenv("XDG_CACHE_HOME", root, 1);
    RUN(test_single, "weights: a directory with one file");
    RUN(test_shards, "weights: shards, hostile indexes, links");
    RUN(test_gguf, "weights: GGUF, names and types");
    RUN(test_digest_cache, "weights: digest and its cache");
    RUN(test_hub, "weights: names of the Hub");
    RUN(test_finite, "weights: values that are not finite, each type");
    RUN(test_finite_in_files, "weights: a value that is not finite anywhere in a file");
    RUN(test_finite_across, "weights: a block across a border of what is hashed");
    tree_remove(root);
    return test_failed;
}
