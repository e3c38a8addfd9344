"""One cell: train, draw, measure, write its record. Jittor is imported here."""
from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.report import Report
from jittor_ipl.benchmark.figures import FIGURES
from jittor_ipl.benchmark.material import Material, draw, predicted
from jittor_ipl.benchmark.plan import RECORD, Cell
from jittor_ipl.disk.atomic import remove_tree
from jittor_ipl.disk.integrity import write_sealed
from jittor_ipl.disk.layout import CHECKPOINTS, GENERATOR
from jittor_ipl.images.files import save_png
from jittor_ipl.images.sheets import grid, shrunk
from jittor_ipl.metrics import evaluate, pixels
from jittor_ipl.metrics.catalogue import METRICS, Sets, prefetch
from jittor_ipl.metrics.extract import FeatureSet
from jittor_ipl.metrics.hashes import weights_sha256
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.judging.measure import shares

STRIP = 16                  # pictures kept for the contact sheets
STRIP_SIDE = 128            # pixels of a picture there at most
_ALWAYS = ("is", "intra-lpips", "scs", "id", "lpips", "clip-direction")
_WITH_REFERENCE = ("fid", "kid", "sifid")


class Bench:
    """Does cells one after the other and keeps the material of the style it is at."""

    def __init__(self, cache: str | Path) -> None:
        self.cache = Path(cache)
        self._material: Material | None = None

    def do(self, cell: Cell) -> dict[str, Any]:
        """Train and measure a cell, write its record and its strip of pictures, and return the record.

        A finished run in the cell's folder is measured as it is. Raises UserError for what the user can mend and
        `Interrupted` after a signal; training goes on from its checkpoint the next time.
        """
        identity = cell.identity()      # before the work: a file that changes meanwhile must not be believed
        training = _trained(cell) if cell.run else {}
        started = time.monotonic()
        material = self.material(cell)
        images = self._images(cell, material)
        found = figures(material, material.features(images) if cell.run else _anchor(cell, material))
        content = {"cell": {"method": cell.method, "source": cell.place.source, "style": cell.place.style,
                            "seed": cell.seed},
                   "identity": identity, "protocol": cell.place.protocol(), "training": training, **found,
                   "note": evaluate.note(vars(material.extractor)), "threads": os.environ.get("OMP_NUM_THREADS"),
                   "versions": evaluate.versions(), "seconds_measuring": round(time.monotonic() - started, 2)}
        save_png(cell.strip, strip(images), {"identity": identity})
        write_sealed(cell.folder / RECORD, content)
        remove_tree(cell.folder / CHECKPOINTS)    # four times the size of the weights, and of no more use
        return content

    def material(self, cell: Cell) -> Material:
        """Return what the cells of this style share."""
        if self._material is None or self._material.place != cell.place:
            self._material = Material(cell.place, self.cache)
        return self._material

    def _images(self, cell: Cell, material: Material) -> np.ndarray:
        if cell.run:
            return draw(load_generator(cell.folder / GENERATOR), material.z)
        images = _anchor(cell, material).images
        return images.pixels(range(len(images)))


def _anchor(cell: Cell, material: Material) -> FeatureSet:
    """A set of its own: what it holds in memory goes with it, and `material` stays small."""
    anchor = material.before if cell.method == "source" else material.truth
    return FeatureSet(anchor.images, anchor.batch, anchor.cache)


def _trained(cell: Cell) -> dict[str, Any]:
    report: Report = adapt_style(cell.run, cell.folder, stream=io.StringIO())
    run = cell.run
    return {"identity": report.identity, "config_hash": report.config_hash, "generator_sha256": report.generator_sha256,
            "steps_mapper": run.mapper.steps if run.method == "ipl" else 0, "steps_generator": run.generator.steps,
            "pictures_generator": run.generator.steps * run.generator.batch,
            "weights": {ref: weights_sha256([ref]) for ref in (run.source.generator, *(c.model for c in run.clip))},
            "seconds_mapper": report.seconds_mapper, "seconds_generator": report.seconds_generator}


def figures(material: Material, images: FeatureSet) -> dict[str, Any]:
    """Return {"figures", "attributes"} of a set of pictures; one without what it needs is withheld, not guessed."""
    place, extractor = material.place, material.extractor
    sets = Sets(images, extractor, evaluate.SEED, material.reference, material.before, images,
                extractor.clip.text(place.target), extractor.clip.text(place.class_name))
    chosen = (*_ALWAYS, *(_WITH_REFERENCE if material.reference is not None else ()))
    prefetch(sets, chosen)
    found: dict[str, Any] = {}
    for key in chosen:
        found |= METRICS[key].compute(sets)
    attributes: dict[str, Any] = {}
    if place.subject:
        verdict, attributes = judged(material, images)
        found |= verdict | against_truth(material, images)
    found = {name: value for name, value in found.items() if value is not None and np.isfinite(value)}
    order = [*(name for name in FIGURES if name in found), *sorted(set(found) - set(FIGURES))]
    return {"figures": {name: float(found[name]) for name in order}, "attributes": attributes}


def judged(material: Material, images: FeatureSet) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the judges' shares over the pictures, and for every attribute how often it is kept and meant."""
    seen, structure = (predicted(judge, images.images) for judge in material.judges)
    return shares(material.place.subject, material.place.style, seen, structure[:, 0], material.source_attributes,
                  material.meant)


def against_truth(material: Material, images: FeatureSet) -> Mapping[str, float | None]:
    """Return the mean distances of pictures to the true render of the same latent; no PSNR when all are equal."""
    l1, psnr = [], []
    for picture, true in zip(images.images.batches(64), material.truth.images.batches(64)):
        l1.append(np.abs(picture.astype(np.float64) - true).mean(axis=(1, 2, 3)) / 255)
        psnr.append(pixels.psnr(picture, true))
    found = np.concatenate(psnr)
    finite = found[np.isfinite(found)]
    return {"l1_to_truth": float(np.concatenate(l1).mean()),
            "psnr_to_truth": float(finite.mean()) if len(finite) else None}


def strip(images: np.ndarray) -> np.ndarray:
    """Return the first pictures uint8 [N, H, W, 3] side by side, none larger than 128 px."""
    tiles = [shrunk(image, STRIP_SIDE) for image in images[:STRIP]]
    return grid(tiles, len(tiles), pad=0)
