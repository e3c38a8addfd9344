"""The codes of the faces that are edited, from seeds or from files of W, W+ or S, and the generator they belong to.

S codes are tuples of float32 arrays [N, C], one per style layer in the order of `Generator.styles`. Files count the
layers from coarse to fine (`models.stylegan2.style_space`); what is read or written here is put in order here.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jittor_ipl.disk.names import seed_name
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.style_space import StyleLayer, style_space
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.weights.generator import require_generator
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.tuned import KIND as TUNED
from jittor_ipl.weights.tuned import carried_over, load_tuned

Styles = tuple[np.ndarray, ...]
OWNER = "generator_sha256"        # in a file of codes: the tuned generator that alone can draw them


@dataclass(frozen=True)
class Faces:
    """The faces to edit.

    generator   that draws them: where a file of latents carries a tuned one, that one
    styles      their S codes, float32 [N, C] a style layer
    names       what each is called in the names of files
    ws          their W+ codes, float32 [N, n_latent, style_dim]; None where S codes were given
    source      where `generator` is a tuned one, the one that it was tuned from
    """

    generator: Generator
    styles: Styles
    names: tuple[str, ...]
    ws: np.ndarray | None
    source: Generator | None = None

    def shown_in(self, other: Generator) -> Generator:
        """Return what draws these faces as `other` does, which was adapted from their source: with their tuning."""
        return other if self.source is None or other is self.generator else \
            carried_over(self.generator, self.source, other)

    def in_generator(self, other: Generator) -> Styles:
        """Return the S codes of these faces in a generator adapted from theirs; the same codes where there is no w."""
        if other is self.generator:
            return self.styles
        if (other.size, other.style_dim) != (self.generator.size, self.generator.style_dim):
            raise UserError(f"a {other.size} px generator with {other.style_dim} numbers in w cannot show faces of one "
                            f"of {self.generator.size} px with {self.generator.style_dim}")
        return self.styles if self.ws is None else styles_of(other, self.ws)

    def take(self, index: slice | np.ndarray | Sequence[int]) -> Faces:
        """Return some of the faces."""
        names = tuple(np.array(self.names, object)[index])
        return replace(self, styles=tuple(s[index] for s in self.styles), names=names,
                       ws=None if self.ws is None else self.ws[index])


def faces_of_seeds(generator: Generator, seeds: Sequence[int], psi: float = 1.0,
                   center: jt.Var | None = None) -> Faces:
    """Return the faces of seeds, z = RandomState(seed).randn, truncated by `psi` towards `center` [1, style_dim].

    A seed's codes are those that `generate` draws from, whatever other seeds are asked for with it. UserError for a
    seed out of range.
    """
    rows = []
    with jt.no_grad():
        for seed in seeds:       # a pass each: how a matrix product sums may depend on the number of rows
            w = generator.mapping(jt.array(z_from_seeds([seed], generator.style_dim)))
            rows.append(w if center is None else generator.truncate(w, psi, center))
        jt.sync(rows)
        ws = np.concatenate([generator.broadcast(w).numpy() for w in rows])
    return Faces(generator, styles_of(generator, ws), tuple(seed_name(seed) for seed in seeds), ws)


def faces_of_file(generator: Generator, ref: str | os.PathLike) -> Faces:
    """Return the faces whose W [N, style_dim], W+ [N, n_latent, style_dim] or S codes lie in a file of latents.

    .npy, .pt, .pd, .pdparams and .safetensors of StyleCLIP, pSp, PaddleGAN and this project. A file that carries the
    delta of a generator tuned to its pictures (`weights.tuned`) gives the tuned one, here and nowhere else: who edits
    takes the generator of the faces. UserError for a file of another kind, codes that are not finite, codes of another
    generator's shape, and S codes that say that another generator draws them.
    """
    network, label = read_network(ref, kind=("latents", TUNED)), os.fspath(ref)
    if network.layout.kind == TUNED:
        tuned = load_tuned(ref, generator)
        return Faces(tuned.generator, styles_of(tuned.generator, tuned.latents), tuned.names, tuned.latents,
                     generator)
    if OWNER in network.info.metadata:
        require_generator(network.info.metadata[OWNER], [generator], label, "these are S codes of a generator tuned to "
                          "its pictures, which no file carries along; edit the tuned latents again, in W+ to keep both")
    space, ws = network.layout.config["space"], None
    if space == "S":
        codes = in_our_order(generator, [network.tensors[f"S.{i}"] for i in range(len(network.tensors))], label)
    else:
        ws = _w_plus(generator, network.tensors["latents"], space, label)
        codes = styles_of(generator, ws)
    if not all(np.isfinite(code).all() for code in codes):
        raise UserError(f"{label}: its {space} codes are not finite; make the latents again")
    stem = Path(label.rpartition("#")[0] or label).name.split(".")[0]
    count = len(codes[0])
    return Faces(generator, codes, (stem,) if count == 1 else tuple(f"{stem}-{i:03d}" for i in range(count)), ws)


def _w_plus(generator: Generator, codes: np.ndarray, space: str, label: str) -> np.ndarray:
    """Return W or W+ codes as float32 [N, n_latent, style_dim]; UserError for those of another generator."""
    n, dim = generator.n_latent, generator.style_dim
    if codes.shape[1:] not in ((dim,), (n, dim)):
        raise UserError(f"{label} holds {space} codes of shape {list(codes.shape)}; a {generator.size} px generator "
                        f"with {dim} numbers in w takes W [N, {dim}] or W+ [N, {n}, {dim}]")
    codes = codes.astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(codes[:, None], (len(codes), n, dim)) if codes.ndim == 2 else codes)


def styles_of(generator: Generator, ws: np.ndarray) -> Styles:
    """Return the S codes, float32 [N, C] each, of W+ codes [N, n_latent, style_dim], a row at a time."""
    with jt.no_grad():
        rows = [generator.styles(jt.array(row[None])) for row in ws]
        jt.sync([code for row in rows for code in row])
    return tuple(np.concatenate([code.numpy() for code in codes]) for codes in zip(*rows))


def as_styles(generator: Generator, codes: Sequence[np.ndarray]) -> Styles:
    """Return the S codes of codes of either kind: [ws [N, n_latent, style_dim]], or S [N, C] a layer as they are."""
    return styles_of(generator, codes[0]) if codes[0].ndim == 3 else tuple(codes)


def draw_codes(generator: Generator, codes: Sequence[jt.Var]) -> jt.Var:
    """Return the pictures [N, 3, H, W] of codes of either kind, as `as_styles` takes them, with their gradient."""
    return generator.synthesis(codes[0]) if codes[0].ndim == 3 else generator.synthesis_from_styles(codes)


# ---- The order of the style layers --------------------------------------------------------------------------------

def layers_of(generator: Generator) -> list[StyleLayer]:
    """Return the style layers of a generator in the order of files, from coarse to fine."""
    return style_space(generator.size, channels=generator.config.channels)


def file_positions(generator: Generator) -> list[int]:
    """Return, for every style layer in the order of files, its position in `Generator.styles`."""
    convs = [layer.name for layer in layers_of(generator) if layer.name.startswith("convs.")]
    rgbs = [layer.name for layer in layers_of(generator) if layer.name.startswith("to_rgbs.")]
    ours = ["conv1", "to_rgb1", *convs, *rgbs]
    return [ours.index(layer.name) for layer in layers_of(generator)]


def in_file_order(generator: Generator, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return arrays, one a style layer in the order of `Generator.styles`, from coarse to fine as files have them."""
    return [codes[position] for position in file_positions(generator)]


def in_our_order(generator: Generator, codes: Sequence[np.ndarray], label: str) -> Styles:
    """Return a file's arrays [..., C], one a style layer from coarse to fine, in the order of `Generator.styles`.

    UserError naming `label` when there are more or fewer, or one has other channels than the generator's layer.
    """
    wanted, found = [layer.channels for layer in layers_of(generator)], [code.shape[-1] for code in codes]
    if wanted != found:
        raise UserError(f"{label} has {len(found)} style layers with {found} channels; this {generator.size} px "
                        f"generator has {len(wanted)} with {wanted}: give the generator that they belong to")
    positions = file_positions(generator)
    return tuple(np.ascontiguousarray(codes[positions.index(i)], np.float32) for i in range(len(codes)))


def stored_styles(generator: Generator, styles: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return S codes under the names that a file of latents has: "S.0", ... from coarse to fine."""
    return {f"S.{i}": code for i, code in enumerate(in_file_order(generator, styles))}
