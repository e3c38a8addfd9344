"""The official score of the fourth Jittor competition's style-transfer task, part by part, as its checker has it.

    [0.2 DINO + 0.4 Hist + 0.4 (1 - LPIPS)] x [0.5 CLIP-R + 0.4 (20 - min(FID, 20)) / 20 + 0.1 CLIP-IQA]
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.small_files import read_lines
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.metrics.cosines import cosines
from jittor_ipl.metrics.extract import squared_distances
from jittor_ipl.metrics.frechet import frechet_inception_distance
from jittor_ipl.metrics.histograms import histogram_score

Feature = Callable[[np.ndarray], np.ndarray]    # of a picture, uint8 [H, W, 3]: a vector [d]
PARTS = ("dino", "hist", "lpips", "fid", "clip_r", "clip_iqa")
TOP = 5
OFFICIAL_WORDS = 215        # in the organisers' list; the list itself is theirs, so only its length can be checked
QUALITY = ("Good photo.", "Bad photo.")


@dataclass(frozen=True)
class Style:
    """One style: its folder's name, the generated pictures and the reference pictures (paths)."""

    name: str
    images: tuple[Path, ...]
    references: tuple[Path, ...]


def total(parts: Mapping[str, float]) -> float:
    """Return the score of all six parts."""
    style = 0.2 * parts["dino"] + 0.4 * parts["hist"] + 0.4 * (1 - parts["lpips"])
    content = 0.5 * parts["clip_r"] + 0.4 * (20 - min(parts["fid"], 20)) / 20 + 0.1 * parts["clip_iqa"]
    return style * content


def find_styles(results: "str | Path", references: "str | Path") -> list[Style]:
    """Return the styles in `results/<NN>/*` with `references/<NN>/images/*` (or `references/<NN>/*`), sorted by name.

    Raises UserError when there is none, when one has no references, or when a reference style was not generated.
    """
    results, references = Path(results), Path(references)
    names, known = _style_names(results), _style_names(references)
    if not names:
        raise UserError(f"no style folder (00, 01, ...) in {str(results)!r}")
    if alone := sorted({*names} - {*known}):
        raise UserError(f"style {alone[0]!r} of {str(results)!r} has no references in {str(references)!r}")
    if alone := sorted({*known} - {*names}):
        raise UserError(f"style {alone[0]!r} of {str(references)!r} was not generated: {str(results)!r} lacks it")
    styles = []
    for name in names:
        inner = references / name / "images"
        found = list_images(inner if inner.is_dir() else references / name)
        styles.append(Style(name, tuple(list_images(results / name)), tuple(found)))
    return styles


def _style_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is not a folder of styles (00, 01, ...)")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def decodable(styles: Sequence[Style], skip_bad: bool = False) -> tuple[list[Style], list[str]]:
    """Decode every picture once, before hours of work on the first part; return the styles and the faults passed over.

    Raises UserError for a damaged picture unless `skip_bad`, and for a style that then has no picture or no reference.
    """
    faults: list[str] = []

    def good(paths: tuple[Path, ...]) -> tuple[Path, ...]:
        kept = []
        for path in paths:
            try:
                load_image(path)
                kept.append(path)
            except UserError as error:
                if not skip_bad:
                    raise UserError(f"{error} (--skip-bad leaves such pictures out and withholds the total)") from error
                faults.append(str(error))
        if not kept:
            raise UserError(f"{str(paths[0].parent)!r} holds no picture that can be read ({len(paths)} damaged)")
        return tuple(kept)
    return [replace(style, images=good(style.images), references=good(style.references)) for style in styles], faults


def word_of(path: Path) -> str:
    """Return the prompt that a picture's file name states: everything before the first full stop, in lower case."""
    return path.name.split(".")[0].lower()


def read_words(path: "str | Path") -> list[str]:
    """Return the words of CLIP-R's list, one per line, in lower case; UserError when there are fewer than five."""
    words = list(dict.fromkeys(line.lower() for line in read_lines(path, "list of words") if line))
    if len(words) < TOP:
        raise UserError(f"{str(path)!r} holds {len(words)} words; CLIP-R takes the {TOP} likeliest of a list "
                        f"(the official one has {OFFICIAL_WORDS})")
    return words


def hist(styles: Sequence[Style]) -> float:
    """Return the mean over styles of the histogram score."""
    return float(np.mean([histogram_score(map(load_image, style.images), map(load_image, style.references))
                          for style in styles]))


def dino(styles: Sequence[Style], feature: Feature) -> float:
    """Return the mean cosine of every picture with every reference of its style."""
    means = []
    for style in styles:
        ours, theirs = _of_all(style.images, feature), _of_all(style.references, feature)
        means.append(np.mean([cosines(ours, other[None]).mean() for other in theirs]))
    return float(np.mean(means))


def lpips(styles: Sequence[Style], embedding: Feature) -> float:
    """Return the mean LPIPS of every picture with every reference of its style."""
    means = []
    for style in styles:
        theirs = _of_all(style.references, embedding)
        means.append(np.mean([squared_distances(_of_all([path], embedding), theirs).mean() for path in style.images]))
    return float(np.mean(means))


def fid(styles: Sequence[Style], feature: Feature) -> float:
    """Return the FID of all pictures of all styles with all references, on 64 features."""
    images = [path for style in styles for path in style.images]
    references = [path for style in styles for path in style.references]
    if min(len(images), len(references)) < 2:
        raise UserError(f"fid needs 2 pictures of each side, there are {len(images)} and {len(references)} references")
    return frechet_inception_distance(_of_all(images, feature), _of_all(references, feature))


def clip_r(styles: Sequence[Style], words: Sequence[str], image: Feature, text: Callable[[str], np.ndarray]) -> float:
    """Return the share of pictures whose own word is among the five likeliest of `words` and itself."""
    known: dict[str, np.ndarray] = {}
    hits = []
    for path in (path for style in styles for path in style.images):
        every = list(dict.fromkeys([*words, word_of(path)]))
        known |= {word: text(word) for word in every if word not in known}
        likeness = np.stack([known[word] for word in every]) @ image(load_image(path))
        hits.append(int((likeness > likeness[every.index(word_of(path))]).sum()) < TOP)
    return float(np.mean(hits))


def clip_iqa(styles: Sequence[Style], image: Feature, anchors: np.ndarray) -> float:
    """Return the mean over styles of the probability of "Good photo." against "Bad photo."; anchors [2, e]."""
    means = []
    for style in styles:
        logits = 100 * _of_all(style.images, image).astype(np.float64) @ anchors.T
        means.append((1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))).mean())
    return float(np.mean(means))


def _of_all(paths: Sequence[Path], feature: Feature) -> np.ndarray:
    return np.stack([feature(load_image(path)) for path in paths])


def report(styles: Sequence[Style], parts: Mapping[str, float], missing: Mapping[str, str], weights: Mapping[str, str],
           words: int | None = None, skipped: Sequence[str] = (), stand_ins: Sequence[str] = ()) -> dict[str, Any]:
    """Return parts, total, what is missing, and the protocol, ready for JSON.

    words: how many CLIP-R chose among. stand_ins: parts that other networks computed; what they give is "demo_total",
    in which CLIP-IQA counts 0 when it is missing. The total is None, with the reason in "withheld", where it would not
    be the official one: a part is missing or has a stand-in, the list has another length, or pictures were left out.
    """
    reasons = [text for text, holds in (
        (f"missing: {', '.join(part for part in PARTS if part not in parts)}", set(PARTS) <= set(parts)),
        (f"the list holds {words} words, the official one {OFFICIAL_WORDS}", words in (None, OFFICIAL_WORDS)),
        (f"the demo world's networks stand in for {', '.join(stand_ins)}", not stand_ins),
        (f"damaged pictures left out: {len(skipped)}", not skipped)) if not holds]
    known = {"clip_iqa": 0.0, **parts}
    demo = {"demo_total": total(known) if set(PARTS) <= set(known) else None} if stand_ins else {}
    return {"parts": dict(parts), **demo, "total": None if reasons else total(parts),
            "withheld": "; ".join(reasons) or None, "missing": dict(missing),
            "protocol": {"styles": len(styles), "images": sum(len(style.images) for style in styles),
                         "references": sum(len(style.references) for style in styles), "words": words,
                         "skipped": list(skipped), "weights_sha256": dict(weights)}}


def text_of(result: Mapping[str, Any]) -> str:
    """Return the report as lines of text."""
    lines = [f"{name:<9} {value}" for name, value in _lines(result)]
    return "\n".join([*lines, _facts(result["protocol"])])


def markdown(result: Mapping[str, Any]) -> str:
    """Return the report as a Markdown table with its protocol below."""
    rows = [f"| {name} | {value} |" for name, value in _lines(result)]
    weights = [f"- {option}: SHA-256 {digest[:16]}" for option, digest in result["protocol"]["weights_sha256"].items()]
    return "\n".join(["| part | value |", "|---|---|", *rows, "", f"- {_facts(result['protocol'])}", *weights]) + "\n"


def _lines(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [(name, f"{value:.6f}") for name, value in result["parts"].items()]
    lines += [(name, f"withheld: {reason}") for name, reason in result["missing"].items()]
    total = f"withheld: {result['withheld']}" if result["total"] is None else f"{result['total']:.6f}"
    if result.get("demo_total") is not None:
        lines.append(("demo total", f"{result['demo_total']:.6f}"))
    return [*lines, ("total", total)]


def _facts(protocol: Mapping[str, Any]) -> str:
    text = f"{protocol['styles']} styles, {protocol['images']} pictures, {protocol['references']} references"
    text += f", {protocol['words']} words" if protocol["words"] is not None else ""
    return text + (f", {len(protocol['skipped'])} damaged left out" if protocol["skipped"] else "")
