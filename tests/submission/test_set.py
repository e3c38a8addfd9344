"""From runs to pictures, to a release, and back: the same seed gives the same pixels, and any change is noticed."""
from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.disk.integrity import file_sha256, write_sealed
from jittor_ipl.images.files import load_image, save_png

RUNS = ["--weights", "runs/tiny"]


def pixels(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(load_image(path).tobytes()).hexdigest()
            for path in sorted(folder.rglob("*.png"))}


def test_run_all_writes_every_picture_once_and_says_so(workplace, capsys):
    assert cli.run_all(RUNS) == 0
    found = pixels(workplace / "results/tiny")
    assert list(found) == [f"{number}/seed{seed:04d}.png" for number in ("00", "01") for seed in range(5)]
    assert len(set(found.values())) == 10
    manifest = json.loads((workplace / "results/tiny/manifest.json").read_text())
    assert set(manifest["files"]) == {*found, "seeds.json"}
    seeds = json.loads((workplace / "results/tiny/seeds.json").read_text())
    assert seeds["styles"]["01"]["images"]["seed0003"] == 3
    assert "10 pictures made, 0 kept" in capsys.readouterr().out


def test_pixels_do_not_depend_on_batch_order_or_workers(workplace):
    (workplace / "mixed.json").write_text(json.dumps({f"seed{s:04d}": s for s in (4, 0, 3, 1, 2)}))
    assert cli.run_all([*RUNS, "--batch", "1", "--output", "a"]) == 0
    assert cli.run_all([*RUNS, "--batch", "5", "--output", "b", "--seeds", "mixed.json"]) == 0
    assert cli.run_all([*RUNS, "--batch", "3", "--output", "c", "--workers", "2"]) == 0
    assert pixels(workplace / "a/tiny") == pixels(workplace / "b/tiny") == pixels(workplace / "c/tiny")


def test_a_second_build_keeps_what_is_whole_and_mends_the_rest(workplace, capsys):
    cli.run_all(RUNS)
    folder = workplace / "results/tiny"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "00/seed0001.png").write_bytes(b"cut off")
    (folder / "01/seed0002.png").unlink()
    assert cli.run_all(RUNS) == 0
    assert "2 pictures made, 8 kept" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_settings_are_not_mistaken_for_the_old_ones(workplace, capsys):
    cli.run_all([*RUNS, "--seeds", "0-1"])
    cli.run_all([*RUNS, "--seeds", "1,2"])
    assert "2 pictures made, 2 kept" in capsys.readouterr().out
    assert sorted(path.name for path in (workplace / "results/tiny/00").iterdir()) == ["seed0001.png", "seed0002.png"]


def test_one_style_leaves_the_other_one_recorded(workplace):
    cli.run_all(RUNS)
    assert cli.run_all([*RUNS, "--style", "disney", "--seeds", "7"]) == 0
    assert len(json.loads((workplace / "results/tiny/manifest.json").read_text())["files"]) == 7
    assert cli.verify(RUNS) == 0


def test_styles_by_a_list_and_by_number(workplace, capsys):
    assert cli.run_all([*RUNS, "--styles", "00,anime painting"]) == 0 and cli.run_all([*RUNS, "--styles=01"]) == 0
    out = capsys.readouterr().out
    assert "10 pictures made, 0 kept" in out and "0 pictures made, 5 kept" in out
    assert cli.verify([*RUNS, "--styles", "anime painting", "--style", "disney"]) == 0
    assert "10 pictures agree" in capsys.readouterr().out


def test_the_archive_depends_only_on_the_pictures(workplace):
    cli.run_all([*RUNS, "--zip"])
    first = (workplace / "results/tiny.zip").read_bytes()
    shutil.rmtree(workplace / "results")
    cli.run_all([*RUNS, "--zip", "again.zip", "--batch", "2"])
    assert (workplace / "again.zip").read_bytes() == first


def test_verify_of_runs_needs_their_record_and_then_agrees(workplace, capsys):
    assert cli.verify(RUNS) == 2
    assert "python run_all.py" in capsys.readouterr().err
    cli.run_all(RUNS)
    assert cli.verify([*RUNS, "--json", "proof.json"]) == 0
    assert "10 pictures agree, 10 of them bit for bit" in capsys.readouterr().out
    assert json.loads((workplace / "proof.json").read_text())["tiny"]["reproducible"] == {"00": True, "01": True}


@pytest.fixture
def released(workplace) -> Path:
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0
    return workplace / "B_weight/tiny"


def test_a_release_is_small_whole_and_proves_itself(released, work, capsys):
    assert sorted(path.name for path in released.iterdir()) == ["00", "01", "manifest.json", "seeds.json"]
    assert sorted(path.name for path in (released / "00").iterdir()) == ["config.yaml", "reference.png",
                                                                         "weights.safetensors"]
    assert (released / "00/weights.safetensors").stat().st_size < 0.6 * (work / "source.safetensors").stat().st_size
    assert not list(released.parent.glob(".release*"))
    assert cli.verify([]) == 0
    assert "10 pictures agree, 10 of them bit for bit" in capsys.readouterr().out
    assert cli.verify(["--sample", "3"]) == 0
    assert "3 pictures agree" in capsys.readouterr().out


def test_what_a_killed_release_left_is_no_suite(released, capsys):
    shutil.copytree(released, released.parent / ".release-killed.tmp")
    assert cli.verify(["--sample", "1"]) == 0
    assert capsys.readouterr().out.count("agree") == 1


def test_releases_of_the_same_runs_are_the_same_bytes(released):
    before = {path: path.read_bytes() for path in released.rglob("*") if path.is_file()}
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0
    assert {path: path.read_bytes() for path in released.rglob("*") if path.is_file()} == before


def test_run_all_makes_the_released_pictures_from_the_release(released):
    assert cli.run_all(["--weights", "B_weight/tiny"]) == 0
    made = json.loads((released.parent.parent / "results/tiny/manifest.json").read_text())["styles"]["00"]["pixels"]
    assert made == json.loads((released / "manifest.json").read_text())["styles"]["00"]["pixels"]


@pytest.mark.parametrize("name", ["00/weights.safetensors", "01/reference.png", "00/config.yaml", "seeds.json"])
def test_a_changed_file_is_a_difference(released, name, capsys):
    path = released / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1  # inside the last value of every one of these formats, so that JSON and YAML may stay readable
    path.write_bytes(data)
    code = cli.verify([])
    out = capsys.readouterr()
    assert code in (1, 2) and name.split("/")[-1] in out.out + out.err


def test_a_missing_file_is_a_difference(released, capsys):
    (released / "01/weights.safetensors").unlink()
    assert cli.verify([]) == 1
    assert "missing" in capsys.readouterr().out


def other_machine(manifest: Path) -> dict:
    content = json.loads(manifest.read_text())
    content["fingerprint"]["cpu_isa"] = "another"
    forge(manifest, content)
    return content


def forge(manifest: Path, content: dict) -> None:
    """Write a changed manifest with a SHA-256 of its own that fits."""
    write_sealed(manifest, {key: value for key, value in content.items() if key != "sha256"})


def forge_reference(released: Path, change) -> None:
    """Pretend that another machine made slightly other pixels for style 00, with hashes to match."""
    content = other_machine(released / "manifest.json")
    path = released / "00/reference.png"
    sheet = load_image(path).astype(int)
    save_png(path, np.clip(change(sheet), 0, 255).astype(np.uint8))
    content["files"]["00/reference.png"] = file_sha256(path)
    content["styles"]["00"]["pixels"] = {name: "0" * 64 for name in content["styles"]["00"]["pixels"]}
    forge(released / "manifest.json", content)


def sprinkled(sheet: np.ndarray) -> np.ndarray:
    """Move every tenth value by one level, as other instruction sets do."""
    return sheet + (np.arange(sheet.size).reshape(sheet.shape) % 10 == 0) * np.where(sheet < 128, 1, -1)


def test_another_machine_may_differ_by_a_level_here_and_there(released, capsys):
    forge_reference(released, sprinkled)
    assert cli.verify([]) == 0
    assert "10 pictures agree, 5 of them bit for bit (another machine" in capsys.readouterr().out


def test_another_machine_may_not_differ_by_more(released, capsys):
    forge_reference(released, lambda sheet: sheet + np.where(sheet < 128, 3, -3))
    assert cli.verify([]) == 1
    out = capsys.readouterr().out
    assert out.count("largest difference 3/255") == 5 and "tiny/00/seed0000" in out


def test_another_machine_cannot_decide_on_a_hash_alone(released, capsys):
    forge_reference(released, sprinkled)
    content = json.loads((released / "manifest.json").read_text())
    content["styles"]["00"]["references"] = 2
    forge(released / "manifest.json", content)
    assert cli.verify([]) == 0
    out = capsys.readouterr().out
    assert "7 pictures agree, 5 of them" in out and "3 pictures were not decided" in out


def test_on_the_same_machine_one_level_is_a_difference(released, capsys):
    forge_reference(released, sprinkled)
    from jittor_ipl.runtime.device import fingerprint
    content = json.loads((released / "manifest.json").read_text())
    content["fingerprint"] = fingerprint()
    forge(released / "manifest.json", content)
    assert cli.verify([]) == 1
    assert "not bit for bit: largest difference 1/255" in capsys.readouterr().out


def test_a_release_that_would_be_too_large_leaves_the_old_one(released, capsys):
    before = (released / "manifest.json").read_bytes()
    assert cli.main(["release", "--runs", "runs/tiny", "--limit-mib", "0.001"]) == 2
    assert "--limit-mib" in capsys.readouterr().err
    assert (released / "manifest.json").read_bytes() == before


def test_generate_makes_the_pictures_of_the_set(workplace, released):
    cli.run_all(["--weights", "B_weight/tiny"])
    for weights in (["B_weight/tiny/01"], ["B_weight/tiny", "--style", "anime painting"]):
        assert cli.main(["generate", "--weights", *weights, "--seeds", "2,4", "--outdir", "out"]) == 0
        for seed in (2, 4):
            ours, theirs = (load_image(workplace / folder / f"seed{seed:04d}.png")
                            for folder in ("out", "results/tiny/01"))
            assert (ours == theirs).all()


def test_generate_options_change_what_they_say(workplace, work):
    def make(*options: str) -> np.ndarray:
        assert cli.main(["generate", "--network", str(work / "source.safetensors"), "--seeds=1", "--outdir=out",
                         *options]) == 0
        return load_image(workplace / "out/seed0001.png")
    plain = make("--trunc=1")
    assert (plain == make("--truncation_psi", "1.0")).all()
    assert not (plain == make("--trunc=0.5")).all()
    random = make("--trunc=1", "--noise-mode=random")
    assert (random == make("--trunc=1", "--noise_mode", "random", "--batch", "1")).all()


def test_summary_shows_unfinished_styles_and_draws_the_sheet(workplace, work, capsys):
    cli.run_all(RUNS)
    assert cli.main(["summary", "--config", str(work / "suite.yaml"), "--sheet", "sheet.png"]) == 0
    out = capsys.readouterr().out
    assert "anime painting" in out and "not finished" in out
    assert load_image(workplace / "sheet.png").shape[0] >= 3 * 16


def proven(capsys, *options: str) -> dict[str, bool | None]:
    """Return what `summary` says of each style's pictures, after what was told before."""
    capsys.readouterr()
    assert cli.main(["summary", "--config", "suite.yaml", "--json", *options]) == 0
    return {row["style"]: row["reproducible"] for row in json.loads(capsys.readouterr().out)}


def test_summary_shows_the_proof_that_lies_with_the_pictures(workplace, work, capsys):
    (workplace / "runs").unlink()
    shutil.copytree(work / "runs", workplace / "runs")
    shutil.copy(work / "suite.yaml", workplace)
    for run in (workplace / "runs/tiny").iterdir():
        write_sealed(run / "report.json", {})
    unknown = {"disney": None, "anime painting": None}
    cli.run_all(RUNS)
    assert proven(capsys) == unknown
    assert cli.verify([*RUNS, "--json", "results/tiny/verified.json"]) == 0
    assert proven(capsys) == {"disney": True, "anime painting": True}
    cli.run_all(RUNS)       # all are kept, and so is what was proven of them
    assert proven(capsys) == {"disney": True, "anime painting": True}
    shutil.copy("results/tiny/verified.json", "kept.json")
    (workplace / "results/tiny/01/seed0002.png").unlink()
    cli.run_all(RUNS)
    assert proven(capsys) == unknown
    assert proven(capsys, "--verified", "kept.json") == {"disney": True, "anime painting": True}
    (workplace / "kept.json").write_text((workplace / "kept.json").read_text().replace('"tiny"', '"other"'))
    assert proven(capsys, "--verified", "kept.json") == unknown      # another suite's styles have the same numbers


@pytest.mark.parametrize("content, told", [(None, "there is no file 'proof.json'"), ("[]", "not a JSON object"),
                                           ('{"tiny": {"agree": 3}}', "is not what test.py --json writes")])
def test_a_proof_that_is_none_is_told(workplace, work, capsys, content, told):
    if content is not None:
        (workplace / "proof.json").write_text(content)
    assert cli.main(["summary", "--config", str(work / "suite.yaml"), "--verified", "proof.json"]) == 2
    assert told in capsys.readouterr().err


MISTAKES = {
    "seed over the range": (["--seeds", "4294967296"], "out of range"),
    "seeds that are no list": (["--seeds", "1..3"], "1..3"),
    "missing folder": (["--weights", "runs/tinny"], "did you mean 'tiny'"),
    "unknown style": (["--style", "disny"], "did you mean 'disney'"),
    "unknown option": (["--worker", "2"], "did you mean '--workers'"),
    "batch of none": (["--batch", "0"], "whole number from 1 on"),
    "name that climbs": ({"../evil": 1}, "output folder"),
    "name with a slash": ({"a/b": 1}, "output folder"),
    "name with a NUL": ({"a\0b": 1}, "control character"),
    "name that is too long": ({"é" * 126: 1}, "252 bytes"),
    "names that differ in case": ({"Cat": 1, "cat": 2}, "one file"),
    "negative seed": ({"cat": -1}, "out of range"),
    "seed that is text": ({"cat": "1"}, "not a whole number"),
    "no names": ({"00": {}}, "names no image"),
}


@pytest.mark.parametrize("given, told", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_leaves_nothing(workplace, capsys, given, told):
    if isinstance(given, dict):
        (workplace / "names.json").write_text(json.dumps(given))
        given = ["--seeds", "names.json"]
    assert cli.run_all([*RUNS, *given]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not (workplace / "results").exists() or not list((workplace / "results").rglob("*.png"))


def test_a_file_where_the_results_belong_is_told(workplace, capsys):
    (workplace / "results").write_text("in the way")
    assert cli.run_all(RUNS) == 2
    assert "results" in capsys.readouterr().err


def test_a_disk_that_fills_up_is_one_line_and_leaves_no_part(workplace, capsys, monkeypatch):
    whole, written = os.replace, []

    def full(source, target):
        written.append(target)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        whole(source, target)
    monkeypatch.setattr(os, "replace", full)
    assert cli.run_all(RUNS) == 2
    error = capsys.readouterr().err
    assert "No space left" in error and error.count("\n") == 1
    assert sorted(path.name for path in (workplace / "results/tiny").rglob("*")
                  if path.is_file()) == ["seed0000.png", "seed0001.png"]
    monkeypatch.setattr(os, "replace", whole)
    assert cli.run_all(RUNS) == 0 and cli.verify(RUNS) == 0


def test_an_interrupted_change_of_seeds_takes_no_old_picture_for_a_new_one(workplace, monkeypatch):
    def make(seed: int, output: str = "results") -> int:
        (workplace / "names.json").write_text(json.dumps({"a": seed}))
        return cli.run_all([*RUNS, "--seeds", "names.json", "--output", output])
    assert make(1) == 0 and make(2, "fresh") == 0
    whole, written = os.replace, []

    def full(source, target):
        written.append(Path(target).relative_to("results/tiny").as_posix())
        if written[-1] == "01/a.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        whole(source, target)
    monkeypatch.setattr(os, "replace", full)
    assert make(2) == 2 and written == ["00/a.png", "seeds.json", "manifest.json", "01/a.png"]
    monkeypatch.setattr(os, "replace", whole)
    assert make(2) == 0 and pixels(workplace / "results/tiny") == pixels(workplace / "fresh/tiny")


def test_prompts_may_name_the_pictures(workplace):
    (workplace / "names.json").write_text(json.dumps({"00": {"a girl, smiling": 5}, "01": {"ein Mädchen": 6}}))
    assert cli.run_all([*RUNS, "--seeds", "names.json"]) == 0
    assert list(pixels(workplace / "results/tiny")) == ["00/a girl, smiling.png", "01/ein Mädchen.png"]


def test_a_link_out_of_the_results_is_refused(workplace, capsys):
    (workplace / "results/tiny").mkdir(parents=True)
    (workplace / "elsewhere").mkdir()
    (workplace / "results/tiny/00").symlink_to(workplace / "elsewhere")
    assert cli.run_all(RUNS) == 2
    assert "leaves" in capsys.readouterr().err and not list((workplace / "elsewhere").iterdir())
