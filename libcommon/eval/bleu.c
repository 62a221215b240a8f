/* bleu: corpus BLEU with sacreBLEU's defaults: one reference, tokenizer 13a, exponential smoothing, case kept. The
 * figure equals that of sacreBLEU 2.6.0, hence its signature. The score of a row is its sentence BLEU with effective
 * order. Sums: n[0..3] matching n-grams of order 1..4, n[4..7] n-grams of the predictions, n[8] words of the
 * predictions, n[9] of the targets. A corpus whose predictions are all shorter than 4 words has no 4-grams, and BLEU 0
 * by this definition. Sources: Papineni et al. 2002; Chen and Cherry 2014, method 3; Post 2018; NIST mteval-v13a
 * (tokenization). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/eval/fold.h"
#include "libcommon/eval/metric.h"
#include "libcommon/eval/words.h"

enum { ORDER = 4 };

static const char *const entity[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                        {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};

/* b := b with every `from` replaced, left to right. */
static void replace(struct buf *b, const char *from, const char *to)
{
    size_t nf = strlen(from), nt = strlen(to), w = 0;
    for (size_t r = 0; r < b->n;) {
        if (b->n - r >= nf && !memcmp(b->p + r, from, nf)) {
            memcpy(b->p + w, to, nt); /* nt <= nf: never overtakes the reader */
            w += nt;
            r += nf;
        } else {
            b->p[w++] = b->p[r++];
        }
    }
    b->n = w;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ASCII punctuation and symbols except ' , - . and blanks excepted (they separate anyway) */
static bool is_symbol(char c)
{
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= '!' && c <= '&') || (c >= '(' && c <= '+') ||
           (c >= ':' && c <= '@') || c == '/';
}

/* The four rewritings of mteval-v13a, each over the whole line before the next. Bytes do: the classes are ASCII, and a
 * neighbour that is part of a longer character is "no digit" just as the whole character is. */
static void spread_symbols(const struct buf *in, struct buf *out)
{
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (is_symbol(in->p[i])) buf_addc(out, ' ');
        buf_addc(out, in->p[i]);
        if (is_symbol(in->p[i])) buf_addc(out, ' ');
    }
}

/* where = 0: ([^0-9])([.,]) -> "\1 \2 "; 1: ([.,])([^0-9]) -> " \1 \2"; 2: ([0-9])(-) -> "\1 \2 " */
static void spread_pairs(const struct buf *in, struct buf *out, int where)
{
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        char a = in->p[i], b = i + 1 < in->n ? in->p[i + 1] : 0;
        bool a_stop = a == '.' || a == ',', b_stop = b == '.' || b == ',';
        bool hit = where == 0 ? !is_digit(a) && b_stop : where == 1 ? a_stop && !is_digit(b) : is_digit(a) && b == '-';
        if (i + 1 >= in->n || !hit) {
            buf_addc(out, a);
            continue;
        }
        if (where == 1) buf_addc(out, ' ');
        buf_addc(out, a);
        buf_addc(out, ' ');
        buf_addc(out, b);
        if (where != 1) buf_addc(out, ' ');
        i++; /* both characters are used up */
    }
}

/* Words of the text by tokenizer 13a; they point into *line. */
static void tokenize(struct str text, struct buf *line, struct words *w)
{
    struct buf other = {0};
    text = fold_strip(text); /* str.rstrip() there; leading white space does not change the words */
    line->n = 0;
    buf_addc(line, ' '); /* the reference pads after the replacements; none of them begins or ends with a blank */
    buf_add(line, text.p, text.n);
    buf_addc(line, ' ');
    for (size_t i = 0; i < sizeof entity / sizeof *entity; i++) replace(line, entity[i][0], entity[i][1]);
    spread_symbols(line, &other);
    spread_pairs(&other, line, 0);
    spread_pairs(line, &other, 1);
    spread_pairs(&other, line, 2);
    words_split(w, (struct str){line->p, line->n});
    buf_fini(&other);
}

static int key_cmp(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return (a > b) - (a < b);
}

/* Number the n keys: equal keys equal ids. Returns how many different ones there are. */
static uint32_t number(const uint64_t *key, size_t n, uint32_t *id)
{
    uint64_t *sorted = mem_alloc(n, sizeof *sorted);
    size_t m = 0;
    if (n) memcpy(sorted, key, n * sizeof *sorted);
    if (n) qsort(sorted, n, sizeof *sorted, key_cmp);
    for (size_t i = 0; i < n; i++)
        if (!m || sorted[m - 1] != sorted[i]) sorted[m++] = sorted[i];
    for (size_t i = 0; i < n; i++)
        id[i] = (uint32_t)((uint64_t *)bsearch(&key[i], sorted, m, sizeof *sorted, key_cmp) - sorted);
    free(sorted);
    return (uint32_t)m;
}

/* Add a row's counts. The n-gram at i is the pair (its first n-1 words, its last), so numbering the pairs again and
 * again numbers the n-grams of every order. */
static void count(struct metric_sum *s, const struct words *p, const struct words *t)
{
    size_t np = p->n, nt = t->n;
    uint32_t *word = mem_alloc(np + nt, sizeof *word), *gram = mem_alloc(np + nt, sizeof *gram);
    uint64_t *key = mem_alloc(np + nt, sizeof *key);
    uint32_t different = words_ids(p, t, word);
    if (np + nt) memcpy(gram, word, (np + nt) * sizeof *gram);
    s->n[8] += np;
    s->n[9] += nt;
    size_t gp = np, gt = nt; /* n-grams of this order on either side, one after the other in gram */
    for (int n = 0; n < ORDER; n++) {
        s->n[n] += words_common(gram, gp, gt, different);
        s->n[ORDER + n] += gp;
        size_t hp = gp ? gp - 1 : 0, ht = gt ? gt - 1 : 0;
        for (size_t i = 0; i < hp; i++) key[i] = (uint64_t)gram[i] << 32 | word[i + (size_t)n + 1];
        for (size_t i = 0; i < ht; i++) key[hp + i] = (uint64_t)gram[gp + i] << 32 | word[np + i + (size_t)n + 1];
        different = number(key, hp + ht, gram);
        gp = hp;
        gt = ht;
    }
    free(word);
    free(gram);
    free(key);
}

static double brevity(const struct metric_sum *s)
{
    if (s->n[8] >= s->n[9]) return 1;
    return s->n[8] ? exp(1 - (double)s->n[9] / (double)s->n[8]) : 0;
}

/* precision[ORDER] in per cent; effective: leave out the orders that the predictions are too short for. */
static double bleu_of(const struct metric_sum *s, bool effective, double precision[ORDER])
{
    double smooth = 1, sum = 0;
    int order = effective ? 0 : ORDER;
    for (int n = 0; n < ORDER; n++) precision[n] = 0;
    if (!(s->n[0] | s->n[1] | s->n[2] | s->n[3])) return 0;
    for (int n = 0; n < ORDER && s->n[ORDER + n]; n++) {
        if (effective) order = n + 1;
        if (!s->n[n]) smooth *= 2;
        precision[n] = s->n[n] ? 100. * (double)s->n[n] / (double)s->n[ORDER + n]
                               : 100. / (smooth * (double)s->n[ORDER + n]);
    }
    for (int n = 0; n < order; n++) {
        if (precision[n] == 0) return 0;
        sum += log(precision[n]);
    }
    return brevity(s) * exp(sum / order);
}

static double bleu_add(struct metric_sum *s, struct str prediction, struct str target)
{
    struct buf a = {0}, b = {0};
    struct words p = {0}, t = {0};
    struct metric_sum row = {0};
    double precision[ORDER];
    tokenize(prediction, &a, &p);
    tokenize(target, &b, &t);
    count(&row, &p, &t);
    metric_merge(s, &row);
    words_fini(&p);
    words_fini(&t);
    buf_fini(&a);
    buf_fini(&b);
    return bleu_of(&row, true, precision);
}

static void bleu_get(const struct metric_sum *s, double value[METRIC_RESULTS])
{
    double precision[ORDER];
    value[0] = bleu_of(s, false, precision);
}

static void bleu_describe(const struct metric_sum *s, struct buf *out)
{
    double p[ORDER], score = bleu_of(s, false, p);
    buf_printf(out, "BLEU = %.2f %.1f/%.1f/%.1f/%.1f (BP = %.3f ratio = %.3f hyp_len = %llu ref_len = %llu)", score,
               p[0], p[1], p[2], p[3], brevity(s), s->n[9] ? (double)s->n[8] / (double)s->n[9] : 0,
               (unsigned long long)s->n[8], (unsigned long long)s->n[9]);
}

const struct metric metric_bleu = {
    .name = "bleu",
    .help = "corpus BLEU, equal to sacreBLEU's",
    .results = {"bleu"},
    .signature = "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
    .add = bleu_add,
    .get = bleu_get,
    .describe = bleu_describe,
};
