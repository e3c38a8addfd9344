"""What the worker does with each kind of job, on the demo world's own networks."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.config import load_run
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.submission.produce import load
from jittor_ipl.webui.catalogue import Catalogue, Domain
from jittor_ipl.webui.learning_plans import plan_words
from jittor_ipl.webui.png import read_settings
from jittor_ipl.webui.preparing import Finder
from jittor_ipl.webui.requests import parse
from jittor_ipl.webui.settings import ServerSettings
from jittor_ipl.webui.work.kinds import WORK
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.report import Cancelled, Reporter
from jittor_ipl.weights.generator import load_generator

ROOT = Path(__file__).resolve().parents[2]
MARKS = {"eyes": [[24, 30], [40, 30]], "mouth": [32, 46]}


class Heard:
    """Stands for the pipe to the page: keeps the notes, and cancels after so many."""

    def __init__(self, most: int = 10**9):
        self.notes, self.most = [], most

    def __call__(self, note) -> None:
        self.notes.append(note)

    @property
    def cancelled(self) -> bool:
        return len(self.notes) >= self.most


class Desk:
    """Prepares and does jobs here, in this process."""

    def __init__(self, root: Path):
        self.settings = ServerSettings(runs=root, trained=(ROOT / "B_weight",), results=root / "results")
        self.models, self.root, self.count, self.uploads = Models(6), root, 0, {}

    def task(self, **job):
        self.count += 1
        folder = self.root / f"job{self.count}"
        folder.mkdir()
        find = Finder(Catalogue(self.settings).choices(), self.settings, self.uploads.__getitem__, self.jobs)
        return find.prepare(parse(job), folder)

    def do(self, most: int = 10**9, **job):
        task, heard = self.task(**job), Heard(most)
        result = WORK[task.request.kind](task, self.models, Reporter(heard))
        return task.folder, result, heard.notes

    def jobs(self, name):
        return type("Job", (), {"folder": self.root / name, "kind": "invert", "state": "done"})


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    if not (ROOT / "B_weight" / "demo").is_dir():
        pytest.skip("a checkout without B_weight has no styles of portraits")
    return Desk(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def source():
    return load_generator("demo:generator")


def pixels(folder, picture):
    return load_image(folder / picture["name"])


def test_every_picture_of_a_batch_is_that_of_its_own_seed_and_style(desk, source):
    folder, result, notes = desk.do(kind="generate", styles=["disney", "demo/09"], seeds=[5, 1, 3], truncation=0.6)
    assert [(one["style"], one["seed"]) for one in result.pictures] == [
        (style, seed) for style in ("source", "disney", "cubism") for seed in (5, 1, 3)]
    recipe = Recipe(truncation=0.6)
    for generator, shown in ((source, result.pictures[:3]),
                             (load(Catalogue(desk.settings).choices().style("portraits", "disney").entry),
                              result.pictures[3:6])):
        for picture, wanted in zip(shown, render(generator, [5, 1, 3], recipe)):
            assert np.array_equal(pixels(folder, picture), wanted), picture
    assert [picture for note in notes for picture in note.pictures] == list(result.pictures)
    assert notes[-1].fraction == 1 and all(picture["alt"] for picture in result.pictures)


def test_a_picture_is_made_again_from_the_settings_inside_of_it(desk):
    folder, result, _ = desk.do(kind="generate", styles=["werewolf"], seeds=[11], truncation=0.8, strength=0.4)
    told = read_settings((folder / result.pictures[1]["name"]).read_bytes())
    assert told == json.loads(json.dumps(result.pictures[1]["settings"]))
    again = {name: told[name] for name in ("kind", "subject", "truncation", "noise", "strength")}
    other, made, _ = desk.do(**again, styles=[told["style_id"]], seeds=[told["seed"]])
    assert np.array_equal(pixels(folder, result.pictures[1]), pixels(other, made.pictures[1]))


def test_strength_mixes_weights(desk, source):
    choice = Catalogue(desk.settings).choices().style("portraits", "cubism")
    adapted, subject = load(choice.entry), Catalogue(desk.settings).choices().subject("portraits")
    before, after = numpy_tensors(source), numpy_tensors(adapted)
    half = numpy_tensors(desk.models.style(subject, choice, 0.5))
    for name, value in before.items():
        if not name.endswith(".kernel"):
            assert np.allclose(half[name], (value + after[name]) / 2, atol=1e-6), name
    assert any(not np.array_equal(half[name], before[name]) for name in before)
    assert desk.models.style(subject, choice, 0) is desk.models.source(subject)
    whole = numpy_tensors(desk.models.style(subject, choice, 1))
    assert all(np.array_equal(whole[name], after[name]) for name in after)


def test_no_more_generators_are_kept_than_asked_for(desk):
    choices, models = Catalogue(desk.settings).choices(), Models(2)
    subject = choices.subject("portraits")
    first = models.source(subject)
    for choice in choices.of("portraits")[:3]:
        models.style(subject, choice)
    assert len(models._generators) == 2 and models.source(subject) is not first


def test_methods_are_compared_on_one_seed(desk):
    folder, result, _ = desk.do(kind="compare", style="disney", seed=2)
    assert [one["settings"].get("method") for one in result.pictures] == [None, "teacher", "redrawn"]
    made = [pixels(folder, one).astype(int) for one in result.pictures]
    assert all(np.abs(made[0] - one).mean() > 3 for one in made[1:])
    pets = desk.do(kind="compare", subject="pets", style="cubism", seed=2)[1]
    assert [one["settings"].get("method") for one in pets.pictures] == [None, "teacher", "redrawn"]
    with pytest.raises(UserError, match="no method 'nadir'"):
        desk.task(kind="compare", style="disney", methods=["nadir"])


def test_an_edit_of_strength_nought_changes_nothing_and_others_do(desk):
    folder, result, _ = desk.do(kind="edit", seeds=[4], target="happy face", style="disney", offsets=[0, 3])
    plain, drawn, _ = desk.do(kind="generate", styles=["disney"], seeds=[4])
    assert [(one["style"], one["settings"]["offset"]) for one in result.pictures] == [
        ("source", 0), ("source", 3), ("disney", 0), ("disney", 3)]
    for edited, wanted in ((result.pictures[0], drawn.pictures[0]), (result.pictures[2], drawn.pictures[1])):
        assert np.abs(pixels(folder, edited).astype(int) - pixels(plain, wanted)).max() <= 1
    for before, after in (result.pictures[:2], result.pictures[2:]):
        assert np.abs(pixels(folder, before).astype(int) - pixels(folder, after)).mean() > 1
    with pytest.raises(UserError, match="never seen 'qwertz'"):
        desk.do(kind="edit", target="qwertz")


def test_an_edit_tells_which_of_its_words_are_read_as_others(desk):
    (folder, gold, _), (other, blond, _) = (
        desk.do(kind="edit", seeds=[4], target=f"face with {hair} hair", offsets=[2]) for hair in ("gold", "blond"))
    assert gold.facts["read_as"] == {"gold": "blond"} and gold.facts["unknown_words"] == []
    assert blond.facts["read_as"] == {}
    assert np.array_equal(pixels(folder, gold.pictures[0]), pixels(other, blond.pictures[0]))


def test_a_photograph_is_aligned_and_comes_out_in_styles(desk, source):
    picture, = render(source, [21], Recipe())
    desk.uploads["face"] = save_png(desk.root / "face.png", picture)
    with pytest.raises(UserError, match="point at both eyes|no face was found"):
        desk.do(kind="align", upload="face")
    folder, result, _ = desk.do(kind="align", upload="face", **MARKS)
    assert result.facts["eyes"] == [(24, 30), (40, 30)] and pixels(folder, result.pictures[0]).shape == (256, 256, 3)
    folder, result, notes = desk.do(kind="invert", upload="face", styles=["disney"])
    assert [one["style"] for one in result.pictures] == ["aligned", "source", "disney"]
    assert result.facts["explained"] > .9
    assert np.abs(pixels(folder, result.pictures[1]).astype(int) - picture).mean() < 8
    assert {"projecting", "tuning", "drawing"} <= {note.stage for note in notes}
    _, edited, _ = desk.do(kind="edit", face=folder.name, target="happy face", offsets=[2], style="disney")
    assert [one["style"] for one in edited.pictures] == ["source", "disney"]
    with pytest.raises(Cancelled):
        desk.do(3, kind="invert", upload="face")
    with pytest.raises(UserError, match="no encoder for pets"):
        desk.task(kind="invert", upload="face", subject="pets")
    with pytest.raises(UserError, match="eyes .* swapped"):
        desk.do(kind="align", upload="face", eyes=[[40, 30], [24, 30]], mouth=[32, 46])


def shortened(task):
    """Return a task that learns in a few steps."""
    few = {"pairs": {"count": 4, "steps": 2, "batch": 2, "at_once": 4}, "scores": {"steps": 2, "batch": 2},
           "few_shot": {"steps": 2, "batch": 1}}
    teacher = task.config.teacher
    parts = {name: getattr(teacher, name).model_copy(update=values) for name, values in few.items()
             if getattr(teacher, name, None) is not None}
    run = task.config.run.model_copy(update={"sample_every": 1, "samples": 2})
    object.__setattr__(task, "config", task.config.model_copy(update={"teacher": teacher.model_copy(update=parts),
                                                                      "run": run}))
    return task


def test_a_style_is_learnt_by_words_and_kept_under_its_name(desk):
    task, heard = shortened(desk.task(kind="learn", words="cubism", name="my cubes")), Heard()
    assert task.config.generator.layers == load_run(ROOT / "B_weight/demo/09/config.yaml").generator.layers
    result = WORK["learn"](task, desk.models, Reporter(heard))
    choice = Catalogue(desk.settings).choices().style("portraits", "my cubes")
    assert choice.set == "kept" and choice.method == "teacher" and result.facts["words"] == "cubism"
    assert not (task.folder / "run").exists() and len(result.pictures) == 4
    stages = list(dict.fromkeys(note.stage for note in heard.notes))
    assert stages == ["loading", "redrawing", "pairs", "dds"]
    losses = [point for note in heard.notes for point in note.loss]
    assert [step for step, _ in losses] == [1, 2, 3, 4] and all(np.isfinite(value) for _, value in losses)
    fractions = [note.fraction for note in heard.notes]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    folder, drawn, _ = desk.do(kind="generate", styles=["my cubes"], seeds=[1])
    assert pixels(folder, drawn.pictures[1]).shape == (64, 64, 3)
    with pytest.raises(UserError, match="called 'My Cubes' already"):
        desk.task(kind="learn", words="disney", name="My Cubes")


def test_a_cancelled_style_leaves_nothing(desk):
    task = shortened(desk.task(kind="learn", words="disney", name="given up"))
    with pytest.raises(Cancelled):
        WORK["learn"](task, desk.models, Reporter(Heard(3)))
    assert not task.kept_as.exists() and not (task.folder / "run").exists()


def test_a_style_is_learnt_from_three_pictures(desk):
    shown = load_image(ROOT / "B_weight/demo/09/reference.png")
    for number in range(3):
        desk.uploads[f"p{number}"] = save_png(desk.root / f"p{number}.png", shown[:64, 64 * number:64 * number + 64])
    task = shortened(desk.task(kind="learn-pictures", name="three", uploads=["p0", "p1", "p2"]))
    heard = Heard()
    WORK["learn-pictures"](task, desk.models, Reporter(heard))
    assert Catalogue(desk.settings).choices().style("portraits", "three").method == "few-shot"
    assert list(dict.fromkeys(note.stage for note in heard.notes)) == ["loading", "lora", "redrawing", "pairs"]
    with pytest.raises(UserError, match="pets learn no style from pictures"):
        desk.task(kind="learn-pictures", name="x", subject="pets", uploads=["p0", "p1", "p2"])


@pytest.mark.parametrize("job, said", [
    ({"words": "cubismo"}, "nearly 'cubism'"),
    ({"words": "x", "subject": "birds"}, "no subject 'birds'")])
def test_words_that_cannot_be_learnt_are_told_before_anything_waits(desk, job, said):
    with pytest.raises(UserError, match=said):
        desk.task(kind="learn", name="new", **job)


def test_a_subject_without_a_teacher_says_so(tmp_path):
    asked = parse({"kind": "learn", "words": "cartoon", "name": "new", "subject": "pets", "method": "teacher"})
    with pytest.raises(UserError, match="pets have no teacher: choose nada or ipl"):
        plan_words(asked, Domain("pets", "demo:pets-generator", suite="demo_pets_clip"), tmp_path)


def test_words_that_the_clip_has_never_seen_are_refused(desk):
    with pytest.raises(UserError, match="never seen"):
        desk.do(kind="learn", words="zombie", name="undead")
