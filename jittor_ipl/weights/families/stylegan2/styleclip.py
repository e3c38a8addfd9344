"""StyleCLIP's latent mappers (Patashnik et al. 2021, section 5): `{"state_dict": {"mapper.*", "decoder.*"}, "opts"}`.

The converted names are those of the mapper module alone ("course_mapping.mapping.1.weight"; the spelling is the
original's). The generator under "decoder." is a file of its own.
"""
from __future__ import annotations

import re

from jittor_ipl.models.stylegan2.style_space import size_of, style_space
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes
from jittor_ipl.weights.families.schema import Dim, Schema, fill, linear, prefixed, solve

_LEVELS = ("course", "medium", "fine")
_DEPTH = 4                      # equalised linear layers of a mapper, after its PixelNorm
_PREFIX = "mapper."


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a StyleCLIP mapper: levels of W+, one for all layers, or one per layer of S."""
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in shapes) else ""
    mapper = {name[len(prefix):]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    config, schema = _describe(mapper)
    if not schema or (not prefix and config["mapper_type"] == "SingleMapper"):     # bare: the prompt mapper's names
        return None
    numbers = solve(schema, mapper)
    if "w" in numbers:
        config["style_dim"] = numbers["w"]
    else:
        config["widths"] = {layer.removeprefix("c"): width for layer, width in numbers.items()}
    if "norm" in hints.stored:          # a mapper that was trained here tells; the published ones cannot
        config["norm"] = hints.stored["norm"]
    expected = fill(prefixed(prefix, schema), numbers)
    return Layout("styleclip-mapper", "styleclip" if prefix else "ours", config, expected,
                  parts=("decoder.",) if prefix else ())


def _describe(mapper: Shapes) -> tuple[dict, Schema]:
    """Return which of the mappers has these names, and its tensors; unknown are "w", the width of W+, and "c0", ..."""
    levels = [level for level in _LEVELS if any(name.startswith(f"{level}_mapping.") for name in mapper)]
    if levels:
        return {"mapper_type": "LevelsMapper", "levels": levels}, _mlps({f"{level}_mapping": "w" for level in levels})
    if any(name.startswith("mapping.mapping.") for name in mapper):
        return {"mapper_type": "SingleMapper"}, _mlps({"mapping": "w"})
    layers = {int(m[1]) for m in map(re.compile(r"mapper_(\d{1,2})\.").match, mapper) if m}
    if not layers:
        return {}, {}
    full = {1, 4} <= layers         # the original knows the style space of a 1024 px config-f generator, no other
    size = size_of(max(layers) + (1 if full else 2))        # a generator's last layer is a ToRGB
    if size is None:
        return {}, {}
    return {"mapper_type": "FullStyleSpaceMapper" if full else "WithoutToRGBStyleSpaceMapper"}, _mlps({
        f"mapper_{i}": f"c{i}" for i, layer in enumerate(style_space(size)) if full or not layer.rgb})


def _mlps(widths: dict[str, Dim]) -> Schema:
    return {key: dims for name, width in widths.items() for index in range(1, _DEPTH + 1)
            for key, dims in linear(f"{name}.mapping.{index}", width, width).items()}


FAMILY = Family("styleclip-mapper", recognise, our_name=lambda name: name.removeprefix(_PREFIX),
                landmarks=("mapper.course_mapping.mapping.1.weight", "mapper.fine_mapping.mapping.1.weight",
                           "mapper.mapper_0.mapping.1.weight"),
                next_step="python -m jittor_ipl edit mapper --mapper {file} --seeds 0-3; its generator, under "
                          "decoder., is written as a file of its own")
