"""The names of LoRA tensors in the dialects that diffusers, peft and kohya's scripts have written, and nothing else.

Every dialect says the same three things about a module: down [rank, in], up [out, rank], and perhaps alpha; the change
of its weight is alpha / rank * up @ down, with alpha = rank where none is given.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.lora.modules import KOHYA_PREFIXES, TEXT, UNET, Base, resolve_dotted

DOWN, UP, ALPHA = "down", "up", "alpha"
ORIGINAL = "kohya-ldm"      # kohya's spelling of the original code's names for the U-Net

# Relatives of LoRA that change a weight by another formula: recognised by a name only they have, and refused.
_OTHERS = (
    ("LoHa (Hadamard products)", r"\.hada_[wt]\d"), ("LoKr (Kronecker products)", r"\.lokr_"),
    ("DoRA (weight decomposition)", r"\.dora_scale$|lora_magnitude_vector"), ("OFT (orthogonal)", r"\.oft_|\.boft_"),
    ("IA3", r"\.on_input$|\.ia3_"), ("GLoRA", r"^lora_.*\.(a|b|bm)[12]\.weight$"),
    ("full differences", r"^lora_.*\.(diff|diff_b)$"), ("trained norms", r"\.(w|b)_norm$"),
    ("LoCon with a middle (Tucker decomposition)", r"\.lora_mid\."),
    ("LoRA with biases", r"lora_?(B|up|\.up)\S*\.bias$"), ("LoRA of embeddings", r"\.lora_embedding_[AB]"),
    ("AdaLoRA", r"\.lora_E(\.|$)|\.ranknum$"), ("VeRA", r"\.vera_lambda"))
_FOREIGN = (("text_encoder_2.", "Stable Diffusion XL"), ("lora_te2_", "Stable Diffusion XL"),
            ("transformer.", "a transformer (Stable Diffusion 3, Flux)"), ("lora_transformer_", "a transformer"),
            ("text_encoder_3.", "Stable Diffusion 3"), ("prior.", "Stable Cascade or Kandinsky"))

_KOHYA = re.compile(r"(lora_(?:unet|te1?)_.+)\.(lora_down\.weight|lora_up\.weight|alpha)")
_OURS = re.compile(r"((?:unet|text_encoder|vae)\..+)\.(down|up|alpha)")
# Longest first where one is the end of another; the adapter's name ("default") may stand before ".weight".
_DOTTED = (
    (re.compile(r"(.+)\.lora_([AB])(?:\.(?!weight$)[A-Za-z0-9_-]+)?\.weight"), {"A": DOWN, "B": UP}, "peft"),
    (re.compile(r"(.+)\.lora_linear_layer\.(down|up)\.weight"), {}, "diffusers"),
    (re.compile(r"(.+)\.lora\.(down|up)\.weight"), {}, "diffusers"),
    (re.compile(r"(.+)_lora\.(down|up)\.weight"), {}, "diffusers-old"),
    (re.compile(r"(.+)\.lora_(down|up)\.weight"), {}, "kohya-dotted"),
    (re.compile(r"(.+)\.(alpha)"), {}, ""))
# In the first generation a text encoder's projections had the U-Net's names.
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj", "to_out.0": "out_proj"}
_COUNTERPARTS = ((".lora_A.", ".lora_B."), (".lora_down.", ".lora_up."), (".down.", ".up."))


@dataclass(frozen=True)
class Slot:
    """What a tensor is for: a module as "<part>.<path>" (None when the base has no such module), and its role."""

    module: str | None
    spelling: str
    role: str
    dialect: str


def looks_like_lora(names: Iterable[str]) -> bool:
    """Return whether any of the names is that of a LoRA or of a relative."""
    mark = re.compile(r"lora_[AB]\.|lora_[AB]\b|lora_(down|up)\.|[._]lora\.(down|up)\.|lora_linear_layer\.|"
                      r"^lora_(unet|te\d?|transformer)_|\.hada_w|\.lokr_w|lora_magnitude_vector|lora_embedding_")
    names = list(names)
    return any(mark.search(name) for name in names) or bool(names) and all(_OURS.fullmatch(name) for name in names)


def _refuse_relative(name: str) -> None:
    """Raise UserError for a name of another adapter than plain LoRA, or of another network's LoRA, by what it is."""
    for what, pattern in _OTHERS:
        if re.search(pattern, name):
            raise UserError(f"{name[:120]!r}: this is {what}, not plain LoRA; its change of the weights cannot be "
                            "written as up @ down, merge it into the network with the program that made it")
    for prefix, what in _FOREIGN:
        if name.removeprefix("base_model.model.").startswith(prefix):
            raise UserError(f"{name[:120]!r}: this LoRA belongs to {what}; Stable Diffusion 1.x and 2.x are supported")


def read_name(name: str, base: Base) -> Slot | None:
    """Return what a tensor is for, resolved against the modules of `base`; None when it is no LoRA tensor's name.

    Raises UserError for relatives of LoRA, and for LoRA of other networks.
    """
    _refuse_relative(name)
    if match := _KOHYA.fullmatch(name):
        flat, what = match[1], match[2]
        role = {"lora_down.weight": DOWN, "lora_up.weight": UP, "alpha": ALPHA}[what]
        # A pipeline with one text encoder calls it te; diffusers' own export to kohya calls it te1 all the same.
        spelling = flat.replace("lora_te1_", KOHYA_PREFIXES[TEXT], 1) if flat.startswith("lora_te1_") else flat
        known = base.flat.get(spelling)
        return Slot(known or base.original.get(spelling), spelling, role, "kohya" if known else ORIGINAL)
    if match := _OURS.fullmatch(name):
        if match[2] != ALPHA or match[1] in base.modules:
            return Slot(match[1] if match[1] in base.modules else None, match[1], match[2], "ours")
    for pattern, roles, dialect in _DOTTED:
        if match := pattern.fullmatch(name):
            path = _path(match[1], dialect)
            return Slot(resolve_dotted(path, base), path, roles.get(match[2], match[2]), dialect)
    return None


def _path(path: str, dialect: str) -> str:
    """Return the dotted path of the module in today's names."""
    path = path.removeprefix("base_model.model.").replace(".processor.", ".")
    path = path.removeprefix("model.").removeprefix("diffusion_model.")
    head, _, last = path.rpartition(".")
    if head.endswith(".self_attn") and last in _OLD_TEXT:
        return f"{head}.{_OLD_TEXT[last]}"
    return f"{path}.0" if dialect == "diffusers-old" and last == "to_out" else path


def counterpart(name: str, role: str) -> str:
    """Return the name of a module's other factor (`role` "up" or "down"), in the spelling of the one it has."""
    for down, up in _COUNTERPARTS:
        old, new = (down, up) if role == UP else (up, down)
        head, found, tail = name.rpartition(old)
        if found:
            return f"{head}{new}{tail}"
    return f"{name.rpartition('.')[0]}.{role}" if _OURS.fullmatch(name) else \
        f"{name.removesuffix('.alpha')}.lora_{role}.weight"


def diffusers_names(module: str) -> tuple[str, str]:
    """Return the names of down and up as diffusers' training scripts write them (load_lora_weights of any release)."""
    layer = "lora" if module.startswith(f"{UNET}.") else "lora_linear_layer"
    return f"{module}.{layer}.down.weight", f"{module}.{layer}.up.weight"
