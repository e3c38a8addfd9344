"""The demo competition: deterministic, varied, readable as the real one's data, and its prompts say what they mean."""
from __future__ import annotations

import hashlib
from pathlib import Path

from jittor_ipl.config import load_lora_suite
from jittor_ipl.diffusion.competition_data import read_style
from jittor_ipl.images.files import load_image
from jittor_ipl.world.competition import PICTURES, PROMPTS, UNSEEN, prompts_of, said_by, write_set
from jittor_ipl.world.subjects import PORTRAITS


def test_the_set_is_whole_and_always_the_same(tmp_path):
    write_set(tmp_path / "one")
    write_set(tmp_path / "two")

    def content(folder: Path) -> dict[str, str]:
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*") if path.is_file()}
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    for number, style in enumerate(UNSEEN):
        found = read_style(tmp_path / "one", number, style)
        assert len(set(found.descriptions)) == PICTURES and found.prompts == tuple(prompts_of(number))
        assert len(found.prompts) == PROMPTS and load_image(found.images[0]).shape == (64, 64, 3)
        assert not set(found.prompts) & set(found.descriptions)


def test_the_suite_that_ships_lists_its_styles():
    assert tuple(load_lora_suite("demo_lora").names()) == UNSEEN


def test_a_prompt_says_its_labels_and_no_style():
    names = list(PORTRAITS.table.values)
    for number in range(len(UNSEEN)):
        for prompt, labels in prompts_of(number).items():
            assert said_by(prompt) == labels and not any(style in prompt for style in PORTRAITS.styles)
            assert sum(label >= 0 for label in labels) in (4, 5)
            values = dict(zip(names, labels))
            assert (" girl" in prompt) == (values["gender"] == 1)
            assert f"{PORTRAITS.table.values['hair'][values['hair']]} hair" in prompt
    assert said_by("Ring") is None
