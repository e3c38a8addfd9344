"""LoRA files of diffusers, peft and kohya's scripts: "<part>.<module>.down", ".up" and ".alpha" in our names.

A file does not say which network it belongs to: its modules and widths tell Stable Diffusion 1.x ("sd1") from 2.x
("sd2"); anything else is taken by its names alone ("any"), and checked when it meets its network.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.lora.alpha import stated_alphas
from jittor_ipl.weights.families.lora.export import diffusers_metadata, kohya_metadata, to_diffusers, to_kohya
from jittor_ipl.weights.families.lora.modules import TEXT, UNET, VAE, Base, choose_base, factor_shapes, known_base
from jittor_ipl.weights.families.lora.names import ALPHA, DOWN, ORIGINAL, UP, counterpart, looks_like_lora, read_name

Slots = dict[str, dict[str, str]]       # module -> role -> the tensor's name in the file


@dataclass(frozen=True)
class LoraLayout(Layout):
    """The layout of a LoRA file, and which of its tensors is what."""

    slots: Slots = field(default_factory=dict)


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a LoRA file; UserError for relatives of LoRA, other networks' LoRA and unknown modules."""
    return layout_of(shapes, hints) if looks_like_lora(shapes) else None


def layout_of(shapes: Shapes, hints: Hints, base: Base | None = None) -> LoraLayout:
    """Return the layout of a LoRA whose modules are those of `base` (found out when it is None)."""
    slots, dialects = _slots(shapes, base or known_base("any"))
    if base is None:
        base = choose_base({module: tuple(shapes.get(roles.get(role, ""), ()) for role in (DOWN, UP))
                            for module, roles in slots.items()}, ORIGINAL in dialects)
        base.refuse_unknown(module for module in slots if module not in base.modules)
    expected: dict[str, tuple[int, ...]] = {}
    ranks = {module: _rank(shapes, roles) for module, roles in slots.items()}
    for module, roles in slots.items():
        # A factor that the file lacks is expected under a name spelled like what it has.
        roles[DOWN] = roles.get(DOWN) or counterpart(roles.get(UP) or roles[ALPHA], DOWN)
        roles[UP] = roles.get(UP) or counterpart(roles[DOWN], UP)
        expected |= _expected(shapes, roles, base.modules[module], ranks[module])
    dialect = max(dialects, key=dialects.get, default="unknown")
    if {"peft", "diffusers"} <= set(dialects):      # diffusers mixes its own names with peft's
        dialect = "diffusers"
    alphas = stated_alphas(hints, {module: rank for module, rank in ranks.items() if ALPHA not in slots[module]})
    if alphas is None:
        said = any(ALPHA in roles for roles in slots.values()) or dialect.startswith("kohya")
        alphas = {} if said else _alphas_of_diffusers(shapes, slots, ranks, base)
    parts = Counter(module.partition(".")[0] for module in slots)
    config = {"base": base.name, "modules": {part: parts[part] for part in (UNET, TEXT, VAE) if part in parts},
              "ranks": sorted(set(ranks.values())), "alphas": alphas}
    return LoraLayout("lora", dialect, config, expected, slots=slots)


def _slots(shapes: Shapes, base: Base) -> tuple[Slots, Counter]:
    """Return module -> role -> name of all that is a LoRA's tensor, and how often each dialect occurs."""
    found = [(name, slot) for name in shapes if (slot := read_name(name, base)) is not None]
    base.refuse_unknown(slot.spelling for _, slot in found if slot.module is None)
    slots: Slots = {}
    for name, slot in found:
        roles = slots.setdefault(slot.module, {})
        if slot.role in roles:
            raise UserError(f"{name!r} and {roles[slot.role]!r} are both {slot.role} of the module {slot.module!r}")
        roles[slot.role] = name
    return slots, Counter(slot.dialect for _, slot in found if slot.dialect)


def _rank(shapes: Shapes, roles: Mapping[str, str]) -> int:
    down, up = shapes.get(roles.get(DOWN, ""), ()), shapes.get(roles.get(UP, ""), ())
    return down[0] if down else up[1] if len(up) > 1 else 1


def _alphas_of_diffusers(shapes: Shapes, slots: Slots, ranks: Mapping[str, int], base: Base) -> dict[str, float]:
    """Return the alphas other than the rank that diffusers assumes where a file in its names states none.

    It takes the rank of a part's first module for all (of the U-Net in the file's order, of the text encoder in the
    network's), so that they only differ from the ranks where a file has several.
    """
    alphas = {}
    places = {name: index for index, name in enumerate(shapes)}
    modules = {module: index for index, module in enumerate(base.modules)}
    for part, order in ((UNET, lambda module: places.get(slots[module][UP], 0)), (TEXT, modules.__getitem__)):
        mine = sorted((module for module in ranks if module.startswith(f"{part}.")), key=order)
        alphas |= {module: ranks[mine[0]] for module in mine if ranks[module] != ranks[mine[0]]}
    return alphas


def _expected(shapes: Shapes, roles: Mapping[str, str], weight: tuple[int, ...], rank: int) -> Shapes:
    """Return the names and shapes that a module's tensors must have; of an unknown base, those that fit each other."""
    if not weight:
        first, second = shapes.get(roles[DOWN], ()), shapes.get(roles[UP], ())
        kernel = first[2:] if len(first) == 4 else ()
        weight = (second[0] if second else 1, first[1] if len(first) > 1 else 1, *kernel)
    shaped = dict(zip((roles[DOWN], roles[UP]), factor_shapes(weight, rank)))
    return {**shaped, **({roles[ALPHA]: ()} if ALPHA in roles else {})}


def convert(tensors: Tensors, layout: LoraLayout) -> dict[str, np.ndarray]:
    """Return "<module>.down", ".up" (as stored) and ".alpha" (a float32 scalar) of every module, in alphabetical order.

    Raises UserError for a rank of 0 and for an alpha that is no finite number.
    """
    ours: dict[str, np.ndarray] = {}
    for module, roles in sorted(layout.slots.items()):
        down, up = tensors[roles[DOWN]], tensors[roles[UP]]
        if not down.shape[0]:
            raise UserError(f"the LoRA of {module!r} has rank 0")
        stated = tensors[roles[ALPHA]] if ALPHA in roles else layout.config["alphas"].get(module, down.shape[0])
        alpha = np.asarray(stated)
        if alpha.size != 1 or alpha.dtype.kind not in "fiu" or not np.isfinite(alpha).all():
            raise UserError(f"the alpha of {module!r} is no finite number")
        ours |= {f"{module}.{DOWN}": down, f"{module}.{UP}": up,
                 f"{module}.{ALPHA}": alpha.reshape(()).astype(np.float32)}
    return ours


FAMILY = Family("lora", recognise, convert, exports={"diffusers": to_diffusers, "kohya": to_kohya},
                landmarks=("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
                           "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"),
                export_metadata={
                    "diffusers": lambda tensors, _: diffusers_metadata(tensors),
                    # Without hashes, for the types of the tensors may still change.
                    "kohya": lambda tensors, config: kohya_metadata(tensors, config.get("base", "any"), hashed=False)})
