"""Pad, insert zeros, filter and thin out images: the resampling of StyleGAN2 (Karras et al. 2020, appendix B)."""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# Output sample o reads the zero-stuffed input at o * down - pad + t for every tap t; only multiples of `up` are not
# zero. So its taps are first, first + up, ... and meet the input samples index, index + 1, ...
_SHARED = """
struct IplPhase { long first, index, count; };

IPL_BOTH IplPhase ipl_phase(long o, long size, long taps, long up, long down, long pad) {
    const long start = o * down - pad;
    IplPhase p;
    p.first = ((-start) % up + up) % up;
    p.index = (start + p.first) / up;
    p.count = p.first < taps ? (taps - 1 - p.first) / up + 1 : 0;
    if (p.index < 0) { p.first -= p.index * up; p.count += p.index; p.index = 0; }
    if (p.index + p.count > size) p.count = size - p.index;
    if (p.count < 0) p.count = 0;
    return p;
}

// Tap t of the filter. A convolution turns its kernel around; the gradient of one does not.
IPL_BOTH long ipl_tap(long t, long taps, bool turn) { return turn ? taps - 1 - t : t; }

IPL_BOTH float ipl_upfirdn_pixel(const float* x, const float* k, long w, long kh, long kw, long up, bool turn,
                                 IplPhase row, IplPhase column) {
    float sum = 0;
    for (long i = 0; i < row.count; i++) {
        const float* line = x + (row.index + i) * w + column.index;
        const float* taps = k + ipl_tap(row.first + i * up, kh, turn) * kw;
        for (long j = 0; j < column.count; j++) sum += line[j] * taps[ipl_tap(column.first + j * up, kw, turn)];
    }
    return sum;
}
"""
# The CPU splits a kernel of rank one (every kernel of StyleGAN2) into a pass down the columns, whose inner loop runs
# along a row, and a pass along the row. `Horizontal` knows its factors at compile time so that g++ can vectorise it.
_CPU_EXTRA = """
static bool ipl_separate(const float* k, long kh, long kw, bool turn, float* vertical, float* horizontal) {
    long peak = 0;
    for (long i = 1; i < kh * kw; i++) if (std::abs(k[i]) > std::abs(k[peak])) peak = i;
    const long row = peak / kw, column = peak % kw;
    if (k[peak] == 0) return false;
    for (long i = 0; i < kh; i++) vertical[turn ? kh - 1 - i : i] = k[i * kw + column];
    for (long j = 0; j < kw; j++) horizontal[turn ? kw - 1 - j : j] = k[row * kw + j] / k[peak];
    for (long i = 0; i < kh; i++)
        for (long j = 0; j < kw; j++) {
            const float product = vertical[turn ? kh - 1 - i : i] * horizontal[turn ? kw - 1 - j : j];
            if (std::abs(product - k[i * kw + j]) > 1e-6f * std::abs(k[peak])) return false;
        }
    return true;
}

// out[o] = sum over taps of line, which is zero outside the image for `margin` samples on either side.
template <int UP, int DOWN, int TAPS>
static void ipl_horizontal(const float* __restrict__ line, const float* taps, float* __restrict__ out, long ow,
                           long pad) {
    for (int phase = 0; phase < UP; phase++) {
        const long start = phase * DOWN - pad;
        const long first = ((-start) % UP + UP) % UP, index = (start + first) / UP;
        constexpr int COUNT = TAPS / UP;
        float weight[COUNT];
        for (int m = 0; m < COUNT; m++) weight[m] = taps[first + m * UP];
        const long n = (ow - phase + UP - 1) / UP;
        const float* __restrict__ in = line + index;
        for (long j = 0; j < n; j++) {
            float sum = 0;
            for (int m = 0; m < COUNT; m++) sum += weight[m] * in[j * DOWN + m];
            out[j * UP + phase] = sum;
        }
    }
}

static void ipl_horizontal_any(const float* line, const float* taps, float* out, long w, long ow, long kw, long up,
                               long down, long pad) {
    for (long o = 0; o < ow; o++) {
        const IplPhase p = ipl_phase(o, w, kw, up, down, pad);
        float sum = 0;
        for (long m = 0; m < p.count; m++) sum += line[p.index + m] * taps[p.first + m * up];
        out[o] = sum;
    }
}

static void ipl_vertical(const float* x, const float* taps, float* __restrict__ line, long w, IplPhase p, long up) {
    std::fill(line, line + w, 0.f);
    for (long m = 0; m < p.count; m++) {
        const float weight = taps[p.first + m * up];
        const float* __restrict__ row = x + (p.index + m) * w;
        for (long i = 0; i < w; i++) line[i] += weight * row[i];
    }
}
"""
_NUMBERS = """
    const long h = in0_shape1, w = in0_shape2, oh = out0_shape1, ow = out0_shape2, planes = in0_shape0;
    const long kh = in1_shape0, kw = in1_shape1, up = data["up"], down = data["down"];
    const long pad_y = data["pad_y"], pad_x = data["pad_x"];
    const bool turn = data["turn"];
"""
FILTER = Kernel(
    shared=_SHARED,
    cpu_extra=_CPU_EXTRA,
    cpu=_NUMBERS + """
    std::vector<float> vertical(kh), horizontal(kw);
    const bool separable = ipl_separate(in1_p, kh, kw, turn, vertical.data(), horizontal.data());
    const long reach = std::abs(pad_x) + kw + ow * down / up + w, margin = kw + std::abs(pad_x);
    #pragma omp parallel
    {
        std::vector<float> buffer(margin + reach + kw, 0.f);
        float* line = buffer.data() + margin;
        #pragma omp for
        for (long plane = 0; plane < planes; plane++) {
            const float* x = in0_p + plane * h * w;
            float* y = out0_p + plane * oh * ow;
            for (long r = 0; r < oh; r++) {
                const IplPhase row = ipl_phase(r, h, kh, up, down, pad_y);
                float* out = y + r * ow;
                if (!separable) {
                    for (long c = 0; c < ow; c++)
                        out[c] = ipl_upfirdn_pixel(x, in1_p, w, kh, kw, up, turn, row,
                                                   ipl_phase(c, w, kw, up, down, pad_x));
                    continue;
                }
                ipl_vertical(x, vertical.data(), line, w, row, up);
                const float* taps = horizontal.data();
                if (kw == 4 && up == 1 && down == 1) ipl_horizontal<1, 1, 4>(line, taps, out, ow, pad_x);
                else if (kw == 4 && up == 2 && down == 1) ipl_horizontal<2, 1, 4>(line, taps, out, ow, pad_x);
                else if (kw == 4 && up == 1 && down == 2) ipl_horizontal<1, 2, 4>(line, taps, out, ow, pad_x);
                else ipl_horizontal_any(line, taps, out, w, ow, kw, up, down, pad_x);
            }
        }
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_upfirdn(const float* x, const float* k, float* y, long n, long h, long w, long oh,
                                       long ow, long kh, long kw, long up, long down, long pad_y, long pad_x,
                                       bool turn) {
        IPL_THREAD(i, n);
        const IplPhase row = ipl_phase(i / ow % oh, h, kh, up, down, pad_y);
        const IplPhase column = ipl_phase(i % ow, w, kw, up, down, pad_x);
        y[i] = ipl_upfirdn_pixel(x + i / (oh * ow) * h * w, k, w, kh, kw, up, turn, row, column);
    }
    """,
    cuda=_NUMBERS + """
    const long n = planes * oh * ow;
    if (n) ipl_upfirdn<<<IPL_GRID(n)>>>(in0_p, in1_p, out0_p, n, h, w, oh, ow, kh, kw, up, down, pad_y, pad_x, turn);
    """)


def output_size(size: int, taps: int, up: int, down: int, pad: tuple[int, int]) -> int:
    """Return the length of one axis after `upfirdn2d`."""
    return (size * up + pad[0] + pad[1] - taps) // down + 1


def upfirdn2d_reference(x: jt.Var, kernel: jt.Var, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> jt.Var:
    """`upfirdn2d` written as one gather and one sum with Jittor's own operators: slow, short and differentiable."""
    b, c, h, w = x.shape
    kh, kw = kernel.shape
    oh, ow = output_size(h, kh, up, down, pad), output_size(w, kw, up, down, pad)
    row, column = (f"(i{out}*{down}+i{tap}-({pad[0]}))" for out, tap in ((2, 4), (3, 5)))
    taps = x.reindex([b, c, oh, ow, kh, kw], ["i0", "i1", f"{row}/{up}", f"{column}/{up}"],
                     overflow_conditions=[f"{p}<0||{p}%{up}!=0" for p in (row, column)])
    return (taps * kernel.reindex([kh, kw], [f"{kh - 1}-i0", f"{kw - 1}-i1"])).sum([4, 5])


def upfirdn2d(x: jt.Var, kernel: jt.Var, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> jt.Var:
    """Upsample `x` [B, C, H, W] with zeros, pad, convolve with `kernel` [kh, kw] and keep every `down`-th sample.

    `pad` is (before, after), applied to both axes and counted in upsampled pixels; negative numbers crop. Returns
    [B, C, (H up + pad - kh) // down + 1, ...]. Matches `upfirdn2d` of the rosinality StyleGAN2 code. Differentiable any
    number of times in `x`; the kernel is a constant.
    """
    assert x.ndim == 4 and kernel.ndim == 2 and up >= 1 and down >= 1, (x.shape, kernel.shape, up, down)
    b, c, h, w = x.shape
    kh, kw = kernel.shape
    size = output_size(h, kh, up, down, pad), output_size(w, kw, up, down, pad)
    assert min(size) >= 1, (x.shape, kernel.shape, up, down, pad)
    y = _Filter(kernel.stop_grad(), size, up, down, (pad[0], pad[0]), True)(x.reshape(b * c, h, w))
    return y.reshape(b, c, *size)


class _Filter(jt.Function):
    """One resampling of planes [N, H, W]; its gradient is another, `up` and `down` exchanged, the kernel turned."""

    def __init__(self, kernel, size, up, down, pad, turn):
        self.kernel, self.size, self.up, self.down, self.pad, self.turn = kernel, size, up, down, pad, turn

    def execute(self, x):
        self.source = tuple(x.shape[1:])
        return FILTER([(x.shape[0], *self.size)], [x, self.kernel], up=self.up, down=self.down, pad_y=self.pad[0],
                      pad_x=self.pad[1], turn=self.turn)[0]

    def grad(self, g):
        pad = tuple(taps - 1 - before for taps, before in zip(self.kernel.shape, self.pad))
        return _Filter(self.kernel, self.source, self.down, self.up, pad, not self.turn)(g)
