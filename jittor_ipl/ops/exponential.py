"""What kernels with exponentials share: exp as a polynomial that becomes vector instructions, and a maximum.

The C library's vector version is half as exact, and which one a loop gets depends on the library; this one gives the
same bits on every processor with fused multiplication and addition.
"""
from __future__ import annotations

# exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial is Cephes' (Moshier 1989), relative error
# below 1.2e-7. The two fused steps keep the compiler from joining the two parts of ln 2. Below -87.3, near the smallest
# normal number, the result is 0; above 88 it stays 1.65e38; NaN stays NaN.
EXP = """
IPL_BOTH float ipl_fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__CUDA_ARCH__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
IPL_BOTH float ipl_exp(float x) {
    const float top = x > 88.f ? 88.f : x, n = __builtin_rintf(top * 1.44269504f);
    const float r = ipl_fma(n, 2.12194440e-4f, ipl_fma(n, -0.693359375f, top));
    float p = 1.9875691500e-4f;
    p = ipl_fma(p, r, 1.3981999507e-3f);
    p = ipl_fma(p, r, 8.3334519073e-3f);
    p = ipl_fma(p, r, 4.1665795894e-2f);
    p = ipl_fma(p, r, 1.6666665459e-1f);
    p = ipl_fma(p, r, 5.0000001201e-1f);
    p = ipl_fma(p * r, r, r) + 1.f;
    union { int bits; float value; } power;
    power.bits = ((int)n + 127) << 23;
    return x < -87.3f ? 0.f : p * power.value;
}
"""
# Sixteen maxima at once: the compiler may not reorder a single one, for a NaN.
PEAK = """
static inline float ipl_peak(const float* __restrict__ x, long n) {
    float lane[16], peak = x[0];
    const long whole = n / 16 * 16;
    for (int l = 0; l < 16; l++) lane[l] = x[0];
    for (long i = 0; i < whole; i += 16)
        for (int l = 0; l < 16; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (int l = 0; l < 16; l++) peak = lane[l] > peak ? lane[l] : peak;
    for (long i = whole; i < n; i++) peak = x[i] > peak ? x[i] : peak;
    return peak;
}
"""
