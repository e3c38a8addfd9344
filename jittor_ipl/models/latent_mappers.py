"""StyleCLIP's latent mappers (Patashnik et al. 2021, section 5): codes to changes of codes, for one prompt.

Attribute names are those of the published checkpoints ("course_mapping" is their spelling). A mapper's change is added
to the code a tenth at a time: `w + 0.1 M(w)`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.mappers import LR_MUL, level_slices
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.layers import EqualLinear
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt, nn

DEPTH = 4                                   # equalised linear layers of a mapper
SHARE = 0.1                                 # of a mapper's output that is added to the code
PUBLISHED_LEVELS = ("course", "medium", "fine")
W_TYPES, S_TYPES = ("LevelsMapper", "SingleMapper"), ("FullStyleSpaceMapper", "WithoutToRGBStyleSpaceMapper")
TYPES = (*W_TYPES, *S_TYPES)
NORMS = ("codes", "layers")


@dataclass(frozen=True)
class LatentMapperConfig:
    """The numbers of a latent mapper, as its file says them; raises UserError for a type that there is not."""

    mapper_type: str                                    # one of TYPES
    style_dim: int = 512                                # width of a code of W+; 0 for a mapper of S
    levels: Sequence[str] = PUBLISHED_LEVELS            # of a LevelsMapper: those that it moves
    widths: Mapping[str, int] = field(default_factory=dict)     # of S: channels of every style layer that it moves
    norm: str = "codes"     # what is brought to unit mean square: a code, or, as published, a channel over all layers

    def __post_init__(self) -> None:
        if self.mapper_type not in TYPES:
            raise UserError(f"no latent mapper is called {self.mapper_type!r}; there are {', '.join(TYPES)}")
        if self.norm not in NORMS:
            raise UserError(f"a mapper's norm is over {' or '.join(NORMS)}, not {self.norm!r}")
        levels = tuple(self.levels) if self.mapper_type == "LevelsMapper" else ()
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "widths", dict(self.widths) if self.of_styles else {})
        object.__setattr__(self, "style_dim", 0 if self.of_styles else self.style_dim)
        if self.mapper_type == "LevelsMapper" and not levels:
            raise UserError("a LevelsMapper without any level moves nothing: leave one of --no-coarse-mapper, "
                            "--no-medium-mapper, --no-fine-mapper out")

    @property
    def of_styles(self) -> bool:
        """Tell a mapper of S from one of W+."""
        return self.mapper_type in S_TYPES

    def to_json(self) -> dict[str, Any]:
        """Return the numbers such that `LatentMapperConfig(**numbers)` is the same, ready for JSON."""
        numbers: dict[str, Any] = {"mapper_type": self.mapper_type, "norm": self.norm}
        if self.of_styles:
            return {**numbers, "widths": dict(self.widths)}
        if self.mapper_type == "LevelsMapper":
            numbers["levels"] = list(self.levels)
        return {**numbers, "style_dim": self.style_dim}


class CodeNorm(nn.Module):
    """Scale [B, d] or [B, L, d] to unit mean square: every code, or with "layers" every channel over the layers.

    The published mappers hand W+ to a norm that was written for [B, d]; their weights expect it.
    """

    def __init__(self, over: str):
        self.over = over

    def execute(self, x: jt.Var) -> jt.Var:
        axis = 1 if self.over == "layers" else -1
        return x / jt.sqrt(mean(x * x, axis, keepdims=True) + 1e-8)


class CodeMapper(nn.Module):
    """A norm and four equalised linear layers with leaky ReLU and learning-rate factor 0.01, for codes [..., width].

    unit    [width], not negative: what the changes are counted in while it trains; see `published_tensors`
    """

    def __init__(self, width: int, norm: str, rng: np.random.Generator, unit: np.ndarray | None = None):
        layers = [EqualLinear(width, width, rng, lr_mul=LR_MUL, activate=True) for _ in range(DEPTH)]
        self.mapping = nn.Sequential(CodeNorm(norm), *layers)
        self._unit = None if unit is None else np.asarray(unit, np.float32).reshape(width)

    def execute(self, x: jt.Var) -> jt.Var:
        """Map codes [B, width] or [B, L, width] to changes of the same shape."""
        norm, *layers = self.mapping
        y = norm(x).reshape(-1, x.shape[-1])
        for layer in layers:
            y = layer(y)
        return (y if self._unit is None else y * jt.array(self._unit)).reshape(x.shape)

    def published_tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """Return its tensors with the unit as part of the last layer, whose leaky ReLU lets a factor through."""
        tensors = {f"{prefix}.{name}": array for name, array in numpy_tensors(self).items()}
        if self._unit is not None:
            tensors[f"{prefix}.mapping.{DEPTH}.weight"] *= self._unit[:, None]
            tensors[f"{prefix}.mapping.{DEPTH}.bias"] *= self._unit
        return tensors


class WPlusMapper(nn.Module):
    """A mapper for all layers of W+ ("SingleMapper"), or one each for the coarse, medium and fine ones."""

    def __init__(self, config: LatentMapperConfig, rng: np.random.Generator | None = None,
                 units: Sequence[np.ndarray] | None = None):
        assert not config.of_styles, config
        self.settings, rng = config, rng or np.random.default_rng(0)
        single = config.mapper_type == "SingleMapper"
        for name in ("mapping",) if single else [f"{level}_mapping" for level in config.levels]:
            setattr(self, name, CodeMapper(config.style_dim, config.norm, rng, units[0] if units else None))

    def execute(self, ws: jt.Var) -> jt.Var:
        """Return the change [B, L, style_dim] of codes ws of that shape, 0 where no level is mapped; not yet scaled."""
        dim = self.settings.style_dim
        if ws.ndim != 3 or ws.shape[2] != dim:
            raise UserError(f"codes of shape {list(ws.shape)}; this latent mapper needs W+ codes [B, layers, {dim}]")
        if self.settings.mapper_type == "SingleMapper":
            return self.mapping(ws)
        parts = []
        for level, layers in zip(PUBLISHED_LEVELS, level_slices(ws.shape[1])):
            mapper = getattr(self, f"{level}_mapping", None)
            parts.append(jt.zeros_like(ws[:, layers]) if mapper is None else mapper(ws[:, layers]))
        return jt.concat(parts, 1)


class StyleMapper(nn.Module):
    """A mapper for every style layer, or for all but those of ToRGB. Layers count from coarse to fine."""

    def __init__(self, config: LatentMapperConfig, rng: np.random.Generator | None = None,
                 units: Sequence[np.ndarray] | None = None):
        assert config.of_styles, config
        self.settings, rng = config, rng or np.random.default_rng(0)
        for index, width in config.widths.items():
            setattr(self, f"mapper_{index}", CodeMapper(width, "codes", rng, units[int(index)] if units else None))

    def execute(self, styles: Sequence[jt.Var]) -> list[jt.Var]:
        """Return the change [B, C] of every S code [B, C], 0 for layers that are not mapped; not yet scaled."""
        found = {str(i): style.shape[-1] for i, style in enumerate(styles)}
        wrong = [i for i, width in self.settings.widths.items() if found.get(i) != width]
        if wrong:
            i = wrong[0]
            raise UserError(f"style layer {i} has {found.get(i, 'no')} channels, this latent mapper needs "
                            f"{self.settings.widths[i]}: it was made for another generator")
        mappers = [getattr(self, f"mapper_{i}", None) for i in range(len(styles))]
        return [jt.zeros_like(style) if mapper is None else mapper(style) for style, mapper in zip(styles, mappers)]


LatentMapper = WPlusMapper | StyleMapper


def make_latent_mapper(config: LatentMapperConfig, rng: np.random.Generator | None = None,
                       units: Sequence[np.ndarray] | None = None) -> LatentMapper:
    """Return the mapper of a configuration, its weights drawn by `rng` (a fixed seed when absent).

    units   what changes are counted in: [one [style_dim]] of W+, one [C] a style layer, from coarse to fine, of S
    """
    return (StyleMapper if config.of_styles else WPlusMapper)(config, rng, units)


def published_tensors(mapper: LatentMapper) -> dict[str, np.ndarray]:
    """Return a mapper's tensors under the published names such that a mapper without units gives the same changes."""
    return {name: array for prefix, part in vars(mapper).items() if isinstance(part, CodeMapper)
            for name, array in part.published_tensors(prefix).items()}
