"""`invert` from a photograph to styles, seeded, kept on a second call, and its errors before anything is written."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jittor_ipl.cli import main
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.inversion.inputs import read_all
from jittor_ipl.inversion.projection import Projection
from jittor_ipl.inversion.settings import settings_of
from jittor_ipl.inversion.tuning import Tuning
from jittor_ipl.metrics import networks
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.tuned import load_tuned
from jittor_ipl.world.drawing.attributes import LATENT_DIM
from jittor_ipl.world.subjects import PORTRAITS

RELEASE = Path(__file__).resolve().parents[2] / "B_weight" / "demo"
QUICK = ["--steps", "3", "--tune-steps", "2", "--encoder", "none"]


def portrait(path: Path, seed: int) -> Path:
    face = PORTRAITS.table.from_latent(z_from_seeds([seed], LATENT_DIM))
    return save_png(path, np.moveaxis(PORTRAITS.render(face, PORTRAITS.source)[0], 0, -1))


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["invert", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_photograph_comes_out_in_styles_and_is_kept(tmp_path: Path, capsys) -> None:
    photo = portrait(tmp_path / "ann.png", 4_000_000)
    words = [photo, *QUICK, "--styles", "disney,06", "--release", RELEASE, "--outdir", tmp_path / "out"]
    code, out, err = call(capsys, *words)
    assert code == 0, err
    folder = tmp_path / "out" / "ann"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert made == {"aligned.png", "reconstruction.png", "strip.png", "latents.npy", "latents.safetensors",
                    "report.json", "styles/00-disney.png", "styles/06-werewolf.png"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    rows = report["pictures"]["ann"]["distances"]
    assert list(rows) == ["projection", "tuning"] and set(rows["tuning"]) == {"lpips", "identity", "psnr"}
    assert "demo judge" in report["measured_by"]["lpips"] and "no LPIPS" in report["fitted_by"]
    assert np.array_equal(load_image(folder / "aligned.png"), load_image(photo))
    source = load_generator("demo:generator")
    tuned = load_tuned(folder / "latents.safetensors", source)
    assert tuned.names == ("ann",) and np.array_equal(tuned.latents, np.load(folder / "latents.npy"))
    assert inspect(folder / "latents.safetensors").networks[0].kind == "tuned-generator"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, _ = call(capsys, *words)
    assert code == 0 and "kept" in out and before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (folder / "styles" / "06-werewolf.png").write_bytes(b"")
    left = tmp_path / "out" / ".ann.making-1"
    left.mkdir()
    assert call(capsys, *words)[0] == 0 and load_image(folder / "styles" / "06-werewolf.png").shape == (64, 64, 3)
    assert not left.exists()


def test_the_shipped_encoder_knows_faces_of_its_world(tmp_path: Path, capsys, monkeypatch) -> None:
    """In a folder with nothing in it, without an option that names a network."""
    portrait(tmp_path / "ann.png", 4_000_005)
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "ann.png", "--steps", "0", "--tune-steps", "0", "--styles", "none")
    assert code == 0 and "B_weight" not in err, err
    report = json.loads(Path("inverted/ann/report.json").read_text(encoding="utf-8"))
    assert report["encoder"] == "demo:encoder" and list(report["seconds"]) == ["encoder"]
    facts = report["pictures"]["ann"]
    assert facts["distances"]["encoder"]["psnr"] > 25 and facts["verdict"] in out
    assert facts["verdict"].startswith("the generator knows such pictures")


def test_pictures_share_a_tuning(tmp_path: Path, capsys) -> None:
    for index in range(2):
        portrait(tmp_path / "in" / f"p{index}.png", 4_000_001 + index)
    words = [tmp_path / "in", *QUICK, "--styles", "none", "--together", "--outdir", tmp_path / "out"]
    code, out, err = call(capsys, *words)
    assert code == 0, err
    folder = tmp_path / "out" / "together"
    assert (folder / "p0" / "reconstruction.png").is_file() and (folder / "p1" / "aligned.png").is_file()
    assert load_tuned(folder / "latents.safetensors", load_generator("demo:generator")).names == ("p0", "p1")
    assert np.load(folder / "latents.npy").shape == (2, 10, LATENT_DIM)


def animated(path: Path) -> Path:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


def bad_pictures(folder: Path) -> dict[Path, str]:
    """Return pictures that nothing can be made of, each with what is said of it."""
    folder.mkdir(parents=True)
    Image.new("RGB", (12, 12)).save(folder / "tiny.png")
    Image.new("RGB", (64, 48)).save(folder / "wide.png")
    Image.new("1", (8000, 8000)).save(folder / "huge.png")
    (folder / "text.png").write_text("no picture")
    whole = portrait(folder / "whole.png", 4_000_003).read_bytes()
    (folder / "corrupt.png").write_bytes(whole[:len(whole) // 2])
    return {folder / "tiny.png": "too few", folder / "wide.png": "not square", folder / "huge.png": "at most",
            folder / "text.png": "text.png", folder / "corrupt.png": "damaged", folder / "absent.png": "cannot read"}


def test_bad_pictures_are_told_before_anything_is_written(tmp_path: Path, capsys) -> None:
    for path, message in bad_pictures(tmp_path / "bad").items():
        words = [path, *QUICK, "--styles", "none", "--align", "never", "--outdir", tmp_path / "out"]
        code, _, err = call(capsys, *words)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1, (path, err)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_odd_pictures_are_read_as_people_see_them(tmp_path: Path) -> None:
    upright = load_image(portrait(tmp_path / "face.png", 4_000_004))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright).convert("L").save(tmp_path / "grey.png")
    clear = Image.fromarray(upright).convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    Image.fromarray(upright).resize((40, 40)).save(tmp_path / "small.png")
    files = [tmp_path / f"{name}.png" for name in ("turned", "grey", "clear", "small")]
    read, _ = read_all([*files, animated(tmp_path / "moving.webp")], 64, "auto", None, skip_bad=False)
    found, notes = {name: one.pixels for name, one in read.items()}, sum((one.remarks for one in read.values()), ())
    assert np.array_equal(found["turned"], upright) and np.ptp(found["grey"], axis=2).max() == 0
    assert (found["clear"] == 255).all() and np.abs(found["moving"][..., 0].astype(int) - 255).max() < 9
    assert all(any(words in note for note in notes) for words in ("are white", "enlarged", "upright", "animation"))


def test_a_face_is_cut_out_where_it_is_said_to_be(tmp_path: Path, capsys) -> None:
    portrait(tmp_path / "face.png", 4_000_004)
    wide = np.full((96, 160, 3), 200, np.uint8)
    wide[16:80, 60:124] = load_image(tmp_path / "face.png")
    photo = save_png(tmp_path / "wide.png", wide)
    words = [photo, *QUICK, "--styles", "none", "--outdir", tmp_path / "o"]
    code, _, err = call(capsys, *words, "--eyes", "81,50,103,50", "--mouth", "92,66")
    assert code == 0, err
    report = json.loads((tmp_path / "o" / "wide" / "report.json").read_text(encoding="utf-8"))
    assert report["pictures"]["wide"]["alignment"]["found_by"] == "given"
    assert load_image(tmp_path / "o" / "wide" / "aligned.png").shape == (64, 64, 3)


@pytest.mark.parametrize(("words", "message"), [
    (["--styles", "disny"], "did you mean 'disney'"), (["--release", "nowhere"], "no folder"),
    (["--weights", "demo:pets-generator"], "was adapted from demo:generator"),
    (["--encoder", "demo:generator"], "network is expected"), (["--steps", "-1"], "--steps"),
    (["--steps", "0", "--encoder", "none", "--styles", "none"], "without an encoder"),
    (["--seed", "-3"], "out of range")])
def test_mistakes_of_a_call(tmp_path: Path, capsys, words: list[str], message: str) -> None:
    photo = portrait(tmp_path / "ann.png", 4_000_000)
    given = [] if "--release" in words else ["--release", RELEASE]
    code, _, err = call(capsys, photo, *given, *words, "--outdir", tmp_path / "out")
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1, err


def test_two_pictures_of_one_name_are_refused(tmp_path: Path, capsys) -> None:
    photos = [portrait(tmp_path / folder / "ann.png", 4_000_000) for folder in ("a", "b")]
    code, _, err = call(capsys, *photos, "--styles", "none", "--outdir", tmp_path / "out")
    assert code == 2 and "are both called 'ann'" in err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("no")
    words = [photos[0], tmp_path / "bad" / "x.png", *QUICK, "--styles", "none", "--outdir", tmp_path / "out"]
    code, out, err = call(capsys, *words, "--skip-bad")
    assert code == 0 and "left out" in err and (tmp_path / "out" / "ann" / "report.json").is_file()


def test_settings_are_the_published_ones_but_for_small_generators() -> None:
    large, small = (settings_of(size, False) for size in (1024, 64))
    assert (large[0].steps, large[0].lr, large[0].noise) == (450, .01, .05)
    assert (large[1].steps, large[1].lr, large[1].stop) == (350, 3e-4, .06)
    assert small[0].steps < large[0].steps and small[1].steps < large[1].steps
    assert settings_of(64, True)[0].noise == 0, "an encoder's code is a place to stay near"
    assert settings_of(64, False, given={"steps": None})[0] == small[0], "what is None is not given"
    given = settings_of(64, False, maps=True, seed=4, given={"steps": 7, "lr": .2, "space": "w+", "tune_steps": 8,
                                                             "tune_lr": .5, "tune_parts": "synthesis", "stop": .1,
                                                             "locality": 2.0})
    assert given == (Projection("w+", 7, .2, .05, maps=True, seed=4),
                     Tuning(8, .5, parts="synthesis", stop=.1, locality=2.0, distance=5.0, seed=4))


def test_one_lpips_leads_and_measures(tmp_path: Path, capsys, monkeypatch) -> None:
    random = np.random.default_rng(2)
    write_safetensors(tmp_path / "lpips.safetensors", {
        name: np.abs(.2 * random.standard_normal(tuple(var.shape))).astype(np.float32)
        for name, var in named_tensors(Lpips("squeeze")).items()}, {})
    loaded, load = [], networks.load_lpips
    monkeypatch.setattr(networks, "load_lpips", lambda *what: loaded.append(what) or load(*what))
    monkeypatch.setattr("jittor_ipl.weights.features.load_lpips", networks.load_lpips)
    code, _, err = call(capsys, portrait(tmp_path / "ann.png", 4_000_000), *QUICK, "--styles", "none", "--lpips",
                        tmp_path / "lpips.safetensors", "--outdir", tmp_path / "out")
    assert code == 0, err
    report = json.loads((tmp_path / "out" / "ann" / "report.json").read_text(encoding="utf-8"))
    assert len(loaded) == 1 and "squeeze" in report["measured_by"]["lpips"] and "LPIPS" in report["fitted_by"]
