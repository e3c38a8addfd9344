"""Which cells a benchmark has, and what each of them depends on. Needs no Jittor."""
from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jittor_ipl.adaptation.inputs import run_files
from jittor_ipl.benchmark.settings import ANCHORS, Benchmark, BenchmarkSource, Method, Networks
from jittor_ipl.config import StyleRun
from jittor_ipl.disk.integrity import canonical, read_sealed
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.images.files import list_images
from jittor_ipl.metrics.hashes import files_sha256, weights_sha256
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.world.drawing.attributes import LATENT_DIM
from jittor_ipl.world.subjects import PORTRAITS, SUBJECTS, Subject, subject_of

PROTOCOL = 2                # goes up when a figure of an unchanged picture would change
RECORD = "cell.json"
ABLATION = "ablation-"
_QUIET = ["run.samples=0", "run.tensorboard=false", "run.log_every=20", "run.keep=1"]


@dataclass(frozen=True)
class Place:
    """One style of one source, and how pictures of it are measured.

    source      title of the source
    subject     what the demo world draws there, None for real weights
    reference   folder of pictures of the style, for real weights
    """

    source: str
    style: str
    generator: str
    class_name: str
    target: str
    subject: Subject | None = field(hash=False)     # it holds dictionaries, as `networks` holds lists
    reference: str | None
    samples: int
    first_seed: int
    first_reference_seed: int
    networks: Networks = field(hash=False)

    @property
    def judged(self) -> Subject:
        """The subject whose judge stands in for networks that are not given."""
        return self.subject or PORTRAITS

    def protocol(self) -> dict[str, Any]:
        """Return all that decides the figures of given pictures, ready for JSON."""
        judges = [f"demo:{self.judged.prefix}{name}" for name in ("judge", "judge-structure")]
        judges += ["demo:judge-shape"] if self.subject is PORTRAITS else []
        given = [self.networks.inception, *self.networks.lpips, self.networks.arcface, self.networks.clip]
        target = renderer_sha256(self.subject.name, self.style) if self.subject else \
            files_sha256(list_images(self.reference)) if self.reference else None
        # A size that is not given stays out: cells older than the setting stay valid.
        networks = self.networks.model_dump(exclude={"lpips_size"} if self.networks.lpips_size is None else None)
        return {"version": PROTOCOL, "samples": self.samples, "first_seed": self.first_seed, "target": target,
                "first_reference_seed": self.first_reference_seed if self.subject else None,
                "texts": [self.class_name, self.target], "networks": networks,
                "weights": {ref: weights_sha256([ref]) for ref in (*judges, *given, self.generator) if ref}}


@dataclass(frozen=True)
class Cell:
    """One thing to train and measure; the anchors "source" and "truth" have neither run nor seed."""

    method: str
    place: Place
    seed: int | None
    run: StyleRun | None
    folder: Path

    @property
    def label(self) -> str:
        """As progress lines call it."""
        return f"{self.method} / {self.place.style}" + ("" if self.seed is None else f" / seed {self.seed}")

    @property
    def key(self) -> tuple[str, str, int | None]:
        """Method, style, seed."""
        return self.method, self.place.style, self.seed

    @property
    def strip(self) -> Path:
        """A few of its pictures in a row, for the contact sheets."""
        return self.folder / "strip.png"

    def identity(self) -> str:
        """Return the SHA-256 (hex) of settings, weight files and protocol; raises UserError when a file is missing."""
        # What `run_identity` hashes, but no file twice: all cells together read the same few.
        trained = self.method if self.run is None else \
            [self.run.training_hash(), *(weights_sha256([path]) for path in run_files(self.run))]
        return hashlib.sha256(canonical({"trained": trained, "protocol": self.place.protocol()})).hexdigest()

    def record(self) -> dict[str, Any] | None:
        """Return the cell's record, None when there is none that is whole and of these settings, files and protocol."""
        with suppress(UserError):
            found = read_sealed(self.folder / RECORD, "record")
            return found if found.get("identity") == self.identity() else None
        return None


def plan(benchmark: Benchmark, root: str | Path) -> list[Cell]:
    """Return all cells in the order of work: anchors, the methods seed by seed, the ablations.

    Raises UserError for a suite, style, override or file that is not there, before anything is trained.
    """
    root, cells, trained, ablations = Path(root), [], [], benchmark.ablations
    rows = {name: (method, benchmark.styles(), benchmark.seeds) for name, method in benchmark.methods.items()}
    if ablations:
        base = benchmark.methods[ablations.base]
        rows |= {f"{ABLATION}{name}": (Method(suite=variant.suite or base.suite, set=[*base.set, *variant.set]),
                                       ablations.styles, ablations.seeds)
                 for name, variant in ablations.variants.items()}
    for source in benchmark.sources:
        own = benchmark.suite_of(source, [])
        suites = {name: benchmark.suite_of(source, [*method.set, *_QUIET], method.suite)
                  for name, (method, styles, _) in rows.items() if set(styles) & set(source.styles)}
        for style in source.styles:
            place = _place(benchmark, source, own.run_of(style))
            cells += [Cell(name, place, None, None, root / name / _folder(place))
                      for name in ANCHORS if place.subject or name == "source"]
            trained += [_cell(name, place, seed, suites[name].run_of(style), root)
                        for name, (_, styles, seeds) in rows.items() if style in styles for seed in seeds]
    order = list(dict.fromkeys([*benchmark.seeds, *(ablations.seeds if ablations else [])]))
    trained.sort(key=lambda cell: (cell.method.startswith(ABLATION), order.index(cell.seed)))     # stable
    return cells + trained


def chosen(cells: list[Cell], only: str) -> list[Cell]:
    """Return the cells that METHODS/STYLES/SEEDS names, each a comma list, or empty for all; UserError for other names.

    Anchors of the chosen styles stay, unless methods are named: they are cheap and every table shows them.
    """
    parts = [[word.strip() for word in part.split(",") if word.strip()] for part in only.split("/")]
    if len(parts) > 3:
        raise UserError(f"--only {only!r}: write METHODS/STYLES/SEEDS, such as ours,ipl/disney/3 or //4")
    for position, (words, what) in enumerate(zip(parts, ("method", "style", "seed"))):
        known = list(dict.fromkeys(str(cell.key[position]) for cell in cells if cell.key[position] is not None))
        for word in words:
            if word not in known:
                raise UserError(f"--only: there is no {what} {word!r}{nearest(word, known)}; "
                                f"there are {', '.join(known)}")
    return [cell for cell in cells if all(not words or value is None or str(value) in words
                                          for words, value in zip(parts, cell.key))]


def _place(benchmark: Benchmark, source: BenchmarkSource, run: StyleRun) -> Place:
    demo = run.source.generator.startswith("demo:")
    reference = source.references.get(run.style)
    if demo and source.references:
        raise UserError(f"{source.suite} starts from the demo world, whose true renders are the references: "
                        "remove references:")
    for style in source.references:
        if style not in source.styles:
            raise UserError(f"references: {source.suite} has no style {style!r}{nearest(style, source.styles)}")
    subject = subject_of(run.source.generator) if demo else None
    if subject and run.style not in subject.styles:
        raise UserError(f"the demo world draws no {run.style!r}{nearest(run.style, subject.styles)} of {subject.name}")
    return Place(source.title or run.suite, run.style, run.source.generator, run.source.class_name, run.target, subject,
                 reference, benchmark.samples, benchmark.first_seed, benchmark.first_reference_seed, benchmark.networks)


def _cell(method: str, place: Place, seed: int, run: StyleRun, root: Path) -> Cell:
    """Both stages take the cell's seed, whatever the suite says."""
    stages = {part: getattr(run, part).model_copy(update={"seed": None}) for part in ("mapper", "generator")}
    run = run.model_copy(update={"seed": seed, **stages})
    if run.source.generator != place.generator:
        raise UserError(f"the method {method} names another source generator than {place.generator}: "
                        "tables would compare nothing")
    return Cell(method, place, seed, run, root / method / _folder(place) / str(seed))


def _folder(place: Place) -> Path:
    return Path(place.source.replace("/", "-").replace(" ", "-")) / place.style.replace(" ", "-")


@cache
def renderer_sha256(subject: str, style: str) -> str:
    """Return the SHA-256 of eight true renders: a changed renderer changes it, and so every figure that needs truth."""
    world = SUBJECTS[subject]
    faces = world.table.from_latent(z_from_seeds(range(8), LATENT_DIM))
    return hashlib.sha256(world.render(faces, style, 64).tobytes()).hexdigest()
