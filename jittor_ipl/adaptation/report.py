"""What a finished run says about itself: `report.json`, written last, so that its presence means the run is whole."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation.batches import at_once
from jittor_ipl.adaptation.directions import encode_images
from jittor_ipl.adaptation.listeners import Listener
from jittor_ipl.adaptation.samples import BATCH
from jittor_ipl.disk.integrity import read_sealed, write_sealed
from jittor_ipl.disk.layout import REPORT
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import z_from_seeds

# Training draws its latents from other streams, so no step has seen these.
MEASURED_SEEDS = range(1_000_000, 1_000_032)
MEASURED_AT_LARGE_SIZES = 8  # from 512 px on, where an image takes seconds on a CPU


@dataclass(frozen=True)
class Report:
    """The outcome of one style's run. Times in seconds, over all sittings of an interrupted run."""

    suite: str
    number: int
    style: str
    target: str
    method: str
    identity: str                # of settings and input files, see `run_identity`
    config_hash: str             # of the settings alone, see `StyleRun.training_hash`
    seconds_mapper: float
    seconds_generator: float
    generator_sha256: str        # of generator.safetensors
    direction_similarity: float  # mean cosine of image and text direction over the CLIPs, -1..1, on MEASURED_SEEDS
    skipped: bool = False        # True when the run was found finished

    @property
    def seconds(self) -> float:
        """Both stages together."""
        return self.seconds_mapper + self.seconds_generator

    def save(self, run_dir: Path) -> None:
        """Write `report.json`, which carries its own SHA-256."""
        values = asdict(self)
        del values["skipped"]
        write_sealed(run_dir / REPORT, values)


def read_report(run_dir: str | Path) -> Report | None:
    """Return the report of a finished run, or None when there is none that is whole."""
    try:
        return Report(**read_sealed(Path(run_dir) / REPORT, "report"))
    except (UserError, TypeError):
        return None


def direction_similarity(source: Generator, target: Generator, listeners: Sequence[Listener]) -> float:
    """Return how well images move where the text points: mean cosine, weighted over the CLIPs, 0 when nothing moved.

    Untruncated images of MEASURED_SEEDS with stored noise, clamped to [-1, 1]; the direction is the listener's own
    (79 templates, or few-shot), the same for IPL and NADA (IPL, section 4.3).
    """
    seeds = MEASURED_SEEDS if source.size < 512 else MEASURED_SEEDS[:MEASURED_AT_LARGE_SIZES]
    z = z_from_seeds(seeds, source.style_dim)
    batch = min(BATCH, at_once(source.size))
    before, after = (np.clip(pictures(generator, z, batch), -1, 1) for generator in (source, target))
    total, similarity = sum(one.weight for one in listeners), 0.0
    with jt.no_grad():
        for one in listeners:
            features = encode_images(one.clip, before), encode_images(one.clip, after)
            similarity += one.weight * (1.0 - losses.directional(*features, one.direction).item())
    return similarity / total if total else 0.0
