/* cublaslt.cu: see cublaslt.h. Types come from the toolkit's header at build time, functions from dlopen at run time;
 * the few used have had the same signature since version 11. */
#include "kernels/cublaslt.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cuda_device.cuh"

#define PLANS 512 /* shapes kept; a power of two */

/* Everything that the choice of an algorithm depends on. Compared by bytes: zeroed before it is filled. */
struct plan_key {
    long m, n, k, lda, ldb, ldd;
    int in, out, b_rows_n, beta, align_a, align_b, align_c, align_d;
};
struct plan {
    struct plan_key key;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    int ready;
};
struct cublaslt {
    void *so;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t pref;
    decltype(&cublasLtCreate) create;
    decltype(&cublasLtDestroy) destroy;
    decltype(&cublasLtMatmulDescCreate) desc_create;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatmulPreferenceCreate) pref_create;
    decltype(&cublasLtMatmulPreferenceDestroy) pref_destroy;
    decltype(&cublasLtMatmulPreferenceSetAttribute) pref_set;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    decltype(&cublasLtMatmul) matmul;
    struct plan plan[PLANS];
};

template <typename F> static bool sym(void *so, F *f, const char *name)
{
    *f = (F)dlsym(so, name);
    return *f != NULL;
}

static void *open_library(void)
{
    /* The newest first; the bare name finds what the loader knows, the path an unregistered toolkit. */
    static const char *const dir[] = {"", "/usr/local/cuda/lib64/"};
    static const int major[] = {13, 12, 11};
    for (int m : major)
        for (const char *p : dir) {
            char name[64];
            snprintf(name, sizeof name, "%slibcublasLt.so.%d", p, m);
            void *so = dlopen(name, RTLD_NOW | RTLD_LOCAL);
            if (so) return so;
        }
    return NULL;
}

static bool find_functions(struct cublaslt *lt)
{
    void *so = lt->so;
    return sym(so, &lt->create, "cublasLtCreate") && sym(so, &lt->destroy, "cublasLtDestroy") &&
           sym(so, &lt->desc_create, "cublasLtMatmulDescCreate") &&
           sym(so, &lt->desc_destroy, "cublasLtMatmulDescDestroy") &&
           sym(so, &lt->desc_set, "cublasLtMatmulDescSetAttribute") &&
           sym(so, &lt->layout_create, "cublasLtMatrixLayoutCreate") &&
           sym(so, &lt->layout_destroy, "cublasLtMatrixLayoutDestroy") &&
           sym(so, &lt->pref_create, "cublasLtMatmulPreferenceCreate") &&
           sym(so, &lt->pref_destroy, "cublasLtMatmulPreferenceDestroy") &&
           sym(so, &lt->pref_set, "cublasLtMatmulPreferenceSetAttribute") &&
           sym(so, &lt->heuristic, "cublasLtMatmulAlgoGetHeuristic") && sym(so, &lt->matmul, "cublasLtMatmul");
}

struct cublaslt *cublaslt_open(struct device *d)
{
    struct cublaslt *lt = (struct cublaslt *)calloc(1, sizeof *lt);
    if (!lt) {
        dev_fail(d, DEV_MEMORY, "out of memory");
        return NULL;
    }
    lt->so = open_library();
    if (!lt->so || !find_functions(lt)) {
        dev_fail(d, DEV_ABSENT, "libcublasLt.so (13, 12 or 11): not found, or lacks a function");
        cublaslt_close(lt);
        return NULL;
    }
    /* Split-K sums go through the workspace in a fixed order, never in place and never by atomics. */
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint64_t bytes = cuda_impl(d)->workspace_bytes;
    cublasStatus_t s = lt->create(&lt->handle);
    if (!s) s = lt->pref_create(&lt->pref);
    if (!s) s = lt->pref_set(lt->pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
    if (!s) s = lt->pref_set(lt->pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    if (s) {
        dev_fail(d, DEV_ABSENT, "cublasLt: start: status %d", (int)s);
        cublaslt_close(lt);
        return NULL;
    }
    return lt;
}

static void plan_drop(struct cublaslt *lt, struct plan *p)
{
    if (p->op) lt->desc_destroy(p->op);
    if (p->a) lt->layout_destroy(p->a);
    if (p->b) lt->layout_destroy(p->b);
    if (p->d) lt->layout_destroy(p->d);
    memset(p, 0, sizeof *p);
}

void cublaslt_close(struct cublaslt *lt)
{
    if (!lt) return;
    for (int i = 0; i < PLANS; i++) plan_drop(lt, &lt->plan[i]);
    if (lt->pref) lt->pref_destroy(lt->pref);
    if (lt->handle) lt->destroy(lt->handle);
    if (lt->so) dlclose(lt->so);
    free(lt);
}

static cudaDataType_t data_type(enum dtype t)
{
    return t == DT_BF16 ? CUDA_R_16BF : t == DT_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* The largest power of two, up to 256, that divides the address. */
static int alignment(const void *p)
{
    uintptr_t low = (uintptr_t)p & -(uintptr_t)p;
    return low == 0 || low > 256 ? 256 : (int)low;
}

/* cublasLt is column-major: our row-major D = A op(B) is its D^T = op(B)^T A^T, so B goes first and every [r][c] array
 * is described as c rows by r columns. */
static cublasStatus_t plan_make(struct cublaslt *lt, struct plan *p)
{
    const struct plan_key *k = &p->key;
    const cudaDataType_t in = data_type((enum dtype)k->in), out = data_type((enum dtype)k->out);
    const cublasOperation_t trans = CUBLAS_OP_T;
    cublasStatus_t s = lt->desc_create(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!s && k->b_rows_n) s = lt->desc_set(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &trans, sizeof trans);
    if (!s) s = lt->layout_create(&p->b, in, k->b_rows_n ? k->k : k->n, k->b_rows_n ? k->n : k->k, k->ldb);
    if (!s) s = lt->layout_create(&p->a, in, k->k, k->m, k->lda);
    if (!s) s = lt->layout_create(&p->d, out, k->n, k->m, k->ldd);
    const struct {
        cublasLtMatmulPreferenceAttributes_t attr;
        uint32_t bytes;
    } align[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)k->align_b},
                 {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)k->align_a},
                 {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)k->align_c},
                 {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)k->align_d}};
    for (const auto &x : align)
        if (!s) s = lt->pref_set(lt->pref, x.attr, &x.bytes, sizeof x.bytes);
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    memset(&best, 0, sizeof best);
    if (!s) s = lt->heuristic(lt->handle, p->op, p->b, p->a, p->d, p->d, lt->pref, 1, &best, &found);
    if (!s && !found) s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!s) s = best.state;
    p->algo = best.algo;
    p->ready = !s;
    return s;
}

/* The slot of a shape: direct-mapped, the last user stays. */
static struct plan *plan_slot(struct cublaslt *lt, const struct plan_key *key)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < sizeof *key; i++) h = (h ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    return &lt->plan[(h ^ h >> 32) & (PLANS - 1)];
}

int cublaslt_gemm(struct device *d, const struct matmul *g)
{
    struct cuda_device *cd = cuda_impl(d);
    struct cublaslt *lt = cd->lt;
    if (g->m == 0 || g->n == 0) return DEV_OK;
    const void *c = g->beta != 0.0f ? g->c : g->d;
    struct plan_key key;
    memset(&key, 0, sizeof key);
    key.m = g->m, key.n = g->n, key.k = g->k;
    key.lda = g->lda, key.ldb = g->ldb, key.ldd = g->ldd;
    key.in = g->in, key.out = g->out, key.b_rows_n = g->b_rows_n, key.beta = g->beta != 0.0f;
    key.align_a = alignment(g->a), key.align_b = alignment(g->b);
    key.align_c = alignment(c), key.align_d = alignment(g->d);
    struct plan *p = plan_slot(lt, &key);
    cudaStream_t stream = cuda_stream(d);
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (!p->ready || memcmp(&p->key, &key, sizeof key)) {
        plan_drop(lt, p);
        p->key = key;
        s = plan_make(lt, p);
    }
    if (!s)
        s = lt->matmul(lt->handle, p->op, &g->alpha, g->b, p->b, g->a, p->a, &g->beta, c, p->d, g->d, p->d, &p->algo,
                       cd->workspace, cd->workspace_bytes, stream);
    if (s)
        return dev_fail(d, s == CUBLAS_STATUS_NOT_SUPPORTED ? DEV_UNSUPPORTED : DEV_FAILED,
                        "cublasLt: product %ld x %ld x %ld of %s: status %d", g->m, g->n, g->k, dtype_info[g->in].name,
                        (int)s);
    return DEV_OK;
}
