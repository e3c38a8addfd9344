"""What layer norm and group norm share in C++: a value's gradient, and in CUDA mean and deviation in two passes."""
from __future__ import annotations

NORM_GRAD = """
IPL_BOTH float ipl_norm_grad(float gw, float z, float mean_gw, float mean_gwz, float scale) {
    return scale * (gw - mean_gw - z * mean_gwz);
}
"""
# A block of threads for the n numbers at x; scale is 1 over their deviation.
MOMENTS = """
    static __device__ inline void ipl_moments(const float* x, long n, float eps, float& mean, float& scale) {
        float sum = 0, squares = 0;
        for (long i = threadIdx.x; i < n; i += 256) sum += x[i];
        mean = ipl_block(sum, false) / n;
        for (long i = threadIdx.x; i < n; i += 256) squares += (x[i] - mean) * (x[i] - mean);
        scale = 1 / sqrtf(ipl_block(squares, false) / n + eps);
    }
"""
