/* metrics: every figure of libcommon/eval against golden vectors of sacreBLEU, rouge-score and SQuAD's rules
 * (tests/parity/record_metrics.py made them), and that the accumulators add up. */
#include "libcommon/eval/metric.h"
#include <jansson.h>
#include <math.h>
#include "libcommon/base/digest.h"
#include "libcommon/eval/fold.h"
#include "tests/test.h"

static json_t *doc;

static struct str text(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return (struct str){json_string_value(v), json_string_length(v)};
}

static double number(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
}

static double one(const struct metric *m, const json_t *row, int index)
{
    struct metric_sum s = {0};
    double value[METRIC_RESULTS] = {0};
    double score = m->add(&s, text(row, "prediction"), text(row, "target"));
    m->get(&s, value);
    if (index == 0 && m != &metric_bleu) CHECK_MSG(score == value[0], "%s: %g != %g", m->name, score, value[0]);
    return m == &metric_bleu ? score : value[index];
}

/* Every row: exact for counts, 1e-9 for quotients (the order of a division may differ). */
static void check_rows(const struct metric *m, int index, const char *key, double scale, double tol)
{
    size_t i;
    json_t *row, *rows = json_object_get(doc, "rows");
    CHECK(json_array_size(rows) > 100);
    json_array_foreach(rows, i, row)
    {
        double got = one(m, row, index), want = scale * number(row, key);
        CHECK_MSG(fabs(got - want) <= tol, "row %zu %s: %.12g, reference %.12g", i, key, got, want);
    }
}

static void test_em(void) { check_rows(&metric_em, 0, "em", 100, 0); }
static void test_em_lower(void) { check_rows(&metric_em, 1, "em_lower", 100, 0); }
static void test_em_squad(void) { check_rows(&metric_em, 2, "em_squad", 100, 0); }
static void test_f1(void) { check_rows(&metric_f1, 0, "f1", 100, 1e-9); }
static void test_rouge(void) { check_rows(&metric_rouge, 0, "rouge_l", 100, 1e-9); }
static void test_sentence_bleu(void) { check_rows(&metric_bleu, 0, "bleu", 1, 1e-9); }

static void test_squad(void)
{
    size_t i;
    json_t *row;
    struct buf out = {0};
    json_array_foreach(json_object_get(doc, "rows"), i, row)
    {
        fold_squad(text(row, "prediction"), &out);
        CHECK_STR(buf_str(&out), text(row, "squad").p);
    }
    buf_fini(&out);
}

/* The corpus figure, as sacreBLEU prints it, and the same from two halves joined. */
static void test_corpus_bleu(void)
{
    size_t i, k;
    json_t *corpus, *index, *rows = json_object_get(doc, "rows");
    json_array_foreach(json_object_get(doc, "corpora"), i, corpus)
    {
        struct metric_sum half[2] = {{{0}, {0}}, {{0}, {0}}};
        struct buf line = {0};
        double value[METRIC_RESULTS];
        json_array_foreach(json_object_get(corpus, "rows"), k, index)
        {
            json_t *row = json_array_get(rows, (size_t)json_integer_value(index));
            metric_bleu.add(&half[k % 2], text(row, "prediction"), text(row, "target"));
        }
        metric_merge(&half[0], &half[1]);
        metric_bleu.get(&half[0], value);
        CHECK_MSG(fabs(value[0] - number(corpus, "bleu")) <= 1e-9, "corpus %zu: %.12g, reference %.12g", i, value[0],
                  number(corpus, "bleu"));
        metric_bleu.describe(&half[0], &line);
        CHECK_STR(buf_str(&line), text(corpus, "line").p);
        buf_fini(&line);
    }
    CHECK(i > 5);
    CHECK_STR(metric_bleu.signature, text(doc, "signature").p);
}

static size_t encode(uint32_t c, char *u)
{
    if (c < 0x80) return u[0] = (char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) u[i] = (char)(0x80 | (c & 0x3F));
    u[0] = (char)((0xF00 >> n & 0xFF) | c);
    return n;
}

/* Lower case and word boundaries of every code point that the reference's Unicode assigns. */
static void test_codepoints(void)
{
    struct sha256 *low = sha256_new(), *squad = sha256_new();
    struct buf out = {0};
    unsigned char d[32];
    char hex_of[65], *hex = hex_of;
    size_t i, n_space = 0;
    json_t *range;
    json_array_foreach(json_object_get(doc, "assigned"), i, range)
    {
        uint32_t last = (uint32_t)json_integer_value(json_array_get(range, 1));
        for (uint32_t c = (uint32_t)json_integer_value(json_array_get(range, 0)); c <= last; c++) {
            char u[8] = "a";
            size_t k = encode(c, u + 1);
            fold_lower((struct str){u + 1, k}, &out);
            sha256_add(low, out.p, out.n);
            sha256_add(low, "\n", 1);
            n_space += fold_space((struct str){u + 1, k}) == k;
            memcpy(u + 1 + k, " z", 2);
            fold_squad((struct str){u, k + 3}, &out);
            sha256_add(squad, out.p, out.n);
            sha256_add(squad, "\n", 1);
        }
    }
    sha256_done(low, d);
    digest_hex(d, hex);
    CHECK_STR(hex, text(doc, "lower_sha256").p);
    sha256_done(squad, d);
    digest_hex(d, hex);
    CHECK_STR(hex, text(doc, "squad_sha256").p);
    CHECK(n_space == json_array_size(json_object_get(doc, "space")));
    json_array_foreach(json_object_get(doc, "space"), i, range)
    {
        char u[4];
        size_t k = encode((uint32_t)json_integer_value(range), u);
        CHECK(fold_space((struct str){u, k}) == k);
    }
    buf_fini(&out);
}

static void test_bad_utf8(void)
{
    struct metric_sum s = {0};
    for (int i = 0; metrics[i]; i++)
        if (metrics[i]->add)
            metrics[i]->add(&s, (struct str){"\xff\xc3 a\xe2\x82", 6}, (struct str){"\x80\xf0\x9f", 3});
    struct buf out = {0};
    fold_lower((struct str){"A\xff"
                            "B",
                            3},
               &out);
    CHECK_STR(buf_str(&out), "a\xef\xbf\xbd"
                             "b");
    fold_squad((struct str){"x\0y", 3}, &out);
    CHECK(out.n == 3 && !memcmp(out.p, "x\0y", 3));
    buf_fini(&out);
}

static void test_ppl(void)
{
    struct metric_sum a = {0}, b = {0};
    double value[METRIC_RESULTS];
    CHECK(fabs(metric_ppl.add_nll(&a, 3 * log(2), 3) - 2) < 1e-12);
    metric_ppl.add_nll(&b, 0, 3);
    metric_merge(&a, &b);
    metric_ppl.get(&a, value);
    CHECK(fabs(value[0] - sqrt(2)) < 1e-12); /* over tokens, not the mean of 2 and 1 */
    CHECK(fabs(value[1] - log(2) / 2) < 1e-12);
}

static void test_table(void)
{
    char all[128] = "";
    for (int m = 0; metrics[m]; m++) strcat(strcat(all, ", "), metrics[m]->name);
    CHECK_STR(metric_names, all);
    for (int m = 0; metrics[m]; m++) /* a trainer's name of a figure finds it again */
        for (int k = 0; metrics[m]->results[k]; k++) {
            int index = -1;
            char *name = metric_eval_name(metrics[m]->results[k]);
            CHECK_MSG(metric_find_result(name, &index) == metrics[m] && index == k, "%s", name);
            CHECK(strcmp(metrics[m]->results[k], "em") || !strcmp(name, "eval_exact_match"));
            free(name);
        }
    int n = 0, index = -1;
    for (; metrics[n]; n++) {
        struct metric_sum s = {0};
        double value[METRIC_RESULTS] = {7, 7, 7, 7};
        CHECK(metric_find(metrics[n]->name) == metrics[n]);
        CHECK(!metrics[n]->add != !metrics[n]->add_nll);
        metrics[n]->get(&s, value);
        for (int k = 0; metrics[n]->results[k]; k++) {
            CHECK(metrics[n] == &metric_ppl ? isnan(value[k]) : value[k] == 0);
            CHECK(metric_find_result(metrics[n]->results[k], &index) == metrics[n] && index == k);
        }
    }
    CHECK(n == 5);
    CHECK(metric_find_result("eval_exact_match", &index) == &metric_em && index == 0);
    CHECK(metric_find_result("eval_loss", &index) == &metric_ppl && index == 1);
    CHECK(!metric_find("nonesuch") && !metric_find_result("eval_", &index));
}

int main(void)
{
    json_error_t why;
    doc = json_load_file("tests/parity/vectors/metrics.json", JSON_ALLOW_NUL, &why);
    if (!doc) {
        printf("FAIL metrics: %s\n", why.text);
        return 1;
    }
    RUN(test_em, "metric em");
    RUN(test_em_lower, "metric em_lower");
    RUN(test_em_squad, "metric em_squad");
    RUN(test_squad, "SQuAD normalisation");
    RUN(test_f1, "metric f1");
    RUN(test_rouge, "metric rouge_l");
    RUN(test_sentence_bleu, "sentence BLEU");
    RUN(test_corpus_bleu, "corpus BLEU as printed by sacreBLEU");
    RUN(test_codepoints, "lower case and words of every code point");
    RUN(test_bad_utf8, "metrics of malformed UTF-8");
    RUN(test_ppl, "metric ppl");
    RUN(test_table, "table of metrics");
    json_decref(doc);
    return test_failed;
}
