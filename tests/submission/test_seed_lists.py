"""Published lists of seeds are read in both of their forms, and every mistake is told with its line."""
from __future__ import annotations

import json

import pytest

from jittor_ipl import cli
from jittor_ipl.errors import UserError
from jittor_ipl.submission.seed_lists import read_seed_list


def test_both_forms_say_the_same(tmp_path):
    (tmp_path / "seed.txt").write_text("Ring, style00: 5\nCherry blossom, style01: 7\n\nRing, style00: 9\n"
                                       "A, B, style00: 1\n")
    (tmp_path / "seed_img.json").write_text(json.dumps({"0": [["Ring", 5], ["Ring", 9], ["A, B", 1]],
                                                        "1": [["Cherry blossom", 7]]}))
    expected = {"00": {"Ring": 9, "A, B": 1}, "01": {"Cherry blossom": 7}}
    assert read_seed_list(tmp_path / "seed.txt") == read_seed_list(tmp_path / "seed_img.json") == expected


@pytest.mark.parametrize("name, text, expected", [
    ("a.txt", "Ring: 5", "line 1: 'Ring: 5' is not of the form 'Ring, style00: 1724'"),
    ("a.txt", "Ring, style00: 5\nRing, style00: x", "line 2"), ("a.txt", "Ring, style00: 4294967296", "out of range"),
    ("a.txt", "", "names no picture"), ("a.txt", "../x, style00: 5", "style 00: the image name '../x'"),
    ("a.txt", "Ring, style00: 5\nring, style00: 6", "are one file where case is ignored"),
    ("a.json", "[]", "not a JSON object"), ("a.json", "{}", "names no picture"),
    ("a.json", '{"x": []}', "'x' is not of the form"), ("a.json", '{"0": {"Ring": 5}}', "'0' is not of the form"),
    ("a.json", '{"0": [["Ring"]]}', "style 0: ['Ring'] is not of the form"),
    ("a.json", '{"0": [["Ring", 1.5]]}', "not a whole number"), ("a.json", '{"0": [["Ring", -1]]}', "out of range"),
])
def test_a_malformed_list_is_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_seed_list(tmp_path / name)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_convert_writes_what_run_all_reads(tmp_path, workplace, capsys):
    (tmp_path / "seed.txt").write_text("Ring, style0: 5\nCat, style1: 7\n")
    assert cli.main(["convert", "seed.txt", "--to", "lists"]) == 0
    assert "seeds of 2 pictures in 2 styles" in capsys.readouterr().out
    assert cli.main(["convert", "seed.txt", "--to", "lists"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run_all(["--weights", "runs/tiny", "--seeds", "lists/seeds.json"]) == 0
    seeds = json.loads((workplace / "results/tiny/seeds.json").read_text())
    assert {number: plan["images"] for number, plan in seeds["styles"].items()} == {"00": {"Ring": 5}, "01": {"Cat": 7}}
