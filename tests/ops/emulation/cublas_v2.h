// What the kernels call of cuBLAS, on the CPU: products of column-major matrices, a stride apart.
#pragma once

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7 };
struct Cublas {};
typedef Cublas* cublasHandle_t;
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cudaDataType_t { CUDA_R_32F };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_16BF };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT };

static inline cublasStatus_t cublasCreate(cublasHandle_t* handle) {
    static Cublas only;
    *handle = &only;
    return CUBLAS_STATUS_SUCCESS;
}

// c = alpha op(a) op(b) + beta c, op(a) [m, k], op(b) [k, n]; c is not read where beta is 0, as cuBLAS promises.
static inline cublasStatus_t cublasSgemmStridedBatched(
        cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float* alpha,
        const float* a, int lda, long long stride_a, const float* b, int ldb, long long stride_b, const float* beta,
        float* c, int ldc, long long stride_c, int batch) {
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || m < 0 || n < 0 || k < 0 || batch < 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (int s = 0; s < batch; s++, a += stride_a, b += stride_b, c += stride_c)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                float sum = 0;
                for (long p = 0; p < k; p++)
                    sum += a[ta ? p + i * (long)lda : i + p * lda] * b[tb ? j + p * ldb : p + j * (long)ldb];
                float* const to = c + i + j * (long)ldc;
                *to = *alpha * sum + (*beta == 0 ? 0 : *beta * *to);
            }
    return CUBLAS_STATUS_SUCCESS;
}

// The same; a product that may use bfloat16 is given numbers that are such already, and is then exact in it.
static inline cublasStatus_t cublasGemmStridedBatchedEx(
        cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void* alpha,
        const void* a, cudaDataType_t, int lda, long long stride_a, const void* b, cudaDataType_t, int ldb,
        long long stride_b, const void* beta, void* c, cudaDataType_t, int ldc, long long stride_c, int batch,
        cublasComputeType_t, cublasGemmAlgo_t) {
    return cublasSgemmStridedBatched(handle, ta, tb, m, n, k, (const float*)alpha, (const float*)a, lda, stride_a,
                                     (const float*)b, ldb, stride_b, (const float*)beta, (float*)c, ldc, stride_c,
                                     batch);
}
