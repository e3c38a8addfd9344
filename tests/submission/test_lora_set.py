"""A suite of LoRA from pictures to a proven release, on a tiny random base model; mistakes stop one style alone."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from fixture_files import unpack

from jittor_ipl import cli
from jittor_ipl.config import load_lora_suite
from jittor_ipl.diffusion.competition_data import read_style
from jittor_ipl.diffusion.train_style import train_style
from jittor_ipl.disk.layout import FEATURE, LORA, MEAN, SHOWN
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.submission.produce import weight_hashes
from jittor_ipl.submission.sets import open_set
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.diffusion import shared_diffusion

SUITE = """
suite: tiny
method: lora
base: pipeline
data: data
captions: {base: "{description} {style}"}
lora: {rank: 2, steps: 2, lr_unet: 1e-2, lr_text: 1e-2, unet_targets: [to_q, to_out.0, conv1]}
sample: {steps: 2, guidance: 2.0}
run: {sample_every: 2, samples: 1, checkpoint_every: 1, tensorboard: false}
styles:
  - waves
  - name: dots
    lora: {feature: {on: true}, prior: {weight: 0.5, pictures: 2}}
    sample: {start: mean, aligned: true, style_id: {on: true, steps: 2}}
"""
RUNS = ["--weights", "runs/tiny"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with the base model, suite.yaml, the data of two styles and their finished runs."""
    folder = tmp_path_factory.mktemp("lora")
    shutil.move(unpack(tmp_path_factory.mktemp("fixtures"), "diffusion") / "pipeline", folder)
    (folder / "suite.yaml").write_text(SUITE)
    random = np.random.default_rng(0)
    for number in range(2):
        for name in ("a_dog", "Cherry_blossom"):
            save_png(folder / f"data/{number:02d}/images/{name}.png",
                     random.integers(0, 255, (20, 24, 3)).astype(np.uint8))
        (folder / f"data/{number:02d}/prompt.json").write_text('{"0": "Ring", "1": "a cat, asleep"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["dreambooth", "--config", "suite.yaml"]) == 0
    return folder


@pytest.fixture
def lora(trained, tmp_path, monkeypatch) -> Path:
    """A fresh current folder with all that, to be changed at will."""
    shared_diffusion.cache_clear()      # by its name, which is the same in every folder
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_folder_holds_what_its_pictures_need(lora):
    assert (lora / "runs/tiny/00-waves" / LORA).is_file() and not (lora / "runs/tiny/00-waves" / FEATURE).exists()
    folder = lora / "runs/tiny/01-dots"
    assert all((folder / name).is_file() for name in (LORA, FEATURE, MEAN, "report.json", "samples/000000.png"))
    assert load_image(folder / MEAN).shape == (16, 16, 3)
    assert [path.name for path in (folder / SHOWN).iterdir()] == ["Cherry blossom.png"]
    tensors, metadata = read_safetensors(folder / LORA)
    assert metadata["base_sha256"] == json.loads((folder / "report.json").read_text())["base_sha256"]
    assert {name.split(".")[0] for name in tensors} == {"unet", "text_encoder"}


def test_finished_runs_are_kept_and_changed_ones_begin_anew(lora, capsys):
    before = files(lora / "runs")
    assert cli.main(["dreambooth", "--config", "suite.yaml"]) == 0
    assert capsys.readouterr().out.count("finished before") == 2 and files(lora / "runs") == before
    (lora / "data/00/images/a_dog.png").rename(lora / "data/00/images/a_cat.png")
    assert cli.main(["dreambooth", "--config", "suite.yaml"]) == 0
    assert capsys.readouterr().out.count("finished before") == 1
    assert files(lora / "runs/tiny/00-waves")[LORA] != before[f"tiny/00-waves/{LORA}"]


def test_a_run_that_begins_anew_says_so_and_the_place_of_the_base_is_no_setting(lora, capsys):
    dreambooth = ["dreambooth", "--config", "suite.yaml", "--style", "waves"]
    (lora / "pipeline").rename(lora / "moved")
    assert cli.main([*dreambooth, "--set", "base=moved"]) == 0
    assert "finished before" in capsys.readouterr().out
    assert cli.main([*dreambooth, "--set", "base=moved", "--set", "lora.seed=9"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "begins anew" in line]
    assert len(lines) == 1 and "00-waves begins anew, its settings or the files it reads have changed" in lines[0]


def test_an_interrupted_style_is_named_and_can_be_restarted(lora, capsys, monkeypatch):
    run = load_lora_suite(lora / "suite.yaml").runs()[0]
    folder, data = lora / "runs/tiny" / run.folder, read_style(lora / "data", 0, "waves")
    shutil.rmtree(folder)

    def broken(*args, **settings):
        raise UserError("the loss is not finite")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="not finite"):
        patch.setattr("jittor_ipl.diffusion.train_style.train_lora", broken)
        train_style(run, data, folder)
    assert open_set(lora / "runs/tiny").missing == ("00-waves",)
    assert cli.run_all([*RUNS, "--zip"]) == 0
    assert "skipped: 00-waves is not finished" in capsys.readouterr().err
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints/old").write_text("")
    assert cli.main(["dreambooth", "--config", "suite.yaml", "--style", "waves", "--restart"]) == 0
    assert "00-waves begins anew, as asked" in capsys.readouterr().err
    assert not (folder / "checkpoints/old").exists() and open_set(lora / "runs/tiny").missing == ()


def test_a_list_of_seeds_keeps_every_prompt(lora, capsys):
    (lora / "some.json").write_text('{"00": {"Ring": 1724}}')
    found = open_set(lora / "runs/tiny", "some.json")
    assert [dict(entry.plan.images) for entry in found.entries] == [
        {"Ring": 1724, "a cat, asleep": 1}, {"Ring": 0, "a cat, asleep": 1}]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "1 of 2 prompts of 00 waves, which keep theirs: 'a cat, asleep'" in told[0]
    assert "2 of 2 prompts of 01 dots" in told[1]
    (lora / "some.json").write_text('{"Ring": 5, "a cat, asleep": 6}')
    assert [entry.plan.images["Ring"] for entry in open_set(lora / "runs/tiny", "some.json").entries] == [5, 5]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("content, told", [
    (None, "a LoRA's pictures have prompts: give a JSON file"),
    ('{"00": {"Rings": 5}}', "00 waves has no prompt 'Rings' (did you mean 'Ring'?)"),
    ('{"07": {"Ring": 5}}', "names none of the styles")])
def test_seeds_of_no_prompt_are_refused(lora, content, told, capsys):
    (lora / "some.json").write_text(content or "")
    assert cli.run_all([*RUNS, "--seeds", "some.json" if content else "0-9"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1 and told in error[0] and not (lora / "results").exists()


def test_a_rerun_and_one_that_was_interrupted_give_the_same_bits(lora):
    run = load_lora_suite(lora / "suite.yaml").runs()[0]
    data, before = read_style(lora / "data", 0, "waves"), files(lora / "runs/tiny/00-waves")
    train_style(run, data, lora / "again")
    assert (lora / "again" / LORA).read_bytes() == before[LORA]
    halfway = lora / "runs/tiny/00-waves"
    shutil.rmtree(halfway / "checkpoints/lora/checkpoint-00000002")
    for name in (LORA, "report.json"):
        (halfway / name).unlink()
    train_style(run, data, halfway)
    assert (halfway / LORA).read_bytes() == before[LORA]
    for step in (0, 2):
        assert (halfway / f"samples/{step:06d}.png").read_bytes() == before[f"samples/{step:06d}.png"]


def test_looking_at_samples_changes_no_bit(lora):
    suite = load_lora_suite(lora / "suite.yaml", ["run.samples=0"])
    for run in suite.runs():
        train_style(run, read_style(lora / "data", run.number, run.style), lora / "unseen" / run.folder)
        assert not list((lora / "unseen" / run.folder).glob("samples/*"))
        for name in (LORA, FEATURE):
            made, seen = lora / "unseen" / run.folder / name, lora / "runs/tiny" / run.folder / name
            assert made.is_file() == seen.is_file() and (not made.is_file() or made.read_bytes() == seen.read_bytes())


def test_a_sample_of_the_training_is_the_picture_of_the_set(lora):
    """The grid has a border of two pixels around its one picture."""
    assert cli.run_all(RUNS) == 0
    for number, folder in (("00", "00-waves"), ("01", "01-dots")):
        sample = load_image(lora / "runs/tiny" / folder / "samples/000002.png")[2:-2, 2:-2]
        assert (sample == load_image(lora / "results/tiny" / number / "Ring.png")).all()


def test_pictures_are_named_by_prompts_kept_proved_and_packed(lora, capsys):
    assert cli.run_all([*RUNS, "--zip"]) == 0
    names = [f"{number}/{name}.png" for number in ("00", "01") for name in ("Ring", "a cat, asleep")]
    assert sorted(name for name in files(lora / "results/tiny") if name.endswith(".png")) == names
    seeds = json.loads((lora / "results/tiny/seeds.json").read_text())["styles"]
    assert seeds["01"]["images"] == {"Ring": 0, "a cat, asleep": 1}
    assert seeds["00"]["recipe"]["caption"] == "{}, style_00" and seeds["00"]["source"] == "pipeline"
    assert cli.run_all([*RUNS, "--zip", "again.zip"]) == 0
    assert "0 pictures made, 4 kept" in capsys.readouterr().out
    assert (lora / "again.zip").read_bytes() == (lora / "results/tiny.zip").read_bytes()
    assert cli.run_all([*RUNS, "--style", "dots", "--output", "alone"]) == 0
    assert files(lora / "alone/tiny/01") == files(lora / "results/tiny/01")
    assert cli.verify([*RUNS, "--json", "proof.json"]) == 0
    assert json.loads((lora / "proof.json").read_text())["tiny"]["reproducible"] == {"00": True, "01": True}


def test_a_release_proves_itself_and_has_cards(lora, capsys):
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0
    released = lora / "B_weight/tiny"
    assert {path.name for path in (released / "01").iterdir()} == {
        "config.yaml", "reference.png", "README.md", LORA, FEATURE, MEAN, SHOWN}
    assert read_safetensors(released / "01" / LORA)[0].popitem()[1].dtype == np.float16
    assert cli.verify([]) == 0
    assert "4 pictures agree, 4 of them bit for bit" in capsys.readouterr().out
    before = files(released)
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0 and files(released) == before
    head = yaml.safe_load((released / "01/README.md").read_text().split("---\n")[1])
    assert head["base_model"] == "pipeline" and head["instance_prompt"] == "style_01"
    assert head["license"] and head["library_name"] == "diffusers" and "lora" in head["tags"]
    assert head["widget"][0]["text"] == "Ring, style_01"


@pytest.mark.parametrize("name", [f"00/{LORA}", f"01/{FEATURE}", f"01/{MEAN}",
                                  f"01/{SHOWN}/Cherry blossom.png", "00/README.md"])
def test_a_changed_or_missing_file_of_a_release_is_a_difference(lora, name, capsys):
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0
    path = lora / "B_weight/tiny" / name
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    assert cli.verify([]) == 1 and f"{name}: changed" in capsys.readouterr().out
    path.unlink()
    assert cli.verify([]) == 1 and f"{name}: missing" in capsys.readouterr().out


def test_a_changed_base_model_is_a_difference(lora, capsys):
    cli.run_all(RUNS)
    change_base(lora)
    assert cli.verify(RUNS) == 1
    assert "pipeline: changed: SHA-256" in capsys.readouterr().out


def change_base(folder: Path) -> None:
    path = folder / "pipeline/vae/diffusion_pytorch_model.safetensors"
    tensors, metadata = read_safetensors(path)
    write_safetensors(path, {**tensors, "decoder.conv_out.bias": tensors["decoder.conv_out.bias"] + 1}, metadata)


def test_a_lora_of_another_base_is_refused(lora, capsys):
    change_base(lora)
    assert cli.run_all(RUNS) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "was trained on another base model" in error


def test_the_base_alone_stands_beside(lora, capsys):
    assert cli.run_all([*RUNS, "--base"]) == 0
    seeds = json.loads((lora / "results/tiny-base/seeds.json").read_text())["styles"]
    assert seeds["01"]["recipe"]["caption"] == "{} dots" and seeds["01"]["recipe"]["start"] == "noise"
    assert not seeds["01"]["recipe"]["aligned"] and not seeds["01"]["recipe"]["style_id"]["on"]
    cli.run_all(RUNS)
    assert cli.main(["summary", "--config", "suite.yaml", "--sheet", "sheet.png"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in table if " LoRA " in line or " base " in line] == [
        ["waves", "LoRA"], ["waves", "base"], ["dots", "LoRA"], ["dots", "base"]]
    assert load_image(lora / "sheet.png").shape[0] > 6 * 16


def test_styles_without_a_picture_have_no_sheet(lora, capsys):
    assert cli.run_all([*RUNS, "--style", "waves"]) == 0
    assert cli.main(["summary", "--config", "suite.yaml", "--style", "dots", "--sheet", "sheet.png"]) == 2
    assert "holds no picture of dots; make them with run_all.py" in capsys.readouterr().err
    shutil.rmtree(lora / "data/01")
    assert cli.main(["train-all", "--config", "suite.yaml", "--styles", "dots"]) == 1
    error = capsys.readouterr().err
    assert "no contact sheet: " in error and "failed: dots" in error and "internal fault" not in error


def test_weights_over_the_limit_end_a_release_before_its_pictures(lora, monkeypatch, capsys):
    monkeypatch.setattr("jittor_ipl.submission.release.produce", None)
    assert cli.main(["release", "--runs", "runs/tiny", "--limit-mib", "0.001"]) == 2
    assert "the weights alone take" in capsys.readouterr().err and not list((lora / "B_weight").iterdir())


def test_the_base_that_styles_share_is_hashed_once(lora, monkeypatch):
    hashed = []
    monkeypatch.setattr("jittor_ipl.weights.diffusion.sha256_of", lambda ref: hashed.append(ref) or "0" * 64)
    weight_hashes(open_set(lora / "runs/tiny").entries)
    assert hashed == ["pipeline"]
    assert cli.run_all(RUNS) == 0
    hashed.clear()
    assert cli.verify(RUNS) == 0 and hashed == ["pipeline"]


def test_of_candidates_the_best_is_kept_and_recorded(lora, capsys):
    assert cli.run_all([*RUNS, "--candidates", "2"]) == 0
    assert "candidates are chosen by hist" in capsys.readouterr().out
    chosen = json.loads((lora / "results/tiny/seeds.json").read_text())["styles"]["00"]["images"]
    assert set(chosen.values()) <= {0, 1, 1_000_000, 1_000_001}
    for name, seed in chosen.items():
        made = lora / f"results/candidates/{seed // 1_000_000:02d}/tiny/00/{name}.png"
        assert (load_image(made) == load_image(lora / f"results/tiny/00/{name}.png")).all()
    assert cli.verify(RUNS) == 0
    assert cli.main(["release", "--runs", "runs/tiny", "--seeds", "results/tiny/seeds.json"]) == 0
    recorded = json.loads((lora / "B_weight/tiny/seeds.json").read_text())["styles"]["00"]["images"]
    assert recorded == chosen


def test_configured_candidates_are_each_styles_own_and_leave_given_seeds(lora, capsys):
    path = lora / "runs/tiny/01-dots/config.yaml"
    path.write_text(path.read_text().replace("candidates: 1", "candidates: 2"))
    assert cli.run_all(RUNS) == 0
    assert "candidates 2 of 2: 2 pictures made" in capsys.readouterr().out
    assert not (lora / "results/candidates/00/tiny/00").exists()
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0
    (lora / "seeds.json").write_text('{"00": {"Ring": 3, "a cat, asleep": 4}, "01": {"Ring": 3, "a cat, asleep": 4}}')
    capsys.readouterr()
    for words in ([*RUNS, "--seeds", "seeds.json"], ["--weights", "B_weight/tiny", "--output", "again"]):
        assert cli.run_all(words) == 0 and "candidates" not in capsys.readouterr().out
    assert json.loads((lora / "results/tiny/seeds.json").read_text())["styles"]["01"]["images"]["Ring"] == 3


def test_settings_of_the_sampling_ask_for_no_other_training(lora, capsys):
    """img2img from the mean, style-aligned attention and StyleID: other pictures, and proved."""
    seen = set()
    for change in ("start=mean", "aligned=true", "style_id={on: true, steps: 2}"):
        assert cli.main(["dreambooth", "--config", "suite.yaml", "--style", "00", "--set", f"sample.{change}"]) == 0
        assert "finished before" in capsys.readouterr().out
        assert cli.run_all([*RUNS, "--style", "00"]) == 0 and cli.verify([*RUNS, "--style", "00"]) == 0
        seen.add((lora / "results/tiny/00/Ring.png").read_bytes())
    assert len(seen) == 3
    assert cli.main(["release", "--runs", "runs/tiny"]) == 0 and cli.verify([]) == 0
    assert (lora / "B_weight/tiny/00" / SHOWN).exists() and not (lora / "B_weight/tiny/00" / MEAN).exists()


def test_generate_paints_any_prompt(lora, capsys):
    cli.run_all([*RUNS, "--style", "waves"])
    made = load_image(lora / "results/tiny/00/Ring.png")

    def painted(*words: str) -> np.ndarray:
        assert cli.main(["generate", "--seeds", "0", "--outdir", "out", *words]) == 0
        return load_image(lora / "out/seed0000.png")
    style = "runs/tiny/00-waves"
    assert (painted("--weights", style, "--prompt", "Ring") == made).all()
    by_file = ["--base", "pipeline", "--prompt", "Ring, style_00", "--steps", "2", "--guidance", "2"]
    assert (painted("--weights", f"{style}/{LORA}", *by_file) == made).all()
    alone = painted("--weights", "pipeline", *by_file[2:])
    assert not (alone == made).all() and (painted("--weights", "pipeline", *by_file[2:]) == alone).all()
    assert painted("--weights", style, "--prompt", "Ring", "--size", "32", "--sampler", "ddim").shape == (32, 32, 3)


@pytest.mark.parametrize("words, told", [
    (["runs/tiny/00-waves"], "is a LoRA: say with --prompt"),
    (["runs/tiny/00-waves", "--steps", "3"], "steps: only pictures of a --prompt"),
    (["runs/tiny/00-waves", "--prompt", "x", "--trunc", "1"], "are of generators"),
    (["runs/tiny", "--prompt", "x"], "holds 2 styles"),
    (["runs/tiny/00-waves", "--prompt", "x", "--guidance", "-1"], "guidance -1.0"),
    (["runs/tiny/00-waves", "--prompt", "x", "--size", "15"], "multiples of"),
    (["runs/tiny/01-dots", "--prompt", "x", "--size", "32"], "which has 16 x 16 px: choose size 16"),
    ([f"runs/tiny/00-waves/{LORA}", "--prompt", "x"], "name the base model of a LoRA file with --base"),
    (["runs/tiny/00-waves/prompts.json", "--prompt", "x", "--base", "pipeline"], "prompts.json")])
def test_a_wrong_call_of_generate_is_one_line(lora, words, told, capsys):
    assert cli.main(["generate", "--seeds", "0", "--outdir", "out", "--weights", *words]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1 and told in error[0] and not (lora / "out").exists()


@pytest.mark.parametrize("spoil, told", [
    (lambda style: shutil.rmtree(style / "images"), "is not a folder of pictures"),
    (lambda style: (style / "images/broken.png").write_bytes(b"no picture"), "broken.png"),
    (lambda style: (style / "prompt.json").unlink(), "cannot read the list of prompts"),
    (lambda style: (style / "prompt.json").write_text('{"0": "Ring", "1": "ring"}'), "are one file"),
    (lambda style: (style / "prompt.json").write_text('{"0": "a/b"}'), "would not stay in the output folder")])
def test_a_style_with_bad_data_is_named_and_the_others_go_on(lora, spoil, told, capsys):
    spoil(lora / "data/00")
    assert cli.main(["dreambooth", "--config", "suite.yaml"]) == 2
    out = capsys.readouterr()
    lines = [line for line in out.err.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and lines[0].startswith("error: style 00 (waves): ") and told in lines[0]
    assert "01-dots: finished before" in out.out


def test_what_cannot_be_trained_is_told_in_one_line(lora, capsys):
    for words, told in ((["--set", "data=nowhere"], "there is no data folder 'nowhere'"),
                        (["--set", "base=nowhere"], "nowhere"),
                        (["--set", "lora.unet_targets=[to_x]"], "has no module 'to_x'"),
                        (["--style", "wave"], "did you mean 'waves'"),
                        (["--config", "demo"], "not a suite of LoRA")):
        assert cli.main(["dreambooth", "--config", "suite.yaml", "--style", "00", *words]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        assert len(error) == 1 and told in error[0]


def test_a_missing_base_or_data_is_told_once_for_all_styles(lora, capsys):
    for change, told in (("base=nowhere", "nowhere"), ("base=data", "has no model_index.json"),
                         ("data=nowhere", "there is no data folder 'nowhere'")):
        assert cli.main(["train-all", "--config", "suite.yaml", "--set", change]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and told in error
    assert cli.main(["train-all", "--config", "suite.yaml", "--method", "nada"]) == 2
    assert "METHOD 'nada' does not fit suite.yaml, whose method is lora" in capsys.readouterr().err


def test_a_folder_of_xl_or_of_a_broken_download_is_told(lora, capsys):
    index = json.loads((lora / "pipeline/model_index.json").read_text())
    (lora / "pipeline/model_index.json").write_text(json.dumps(
        {**index, "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}))
    words = ["dreambooth", "--config", "suite.yaml", "--style", "00", "--restart"]
    assert cli.main(words) == 2
    assert "Stable Diffusion XL" in capsys.readouterr().err
    (lora / "pipeline/model_index.json").write_text(json.dumps(index))
    path = lora / "pipeline/unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert cli.main(words) == 2
    assert str(path.name) in capsys.readouterr().err
