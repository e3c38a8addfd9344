"""What CLIP sees of a change in one channel of the style space: measured by renders, published or shared, or derived.

Patashnik et al. 2021, section 6.1: a channel is set to its mean plus and minus five deviations, both pictures are
encoded, and the difference of their unit features is the channel's response.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from jittor_ipl.editing.codes import Styles
from jittor_ipl.editing.partial import State, advance, picture_from, start, style_of
from jittor_ipl.editing.statistics import StyleStatistics
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt

ALPHA = 5.0             # deviations to either side
_PIXELS = 32 * 64**2    # rendered at once: what fits a processor's cache and still fills its vectors


def features(clips: Sequence[Clip], images: jt.Var) -> jt.Var:
    """Return unit features [B, d] of pictures [B, 3, H, W], several CLIPs side by side with equal shares.

    Values are held in [-1, 1], as a picture on the disk holds them.
    """
    images = jt.clamp(images, -1.0, 1.0)
    parts = [unit(clip.image_features(images)) for clip in clips]
    return parts[0] if len(parts) == 1 else jt.concat(parts, 1) * (1 / len(parts)**.5)


def at_once(side: int) -> int:
    """Return how many pictures of `side` pixels are rendered together."""
    return max(4, _PIXELS // side**2)


def _with_signs(code: np.ndarray, channels: np.ndarray, mean: np.ndarray, std: np.ndarray,
                alpha: float) -> np.ndarray:
    """Return S codes [2 n, C]: `code` [1, C] with each of n channels at its mean plus, then minus, alpha deviations."""
    rows, count = np.repeat(code, 2 * len(channels), axis=0), len(channels)
    rows[np.arange(count), channels] = mean[channels] + alpha * std[channels]
    rows[count + np.arange(count), channels] = mean[channels] - alpha * std[channels]
    return rows


def states(generator: Generator, styles: Sequence[jt.Var], steps: int) -> Iterator[tuple[int, State]]:
    """Yield every styled convolution's number and what it reads, of one face's S codes [1, C] a layer."""
    noise, state = generator.noises.as_list(), start(generator)
    for step in range(steps):
        yield step, state
        with jt.no_grad():
            state = advance(generator, step, state, styles, noise)
            jt.sync([part for part in state if part is not None])


def shared_responses(generator: Generator, clips: Sequence[Clip], face: Styles, statistics: StyleStatistics, steps: int,
                     alpha: float = ALPHA, chosen: np.ndarray | None = None) -> np.ndarray:
    """Return the responses [rows, d] of all channels of the first `steps` styled convolutions on one face.

    face: S codes [1, C] a layer. Renders of a layer's channels start from what lies below it, many at a time, and
    stop at the resolution of the last step. With `chosen`, bool [rows], only these channels are measured.
    """
    side, layers = 4 << (steps // 2), channels_of(statistics, steps)
    chosen = np.ones(sum(layers), bool) if chosen is None else chosen
    of_layers = np.split(chosen, np.cumsum(layers)[:-1])
    codes, noise, found = [jt.array(code) for code in face], generator.noises.as_list(), []
    for step, state in states(generator, codes, steps):
        position = style_of(step)
        mean, std = statistics.mean[position], statistics.std[position]
        channels, most = np.flatnonzero(of_layers[step]), max(1, at_once(side) // 2)
        for batch in (channels[at:at + most] for at in range(0, len(channels), most)):
            rows = _with_signs(face[position], batch, mean, std, alpha)
            with jt.no_grad():
                changed = [*codes[:position], jt.array(rows), *codes[position + 1:]]
                seen = features(clips, picture_from(generator, step, state, changed, noise, steps)).numpy()
            found.append(seen[:len(batch)] - seen[len(batch):])
    return np.concatenate(found)


def channels_of(statistics: StyleStatistics, steps: int) -> list[int]:
    """Return how many channels each of the first `steps` styled convolutions has: how rows divide among layers."""
    return [len(statistics.std[style_of(step)]) for step in range(steps)]


def published_responses(generator: Generator, clips: Sequence[Clip], faces: Styles, statistics: StyleStatistics,
                        position: int, channel: int, alpha: float = ALPHA) -> np.ndarray:
    """Return the responses [N, d] of one channel on N faces, as StyleCLIP's program computes them.

    Every picture is a pass of the whole generator of its own and is kept in 8 bits; all of a channel are encoded
    together. For comparing time and numbers with `shared_responses`.
    """
    mean, std = statistics.mean[position], statistics.std[position]
    images = []
    for i in range(len(faces[0])):
        rows = _with_signs(faces[position][i:i + 1], np.array([channel]), mean, std, alpha)
        for row in rows:
            codes = [code[i:i + 1] for code in faces]
            codes[position] = row[None]
            with jt.no_grad():
                images.append(to_uint8(generator.synthesis_from_styles([jt.array(code) for code in codes]).numpy()[0]))
    with jt.no_grad():
        seen = features(clips, jt.array(from_uint8(np.stack(images)))).numpy()
    return seen[::2] - seen[1::2]


def derived_responses(generator: Generator, clips: Sequence[Clip], faces: Styles, statistics: StyleStatistics,
                      steps: int, axes: np.ndarray) -> np.ndarray:
    """Return first-order responses [N, rows, K] of N faces along `axes` [K, d]: 2 deviations times a derivative.

    One pass forward for all axes, and one back for each (a vector-Jacobian product), whatever the number of channels.
    """
    positions = [style_of(step) for step in range(steps)]
    codes, noise = [jt.array(code) for code in faces], generator.noises.as_list()
    wanted = [codes[position] for position in positions]
    std = np.concatenate([statistics.std[position] for position in positions])
    seen = features(clips, picture_from(generator, 0, start(generator), codes, noise, steps))
    along = jt.nn.matmul_transpose(seen, jt.array(axes.astype(np.float32)))                     # [N, K]
    found = np.zeros((len(faces[0]), len(std), len(axes)), np.float32)
    for axis in range(len(axes)):
        slopes = jt.grad(along[:, axis].sum(), wanted, retain_graph=True)
        jt.sync(slopes)
        found[:, :, axis] = np.concatenate([slope.numpy() for slope in slopes], axis=1) * (2 * std)
    return found


def frozen(*networks: jt.Module) -> None:
    """Take the parameters of networks out of every gradient."""
    for network in networks:
        for parameter in network.parameters():
            parameter.stop_grad()


def unit_rows(responses: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """Return responses [..., d] of unit length, divided by `lengths` [...] where those are known otherwise; rows
    without any response stay zero.
    """
    length = (np.linalg.norm(responses, axis=-1) if lengths is None else lengths)[..., None]
    return np.where(length > 1e-12, responses / np.maximum(length, 1e-12), 0)
