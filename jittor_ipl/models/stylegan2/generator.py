"""StyleGAN2 generator (Karras et al. 2020) with the keys of rosinality checkpoints."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.layers import Holder
from jittor_ipl.models.strict import load_into, named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig, noise_sizes, resolutions
from jittor_ipl.models.stylegan2.layers import EqualLinear, Noises, PixelNorm, StyledConv, ToRGB
from jittor_ipl.runtime.backend import jt, nn

Noise = str | Sequence[jt.Var]


class Undrawn:
    """Stands in for the random generator where all weights are set right after: gives zeros."""

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.zeros(shape, dtype)


class Generator(nn.Module):
    """Maps z [B, style_dim] to images [B, 3, size, size] in about [-1, 1]: `mapping`, then `synthesis`.

    `latent_avg` is the mean w [style_dim] that the weights' file carries, or None; see `center`.
    """

    def __init__(self,
                 config: GeneratorConfig,                               # the network's numbers
                 rng: np.random.Generator | Undrawn | None = None,      # draws the initial weights; seed 0 when None
                 ) -> None:
        rng = rng or np.random.default_rng(0)
        c, w, clamp = config.channels, config.style_dim, config.conv_clamp
        self.config, self.size, self.style_dim = config, config.size, w
        self.latent_avg: np.ndarray | None = None
        self.style = nn.Sequential(PixelNorm(), *(
            EqualLinear(w, w, rng, lr_mul=config.lr_mlp, activate=True) for _ in range(config.n_mlp)))
        self.input = Holder(input=jt.array(rng.standard_normal((1, c[4], 4, 4), np.float32)))
        self.conv1 = StyledConv(c[4], c[4], w, rng, clamp=clamp)
        self.to_rgb1 = ToRGB(c[4], w, rng, upsample=False, clamp=clamp)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for r in resolutions(config.size)[1:]:
            self.convs.append(StyledConv(c[r // 2], c[r], w, rng, upsample=True, clamp=clamp))
            self.convs.append(StyledConv(c[r], c[r], w, rng, clamp=clamp))
            self.to_rgbs.append(ToRGB(c[r], w, rng, clamp=clamp))
        self.noises = Noises(noise_sizes(config.size), rng)
        self.n_latent = 2 + len(self.convs)

    # ---- z -> w -> ws -> S ------------------------------------------------------------------------------------

    def mapping(self, z: jt.Var) -> jt.Var:
        """Map z [B, style_dim] to w [B, style_dim]."""
        _check(z, (None, self.style_dim), "z")
        return self.style(z)

    def mean_latent(self, n: int, seed: int) -> jt.Var:
        """Return the mean w [1, style_dim] of `n` latents drawn by `RandomState(seed).randn(n, style_dim)`."""
        z = np.random.RandomState(seed).randn(n, self.style_dim).astype(np.float32)
        total = np.zeros(self.style_dim)
        with jt.no_grad():
            for start in range(0, n, 1024):
                total += self.mapping(jt.array(z[start:start + 1024])).numpy().sum(0, dtype=np.float64)
        return jt.array((total / n).astype(np.float32)[None])

    def center(self, n: int, seed: int) -> jt.Var:
        """Return the centre of truncation [1, style_dim]: `latent_avg` where there is one, else `mean_latent(n, seed)`.

        NVIDIA's tools truncate towards that running mean of training; rosinality's, IPL's and NADA's draw a new mean.
        """
        return self.mean_latent(n, seed) if self.latent_avg is None else jt.array(self.latent_avg[None])

    def truncate(self, w: jt.Var, psi: float, center: jt.Var, cutoff: int | None = None) -> jt.Var:
        """Return center + psi (w - center) for w [B, style_dim] or ws [B, n_latent, style_dim]; center [1, style_dim].

        With `cutoff` only the first `cutoff` layers move, and ws is returned.
        """
        if cutoff is not None:
            ws = self.broadcast(w)
            return jt.concat([self.truncate(ws[:, :cutoff], psi, center), ws[:, cutoff:]], 1)
        return center + (w - center) * psi

    def broadcast(self, w: jt.Var) -> jt.Var:
        """Repeat w [B, style_dim] for every layer, [B, n_latent, style_dim]; ws pass through."""
        if w.ndim == 3:
            _check(w, (None, self.n_latent, self.style_dim), "ws")
            return w
        _check(w, (None, self.style_dim), "w")
        return w.unsqueeze(1).expand(w.shape[0], self.n_latent, self.style_dim)

    def mix(self, w1: jt.Var, w2: jt.Var, layer: int) -> jt.Var:
        """Return ws [B, n_latent, style_dim]: `w1` for the first `layer` layers, `w2` for the rest (style mixing)."""
        if not 1 <= layer < self.n_latent:
            raise UserError(f"mixing layer {layer} is out of range; choose one in 1..{self.n_latent - 1}")
        return jt.concat([self.broadcast(w1)[:, :layer], self.broadcast(w2)[:, layer:]], 1)

    def styles(self, w: jt.Var) -> list[jt.Var]:
        """Return the S codes [B, channels] of w or ws in the order conv1, to_rgb1, convs, to_rgbs (Wu et al. 2021)."""
        ws = self.broadcast(w)                                                   # checks the shape
        rows = [w if w.ndim == 2 else ws[:, i] for i in range(self.n_latent)]    # n_latent x [B, style_dim]
        return [layer.conv.modulation(rows[i]) for layer, i in zip(self._style_layers(), self._style_indices())]

    def _style_layers(self) -> list[nn.Module]:
        return [self.conv1, self.to_rgb1, *self.convs, *self.to_rgbs]

    def _style_indices(self) -> list[int]:
        """Which ws each style layer reads: a ToRGB shares its ws with the next level's first convolution."""
        return [0, 1, *range(1, len(self.convs) + 1), *range(3, len(self.convs) + 2, 2)]

    # ---- S -> image -------------------------------------------------------------------------------------------

    def synthesis(self, w: jt.Var, noise: Noise = "const") -> jt.Var:
        """Draw images [B, 3, size, size] from w [B, style_dim] or ws [B, n_latent, style_dim].

        `noise`: "const" (the stored buffers), "none", or a list as `draw_noise` makes it.
        """
        return self.synthesis_from_styles(self.styles(w), noise)

    def synthesis_from_styles(self, styles: Sequence[jt.Var], noise: Noise = "const") -> jt.Var:
        """Draw images [B, 3, size, size] from S codes in the order of `styles`; `noise` as in `synthesis`."""
        layers = self._style_layers()
        if len(styles) != len(layers):
            raise UserError(f"{len(styles)} S codes given, a {self.size} px generator takes {len(layers)}")
        for i, (layer, s) in enumerate(zip(layers, styles)):
            _check(s, (None, layer.conv.weight.shape[2]), f"S code {i}")
        n = len(self.convs)
        noise = self._noise_list(noise)
        conv_s, rgb_s = styles[2:2 + n], styles[2 + n:]
        x = self.conv1(self.input.input, styles[0], noise[0])
        image = self.to_rgb1(x, styles[1])
        for i, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * i](x, conv_s[2 * i], noise[2 * i + 1])
            x = self.convs[2 * i + 1](x, conv_s[2 * i + 1], noise[2 * i + 2])
            image = to_rgb(x, rgb_s[i], image)
        return image

    def _noise_list(self, noise: Noise) -> Sequence[jt.Var | None]:
        if isinstance(noise, str):
            if noise not in ("const", "none"):
                raise UserError(f"noise {noise!r} is unknown; choose 'const', 'none' or a list of arrays")
            return self.noises.as_list() if noise == "const" else [None] * self.noises.count
        sides = noise_sizes(self.size)
        if len(noise) != len(sides):
            raise UserError(f"{len(noise)} noise arrays given, a {self.size} px generator takes {len(sides)}")
        for i, (given, side) in enumerate(zip(noise, sides)):
            _check(given, (None, 1, side, side), f"noise {i}")
        return noise

    def draw_noise(self, rng: np.random.Generator, batch: int) -> list[jt.Var]:
        """Return fresh noise for `synthesis`, one [batch, 1, r, r] per styled convolution."""
        return [jt.array(rng.standard_normal((batch, 1, r, r), np.float32)) for r in noise_sizes(self.size)]

    # ---- parameters ---------------------------------------------------------------------------------------------

    def trainable(self) -> dict[str, jt.Var]:
        """Return name -> Var of all that can train: the parameters and the stored noise maps, not the filters."""
        return {name: var for name, var in named_tensors(self).items() if not name.endswith(".kernel")}

    def put(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set those tensors of `trainable` that are named, each of its own shape; they train or not as before."""
        current, values = self.trainable(), {name: jt.array(value) for name, value in tensors.items()}
        # A lazy array of one element would be fused into the kernels that use it, and some of those do not compile.
        jt.sync(list(values.values()))
        for name, value in values.items():
            trains = current[name].requires_grad
            current[name].update(value)
            current[name].requires_grad = trains      # update takes the flag of the new value

    def copy(self) -> "Generator":
        """Return a generator of the same numbers and tensors, without the mean w."""
        twin = Generator(self.config, Undrawn())
        load_into(twin, numpy_tensors(self), source="a copy")
        return twin


def _check(x: jt.Var, shape: tuple[int | None, ...], name: str) -> None:
    if x.ndim != len(shape) or any(want is not None and want != have for want, have in zip(shape, x.shape)):
        wanted = ", ".join("B" if n is None else str(n) for n in shape)
        raise UserError(f"{name} has shape {list(x.shape)}, this network needs [{wanted}]")
