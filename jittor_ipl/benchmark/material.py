"""What all cells of one style share: latents, source pictures, true renders, references, networks and their features.

Made once, kept under the benchmark's .cache by what it depends on.
"""
from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from jittor_ipl.benchmark.plan import Place, latents, renderer_sha256
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.integrity import canonical
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.metrics.extract import Extractor, FeatureSet
from jittor_ipl.metrics.hashes import weights_sha256
from jittor_ipl.metrics.image_set import ImageSet, from_array, from_folder
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.judging import judge
from jittor_ipl.world.judging.features import extractor_of
from jittor_ipl.world.subjects import SUBJECTS

LARGEST_STORED = 1 << 30      # bytes of pictures; larger sets are made again
BATCH = 32


class Material:
    """The shared parts of one style's cells; everything is made when first asked for."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.extractor = _extractor(place.judged.name, place.networks.model_dump_json())
        self.generator_sha256 = weights_sha256([place.generator])

    @cached_property
    def source(self) -> Generator:
        """The source generator."""
        return load_generator(self.place.generator)

    @cached_property
    def z(self) -> np.ndarray:
        """Latents [N, d] of the measured seeds."""
        return latents(self.place, self.place.first_seed, self.source.style_dim)

    @cached_property
    def before(self) -> FeatureSet:
        """The source generator's pictures of the measured seeds."""
        about = ["source", self.generator_sha256, self.place.first_seed, self.place.samples]
        return self._set(stored(self.folder, about, lambda: draw(self.source, self.z)), "source")

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

    @cached_property
    def judges(self) -> tuple[judge.Judge, judge.Judge]:
        """The colour judge and the structure judge."""
        return judges_of(self.place.judged.name)

    def features(self, images: np.ndarray) -> FeatureSet:
        """Return pictures uint8 [N, H, W, 3] as a set whose features are not kept on disk."""
        return FeatureSet(from_array(images), BATCH)

    def _set(self, images: np.ndarray, label: str) -> FeatureSet:
        return FeatureSet(from_array(images, label), BATCH, self.folder)

    def _renders(self, first: int, label: str) -> FeatureSet:
        place, subject, size = self.place, self.place.subject, self.source.size
        renderer = renderer_sha256(subject.name, place.style)
        about = ["renders", renderer, subject.name, place.style, first, place.samples, size]

        def render() -> np.ndarray:
            face = subject.table.from_latent(latents(place, first, self.source.style_dim))
            return np.ascontiguousarray(subject.render(face, place.style, size).transpose(0, 2, 3, 1))
        return self._set(stored(self.folder, about, render), label)


@cache
def judges_of(subject: str) -> tuple[judge.Judge, judge.Judge]:
    """Return a subject's colour and structure judge."""
    prefix = SUBJECTS[subject].prefix
    return judge.load(f"{prefix}judge"), judge.load(f"{prefix}judge-structure")


def predicted(one: judge.Judge, images: ImageSet) -> np.ndarray:
    """Return a judge's labels [N, 1 + attributes] of 8-bit pictures, at most 64 at a time."""
    return np.concatenate([one.predict(from_uint8(batch)) for batch in images.batches(64)])


@cache
def _extractor(subject: str, networks: str) -> Extractor:
    return extractor_of(SUBJECTS[subject], **json.loads(networks))


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
