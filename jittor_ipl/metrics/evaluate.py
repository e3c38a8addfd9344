"""`measure`: a set of pictures in, figures and the protocol they were taken under out."""
from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl import __version__
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.metrics import clusters, inception_score, kernel
from jittor_ipl.metrics.catalogue import METRICS, SIFID_REFERENCES, Sets, prefetch
from jittor_ipl.metrics.extract import Extractor, FeatureNetwork, FeatureSet
from jittor_ipl.metrics.image_set import ImageSet, from_array, paired
from jittor_ipl.metrics.pixels import WINDOW
from jittor_ipl.metrics.statistics import Statistics

SEED = kernel.SEED
_STANDS_FOR = {"inception": "Inception", "lpips": "LPIPS", "identity": "ArcFace"}
_MISSING = {"reference": "pictures of the target domain (--reference)", "source": "the pictures before (--source)",
            "prompt": "a text (--prompt)",
            "prompts": "the pictures before and two texts (--source, --prompt, --source-prompt)"}
_WINDOWED = ("ssim", "scs")
Images = "np.ndarray | ImageSet | FeatureSet"


def measure(images: Images, reference: "Images | Statistics | None" = None, source: "Images | None" = None, *,
            extractor: Extractor, metrics: Sequence[str] | None = None, prompt: str | None = None,
            source_prompt: str | None = None, seed: int = SEED, batch: int = 32,
            cache: "str | Path | None" = None) -> dict[str, Any]:
    """Return {"note", "metrics", "protocol"} for `images`, all of it ready for JSON.

    images, reference, source: `ImageSet`, uint8 [N, H, W, 3], or float [N, 3, H, W] in [-1, 1] (brought to 8 bits
    first); or a `FeatureSet`, which keeps its features from one call to the next.
    `reference` shows the target domain, or holds its `Statistics` for FID; `source` the same pictures before.
    `metrics`: keys of `METRICS`, by default all that the arguments allow. "note" is the report's first line when the
    demo judge served, else "". Raises UserError for an unknown metric, a set that is too small or does not form pairs,
    and a metric without what it needs.
    """
    def features(part: "Images | Statistics | None", label: str) -> FeatureSet | Statistics | None:
        if part is None or isinstance(part, (FeatureSet, Statistics)):
            return part
        pictures = part if isinstance(part, ImageSet) else from_array(part, label)
        return FeatureSet(pictures, batch, Path(cache) if cache else None)

    images, reference, source = features(images, "images"), features(reference, "reference"), features(source, "source")
    given = {"images": True, "reference": reference is not None, "source": source is not None,
             "prompt": bool(prompt) and extractor.clip is not None}
    given["prompts"] = given["source"] and given["prompt"] and bool(source_prompt)
    statistics = isinstance(reference, Statistics)
    if statistics and extractor.inception.demo:
        raise UserError(f"{reference.file} was made with Inception, not with the demo judge: give --inception FILE")
    chosen = choose(metrics, given, images.images, statistics=statistics)
    left_out = {} if metrics is not None else too_few(given, images.images)
    if not chosen:
        raise UserError(f"nothing to measure: {'; '.join(left_out.values())} (--reference and --source allow more)")
    needs, before, after = {METRICS[key].needs for key in chosen}, None, None
    if needs & {"source", "prompts"}:
        pairs = zip(paired(images.images, source.images), (images, source))
        after, before = (whole if part.names == whole.images.names else features(part, part.label)
                         for part, whole in pairs)      # all of a set shares its features
    for key in chosen:
        if reason := shortage(key, *(getattr(part, "images", None) for part in (images, reference, after))):
            raise UserError(reason)
    texts = {"prompt": prompt} if needs & {"prompt", "prompts"} else {}
    texts |= {"source_prompt": source_prompt} if "prompts" in needs else {}
    sets = Sets(images, extractor, seed, reference, before, after,
                **{name: extractor.clip.text(text) for name, text in texts.items()})
    prefetch(sets, chosen)
    figures = {name: value for key in chosen for name, value in METRICS[key].compute(sets).items()}
    used = dict.fromkeys(METRICS[key].network for key in chosen)
    networks = {name: getattr(extractor, name) for name in used if name is not None}
    protocol = _protocol(chosen, sets, source if before else None, networks)
    return {"note": note(networks), "metrics": figures, "protocol": protocol | texts | {"left_out": left_out}}


def choose(metrics: Sequence[str] | None, given: Mapping[str, bool], images: ImageSet | None = None, *,
           statistics: bool = False) -> list[str]:
    """Return the metrics to compute; raises UserError for an unknown one (with the nearest) or one without its inputs.

    Without a choice: all that the inputs allow, but those that `too_few` names, and the assignment to references, which
    is made for few of them. `statistics`: the reference is a file of mean and covariance, which serves FID alone.
    """
    def serves(key: str) -> bool:
        return METRICS[key].statistics or METRICS[key].needs != "reference" or not statistics

    if metrics is None:
        left_out = {"intra-lpips-reference"} if images is None else {"intra-lpips-reference", *too_few(given, images)}
        return [key for key, metric in METRICS.items() if given[metric.needs] and key not in left_out and serves(key)]
    for key in metrics:
        if key not in METRICS:
            raise UserError(f"no metric {key!r}{nearest(key, METRICS)}; choose from {', '.join(METRICS)}")
        if not given[METRICS[key].needs]:
            raise UserError(f"{key} needs {_MISSING[METRICS[key].needs]}" +
                            (" and a CLIP (--clip)" if METRICS[key].network == "clip" else ""))
        if not serves(key):
            raise UserError(f"{key} needs the reference's pictures; a file of statistics serves fid alone")
    return list(dict.fromkeys(metrics))


def too_few(given: Mapping[str, bool], images: ImageSet) -> dict[str, str]:
    """Return the metrics that a choice by default leaves out, though their inputs are there, each with its reason."""
    asked = (key for key, metric in METRICS.items() if metric.needs == "images" or key in _WINDOWED and given["source"])
    return {key: reason for key in asked if (reason := shortage(key, images))}


def shortage(key: str, images: ImageSet, reference: ImageSet | None = None, pairs: ImageSet | None = None) -> str:
    """Return, with the numbers, why these pictures are too few or too small for a metric; "" when they are not."""
    metric, (height, width) = METRICS[key], images.size
    if key in _WINDOWED and min(height, width) < WINDOW:
        return f"{key} needs pictures of {WINDOW} x {WINDOW} pixels or more, these have {width} x {height}"
    if metric.needs in ("source", "prompts"):
        few = pairs is not None and len(pairs) < metric.least
        return f"{key} needs at least {metric.least} pair, there are {len(pairs)}" if few else ""
    sides = [(images, metric.least), (reference if metric.needs == "reference" else None, metric.least_reference)]
    return next((f"{key} needs at least {least} pictures, {part.label} holds {len(part)}"
                 for part, least in sides if part is not None and len(part) < least), "")


def note(networks: Mapping[str, FeatureNetwork]) -> str:
    """Return the line that says which networks the demo's stand in for, or "" when they stand in for none."""
    replaced = [_STANDS_FOR[name] for name, network in networks.items() if network.demo and name != "clip"]
    lines = []
    if replaced:
        names = replaced[0] if len(replaced) == 1 else f"{', '.join(replaced[:-1])} or {replaced[-1]}"
        lines.append(f"Features of the demo judge, not of {names}: figures compare only with each other.")
    if "clip" in networks and networks["clip"].demo:
        lines.append("CLIP figures are those of the demo world's small CLIP.")
    return " ".join(lines)


def _protocol(chosen: list[str], sets: Sets, source: FeatureSet | None,
              networks: Mapping[str, FeatureNetwork]) -> dict[str, Any]:
    parts = {"images": sets.images, "reference": sets.reference, "source": source}
    found = {"sets": {label: describe(part) for label, part in parts.items() if part is not None},
             "metrics": chosen, "seed": sets.seed,
             "networks": {name: {"name": network.name, "weights_sha256": network.sha256, "demo": network.demo}
                          for name, network in networks.items()},
             "settings": _settings(chosen, sets), "versions": versions()}
    return found | ({"pairs": len(sets.before.images)} if sets.before else {})


def describe(part: FeatureSet | Statistics) -> dict[str, Any]:
    """Return what a report says of a set."""
    if isinstance(part, Statistics):
        return {"statistics": part.file, "features": len(part.mean), "sha256": part.sha256}
    images = part.images
    facts = {"count": len(images), "height": images.size[0], "width": images.size[1], "pixels_sha256": images.sha256}
    if images.resized:
        facts["resized"] = f"central square to {images.resized} x {images.resized}, Pillow bicubic, antialiased"
    if images.flattened:
        facts["transparency"] = f"{images.flattened} pictures with transparent parts, laid over white"
    if images.skipped:
        facts |= {"skipped": len(images.skipped), "skipped_files": list(images.skipped)}
    return facts


def _settings(chosen: list[str], sets: Sets) -> dict[str, Any]:
    count, elsewhere = len(sets.images.images), isinstance(sets.reference, Statistics)
    reference = len(sets.reference.images) if sets.reference and not elsewhere else 0
    size = min(kernel.SUBSET_SIZE, count, reference)
    width = sets.images.get(sets.extractor.inception, "pooled")[0].shape[1] if "fid" in chosen else 0  # computed before
    fewest = count if elsewhere else min(count, reference)
    every = {"is": f"{inception_score.SPLITS} splits after a seeded shuffle",
             "fid": f"{width} features, covariance over n - 1, float64; biased upwards, the more the fewer pictures"
                    + (": fewer here than features" if fewest <= width else "")
                    + ("; whose network and resizing made the reference's file, it does not say" if elsewhere else ""),
             "kid": f"{kernel.SUBSETS} subsets of {size}, kernel (x'y / d + 1)^3, unbiased"
                    + (": each is the whole of the smaller set" if size < kernel.SUBSET_SIZE else ""),
             "sifid": f"every picture with each of the first {min(SIFID_REFERENCES, reference)} reference pictures; "
                      "deviation over references",
             "intra-lpips": f"{clusters.CLUSTERS} clusters around medoids (PAM), mean distance to the medoid; 'all' "
                            "weighs pictures alike; deviation over clusters",
             "intra-lpips-reference": "clusters by the nearest reference picture, mean of all pairs within; "
                                      "deviation over clusters",
             "scs": "Sobel edges of smoothed luma in place of HED's", "id": "cosine of pairs", "lpips": "mean of pairs",
             "psnr": "8 bits, all channels, mean of pairs that differ",
             "ssim": "Gaussian window 11 x 11 of deviation 1.5, whole windows, mean of channels",
             "clip": "100 x mean cosine, at least 0", "clip-direction": "mean cosine; 0 for an unchanged picture"}
    return {key: every[key] for key in chosen}


def versions() -> dict[str, str]:
    """Return the versions that figures may depend on."""
    return {"jittor_ipl": __version__, "jittor": version("jittor"), "numpy": np.__version__,
            "pillow": version("pillow"), "python": platform.python_version()}
