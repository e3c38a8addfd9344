"""The alphas that a LoRA file states beside its tensors: peft's adapter_config.json, diffusers' adapter metadata."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Hints

METADATA_KEY = "lora_adapter_metadata"      # diffusers 0.34 and later write peft's configs here, as "<part>.<field>"

# Fields of peft's LoraConfig that change the formula, with the values under which it is plain LoRA.
_ONLY = {"peft_type": ("LORA", None), "use_dora": (False, None), "use_qalora": (False, None),
         "fan_in_fan_out": (False, None), "bias": ("none", None), "lora_bias": (False, None),
         "modules_to_save": (None, []), "layer_replication": (None,), "trainable_token_indices": (None,),
         "target_parameters": (None, []), "alora_invocation_tokens": (None,),
         "use_bdlora": (None,)}
# Initialisations that also change the network's own weights, so that the file alone does not tell the result.
_MUTATING = ("pissa", "olora", "corda", "loftq")


def stated_alphas(hints: Hints, ranks: Mapping[str, int]) -> dict[str, float] | None:
    """Return the alpha of every module of `ranks` for which a config beside the tensors states another than its rank.

    None when there is no such config. Raises UserError for one that is damaged or does not describe plain LoRA.
    """
    configs = _configs(hints)
    if not configs:
        return None
    stated = {}
    for part, config in configs:
        _require_plain(config)
        for module, rank in ranks.items():
            owner, _, path = module.partition(".")
            if part in ("", owner):
                alpha = _alpha(config, path, rank)
                if alpha != rank:
                    stated[module] = alpha
    return stated


def _configs(hints: Hints) -> list[tuple[str, Mapping[str, Any]]]:
    """Return peft's configs with the part that each is for ("" for all)."""
    if "peft_type" in hints.config or "lora_alpha" in hints.config:
        return [("", hints.config)]
    parts: dict[str, dict[str, Any]] = {}
    for name, value in hints.json_object(METADATA_KEY).items():
        part, _, field = name.partition(".")
        parts.setdefault(part, {})[field] = value
    return list(parts.items())


def _require_plain(config: Mapping[str, Any]) -> None:
    for name, allowed in _ONLY.items():
        if name in config and config[name] not in allowed:
            raise UserError(f"the adapter's config says {name} {str(config[name])[:80]!r}; only plain LoRA "
                            f"({name} {allowed[0]!r}) is supported")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_MUTATING):
        raise UserError(f"the adapter's config says init_lora_weights {start[:40]!r}, which also changed the network's "
                        "own weights; save it with path_initial_model_for_weight_conversion, then it is plain LoRA")


def _alpha(config: Mapping[str, Any], path: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping):
        raise UserError("the adapter's alpha_pattern is not a JSON object")
    alpha = config.get("lora_alpha", rank)
    alpha = next((value for pattern, value in patterns.items() if _matches(pattern, path)), alpha)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise UserError(f"the adapter's config says alpha {str(alpha)[:40]!r}; a number is expected")
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha     # alpha / sqrt(rank), as alpha' / rank


def _matches(pattern: str, path: str) -> bool:
    """Return whether peft's pattern names the module: a whole dotted path or the end of one.

    peft takes it for a regular expression. Those in use are plain names with "." or an anchor; any other is refused,
    for an expression from a file can be made to run for ever.
    """
    plain = pattern.removeprefix("^").removesuffix("$").replace(r"\.", ".")
    for ending in (".alpha", ".lora_A.weight", ".lora_B.weight"):
        plain = plain.removesuffix(ending)
    if not plain.replace(".", "").replace("_", "").isalnum():
        raise UserError(f"the adapter's alpha_pattern {pattern[:80]!r} is a regular expression; plain names are "
                        "supported")
    return path == plain or not pattern.startswith("^") and path.endswith(f".{plain}")
