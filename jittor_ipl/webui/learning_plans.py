"""How a style that somebody asks for is learnt: the settings of its subject's suite under a name of its own."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jittor_ipl.config import StyleRun, load_suite
from jittor_ipl.config.checks import check_prompts, misspelt
from jittor_ipl.config.suite import StyleEntry, Suite
from jittor_ipl.disk.names import folded, folder_of, number_of
from jittor_ipl.webui.catalogue import KEPT, Domain
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.pages.words import plural
from jittor_ipl.webui.requests import LearnRequest, PicturesRequest

MOST_KEPT = 200         # styles on one server
REDRAWING = "redrawing"     # the stage in which a teacher makes the pictures to learn from
OVERRIDES = (f"suite={KEPT}", "run.sample_every=25", "run.samples=6", "run.log_every=5", "run.tensorboard=false",
             "run.checkpoint_every=100000")
BY_CLIP = {"portraits": "demo_clip", "pets": "demo_pets_clip"}       # suites without a teacher
# Shares of the time that the stages take on the demo world.
SHARES = {"lora": 0.3, REDRAWING: 0.35, "pairs": 0.2, "dds": 0.25, "sds": 0.25, "mapper": 0.2, "generator": 0.8}


def plan_words(request: LearnRequest, subject: Domain, styles: Path) -> StyleRun:
    """Return how words are learnt; UserError for a name that is taken, words near a listed style's, and unfit ones."""
    by_clip = request.method in ("nada", "ipl")
    name = BY_CLIP.get(subject.id) if by_clip else subject.suite
    if name is None:
        raise PageError("error.no_words_learnt", subject=plural(subject.id))
    suite = load_suite(name, [*OVERRIDES, *([f"method={request.method}"] if by_clip else [])])
    if request.method == "teacher" and suite.method != "teacher":
        raise PageError("error.no_teacher", subject=plural(subject.id))
    near = next((one for one in suite.names() if one != request.words and misspelt(request.words, one)), None)
    if near and not request.new_style:
        raise PageError("error.nearly_known", words=request.words, known=near)
    listed = next((one for one in suite.styles if one.name == request.words), StyleEntry(name=request.words))
    entry = listed.model_copy(update={"name": request.name, "target": listed.target or request.words})
    return _checked(suite, entry, styles, request.words)


def plan_pictures(request: PicturesRequest, subject: Domain, styles: Path, pictures: Path) -> StyleRun:
    """Return how a style is learnt from the files of a folder; UserError where none can, and for a taken name."""
    if subject.pictures is None:
        raise PageError("error.no_pictures_learnt", subject=plural(subject.id))
    suite = load_suite(subject.pictures, OVERRIDES)
    return _checked(suite, StyleEntry(name=request.name, style_images=str(pictures)), styles, request.name)


def _checked(suite: Suite, entry: StyleEntry, styles: Path, words: str) -> StyleRun:
    run = suite.resolve(number_of(entry.name), entry)
    check_prompts(run, f"the words {words!r}")
    there = [path.name for path in styles.iterdir()] if styles.is_dir() else []
    if folded(run.folder) in map(folded, there):
        raise PageError("error.style_taken", name=entry.name)
    if len(there) >= MOST_KEPT:
        raise PageError("error.styles_full", count=len(there), folder=styles.name)
    return run


def folder_kept(run: StyleRun, styles: Path) -> Path:
    """Return where a learnt style lies."""
    return styles / folder_of(run.number, run.style)


@dataclass(frozen=True)
class Stages:
    """The stages of a training in order, and what part of the whole each is."""

    names: tuple[str, ...]

    def before_and_share(self, stage: str) -> tuple[float, float]:
        """Return what part of the whole lies before a stage, and what part it is itself."""
        total, before = sum(SHARES.get(name, 0.2) for name in self.names), 0.0
        for name in self.names:
            share = SHARES.get(name, 0.2) / total
            if name == stage:
                return before, share
            before += share
        return 0.0, 1.0


def stages_of(run: StyleRun) -> Stages:
    """Return the stages of a run."""
    if run.method != "teacher":
        return Stages(("mapper", "generator") if run.method == "ipl" else ("generator",))
    ways = [stage for way in run.teacher.ways for stage in ((REDRAWING, way) if way == "pairs" else (way,))]
    return Stages((*(["lora"] if run.style_images else []), *ways))
