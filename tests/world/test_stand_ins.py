"""The demo world's networks in place of the score's: they rank as the real ones should, and never give the total."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.images.files import save_png
from jittor_ipl.metrics import competition
from jittor_ipl.runtime.streams import rng
from jittor_ipl.submission.candidates import cached, picture_score
from jittor_ipl.world.competition import UNSEEN, prompts_of, write_set
from jittor_ipl.world.judging.stand_ins import demo_scorers
from jittor_ipl.world.subjects import PORTRAITS

STYLE = "ukiyo-e"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Photos and pictures of the style for four prompts, beside the style's given ones: photo/00, true/00, data/00."""
    folder = tmp_path_factory.mktemp("stand-ins")
    write_set(folder / "all")
    (folder / "data").mkdir()
    (folder / "all/00").rename(folder / "data/00")
    for prompt, labels in list(prompts_of(UNSEEN.index(STYLE)).items())[:4]:
        face = PORTRAITS.table.sample(rng(5, "stand-ins"), 1)
        face |= {name: np.array([label]) for name, label in zip(PORTRAITS.table.values, labels) if label >= 0}
        for folder_name, style in (("photo", PORTRAITS.source), ("true", STYLE)):
            picture = np.moveaxis(PORTRAITS.render(PORTRAITS.table.settle(face), style), 1, -1)[0]
            save_png(folder / folder_name / "00" / f"{prompt}.png", picture)
    return folder


def test_pictures_of_the_style_score_higher_than_photos(pictures):
    scorers = demo_scorers(list(prompts_of(0)))
    found = {}
    for kind in ("photo", "true"):
        styles = competition.find_styles(pictures / kind, pictures / "data")
        parts = {part: getattr(competition, part)(styles, *needed) for part, needed in scorers.items()}
        found[kind] = competition.total({"clip_iqa": 0.0, **parts})
        print(kind, {part: round(value, 3) for part, value in parts.items()}, round(found[kind], 3))
        assert 0 < parts["fid"] < 20 and 0 <= parts["lpips"] <= 2
    assert found["true"] > 1.5 * found["photo"]


def test_of_two_candidates_the_one_in_the_style_wins_and_memory_changes_nothing(pictures):
    given, scorers = sorted((pictures / "data/00/images").iterdir()), demo_scorers(list(prompts_of(0)))
    remembered = cached(scorers)
    for picture in (pictures / "true/00").iterdir():
        scores = [picture_score(pictures / kind / "00" / picture.name, given, remembered) for kind in ("photo", "true")]
        assert scores[1] > scores[0]
    assert scores[1] == picture_score(picture, given, scorers)
    assert picture_score(picture, given, {"hist": ()}) > 0


def test_a_long_list_of_texts_is_remembered_and_few_pictures_are():
    """An embedding for LPIPS takes 8 MiB: those of every candidate of every style would be tens of GiB."""
    asked = []
    part, = cached({"part": (lambda given: asked.append(given) or len(asked),)})["part"]
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(200)]
    for given in [*pictures, *map(str, range(1000))] * 2:
        part(given)
    assert len(asked) == 1000 + 2 * 200
    assert part(pictures[-1]) == part(pictures[-1]) and len(asked) == 1000 + 2 * 200


def test_the_command_says_whose_networks_they_were(pictures, tmp_path, capsys):
    words = ["score", "--results", str(pictures / "true"), "--references", str(pictures / "data"), "--demo",
             "--json", str(tmp_path / "score.json")]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "demo total" in out and "withheld: missing: clip_iqa; the demo world's networks stand in for dino" in out
    report = json.loads((tmp_path / "score.json").read_text())
    assert report["total"] is None and 0 < report["demo_total"] < 1 and set(report["missing"]) == {"clip_iqa"}
    assert "clip_r" in report["parts"] and report["protocol"]["weights_sha256"] == {}
