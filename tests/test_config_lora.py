"""Suites of LoRA: mistakes are told in one line, styles override the suite, and the hash follows what trains."""
from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jittor_ipl import cli
from jittor_ipl.config import LoraSuite, choose_lora_runs, load_lora_suite, load_suite
from jittor_ipl.diffusion.recipe import recipe_of
from jittor_ipl.errors import UserError
from jittor_ipl.submission.card import front_matter
from jittor_ipl.submission.records import StyleSeeds


def test_familiar_names_of_diffusers_set_what_they_mean(capsys):
    words = ["dreambooth", "--style", "ukiyo-e", "--dry-run", "--gradient_checkpointing", "--mixed_precision", "fp16",
             "--max_grad_norm", "null", "--instance_prompt", "null"]
    assert cli.main(words) == 0
    told = capsys.readouterr()
    found = yaml.safe_load(told.out)
    assert found["lora"]["checkpointing"] is True and found["lora"]["max_norm"] is None
    assert found["captions"]["word"] == "null" and "--mixed-precision is not a setting here" in told.err


@pytest.mark.parametrize("base, known, licence", [
    ("demo:diffusion", "demo:diffusion", "apache-2.0"), ("models/mine", "mine", "other"),
    ("models/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1", "openrail++")])
def test_a_card_has_the_licence_of_the_base(tmp_path, base, known, licence):
    run = suite(tmp_path, f"base: {base}").runs()[0]
    plan = StyleSeeds(style=run.style, source=base, recipe=recipe_of(run), images={"a cat": 0})
    head = front_matter(run, plan)
    assert (head["base_model"], head["license"]) == (known, licence)


def suite(folder: Path, text: str = "", styles: str = "[waves, {name: dots}]", *overrides: str) -> LoraSuite:
    path = folder / "suite.yaml"
    path.write_text(f"suite: tiny\nmethod: lora\nstyles: {styles}\n{text}\n", encoding="utf-8")
    return load_lora_suite(path, overrides)


@pytest.mark.parametrize("text, expected", [
    ("loar: {}", "unknown key 'loar' (did you mean 'lora'?)"),
    ("generator: {}", "unknown key 'generator'"),
    ("lora: {rank: 0}", "lora.rank: input should be greater than or equal to 1"),
    ("lora: {lr_unet: 0}", "lora.lr_unet"),
    ("lora: {resolution: 100}", "lora.resolution: input should be a multiple of 8"),
    ("lora: {unet_targets: []}", "lora.unet_targets"),
    ("lora: {unet_targets: ['to q']}", "lora.unet_targets.0"),
    ("lora: {prior: {wieght: 1}}", "lora.prior: unknown key 'wieght' (did you mean 'weight'?)"),
    ("sample: {sampler: dpm}", "sample.sampler: input should be"),
    ("sample: {strength: 1.5}", "sample.strength"),
    ("captions: {template: \"a picture, {word}\"}", "has no {description}: all pictures would be told alike"),
    ("captions: {template: \"{description} {wrod}\"}", "'{wrod}' is no blank; there are {description} and {word}"),
    ("captions: {word: \"style_{number.real}\"}", "'{number.real}' is no blank"),
    ("captions: {word: \"style_}\"}", "'}' is no blank"),
    ("captions: {word: \"\"}", "captions.word"),
    ("base: ''", "base"),
])
def test_a_mistake_is_told_with_file_and_key(tmp_path, text, expected):
    with pytest.raises(UserError) as caught:
        suite(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "suite.yaml")) and expected in message and "\n" not in message


def test_a_mistake_in_a_style_is_told_with_its_name(tmp_path):
    with pytest.raises(UserError, match=r"styles.1 \(dots\): lora.rank"):
        suite(tmp_path, styles="[waves, {name: dots, lora: {rank: 0}}]")
    with pytest.raises(UserError, match="would share one folder"):
        suite(tmp_path, styles="[waves, Waves]")


def test_suites_of_one_kind_are_not_taken_for_the_other(tmp_path):
    with pytest.raises(UserError, match="not a suite of LoRA"):
        load_lora_suite("demo")
    suite(tmp_path)
    with pytest.raises(UserError, match="METHOD=lora"):
        load_suite(tmp_path / "suite.yaml")


def test_a_style_overrides_the_suite(tmp_path):
    styles = "[waves, {name: dots, seed: 5, lora: {steps: 9}, sample: {negative: ''}, captions: {word: dotted}}]"
    text = "sample: {negative: blur, steps: 7}\nlora: {steps: 3}"
    first, second = suite(tmp_path, text, styles).runs()
    assert (first.training_seed, first.lora.steps, first.sample.negative, first.word) == (2, 3, "blur", "style_00")
    assert (second.training_seed, second.lora.steps, second.sample.negative, second.word) == (5, 9, "", "dotted")
    assert second.sample.steps == 7 and (first.folder, second.folder) == ("00-waves", "01-dots")
    assert [run.lora.steps for run in suite(tmp_path, text, styles, "lora.steps=1").runs()] == [1, 1]


def test_captions_are_filled(tmp_path):
    run = suite(tmp_path, "captions: {template: \"{word}: {description}\", word: \"{style} {number}\", "
                "base: \"{description} by {style}\"}").runs()[1]
    assert (run.word, run.caption, run.base_caption) == ("dots 01", "dots 01: {}", "{} by dots")
    assert suite(tmp_path).runs()[0].caption == "{}, style_00" and suite(tmp_path).runs()[0].base_caption is None


def test_styles_are_chosen_by_name_or_number(tmp_path):
    both = suite(tmp_path)
    assert [run.style for run in choose_lora_runs(both, ["01", "waves", "dots"])] == ["dots", "waves"]
    assert len(choose_lora_runs(both, [])) == 2
    with pytest.raises(UserError, match="did you mean 'waves'"):
        choose_lora_runs(both, ["wave"])


def test_the_training_hash_follows_what_changes_the_weights(tmp_path):
    def hashed(text: str = "") -> str:
        return suite(tmp_path, text).runs()[0].training_hash()
    same = ("", "run: {log_every: 3}", "sample: {steps: 3}", "data: elsewhere", "captions: {base: \"{description}\"}",
            "base: other", "captions: {template: \"{description}, style_00\"}")
    assert {hashed(text) for text in same} == {hashed()}
    other = ("seed: 3", "lora: {steps: 4}", "lora: {feature: {on: true}}", "captions: {word: x}")
    assert len({hashed(), *map(hashed, other)}) == 5
