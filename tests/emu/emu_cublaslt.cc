/* emu_cublaslt: a stand-in for the part of cublasLt that cublaslt.cu calls: column-major products by the definition, f32 sums.
 * It reads what was set on the descriptors, so a wrong layout, type, transposition or leading dimension gives a wrong result. */
#include "tests/emu/emu.h"
#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#undef dlopen
#undef dlsym
#undef dlclose

struct desc {
    cublasOperation_t ta, tb;
};
struct layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld;
};

static float get(const void *p, cudaDataType t, int64_t i)
{
    switch (t) {
    case CUDA_R_16BF:
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    case CUDA_R_16F:
        return __half2float(((const __half *)p)[i]);
    default:
        return ((const float *)p)[i];
    }
}

extern "C" {
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h)
{
    return *h = (cublasLtHandle_t)1, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *p, cublasComputeType_t c,
                                        cudaDataType_t s)
{
    if (c != CUBLAS_COMPUTE_32F || s != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *p = (cublasLtMatmulDesc_t) new desc{CUBLAS_OP_N, CUBLAS_OP_N};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t p)
{
    return delete (desc *)p, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t p,
                                              cublasLtMatmulDescAttributes_t a, const void *v,
                                              size_t n)
{
    if (n != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
    if (a == CUBLASLT_MATMUL_DESC_TRANSA)
        ((desc *)p)->ta = *(const cublasOperation_t *)v;
    else if (a == CUBLASLT_MATMUL_DESC_TRANSB)
        ((desc *)p)->tb = *(const cublasOperation_t *)v;
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *p, cudaDataType t, uint64_t r,
                                          uint64_t c, int64_t ld)
{
    *p = (cublasLtMatrixLayout_t) new layout{t, r, c, ld};
    return ld < (int64_t)r ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t p)
{
    return delete (layout *)p, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    return *p = (cublasLtMatmulPreference_t)1, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t a,
                                                    const void *, size_t n)
{
    const size_t want = a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4;
    return n == want ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t p,
                                              cublasLtMatrixLayout_t pa, cublasLtMatrixLayout_t pb,
                                              cublasLtMatrixLayout_t pc, cublasLtMatrixLayout_t pd,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t *res, int *found)
{
    const desc *o = (const desc *)p;
    const layout *a = (const layout *)pa, *b = (const layout *)pb, *c = (const layout *)pc,
                 *d = (const layout *)pd;
    const uint64_t m = o->ta == CUBLAS_OP_N ? a->rows : a->cols,
                   k = o->ta == CUBLAS_OP_N ? a->cols : a->rows;
    const uint64_t n = o->tb == CUBLAS_OP_N ? b->cols : b->rows,
                   kb = o->tb == CUBLAS_OP_N ? b->rows : b->cols;
    const bool types =
        a->type == b->type && c->type == d->type && (d->type == CUDA_R_32F || d->type == a->type);
    *found = 0;
    if (k != kb || d->rows != m || d->cols != n || c->rows != m || c->cols != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!types) return CUBLAS_STATUS_NOT_SUPPORTED;
    res->state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t p, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t pa, const void *B,
                              cublasLtMatrixLayout_t pb, const void *beta, const void *C,
                              cublasLtMatrixLayout_t pc, void *D, cublasLtMatrixLayout_t pd,
                              const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t)
{
    emu_land();
    const desc *o = (const desc *)p;
    const layout *a = (const layout *)pa, *b = (const layout *)pb, *c = (const layout *)pc,
                 *d = (const layout *)pd;
    const int64_t k = o->ta == CUBLAS_OP_N ? a->cols : a->rows;
    const float al = *(const float *)alpha, be = *(const float *)beta;
    for (int64_t j = 0; j < (int64_t)d->cols; j++)
        for (int64_t i = 0; i < (int64_t)d->rows; i++) {
            float sum = 0;
            for (int64_t q = 0; q < k; q++)
                sum += get(A, a->type, o->ta == CUBLAS_OP_N ? i + q * a->ld : q + i * a->ld) *
                       get(B, b->type, o->tb == CUBLAS_OP_N ? q + j * b->ld : j + q * b->ld);
            float v = al * sum;
            if (be != 0) v += be * get(C, c->type, i + j * c->ld);
            if (d->type == CUDA_R_32F)
                ((float *)D)[i + j * d->ld] = v;
            else if (d->type == CUDA_R_16BF)
                ((__nv_bfloat16 *)D)[i + j * d->ld] = __float2bfloat16_rn(v);
            else
                ((__half *)D)[i + j * d->ld] = __float2half_rn(v);
        }
    return CUBLAS_STATUS_SUCCESS;
}
}

void *emu_dlopen(const char *name, int)
{
    return strstr(name, "cublasLt") && !emu_fault("dlopen") ? (void *)1 : NULL;
}
int emu_dlclose(void *)
{
    return 0;
}
void *emu_dlsym(void *, const char *name)
{
    static const struct {
        const char *name;
        void *f;
    } table[] = {
#define F(f) {#f, (void *)f}
        F(cublasLtCreate),
        F(cublasLtDestroy),
        F(cublasLtMatmulDescCreate),
        F(cublasLtMatmulDescDestroy),
        F(cublasLtMatmulDescSetAttribute),
        F(cublasLtMatrixLayoutCreate),
        F(cublasLtMatrixLayoutDestroy),
        F(cublasLtMatmulPreferenceCreate),
        F(cublasLtMatmulPreferenceDestroy),
        F(cublasLtMatmulPreferenceSetAttribute),
        F(cublasLtMatmulAlgoGetHeuristic),
        F(cublasLtMatmul),
#undef F
    };
    for (const auto &t : table)
        if (!strcmp(t.name, name)) return t.f;
    return NULL;
}
