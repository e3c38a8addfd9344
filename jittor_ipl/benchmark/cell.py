"""One cell: train, draw, measure, write its record, with what all cells of one style share. Jittor is imported here."""
from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.taught import numbers_of
from jittor_ipl.benchmark.figures import FIGURES
from jittor_ipl.benchmark.plan import RECORD, Cell, Place, renderer_sha256
from jittor_ipl.disk.atomic import remove_tree, write_bytes
from jittor_ipl.disk.integrity import canonical, write_sealed
from jittor_ipl.disk.layout import CHECKPOINTS, GENERATOR
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.images.sheets import grid, shrunk
from jittor_ipl.metrics import evaluate
from jittor_ipl.metrics.catalogue import METRICS, Sets, prefetch
from jittor_ipl.metrics.clusters import mean_pair
from jittor_ipl.metrics.extract import Extractor, FeatureSet
from jittor_ipl.metrics.hashes import weights_sha256
from jittor_ipl.metrics.image_set import ImageSet, from_array, from_folder
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.judging import judge
from jittor_ipl.world.judging.features import extractor_of
from jittor_ipl.world.judging.measure import against_truth, shares
from jittor_ipl.world.judging.shapes import ShapeJudge, load_shapes
from jittor_ipl.world.subjects import SUBJECTS

STRIP = 16                  # pictures kept for the contact sheets
STRIP_SIDE = 128            # pixels of a picture there at most
LARGEST_STORED = 1 << 30    # bytes of pictures; larger sets are made again
BATCH = 32
_ALWAYS = ("is", "intra-lpips", "scs", "id", "lpips", "clip-direction")
_WITH_REFERENCE = ("fid", "kid", "sifid")


def run_cell(cell: Cell, folder: str) -> dict[str, Any]:
    """Train and measure a cell, write its record and its strip of pictures, and return the record.

    What the cells of a style share lies in `folder`. A finished run is measured as it is. Raises UserError for what the
    user can mend and `Interrupted` after a signal; training goes on from its checkpoint the next time.
    """
    identity = cell.identity()      # before the work: a file that changes meanwhile must not be believed
    training = _trained(cell) if cell.run else {}
    started = time.monotonic()
    material = _material_of(cell.place, folder)
    if cell.run:
        images = FeatureSet(from_array(draw(load_generator(cell.folder / GENERATOR), material.z)), BATCH)
    else:       # a set of its own: what it holds in memory goes with it
        anchor = material.before if cell.method == "source" else material.truth
        images = FeatureSet(anchor.images, anchor.batch, anchor.cache)
    found = figures(material, images)
    content = {"cell": {"method": cell.method, "source": cell.place.source, "style": cell.place.style,
                        "seed": cell.seed},
               "identity": identity, "protocol": cell.place.protocol(), "training": training, **found,
               "note": evaluate.note(vars(material.extractor)), "threads": os.environ.get("OMP_NUM_THREADS"),
               "versions": evaluate.versions(), "seconds_measuring": round(time.monotonic() - started, 2)}
    tiles = [shrunk(image, STRIP_SIDE) for image in images.images.pixels(range(STRIP))]
    save_png(cell.strip, grid(tiles, STRIP, pad=0), {"identity": identity})
    write_sealed(cell.folder / RECORD, content)
    remove_tree(cell.folder / CHECKPOINTS)    # four times the size of the weights, and of no more use
    return content


def _trained(cell: Cell) -> dict[str, Any]:
    report, run = adapt_style(cell.run, cell.folder, stream=io.StringIO()), cell.run
    stages = [numbers_of(run, way) for way in run.teacher.ways] if run.method == "teacher" else [run.generator]
    refs = [run.source.generator, *(model.model for model in run.clip)]
    refs += [ref for ref in (run.teacher.model, run.teacher.base_lora) if ref] if run.method == "teacher" else []
    return {"identity": report.identity, "config_hash": report.config_hash, "generator_sha256": report.generator_sha256,
            "steps_mapper": run.mapper.steps if run.method == "ipl" else 0,
            "steps_generator": sum(one.steps for one in stages),
            "pictures_generator": sum(one.steps * one.batch for one in stages),
            "weights": {ref: weights_sha256([ref]) for ref in refs},
            "seconds_mapper": report.seconds_mapper, "seconds_generator": report.seconds_generator}


class StyleMaterial:
    """What all cells of one style share, made when first asked for; pictures and features are kept in `folder`."""

    def __init__(self, place: Place, folder: str) -> None:
        self.place, self.folder = place, Path(folder)
        self.extractor = _extractor(place.judged.name, place.networks.model_dump_json())

    @cached_property
    def source(self) -> Generator:
        """The source generator."""
        return load_generator(self.place.generator)

    @cached_property
    def z(self) -> np.ndarray:
        """Latents [N, d] of the measured seeds."""
        return self._latents(self.place.first_seed)

    @cached_property
    def before(self) -> FeatureSet:
        """The source generator's pictures of the measured seeds."""
        about = ["source", weights_sha256([self.place.generator]), self.place.first_seed, self.place.samples]
        return self._set(about, "source", lambda: draw(self.source, self.z))

    @cached_property
    def truth(self) -> FeatureSet | None:
        """The true renders of the same latents, None outside the demo world."""
        return self._renders(self.place.first_seed, "truth") if self.place.subject else None

    @cached_property
    def reference(self) -> FeatureSet | None:
        """What FID, KID and SIFID compare with: true renders of other latents, or the user's pictures, or None."""
        if self.place.subject:
            return self._renders(self.place.first_reference_seed, "reference")
        if self.place.reference is None:
            return None
        images = from_folder(self.place.reference, "reference", size=self.source.size)
        if len(images) < 2:
            raise UserError(f"{self.place.reference!r} holds one picture; FID and KID need at least 2")
        return FeatureSet(images, BATCH, self.folder)

    @cached_property
    def source_attributes(self) -> np.ndarray:
        """What the colour judge sees in the source's pictures: labels [N, attributes]."""
        about = ["attributes", self.extractor.inception.sha256, self.before.images.sha256]
        return stored(self.folder, about, lambda: predicted(self.judges[0], self.before.images)[:, 1:])

    @cached_property
    def meant(self) -> np.ndarray:
        """The attributes that the latents mean: labels [N, attributes]."""
        return self.place.subject.table.labels(self.place.subject.table.from_latent(self.z))

    @property
    def judges(self) -> tuple[judge.Judge, judge.Judge]:
        """The colour judge and the structure judge."""
        prefix = self.place.judged.prefix
        return _judge(f"{prefix}judge"), _judge(f"{prefix}judge-structure")

    @property
    def shape(self) -> ShapeJudge | None:
        """The judge of what makes a style, None for a subject that has none."""
        return _shapes(self.place.judged.name)

    def _latents(self, first: int) -> np.ndarray:
        return z_from_seeds(range(first, first + self.place.samples), self.source.style_dim)

    def _set(self, about: list, label: str, make: Callable[[], np.ndarray]) -> FeatureSet:
        return FeatureSet(from_array(stored(self.folder, about, make), label), BATCH, self.folder)

    def _renders(self, first: int, label: str) -> FeatureSet:
        subject, style, size = self.place.subject, self.place.style, self.source.size

        def render() -> np.ndarray:
            faces = subject.table.from_latent(self._latents(first))
            return np.ascontiguousarray(subject.render(faces, style, size).transpose(0, 2, 3, 1))
        renderer = renderer_sha256(subject.name, style)
        return self._set(["renders", renderer, subject.name, style, first, self.place.samples, size], label, render)


# Cells of one style follow one another; the networks serve every style of a source.
_material_of = lru_cache(maxsize=1)(StyleMaterial)
_judge = cache(judge.load)


@cache
def _shapes(subject: str) -> ShapeJudge | None:
    return load_shapes(SUBJECTS[subject])


@cache
def _extractor(subject: str, networks: str) -> Extractor:
    return extractor_of(SUBJECTS[subject], **json.loads(networks))


def predicted(one: judge.Judge, images: ImageSet) -> np.ndarray:
    """Return a judge's labels [N, 1 + attributes] of 8-bit pictures, at most 64 at a time."""
    return np.concatenate([one.predict(from_uint8(batch)) for batch in images.batches(64)])


def draw(generator: Generator, z: np.ndarray) -> np.ndarray:
    """Return untruncated pictures uint8 [N, H, W, 3] of latents z [N, d], stored noise."""
    return to_uint8(pictures(generator, z, max(1, min(BATCH, BATCH * 64**2 // generator.size**2))))


def stored(folder: Path, about: list, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return an array that depends on `about` alone, from `folder`, or made and stored there, as a damaged one is."""
    text = canonical(about).decode()
    path = folder / f"{about[0]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["about"]) == text:
                return found["value"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    value = make()
    if value.nbytes <= LARGEST_STORED:
        buffer = io.BytesIO()
        np.savez(buffer, value=value, about=text)
        write_bytes(path, buffer.getvalue())
    return value


def figures(material: StyleMaterial, images: FeatureSet) -> dict[str, Any]:
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
        seen, structure = (predicted(each, images.images) for each in material.judges)
        verdict, attributes = shares(place.subject, place.style, seen, structure[:, 0], material.source_attributes,
                                     material.meant)
        compared = [_floats(each.images) for each in (images, material.truth, material.before)]
        found |= verdict | against_truth(place.subject, place.style, *compared, material.shape)
        found["diversity"] = found["mean_pairwise_lpips"] / mean_pair(material.truth.distances(extractor.lpips))
    found = {name: value for name, value in found.items() if value is not None and np.isfinite(value)}
    order = [*(name for name in FIGURES if name in found), *sorted(set(found) - set(FIGURES))]
    return {"figures": {name: float(found[name]) for name in order}, "attributes": attributes}


def _floats(images: ImageSet) -> np.ndarray:
    """Return all pictures as float32 [N, 3, H, W] in [-1, 1]."""
    return from_uint8(images.pixels(range(len(images))))
