"""Which dictionary of global directions an edit works with: given, shipped, kept from earlier, or made now."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jittor_ipl.disk.atomic import output_folder
from jittor_ipl.disk.integrity import joint_sha256
from jittor_ipl.disk.lock import locked
from jittor_ipl.editing.dictionary import SAMPLED, Dictionary, clip_hashes, load_dictionary
from jittor_ipl.editing.preparing import DIRECTIONS, STATISTICS, Tell, prepare, write_statistics
from jittor_ipl.editing.responses import ALPHA
from jittor_ipl.editing.statistics import StyleStatistics, load_statistics, measure_statistics
from jittor_ipl.editing.ways import FACES, FIRST_ORDER, WAYS, make_way
from jittor_ipl.editing.words import remarks, text_direction
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.generator import generator_sha256
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.refs import locate

DEMO_CLIP, FULL_CLIP = "demo:clip-local", "weights/ViT-B-32.pt"
SHIPPED = ("demo:directions", "demo:style-statistics")


def default_clips(clips: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the CLIPs that are named; by default the demo's for a demo generator, else that of the shipped suites."""
    return tuple(clips) or (DEMO_CLIP if source.startswith("demo:") else FULL_CLIP,)


def facts_of(generator: Generator, clips: Sequence[str]) -> dict[str, object]:
    """Return what a dictionary of this generator and these CLIPs says of itself."""
    return {"generator_sha256": generator_sha256(generator), "clips": list(clips), "clip_sha256": clip_hashes(clips)}


def kept_in(facts: dict, way: str) -> Path:
    """Return the folder where a dictionary is kept by default: by generator, CLIPs and way, in the user's cache."""
    name = f"{facts['generator_sha256'][:16]}-{joint_sha256([str(one) for one in facts['clip_sha256']])[:8]}-{way}"
    return Path.home() / ".cache" / "jittor_ipl" / "directions" / name


def make(generator: Generator, clips: Sequence[str], way: str, faces: int | None, alpha: float, folder: Path | None,
         neutral: str = "face", targets: Sequence[str] = (), tell: Tell | None = None) -> Path:
    """Make statistics and dictionary in `folder`, by default where they are kept; return the dictionary's file.

    targets: what alone a first-order dictionary is to answer for, from the `neutral` words.
    """
    if way not in WAYS:
        raise UserError(f"no way {way!r} to a dictionary; choose from {', '.join(WAYS)}")
    if targets and (way != FIRST_ORDER or folder is None):
        raise UserError(f"--target is of --way {FIRST_ORDER}, and of a folder of its own: give --output")
    facts, loaded = facts_of(generator, clips), [load_clip(ref) for ref in clips]
    facts |= {"neutral": neutral, "targets": list(targets)} if targets else {}
    for remark in remarks(loaded, [neutral, *targets]) if targets else ():
        (tell or _tell)(f"note: {remark}")
    folder = output_folder(folder or kept_in(facts, way))
    with locked(folder):
        statistics = measure_statistics(generator)
        write_statistics(folder / STATISTICS, statistics.tensors(generator), facts["generator_sha256"])
        texts = np.stack([text_direction(loaded, neutral, target) for target in targets]) if targets else None
        chosen = make_way(way, generator, loaded, statistics, faces or FACES[way], alpha, texts)
        return prepare(chosen, folder, facts, tell or _tell)


def find(generators: Sequence[Generator], clips: Sequence[str], direction_path: str | None,
         stat_path: str | None, tell: Tell | None = None) -> tuple[Dictionary, StyleStatistics]:
    """Return the dictionary and the statistics to edit with; made where there are none yet, which is told.

    generators: the one that draws and the source that it was adapted from, whose dictionary serves both. UserError for
    files of another generator.
    """
    source = generators[-1]
    if direction_path is None:
        direction_path, beside = _ready(source, clips)
        if direction_path is None:
            (tell or _tell)("this generator has no dictionary of directions yet: it is made once and kept")
            direction_path = str(make(source, clips, SAMPLED, None, ALPHA, None, tell=tell))
            beside = str(Path(direction_path).with_name(STATISTICS))
    else:
        beside = str(Path(direction_path).with_name(STATISTICS)) if Path(direction_path).name == DIRECTIONS else None
    dictionary = load_dictionary(direction_path, generators)
    stat_path = stat_path or beside
    if stat_path is None:
        (tell or _tell)("measuring the deviations of the style space (give a file of them with --stat-path)")
        return dictionary, measure_statistics(source)
    return dictionary, load_statistics(stat_path, generators[0])


def _ready(source: Generator, clips: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the files of a dictionary that ships or was kept for this generator and these CLIPs, (None, None) else."""
    facts = facts_of(source, clips)
    if tuple(clips) == (DEMO_CLIP,):
        try:
            metadata = read_network(locate(SHIPPED[0]), kind="style-directions").info.metadata
        except UserError:       # a checkout whose assets were not made
            metadata = {}
        if metadata.get("generator_sha256") == facts["generator_sha256"]:
            return SHIPPED
    folder = kept_in(facts, SAMPLED)
    if (folder / DIRECTIONS).is_file() and (folder / STATISTICS).is_file():
        return str(folder / DIRECTIONS), str(folder / STATISTICS)
    return None, None


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
