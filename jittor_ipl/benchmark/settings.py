"""A benchmark's file: what is compared, on what, and how it is measured; closed keys, every number with its range."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from jittor_ipl.config import Suite, load_config, load_suite
from jittor_ipl.config.sections import Section, Seed
from jittor_ipl.disk.names import safe_name
from jittor_ipl.errors import UserError, nearest

LEAST_SEED = 2_000_000          # tuning and training reports look at seeds below a million and the few just above it
ANCHORS = ("source", "truth")   # rows that are measured but not trained
Text = Annotated[str, Field(max_length=2000)]
Path_ = Annotated[str, Field(min_length=1, max_length=4096)]
MeasuredSeed = Annotated[int, Field(ge=LEAST_SEED, le=2**32 - 1)]


class BenchmarkSource(Section):
    """One source generator, with the styles that it is adapted to."""

    suite: Path_                       # its generator, CLIPs, classes and budget
    title: Text | None = None          # of the source in tables; the suite's name when not given
    styles: list[str] = Field(min_length=1, max_length=100)
    references: dict[str, Path_] = {}  # style -> folder of pictures of it, for sources outside the demo world


class Method(Section):
    """One row of the tables: overrides over the suite, as --set takes them."""

    title: Text | None = None
    suite: Path_ | None = None         # another suite's file for this row; the source's own when not given
    set: list[str] = []
    note: Text = ""


class Ablations(Section):
    """Variants of one method on a part of the styles and seeds; a variant's overrides follow those of `base`."""

    base: str = "ours"
    styles: list[str] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    variants: dict[str, Method]


class Networks(Section):
    """Downloaded networks of the metrics; the demo judge serves for those that are not given."""

    inception: Path_ | None = None
    lpips: list[Path_] = []
    lpips_size: int | None = Field(None, ge=16, le=4096)   # what LPIPS brings pictures to; None: their own size
    arcface: Path_ | None = None
    clip: Path_ = "demo:clip-robust"


class Sheet(Section):
    """What the contact sheets show: the first measured seeds of one training seed."""

    columns: int = Field(8, ge=1, le=32)
    styles: list[str] = []             # of the small sheet in docs/; all when empty
    methods: list[str] = []            # its rows besides source and truth; all when empty


class Benchmark(Section):
    """A validated benchmark file."""

    name: str = "benchmark"            # results lie in runs/<name>/
    about: str = ""                    # how the settings were chosen; the report repeats it below its protocol
    sources: list[BenchmarkSource] = Field(min_length=1)
    methods: dict[str, Method] = Field(min_length=1)
    ours: str = "ours"                 # the method that is compared ...
    peers: dict[str, list[str]] = {"its peers": ["nada", "ipl"]}   # ... with these groups, each on its own
    seeds: list[Seed] = Field(min_length=1)
    samples: int = Field(1000, ge=20, le=100_000)
    first_seed: MeasuredSeed = LEAST_SEED            # of the measured latents: this one and the next `samples` - 1
    first_reference_seed: MeasuredSeed = 3_000_000   # of the other latents whose true renders FID compares with
    networks: Networks = Networks()
    sheet: Sheet = Sheet()
    ablations: Ablations | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Benchmark:
        safe_name(self.name, "name")
        variants = self.ablations.variants if self.ablations else {}
        for name in (*self.methods, *variants):
            safe_name(name, "method name", reserve=len("ablation-"))
            if name in ANCHORS or name.startswith("ablation-"):
                raise UserError(f"a method cannot be called {name!r}: that name is taken")
        compared = [self.ours, *self.sheet.methods, *sum(self.peers.values(), [])]
        for name in (*compared, *([self.ablations.base] if self.ablations else [])):
            if name not in self.methods:
                raise UserError(f"there is no method {name!r}{nearest(name, self.methods)}; "
                                f"there are {', '.join(self.methods)}")
        for what, values in (("seeds", self.seeds), ("styles", self.styles())):
            if twice := [value for value in values if values.count(value) > 1]:
                raise UserError(f"{what}: {twice[0]!r} is listed twice")
        for name in (*self.sheet.styles, *(self.ablations.styles if self.ablations else [])):
            if name not in self.styles():
                raise UserError(f"no source has the style {name!r}{nearest(name, self.styles())}")
        if self.ablations and not set(self.ablations.seeds) <= set(self.seeds):
            raise UserError(f"ablations: {self.ablations.base} is trained with the seeds {self.seeds} alone; "
                            "choose from these")
        if abs(self.first_seed - self.first_reference_seed) < self.samples:
            raise UserError("the seeds of the references overlap the measured ones; "
                            "set first_reference_seed further away")
        if max(self.first_seed, self.first_reference_seed) + self.samples > 2**32:
            raise UserError("the measured seeds run past 4294967295; set first_seed lower")
        return self

    def styles(self) -> list[str]:
        """Return the styles of all sources, in order."""
        return [style for source in self.sources for style in source.styles]

    def suite_of(self, source: BenchmarkSource, overrides: list[str], path: str | None = None) -> Suite:
        """Return a source's suite, or that at `path`, under overrides; UserError when it lacks one of the styles."""
        suite = load_suite(path or source.suite, overrides)
        for style in source.styles:
            suite.run_of(style)
        return suite


def load_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark file; raises UserError naming the file and the key for anything that does not fit."""
    return load_config(path, Benchmark)
