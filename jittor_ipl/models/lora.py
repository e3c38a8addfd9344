"""LoRA (Hu et al. 2021, eq. 3): W x + alpha / rank * up(down(x)), as branches beside layers that stay as they are.

A LoRA is "<module>.down" [rank, in, *kernel], "<module>.up" [out, rank, 1, 1] and "<module>.alpha" -> array, as
`weights.lora.to_tensors` returns it. A module is "<part>.<path>" in diffusers' names, its part a key of `networks`
("unet", "text_encoder", "vae"). A network has one LoRA at a time: the weighted sum of several is one again.
"""
from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.models.layers import Conv, Linear
from jittor_ipl.models.strict import compare, require_fit
from jittor_ipl.models.transformer import Attention
from jittor_ipl.runtime.backend import jt, nn

DRAWS = ("gaussian", "kaiming")     # how down starts: peft's init_lora_weights="gaussian", and its default
# Our transformer has OpenAI's names.
_TEXT = (("transformer.resblocks.", "text_model.encoder.layers."), (".attn", ".self_attn"), (".mlp.c_fc", ".mlp.fc1"),
         (".mlp.c_proj", ".mlp.fc2"))
_QKV = ("q_proj", "k_proj", "v_proj")
Product = Callable[[jt.Var, jt.Var], jt.Var]        # how a layer applies a weight to its input


class LoraBranch:
    """What a LoRA adds to one layer's output; the change of the weight itself is never formed."""

    def __init__(self, down: jt.Var, up: jt.Var, scale: float):
        self.down, self.up, self.scale = down, up, scale

    def __call__(self, x: jt.Var, layer: Product, pointwise: Product) -> jt.Var:
        """`layer` applies a weight as the layer does (its stride, its padding), `pointwise` one of a single pixel."""
        return pointwise(layer(x, self.down), self.up) * self.scale


class LoraPlace(NamedTuple):
    """A weight that a LoRA can change: of a layer, or of a packed attention the query (0), key (1) or value (2)."""

    owner: Linear | Conv | Attention
    shape: tuple[int, ...]      # of the weight, [out, in] or [out, in, kh, kw]
    index: int = 0

    def branch(self, branch: LoraBranch | None) -> None:
        """Let the branch be added to what the owner computes; None takes it away."""
        if not isinstance(self.owner, Attention):
            self.owner._lora = branch
        elif branch is None:
            self.owner._lora = None
        else:
            self.owner._lora = {**(self.owner._lora or {}), self.index: branch}


def places(networks: Mapping[str, nn.Module]) -> dict[str, LoraPlace]:
    """Return every linear layer and convolution of the networks by its name in diffusers, text projections unpacked."""
    found = {}
    for part, network in networks.items():
        for path, module in network.named_modules():
            name = f"{part}.{_diffusers_name(path)}"
            if isinstance(module, (Linear, Conv)):
                found[name] = LoraPlace(module, tuple(module.weight.shape))
            elif isinstance(module, Attention):
                rows, width = module.in_proj_weight.shape
                found |= {f"{name}.{projection}": LoraPlace(module, (rows // 3, width), index)
                          for index, projection in enumerate(_QKV)}
    return found


def targets(known: Mapping[str, LoraPlace], part: str, names: Sequence[str]) -> list[str]:
    """Return the modules of a part whose path is, or ends in, one of `names` ("to_q", "to_out.0", "ff.net.0.proj").

    Raises UserError, with the names there are, for one that fits no module.
    """
    mine = [name for name in known if name.startswith(f"{part}.")]
    for target in names:
        if not any(name.endswith(f".{target}") for name in mine):
            ends = {re.search(r"[^.]+(\.\d+)?$", name)[0] for name in mine}
            raise UserError(f"the {part} has no module {target[:60]!r}{nearest(target[:60], ends)}; LoRA targets are "
                            f"ends of module names: {', '.join(sorted(ends))}")
    return sorted(name for name in mine if name.endswith(tuple(f".{target}" for target in names)))


def initial(known: Mapping[str, LoraPlace], modules: Iterable[str], rank: int, alpha: float, rng: np.random.Generator,
            draw: str = "gaussian") -> dict[str, np.ndarray]:
    """Return a LoRA that changes nothing yet: up is zero, down drawn by one of DRAWS.

    "gaussian" has the deviation 1 / rank; "kaiming" is uniform within 1 / sqrt(inputs), PyTorch's default for a layer.
    """
    assert draw in DRAWS, draw
    lora = {}
    for name in modules:
        shape = known[name].shape
        down = (rank, *shape[1:])
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        drawn = rng.standard_normal(down) / rank if draw == "gaussian" else rng.uniform(-bound, bound, down)
        lora |= {f"{name}.down": drawn.astype(np.float32), f"{name}.alpha": np.asarray(alpha, np.float32),
                 f"{name}.up": np.zeros((shape[0], rank, *(1 for _ in shape[2:])), np.float32)}
    return lora


def attach(networks: Mapping[str, nn.Module], lora: Mapping[str, np.ndarray], weight: float = 1.0) -> dict[str, jt.Var]:
    """Add `weight` times a LoRA to what the networks compute, in place of the one they had.

    Returns "<module>.down" and "<module>.up" as the Vars that are used, for training them. Raises UserError for a
    module that the networks do not have, or whose shapes do not fit.
    """
    known = places(networks)
    modules = require_known(known, lora)
    detach(networks)
    trained = {}
    for name in modules:
        factors = [_var(lora[f"{name}.{role}"]) for role in ("down", "up")]
        scale = weight * float(lora[f"{name}.alpha"]) / factors[0].shape[0]
        known[name].branch(LoraBranch(*factors, scale))
        trained |= {f"{name}.down": factors[0], f"{name}.up": factors[1]}
    return trained


def detach(networks: Mapping[str, nn.Module]) -> None:
    """Take the LoRA away from the networks, if they have one."""
    for place in places(networks).values():
        place.branch(None)


def fuse(networks: Mapping[str, nn.Module], changes: Iterable[tuple[str, np.ndarray]]) -> None:
    """Add (module, change of its weight) to the weights themselves, which then cost nothing; `unfuse` takes it back."""
    unfuse(networks)
    known = places(networks)
    for name, change in changes:
        owner = known[name].owner
        owner._base = getattr(owner, _weight_name(owner)) if owner._base is None else owner._base
        _add(known[name], change)


def unfuse(networks: Mapping[str, nn.Module]) -> None:
    """Give back the very weights that were there before `fuse`."""
    for place in places(networks).values():
        if place.owner._base is not None:
            setattr(place.owner, _weight_name(place.owner), place.owner._base)
            place.owner._base = None


def merge(networks: Mapping[str, nn.Module], changes: Iterable[tuple[str, np.ndarray]]) -> None:
    """Add (module, change of its weight) to the weights for good: `fuse` and `unfuse` then begin and end with those."""
    unfuse(networks)
    known = places(networks)
    for name, change in changes:
        _add(known[name], change)


def _add(place: LoraPlace, change: np.ndarray) -> None:
    """Add to a place's weight; an attention's other two stay."""
    key, rows = _weight_name(place.owner), place.shape[0]
    weight = getattr(place.owner, key).numpy()
    weight[place.index * rows:(place.index + 1) * rows] += change
    setattr(place.owner, key, _var(weight).stop_grad())


@contextlib.contextmanager
def fused(networks: Mapping[str, nn.Module], changes: Iterable[tuple[str, np.ndarray]]) -> Iterator[None]:
    """While the `with` lasts the changes are fused, in place of branches that may be training; those come back."""
    held = [(place.owner, place.owner._lora) for place in places(networks).values()]
    detach(networks)
    try:
        fuse(networks, changes)
        yield
    finally:
        unfuse(networks)
        for owner, branches in held:
            owner._lora = branches


def require_known(known: Mapping[str, LoraPlace], lora: Mapping[str, np.ndarray]) -> list[str]:
    """Return the modules of a LoRA; UserError unless all are among the `known` ones and their factors fit them."""
    modules = sorted({name.rpartition(".")[0] for name in lora})
    missing = [name for name in modules if name not in known]
    if missing:
        raise UserError(f"the model has no module {missing[0][:120]!r}{nearest(missing[0][:120], known)}; "
                        f"{len(missing)} of the LoRA's {len(modules)} modules are unknown: it is of another model")
    expected: dict[str, tuple[int, ...]] = {}
    for name in modules:
        shape, down = known[name].shape, lora.get(f"{name}.down")
        rank = 1 if down is None or not down.ndim else len(down)
        expected |= {f"{name}.down": (rank, *shape[1:]), f"{name}.up": (shape[0], rank, *(1 for _ in shape[2:])),
                     f"{name}.alpha": ()}
    require_fit(compare(expected, (), {name: value.shape for name, value in lora.items()}, limit=3), "LoRA")
    return modules


def _diffusers_name(path: str) -> str:
    if path.startswith("transformer.resblocks."):
        for ours, theirs in _TEXT:
            path = path.replace(ours, theirs, 1)
    return path


def _weight_name(owner: nn.Module) -> str:
    return "in_proj_weight" if isinstance(owner, Attention) else "weight"


def _var(array: np.ndarray) -> jt.Var:
    var = jt.array(np.ascontiguousarray(array, np.float32))
    var.sync()      # a lazy array of one element would be fused into the kernel that reads it
    return var
