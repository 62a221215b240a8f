/* pt_read: what torch.save wrote (tests/parity/record_pt.py) and what pt_write writes is read with the same tensors;
 * each pickle that is no state dict, and each fault of an archive, is refused with its reason; no truncation is
 * accepted; a changed byte is refused, or changes nothing, or changes a tensor's bytes, which pt_check then finds. */
#include <dirent.h>
#include <unistd.h>

#include "kernels/dtype.h"
#include "libcommon/base/out.h"
#include "libcommon/format/pt_pickle.h"
#include "libcommon/format/pt_read.h"
#include "libcommon/format/pt_write.h"
#include "tests/pt_build.h"
#include "tests/test.h"

#define DIR_PT "tests/parity/pt/"

struct want {
    const char *file, *name, *dtype;
    int ndim;
    int64_t shape[3];
    int first; /* its element 0 is first / 4, the next ones 1 / 4 more each */
};

static const struct want recorded[] = {
    {"module", "0.weight", "F32", 2, {3, 2}, 0},
    {"module", "0.bias", "F32", 1, {3}, 0},
    {"module", "1.weight", "F32", 1, {3}, 0},
    {"module", "1.bias", "F32", 1, {3}, 0},
    {"protocol3", "0.weight", "F32", 2, {3, 2}, 0},
    {"protocol4", "0.weight", "F32", 2, {3, 2}, 0},
    {"protocol5", "1.bias", "F32", 1, {3}, 0},
    {"types", "f32", "F32", 2, {2, 3}, 0},
    {"types", "f16", "F16", 1, {4}, 0},
    {"types", "bf16", "BF16", 3, {1, 3, 2}, 0},
    {"types", "gr\303\274n", "F32", 1, {1}, 0},
    {"shapes", "scalar", "F32", 0, {0}, 0},
    {"shapes", "empty", "F32", 2, {0, 3}, 0},
    {"shapes", "one", "F32", 2, {1, 1}, 4},
    {"shapes", "tail", "F32", 1, {0}, 0},
    {"views", "head", "F32", 1, {4}, 0},
    {"views", "tail", "F32", 2, {2, 4}, 4},
    {"views", "whole", "F32", 1, {12}, 0},
    {"views", "tied", "F32", 1, {12}, 0},
    {"parameter", "p", "F32", 2, {2, 2}, 0},
    {"parameter", "frozen", "F32", 1, {3}, 0},
};

static float element(const struct pt_tensor *t, int64_t i)
{
    uint16_t h;
    float f = 0;
    if (t->size == 4) {
        memcpy(&f, t->data + 4 * i, 4);
        return f;
    }
    memcpy(&h, t->data + 2 * i, 2);
    return !strcmp(t->dtype, "BF16") ? bf16_to_f32(h) : f16_to_f32(h);
}

static void check_tensor(const struct pt_file *p, const struct want *w)
{
    const struct pt_tensor *t = pt_find(p, w->name);
    CHECK_MSG(t != NULL, "%s: no %s", w->file, w->name);
    if (!t) return;
    int64_t n = 1;
    CHECK_STR(t->dtype, w->dtype);
    CHECK_MSG(t->ndim == w->ndim, "%s: %d dimensions", w->name, t->ndim);
    for (int i = 0; i < w->ndim; i++) {
        CHECK_MSG(t->shape[i] == w->shape[i], "%s: shape[%d]", w->name, i);
        n *= w->shape[i];
    }
    CHECK(t->bytes == (uint64_t)(n * t->size) && t->size == (t->dtype[0] == 'F' && t->dtype[1] == '3' ? 4 : 2));
    for (int64_t i = 0; i < n; i++)
        CHECK_MSG(element(t, i) == (float)(w->first + i) / 4, "%s[%d] = %g", w->name, (int)i, (double)element(t, i));
}

static struct pt_file *open_recorded(const char *file)
{
    struct err e = {0};
    char *path = mem_printf(DIR_PT "read/%s.pt", file);
    struct pt_file *p = pt_open(path, &e);
    CHECK_MSG(p != NULL, "%s", e.msg);
    free(path);
    return p;
}

static void test_recorded(void)
{
    static const struct {
        const char *file;
        int n;
    } counts[] = {{"module", 4}, {"protocol3", 4}, {"protocol4", 4}, {"protocol5", 4}, {"types", 4},
                  {"shapes", 4}, {"views", 4},     {"parameter", 2}, {"nothing", 0}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct err e = {0};
        struct pt_file *p = open_recorded(counts[i].file);
        if (!p) continue;
        CHECK_MSG(p->n == counts[i].n, "%s: %d tensors", counts[i].file, p->n);
        CHECK_MSG(pt_check(p, &e) == 0, "%s", e.msg);
        CHECK(!pt_find(p, "absent") && !pt_find(p, ""));
        for (size_t k = 0; k < sizeof recorded / sizeof *recorded; k++)
            if (!strcmp(recorded[k].file, counts[i].file)) check_tensor(p, &recorded[k]);
        for (int k = 1; k < p->n; k++) CHECK(strcmp(p->t[k - 1].name, p->t[k].name) < 0);
        pt_close(p);
    }
    struct pt_file *p = open_recorded("views");
    if (p) CHECK(pt_find(p, "tied")->data == pt_find(p, "head")->data);
    if (p) CHECK(pt_find(p, "tail")->data == pt_find(p, "whole")->data + 16);
    pt_close(p);
}

/* The bytes of a file of our own writer; tensors of each type, one of them tied. */
static char *written(size_t *n, int64_t side)
{
    struct err e = {0};
    char path[] = "/tmp/peft-test-pt-read-XXXXXX";
    close(mkstemp(path));
    struct pt_writer *w = pt_create(path, true, &e);
    float a[6] = {0, 0.25F, 0.5F, 0.75F, 1, 1.25F};
    int first = pt_declare(w, "model.embed_tokens.weight", DT_F32, 2, (int64_t[]){2, 3}, -1);
    pt_declare(w, "norm", DT_BF16, 1, (int64_t[]){5}, -1);
    pt_declare(w, "lm_head.weight", DT_F32, 2, (int64_t[]){2, 3}, first);
    pt_declare(w, "half", DT_F16, 4, (int64_t[]){1, 1, side, side}, -1);
    CHECK(pt_begin(w, &e) == 0 && pt_data(w, a, sizeof a, &e) == 0 && pt_data(w, "abcdefghij", 10, &e) == 0);
    char *zeros = mem_alloc((size_t)(side * side), 2);
    CHECK(pt_data(w, zeros, (size_t)(side * side) * 2, &e) == 0 && pt_complete(w, &e) == 0 && pt_finish(w, &e) == 0);
    free(zeros);
    char *data = file_read(path, 1 << 20, n, &e);
    CHECK_MSG(data != NULL, "%s", e.msg);
    unlink(path);
    return data;
}

static void test_round_trip(void)
{
    struct err e = {0};
    size_t n;
    char *data = written(&n, 300); /* numbers of 1, 2 and 4 bytes */
    struct pt_file *p = pt_parse(data, n, "written", &e);
    CHECK_MSG(p && pt_check(p, &e) == 0, "%s", e.msg);
    if (p) {
        check_tensor(p, &(struct want){"", "model.embed_tokens.weight", "F32", 2, {2, 3}, 0});
        const struct pt_tensor *norm = pt_find(p, "norm"), *half = pt_find(p, "half");
        CHECK(p->n == 4 && pt_find(p, "lm_head.weight")->data == pt_find(p, "model.embed_tokens.weight")->data);
        CHECK(norm && norm->bytes == 10 && !memcmp(norm->data, "abcdefghij", 10));
        CHECK(half && half->ndim == 4 && half->shape[3] == 300 && half->bytes == 180000);
    }
    pt_close(p);
    free(data);
}

/* ---- what is refused ----------------------------------------------------------------------- */

static void check_refused(struct pt_file *p, const struct err *e, int id, const char *what, const char *file)
{
    CHECK_MSG(!p, "%s: accepted", file);
    CHECK_MSG(e->id == id && strstr(e->msg, what), "%s: %s, \"%s\"; wanted \"%s\"", file, err_name(e->id), e->msg,
              what);
    pt_close(p);
}

static void test_refused(void)
{
    static const struct {
        const char *file;
        int id;
        const char *what;
    } bad[] = {
        {"transposed", E_PT, "tensor 'w': not contiguous"},
        {"strided", E_PT, "not contiguous"},
        {"double", E_PT, "tensor 'w': elements are F64"},
        {"long", E_PT, "tensor 'steps': elements are I64"},
        {"float8", E_POLICY, "torch._utils._rebuild_tensor_v3"},
        {"nested", E_PT, "entry 'state_dict' is a dict, no tensor"},
        {"number", E_PT, "entry 'epoch' is a number, no tensor"},
        {"list", E_PT, "opcode EMPTY_LIST"},
        {"tensor", E_PT, "holds a tensor"},
        {"optimizer", E_PT, "only state dicts of tensors are read"},
        {"module", E_POLICY, "torch.nn.modules.linear.Identity': it would run code"},
        {"runs", E_POLICY, "posix.system': it would run code"},
        {"instance", E_POLICY, "__main__.Attributes"},
        {"legacy", E_PT, "torch before 1.6"},
        {"script", E_PT, "TorchScript"},
        {"no_crc", E_PT, "the archive says 00000000"},
        {"deflated", E_PT, "compressed"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        char *path = mem_printf(DIR_PT "refused/%s.pt", bad[i].file);
        check_refused(pt_open(path, &e), &e, bad[i].id, bad[i].what, path);
        free(path);
    }
    struct err e = {0};
    check_refused(pt_open(DIR_PT "refused/absent.pt", &e), &e, E_NOINPUT, "absent.pt", "absent");
}

/* ---- pickles, in a notation: 'text' is SHORT_BINUNICODE, #number; BININT, <hex> a byte, the rest stands for itself --
 */

#define ODICT                                  "ccollections\nOrderedDict\n)R"
#define REBUILD                                "ctorch._utils\n_rebuild_tensor_v2\n"
#define PARAMETER                              "ctorch._utils\n_rebuild_parameter\n"
#define STORAGE(type, key, count)              "('storage'ctorch\n" type "Storage\n'" key "''cpu'" count "tQ"
#define TENSOR(storage, offset, shape, stride) REBUILD "(" storage offset "(" shape "t(" stride "t<89>" ODICT "tR"
#define FLOATS(offset, shape, stride)          TENSOR(STORAGE("Float", "0", "#4;"), offset, shape, stride)
#define TWO                                    FLOATS("#0;", "#2;", "#1;")

static void assemble(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\'') {
            size_t n = strcspn(s + 1, "'");
            buf_addc(b, (char)0x8c);
            buf_addc(b, (char)n);
            buf_add(b, s + 1, n);
            s += n + 1;
        } else if (*s == '#') {
            char *end;
            buf_addc(b, 'J');
            pt_build_le(b, (uint64_t)strtoll(s + 1, &end, 10), 4);
            s = end;
        } else if (*s == '<') {
            buf_addc(b, (char)strtol(s + 1, NULL, 16));
            s += 3;
        } else {
            buf_addc(b, *s);
        }
    }
}

static struct pt_file *parse_pickle(const char *notation, struct err *e)
{
    struct buf pickle = {0};
    struct pt_build a = {0};
    assemble(&pickle, notation);
    pt_build_whole(&a, pickle.p, pickle.n, pickle.n % 2);
    char *data = mem_dup(a.file.p, a.file.n); /* of its own, so that reading too far is seen */
    struct pt_file *p = pt_parse(data, a.file.n, "f", e);
    buf_fini(&pickle);
    pt_build_fini(&a);
    free(data); /* who calls looks at the table alone */
    return p;
}

static void test_pickles_read(void)
{
    static const struct {
        const char *pickle;
        int n;
    } good[] = {
        {"<80><02>}.", 0},
        {"<80><05>}.", 0},
        {"<80><02>" ODICT ".", 0},
        {"<80><02>}'a'" TWO "s.", 1},
        {"<80><02>}('a'" TWO "'b'" TWO "u.", 2},
        {"<80><02>}(u'a'" TWO "s'b'" TWO "s.", 2},
        {"<80><02>}'a'" FLOATS("#4;", "#0;", "#1;") "s.", 1},
        {"<80><02>}'a'" FLOATS("#1;", "#3;#1;", "#1;#77;") "s.", 1},
        {"<80><02>}'a'" FLOATS("#0;", "#0;#5;", "#9;#9;") "s.", 1},
        {"<80><02>}'a'" FLOATS("#3;", "", "") "s.", 1},
        {"<80><02>}'a'" FLOATS("#0;", "#1;#1;#1;#1;#1;#1;#1;#4;", "#4;#4;#4;#4;#4;#4;#4;#1;") "s.", 1},
        {"<80><02>}'a'" TENSOR(STORAGE("Half", "0", "#8;"), "#0;", "#8;", "#1;") "s.", 1},
        {"<80><02>}'a'" TENSOR(STORAGE("BFloat16", "1", "#0;"), "#0;", "#0;", "#1;") "s.", 1},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "0", "<8a><01><04>"), "<8a><00>", "M<02><00>", "K<01>") "s.", 1},
        {"<80><02>}'a'" PARAMETER "(" TWO "<88>" ODICT "tRs.", 1},
        /* _metadata of a module, with cycles through the memo */
        {"<80><02>" ODICT "q<00>'a'" TWO "s}'_metadata'h<00>sb.", 1},
        {"<80><02>" ODICT "}'_metadata'" ODICT "''}'version'K<01>sssb.", 0},
        /* one tensor under two names, by the memo */
        {"<80><04><95><04><00><00><00><00><00><00><00>}('a'" TWO "<94>'b'h<00>u.", 2},
        /* what torch would make and drop is not looked at */
        {"<80><02>" ODICT "}'_metadata'}'x'" TENSOR(STORAGE("Double", "9", "#4;"), "#0;", "#9;", "#1;") "ssb.", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct err e = {0};
        struct pt_file *p = parse_pickle(good[i].pickle, &e);
        CHECK_MSG(p != NULL, "pickle %zu: %s", i, e.msg);
        if (p) CHECK_MSG(p->n == good[i].n, "pickle %zu: %d tensors", i, p->n);
        pt_close(p);
    }
}

#define RUNS "it would run code"

static void test_pickles_refused(void)
{
    static const struct {
        const char *pickle;
        int id;
        const char *what;
    } bad[] = {
        {"", E_PT, "no pickle"},
        {"}.", E_PT, "no pickle"},
        {"(dp0\n.", E_PT, "no pickle"},
        {"<80><01>}.", E_PT, "protocol"},
        {"<80><06>}.", E_PT, "protocol"},
        {"<80>", E_PT, "cut"},
        {"<80><02>", E_PT, "cut"},
        {"<80><02>}", E_PT, "cut"},
        {"<80><02>}.}", E_PT, "bytes follow"},
        {"<80><02><80><02>}.", E_PT, "second pickle"},
        {"<80><02>.", E_PT, "other than one value"},
        {"<80><02>}}.", E_PT, "other than one value"},
        {"<80><02>}(.", E_PT, "other than one value"},
        {"<80><02>K<01>.", E_PT, "holds a number"},
        {"<80><02>).", E_PT, "holds a tuple"},
        {"<80><02>" TWO ".", E_PT, "holds a tensor"},
        /* code */
        {"<80><02>cos\nsystem\n('ls'tR.", E_POLICY, "'os.system': " RUNS},
        {"<80><02>cposix\nsystem\n('ls'tR.", E_POLICY, "'posix.system': " RUNS},
        {"<80><04>'os''system'<93>'ls'<85>R.", E_POLICY, "'os.system': " RUNS},
        {"<80><04>'builtins''eval'<93>'1'<85>R.", E_POLICY, "builtins.eval"},
        {"<80><02>c__builtin__\nexec\n.", E_POLICY, "__builtin__.exec"},
        {"<80><02>ctorch\nload\n'f'<85>R.", E_POLICY, "torch.load"},
        {"<80><02>ctorch._utils\n_rebuild_tensor\n.", E_POLICY, "torch._utils._rebuild_tensor"},
        {"<80><02>ctorch._utils\n_rebuild_tensor_v2.x\n.", E_POLICY, "_rebuild_tensor_v2.x"},
        {"<80><02>ctorch\nfloat32\n.", E_POLICY, "torch.float32"},
        {"<80><02>c\n\n.", E_POLICY, "'.'"},
        {"<80><02>(ios\nsystem\n.", E_POLICY, "opcode INST: " RUNS},
        {"<80><02>(" ODICT "o.", E_POLICY, "opcode OBJ: " RUNS},
        {"<80><02>ccollections\nOrderedDict\n)<81>.", E_POLICY, "opcode NEWOBJ: " RUNS},
        {"<80><02>ccollections\nOrderedDict\n)}<92>.", E_POLICY, "opcode NEWOBJ_EX"},
        {"<80><02><82><01>.", E_POLICY, "opcode EXT1: " RUNS},
        {"<80><02>ccollections\nOrderedDict\n}<85>R.", E_PT, "OrderedDict made of something"},
        {"<80><02>ctorch\nFloatStorage\n)R.", E_PT, "storage's class"},
        {"<80><02>K<01>)R.", E_PT, "a call"},
        {"<80><02>ccollections\nOrderedDict\n}R.", E_PT, "a call"},
        {"<80><02>" ODICT "}'__class__'K<01>sb.", E_PT, "_metadata"},
        {"<80><02>}}'_metadata'K<01>sb.", E_PT, "_metadata"},
        {"<80><02>" TWO "}b.", E_PT, "_metadata"},
        {"<80><02>" ODICT "K<01>b.", E_PT, "_metadata"},
        {"<80><02>}b.", E_PT, "the stack is empty"},
        /* opcodes */
        {"<80><02>].", E_PT, "opcode EMPTY_LIST: only state dicts of tensors"},
        {"<80><02>G<00><00><00><00><00><00><00><00>.", E_PT, "opcode BINFLOAT"},
        {"<80><02>}0.", E_PT, "opcode POP"},
        {"<80><02>}2.", E_PT, "opcode DUP"},
        {"<80><05><96>.", E_PT, "opcode BYTEARRAY8"},
        {"<80><02><99>.", E_PT, "no opcode"},
        {"<80><02><00>.", E_PT, "no opcode"},
        {"<80><04><95><03><00><00><00><00><00><00><00>}.", E_PT, "frame"},
        {"<80><04><95><ff><ff><ff><ff><ff><ff><ff><ff>}.", E_PT, "frame"},
        {"<80><02>X<ff><ff><ff><ff>.", E_PT, "cut"},
        {"<80><04><8d><ff><ff><ff><ff><ff><ff><ff><ff>.", E_PT, "cut"},
        {"<80><02><8a><09><00><00><00><00><00><00><00><00><00>.", E_PT, "64 bits"},
        {"<80><02>ctorch\nFloat", E_PT, "cut"},
        {"<80><02>}q<01>.", E_PT, "gap"},
        {"<80><02>}r<ff><ff><ff><7f>.", E_PT, "gap"},
        {"<80><02>q<00>.", E_PT, "stack is empty"},
        {"<80><02>h<00>.", E_PT, "memo entry"},
        {"<80><02>j<ff><ff><ff><ff>.", E_PT, "memo entry"},
        {"<80><02>}((((((((((((((((((((((((((((((((((((((.", E_PT, "nested too deeply"},
        {"<80><02>t.", E_PT, "no mark"},
        {"<80><02>}u.", E_PT, "no mark"},
        {"<80><02>(u.", E_PT, "no pairs, or of no dict"},
        {"<80><02>}('a'u.", E_PT, "no pairs"},
        {"<80><02>)('a'" TWO "u.", E_PT, "no dict"},
        {"<80><02>)'a'" TWO "s.", E_PT, "no dict"},
        {"<80><02>'a'" TWO "s.", E_PT, "stack is empty"},
        {"<80><02>}('a'" TWO "st.", E_PT, "stack is empty"},
        {"<80><02>}K<01>" TWO "s.", E_PT, "no string"},
        {"<80><02><86>.", E_PT, "stack is empty"},
        {"<80><04>}}<93>.", E_PT, "STACK_GLOBAL"},
        {"<80><02>R.", E_PT, "stack is empty"},
        {"<80><02>Q.", E_PT, "stack is empty"},
        {"<80><02>K<07>Q.", E_PT, "persistent id"},
        {"<80><02>)Q.", E_PT, "persistent id"},
        {"<80><02>('storage'ccollections\nOrderedDict\n'0''cpu'#4;tQ.", E_PT, "persistent id"},
        {"<80><02>('module'ctorch\nFloatStorage\n'0''cpu'#4;tQ.", E_PT, "persistent id"},
        {"<80><02>" STORAGE("Float", "0", "#-4;") ".", E_PT, "persistent id"},
        /* tensors */
        {"<80><02>" REBUILD ")R.", E_PT, "other arguments"},
        {"<80><02>" REBUILD "(#1;#1;#1;#1;#1;#1;tR.", E_PT, "other arguments"},
        {"<80><02>" REBUILD "(" STORAGE("Float", "0", "#4;") "#0;))<89>}'h'K<01>stR.", E_PT, "no hooks"},
        {"<80><02>" PARAMETER ")R.", E_PT, "Parameter"},
        {"<80><02>" PARAMETER "(}<88>" ODICT "tR.", E_PT, "Parameter"},
        {"<80><02>}'a'" FLOATS("#-1;", "#2;", "#1;") "s.", E_PT, "offset, shape or stride"},
        {"<80><02>}'a'" FLOATS("#0;", "#-2;", "#1;") "s.", E_PT, "offset, shape or stride"},
        {"<80><02>}'a'" FLOATS("#0;", "#2;", "#-1;") "s.", E_PT, "offset, shape or stride"},
        {"<80><02>}'a'" FLOATS("#0;", "#2;", "") "s.", E_PT, "offset, shape or stride"},
        {"<80><02>}'a'" FLOATS("#0;", "}", "#1;") "s.", E_PT, "offset, shape or stride"},
        {"<80><02>}'a'" FLOATS("#0;", "#1;#1;#1;#1;#1;#1;#1;#1;#1;", "#1;#1;#1;#1;#1;#1;#1;#1;#1;") "s.", E_PT,
         "8 dimensions"},
        {"<80><02>}'a'" FLOATS("#3;", "#2;", "#1;") "s.", E_PT, "tensor 'a': reaches beyond"},
        {"<80><02>}'a'" FLOATS("#5;", "#0;", "#1;") "s.", E_PT, "reaches beyond"},
        {"<80><02>}'a'" FLOATS("#0;", "#5;", "#1;") "s.", E_PT, "reaches beyond"},
        {"<80><02>}'a'" FLOATS("<8a><08><ff><ff><ff><ff><ff><ff><ff><7f>", "#4;", "#1;") "s.", E_PT, "reaches beyond"},
        {"<80><02>}'a'" FLOATS("#0;", "#2147483647;#2147483647;#2147483647;", "#1;#1;#1;") "s.", E_PT, "overflows"},
        {"<80><02>}'a'" FLOATS("#0;", "#2;#2;", "#1;#2;") "s.", E_PT, "not contiguous"},
        {"<80><02>}'a'" FLOATS("#0;", "#2;", "#0;") "s.", E_PT, "not contiguous"},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "0", "#5;"), "#0;", "#2;", "#1;") "s.", E_PT, "has 16 bytes"},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "0", "#3;"), "#0;", "#2;", "#1;") "s.", E_PT, "has 16 bytes"},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "0", "<8a><08><04><00><00><00><00><00><00><40>"), "#0;", "#2;",
                               "#1;") "s.",
         E_PT, "has 16 bytes"},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "2", "#4;"), "#0;", "#2;", "#1;") "s.", E_PT, "'2' is not in"},
        {"<80><02>}'a'" TENSOR(STORAGE("Float", "../version", "#4;"), "#0;", "#2;", "#1;") "s.", E_PT, "is not in"},
        {"<80><02>}'a'" TENSOR(STORAGE("Double", "0", "#2;"), "#0;", "#2;", "#1;") "s.", E_PT, "elements are F64"},
        {"<80><02>}'a'" TWO "s'b'" TENSOR(STORAGE("Half", "0", "#8;"), "#0;", "#2;", "#1;") "s.", E_PT,
         "another element type"},
        /* entries */
        {"<80><02>}'a'" TWO "s'a'" TWO "s.", E_PT, "tensor 'a' is there twice"},
        {"<80><02>}''" TWO "s.", E_PT, "name empty"},
        {"<80><02>}X<01><00><00><00><ff>" TWO "s.", E_PT, "name is no UTF-8"},
        {"<80><02>}X<02><00><00><00>a<00>" TWO "s.", E_PT, "name is no UTF-8"},
        {"<80><02>}'a'}s.", E_PT, "entry 'a' is a dict"},
        {"<80><02>}'a'Ns.", E_PT, "entry 'a' is None"},
        {"<80><02>}'a'" STORAGE("Float", "0", "#4;") "s.", E_PT, "entry 'a' is a storage"},
        {"<80><02>}q<00>'a'h<00>s.", E_PT, "entry 'a' is a dict"},
        {"<80><02>}'a'ctorch\nFloatStorage\ns.", E_PT, "entry 'a' is a class"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        struct pt_file *p = parse_pickle(bad[i].pickle, &e);
        check_refused(p, &e, bad[i].id, bad[i].what, bad[i].pickle);
    }
}

/* ---- archives ------------------------------------------------------------------------------ */

enum place { LOCAL, CENTRAL, END, END64, LOCATOR };

static const size_t end64_size = 56 + 20;

static void test_archives_refused(void)
{
    static const struct {
        enum place place;
        unsigned member, at, bytes; /* the field that changes: of which header, where, how long */
        uint64_t value;
        const char *what;
    } bad[] = {
        {LOCAL, 0, 0, 4, 0x04034b51, "does not begin as an archive"},
        {LOCAL, 1, 0, 4, 0x04034b51, "local header is damaged"},
        {LOCAL, 3, 28, 2, 4, "overlaps what follows"},
        {LOCAL, 1, 6, 2, 8, "another member's"},
        {LOCAL, 1, 8, 2, 8, "another member's"},
        {LOCAL, 1, 14, 4, 7, "contradicts"},
        {LOCAL, 1, 18, 4, 7, "contradicts"},
        {LOCAL, 1, 22, 4, 7, "contradicts"},
        {LOCAL, 1, 26, 2, 3, "another member's"},
        {LOCAL, 1, 26, 2, 0xffff, "damaged"},
        {LOCAL, 4, 28, 2, 2, "longer than the file"},
        {LOCAL, 0, 28, 2, 1, "overlaps"},
        {LOCAL, 1, 30, 1, 'b', "another member's"},
        {CENTRAL, 0, 0, 4, 7, "central directory is damaged"},
        {CENTRAL, 0, 8, 2, 1, "encrypted"},
        {CENTRAL, 2, 10, 2, 8, "'archive/data/0': compressed"},
        {CENTRAL, 0, 16, 4, 7, "contradicts"},
        {CENTRAL, 0, 20, 4, 7, "another size"},
        {CENTRAL, 0, 24, 4, 7, "another size"},
        {CENTRAL, 0, 28, 2, 0xffff, "central directory is damaged"},
        {CENTRAL, 4, 28, 2, 16, "central directory is damaged"},
        {CENTRAL, 4, 30, 2, 1, "central directory is damaged"},
        {CENTRAL, 4, 32, 2, 1, "central directory is damaged"},
        {CENTRAL, 0, 34, 2, 1, "header in the central directory"},
        {CENTRAL, 0, 42, 4, 1, "local header is damaged"},
        {CENTRAL, 0, 42, 4, 0xffffffff, "outside the file"},
        {CENTRAL, 1, 42, 4, 0, "another member's"},
        {CENTRAL, 1, 46, 1, 'b', "another member's"},
        {END, 0, 0, 4, 7, "truncated"},
        {END, 0, 4, 2, 1, "several parts"},
        {END, 0, 8, 2, 4, "several parts"},
        {END, 0, 8, 4, 0x00040004, "contradict"},
        {END, 0, 12, 4, 7, "contradict"},
        {END, 0, 16, 4, 7, "contradict"},
        {END, 0, 20, 2, 1, "comment"},
        {END64, 0, 0, 4, 7, "end record is damaged"},
        {END64, 0, 4, 8, 45, "end record is damaged"},
        {END64, 0, 16, 8, 1, "end record is damaged"},
        {END64, 0, 24, 8, 7, "contradict"},
        {END64, 0, 32, 8, 7, "contradict"},
        {END64, 0, 40, 8, 7, "contradict"},
        {END64, 0, 48, 8, 7, "contradict"},
        {LOCATOR, 0, 0, 4, 7, "not where it says"},
        {LOCATOR, 0, 4, 4, 1, "locator"},
        {LOCATOR, 0, 8, 8, 0, "locator"},
        {LOCATOR, 0, 16, 4, 2, "locator"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        struct pt_build a = {0};
        pt_build_whole(&a, "\200\2}.", 4, 1);
        size_t where[] = {a.local[bad[i].member], a.central[bad[i].member], a.end, a.end - end64_size, a.end - 20};
        for (unsigned k = 0; k < bad[i].bytes; k++)
            a.file.p[where[bad[i].place] + bad[i].at + k] = (char)(bad[i].value >> (8 * k));
        char *name = mem_printf("fault %zu", i);
        check_refused(pt_parse(a.file.p, a.file.n, name, &e), &e, E_PT, bad[i].what, name);
        free(name);
        pt_build_fini(&a);
    }
}

/* Sizes that both headers claim and the file does not have. */
static void test_long_member(void)
{
    static const uint32_t sizes[] = {0x7fffffff, 0xffffffff, 19};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct err e = {0};
        struct pt_build a = {0};
        pt_build_whole(&a, "\200\2}.", 4, 1);
        for (int k = 0; k < 8; k += 4) {
            memcpy(a.file.p + a.local[4] + 18 + k, &sizes[i], 4);
            memcpy(a.file.p + a.central[4] + 20 + k, &sizes[i], 4);
        }
        check_refused(pt_parse(a.file.p, a.file.n, "f", &e), &e, E_PT, "is longer than the file", "long member");
        pt_build_fini(&a);
    }
}

static void test_members_refused(void)
{
    static const struct {
        const char *member[3], *data[3];
        int id;
        const char *what;
    } bad[] = {
        {{"a/data.pkl"}, {"\200\2}."}, E_PT, "version is missing"},
        {{"a/version"}, {"3\n"}, E_PT, "data.pkl is missing"},
        {{"a/data.pkl", "a/version"}, {"\200\2}.", "11\n"}, E_PT, "version '11\\n'"},
        {{"a/data.pkl", "a/version"}, {"\200\2}.", "4\n"}, E_PT, "version '4\\n'"},
        {{"a/data.pkl", "a/version", "a/byteorder"}, {"\200\2}.", "3\n", "big"}, E_PT, "'big', not little"},
        {{"a/data.pkl", "a/version", "a/constants.pkl"}, {"\200\2}.", "3\n", ""}, E_POLICY, "TorchScript"},
        {{"a/data.pkl", "a/version", "a/version"}, {"\200\2}.", "3\n", "3\n"}, E_PT, "'a/version': is there twice"},
        {{"a/data.pkl", "b/version"}, {"\200\2}.", "3\n"}, E_PT, "not in one directory"},
        {{"data.pkl", "version"}, {"\200\2}.", "3\n"}, E_PT, "not in one directory"},
        {{"/data.pkl", "/version"}, {"\200\2}.", "3\n"}, E_PT, "not in one directory"},
        {{""}, {""}, E_PT, "not in one directory"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        struct pt_build a = {0};
        for (int k = 0; k < 3 && bad[i].member[k]; k++)
            pt_build_member(&a, bad[i].member[k], bad[i].data[k], strlen(bad[i].data[k]));
        pt_build_end(&a, 0);
        check_refused(pt_parse(a.file.p, a.file.n, "f", &e), &e, bad[i].id, bad[i].what, bad[i].what);
        pt_build_fini(&a);
    }
    struct err e = {0};
    struct pt_build a = {0};
    pt_build_end(&a, 0);
    check_refused(pt_parse(a.file.p, a.file.n, "f", &e), &e, E_PT, "does not begin as an archive", "empty archive");
    pt_build_fini(&a);
}

/* ---- damage -------------------------------------------------------------------------------- */

/* all: whole read directory */
static void for_each_recorded(void (*fn)(const char *data, size_t n, const char *name))
{
    DIR *d = opendir(DIR_PT "read");
    CHECK(d != NULL);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (f->d_name[0] == '.') continue;
        struct err e = {0};
        size_t n;
        char *path = mem_printf(DIR_PT "read/%s", f->d_name), *data = file_read(path, 1 << 20, &n, &e);
        CHECK_MSG(data != NULL, "%s", e.msg);
        if (data) fn(data, n, f->d_name);
        free(data);
        free(path);
    }
    if (d) closedir(d);
}

static void truncate_file(const char *data, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        struct err e = {0};
        char *cut = mem_dup(data, i); /* of its own, so that reading too far is seen */
        struct pt_file *p = pt_parse(cut, i, name, &e);
        CHECK_MSG(!p && e.id == E_PT && e.msg[0], "%s cut to %zu bytes: %s", name, i, p ? "accepted" : e.msg);
        pt_close(p);
        free(cut);
    }
}

static void test_truncated(void)
{
    for_each_recorded(truncate_file);
    size_t n;
    char *data = written(&n, 1);
    truncate_file(data, n, "written");
    free(data);
}

/* b's table is a's, but for bytes that pt_check misses in b */
static bool same_tensors(const struct pt_file *a, const unsigned char *a_file, const struct pt_file *b,
                         const unsigned char *b_file)
{
    struct err e = {0};
    if (a->n != b->n) return false;
    bool equal = true, whole = pt_check(b, &e) == 0;
    for (int i = 0; i < a->n; i++) {
        const struct pt_tensor *x = &a->t[i], *y = &b->t[i];
        equal &= !strcmp(x->name, y->name) && x->dtype == y->dtype && x->ndim == y->ndim && x->bytes == y->bytes;
        equal &= !memcmp(x->shape, y->shape, sizeof x->shape) && x->data - a_file == y->data - b_file;
        equal &= !whole || !memcmp(x->data, y->data, x->bytes);
    }
    return equal;
}

static void mutate_file(const char *data, size_t n, const char *name)
{
    struct err e = {0};
    struct pt_file *whole = pt_parse(data, n, name, &e);
    CHECK_MSG(whole != NULL, "%s", e.msg);
    if (!whole) return;
    unsigned char *m = (unsigned char *)mem_dup(data, n);
    bool all = !strcmp(name, "views.pt"); /* all values of each byte in one file, some in the others */
    for (size_t i = 0; i < n; i++) {
        for (int x = 1; x < 256; x = all ? x + 1 : 2 * x + 1) {
            m[i] = (unsigned char)(data[i] ^ x);
            e.id = 0;
            struct pt_file *p = pt_parse(m, n, name, &e);
            if (p)
                CHECK_MSG(same_tensors(whole, (const unsigned char *)data, p, m), "%s: byte %zu ^ %d", name, i, x);
            else
                CHECK_MSG(e.id == E_PT || e.id == E_POLICY, "%s: byte %zu ^ %d: %s", name, i, x, e.msg);
            pt_close(p);
        }
        m[i] = (unsigned char)data[i];
    }
    free(m);
    pt_close(whole);
}

static void test_mutated(void)
{
    size_t n;
    char *data = written(&n, 1);
    for_each_recorded(mutate_file);
    mutate_file(data, n, "written");
    free(data);
}

/* The CRC hides the pickle's reader from the mutations above: here it meets them alone. */
static int count_item(void *ctx, const struct pt_item *it, struct err *e)
{
    (void)e;
    *(size_t *)ctx += it->name.n + it->storage.n + (size_t)it->ndim;
    return it->ndim > PT_DIMS ? -E_BUG : 0;
}

static void mutate_pickle(const char *data, size_t n, const char *name)
{
    struct err e = {0};
    struct pt_file *p = pt_parse(data, n, name, &e);
    const struct pt_member *pkl = p ? pt_zip_find(&p->zip, "data.pkl", (struct str){"", 0}) : NULL;
    CHECK(pkl != NULL);
    size_t seen = 0, size = pkl ? pkl->size : 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char *m = (unsigned char *)mem_dup((const char *)pkl->data, i);
        e.id = 0;
        CHECK(pt_pickle_read(m, i, name, count_item, &seen, &e) < 0 && e.id == E_PT);
        free(m);
        m = (unsigned char *)mem_dup((const char *)pkl->data, size);
        for (int x = 1; x < 256; x++) {
            m[i] = (unsigned char)(pkl->data[i] ^ x);
            e.id = 0;
            int rc = pt_pickle_read(m, size, name, count_item, &seen, &e);
            CHECK_MSG(rc == 0 || rc == -E_PT || rc == -E_POLICY, "%s: byte %zu ^ %d: %d", name, i, x, rc);
        }
        free(m);
    }
    pt_close(p);
}

static void test_mutated_pickle(void) { for_each_recorded(mutate_pickle); }

/* More values than any state dict needs end in a refusal, not in memory. */
static void test_hostile_size(void)
{
    struct err e = {0};
    size_t seen = 0, n = PT_PICKLE_MAX;
    unsigned char *p = mem_alloc(n + 1, 1);
    memset(p, 'N', n + 1);
    memcpy(p, "\200\2", 2);
    CHECK(pt_pickle_read(p, n + 1, "f", count_item, &seen, &e) == -E_PT && strstr(e.msg, "16 MiB"));
    e.id = 0;
    CHECK(pt_pickle_read(p, n, "f", count_item, &seen, &e) == -E_PT && strstr(e.msg, "more values"));
    memset(p + 2, 0x94, n - 2);
    memcpy(p + 2, "}", 1);
    e.id = 0;
    CHECK(pt_pickle_read(p, n, "f", count_item, &seen, &e) == -E_PT && strstr(e.msg, "more values"));
    free(p);
}

int main(void)
{
    RUN(test_recorded, "pt_read: files of torch");
    RUN(test_round_trip, "pt_read: files of pt_write");
    RUN(test_refused, "pt_read: files of torch that are refused");
    RUN(test_pickles_read, "pt_read: pickles of state dicts");
    RUN(test_pickles_refused, "pt_read: pickles that are refused");
    RUN(test_archives_refused, "pt_read: faults of archives");
    RUN(test_long_member, "pt_read: a member longer than the file");
    RUN(test_members_refused, "pt_read: members missing, doubled or strange");
    RUN(test_truncated, "pt_read: truncated at every length");
    RUN(test_mutated, "pt_read: every byte of a file changed");
    RUN(test_mutated_pickle, "pt_read: every byte of a pickle changed");
    RUN(test_hostile_size, "pt_read: pickles of too many values");
    return test_failed;
}
