"""The configuration: shipped suites load, mistakes are told in one line, and every field is used somewhere."""
from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ipl.config import (
    LoraRun,
    StyleRun,
    Suite,
    load_config,
    load_lora_suite,
    load_suite,
    method_of,
    save_config,
    to_yaml,
)
from jittor_ipl.config.plain_yaml import parse_yaml
from jittor_ipl.config.sections import Section
from jittor_ipl.disk.names import safe_name
from jittor_ipl.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
# Benchmarks are a kind of their own: test_benchmark.
FILES = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.stem.startswith("benchmark"))
LORA = [path for path in FILES if method_of(path) == "lora"]
SHIPPED = [path for path in FILES if path not in LORA]
MAX_FIELDS = 25


def suite(tmp_path: Path, text: str = "", styles: str = "[disney, anime painting]",
          overrides: tuple[str, ...] = ()) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(f"suite: demo\nstyles: {styles}\n{text}\n", encoding="utf-8")
    return load_suite(path, overrides)


def told(tmp_path: Path, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        suite(tmp_path, *args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def sections(model: type[Section] = Section) -> list[type[Section]]:
    return [model, *(deeper for sub in model.__subclasses__() for deeper in sections(sub))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads_and_survives_saving(path, tmp_path):
    loaded = load_suite(path)
    assert loaded.suite == path.stem and len(loaded.runs()) == len(loaded.styles)
    for run in loaded.runs():
        assert load_config(save_config(run, tmp_path / "config.yaml"), StyleRun) == run


@pytest.mark.parametrize("path", LORA, ids=lambda path: path.stem)
def test_every_shipped_suite_of_lora_loads_and_survives_saving(path, tmp_path):
    loaded = load_lora_suite(path)
    assert loaded.suite == path.stem and len(loaded.runs()) == len(loaded.styles)
    for run in loaded.runs():
        assert load_config(save_config(run, tmp_path / "config.yaml"), LoraRun) == run
    with pytest.raises(UserError, match="trained by dreambooth"):
        load_suite(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_configuration_says_what_it_needs(path):
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("Weights" in line for line in header) and any("Result, time and machine" in line for line in header)


def test_the_official_numbers_of_adam():
    lr, betas = load_suite(ROOT / "configs" / "ffhq.yaml").runs()[0].generator.adam()
    assert lr == pytest.approx(0.0016) and betas == (0.0, pytest.approx(0.99 ** 0.8))


def test_no_section_is_too_large_to_read():
    assert [model.__name__ for model in sections() if len(model.model_fields) > MAX_FIELDS] == []


def attributes_read(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


def test_every_field_is_read_somewhere():
    files = [path for path in (ROOT / "jittor_ipl").rglob("*.py") if path.name != "sections.py"]
    read = set().union(*map(attributes_read, files))
    declared = {f"{model.__name__}.{name}" for model in sections() for name in vars(model).get("__annotations__", {})
                if name in model.model_fields and name not in read}
    # A style's overrides are merged by key; Adam's numbers leave their section through GeneratorTraining.adam().
    by_key = {f"StyleEntry.{name}" for name in ("method", "compat", "clip", "source", "mapper", "generator", "losses")}
    by_key |= {f"LoraEntry.{name}" for name in ("captions", "lora", "sample")}
    assert declared - by_key - {"GeneratorTraining.lazy_ratio", "GeneratorTraining.betas"} == set()


@pytest.mark.parametrize("text, expected", [
    ("generatr: {}", "unknown key 'generatr' (did you mean 'generator'?)"),
    ("generator: {stepz: 3}", "generator: unknown key 'stepz' (did you mean 'steps'?)"),
    ("losses: {global_: 1}", "losses: unknown key 'global_' (did you mean 'global'?)"),
    ("run: {zzzzzz: 3}", "known keys: sample_every"),
    ("clip: [{modle: x}]", "clip.0: unknown key 'modle' (did you mean 'model'?)"),
    ("generator: {steps: -1}", "generator.steps: input should be greater than or equal to 0 (given: -1)"),
    ("generator: {steps: many}", "generator.steps: input should be a valid integer (given: 'many')"),
    ("generator: {steps: 1.5}", "generator.steps"),
    ("generator: {steps: true}", "generator.steps"),
    ("generator: {lr: true}", "generator.lr"),
    ("generator: {lr: .nan}", "generator.lr"),
    ("generator: {lr: .inf}", "generator.lr"),
    ("generator: {lr: 0}", "generator.lr"),
    ("generator: {ema: 1.0}", "generator.ema"),
    ("generator: {betas: [0.9]}", "generator.betas"),
    ("generator: {layers: everything}", "generator.layers"),
    ("generator: {train: []}", "train must name at least one group"),
    ("generator: {train: [convs, convs]}", "none of them twice"),
    ("generator: {train: [mapping]}", "generator.train.0"),
    ("generator: 3", "generator: input should be"),
    ("mapper: {n_ctx: 5}", "init 'a photo of a' has 4 words but n_ctx is 5"),
    ("losses: {directional: 0, anchor: 1, consolidation: 1}", "nothing would train"),
    ("losses: {directional: 0}", "nothing would train"),
    ("method: nda", "method: input should be 'ipl', 'nada' or 'teacher' (given: 'nda')"),
    ("seed: 4294967296", "seed"),
    ("seed: -1", "seed"),
    ("generate: {seeds: 0-4294967296}", "out of range"),
    ("generate: {seeds: abc}", "neither a number nor a range"),
    ("generate: {truncation: 9}", "generate.truncation"),
    ("clip: []", "clip"),
    ("source: {generator: ''}", "source.generator"),
])
def test_a_mistake_is_told_with_file_and_key(tmp_path, text, expected):
    message = told(tmp_path, text)
    assert message.startswith(str(tmp_path / "suite.yaml")) and expected in message


@pytest.mark.parametrize("styles, expected", [
    ("[]", "styles"),
    ("disney", "styles"),
    ("['']", "the style name is empty"),
    ("['a/b']", "would not stay in the output folder"),
    ("['..']", "would not stay in the output folder"),
    ("['../../etc']", "would not stay in the output folder"),
    ("['a\\b']", "would not stay in the output folder"),
    ("['.hidden']", "would not stay in the output folder"),
    ('["a\\0b"]', "control character"),
    ('["a\\nb"]', "control character"),
    ("[' disney']", "blank"),
    (f"['{'é' * 127}']", "has 254 bytes; at most 252 fit"),
    ("[disney, Disney]", "would share one folder"),
    ("[disney, disney]", "listed twice"),
    ("[a b, a-b]", "would share one folder"),
    ('["\\u00e9", "e\\u0301"]', "would share one folder"),
    ("[3]", "styles.0"),
    ("[{target: x}]", "styles.0.name"),
    ("[{name: x, generator: {stepz: 3}}]", "unknown key 'stepz' (did you mean 'steps'?)"),
    ("[{name: x, stepz: 3}]", "styles.0: unknown key 'stepz'"),
    ("[{name: x, losses: {anchor: 1}, generator: {steps: 130}}]", "step 130 of 130: lower generator.anchors.first"),
    ("[{name: x, losses: {covariance: 1}, generator: {batch: 1}}]", "generator.batch must be 2 or more"),
    ("[{name: x, losses: {directional: 0}}]", "nothing would train"),
    ("[{name: x, target: ''}]", "target"),
    ("[{name: x, target: '  '}]", "the prompt is empty"),
    (f"[{', '.join(f's{i}' for i in range(101))}]", "styles"),
])
def test_an_unsafe_or_wrong_style_is_refused(tmp_path, styles, expected):
    assert expected in told(tmp_path, styles=styles)


@pytest.mark.parametrize("target, expected", [("dog " * 80, "has 88 tokens, this CLIP reads 75"),
                                              ("x" * 1001, "at most 1000 characters")])
def test_an_over_long_prompt_is_refused(tmp_path, target, expected):
    assert expected in told(tmp_path, styles=f"[{{name: dog, target: '{target}'}}]")


def test_a_word_that_yaml_takes_for_something_else_is_a_style(tmp_path):
    names = "[no, yes, 2020-01-01, 'null', 12:30:00, on]"
    found = [run.style for run in suite(tmp_path, styles=names).runs()]
    assert found == ["no", "yes", "2020-01-01", "null", "12:30:00", "on"]


@pytest.mark.parametrize("written, value", [
    ("1e-4", 1e-4), ("1E-4", 1e-4), (".5", 0.5), ("2", 2.0), ("+3e0", 3.0), ("1.e-2", 0.01)])
def test_numbers_are_numbers_however_they_are_written(tmp_path, written, value):
    assert suite(tmp_path, f"generator: {{lr: {written}}}").generator.lr == value


@pytest.mark.parametrize("data, expected", [
    (b"a: &x 1\nb: *x", "aliases"),
    (b"a: 1\na: 2", "the key 'a' is given twice"),
    (b"[" * 20 + b"]" * 20, "nested deeper than 12"),
    (b"[" * 100_000, "nested deeper than 12"),
    (b"{[a]: 1}", "a key must be a word"),
    (b"a: !!python/object/apply:os.system ['true']", "tags"),
    (b"a: !!binary aGk=", "tags"),
    (b"a: [", ""),
    (b"a: 1\n---\nb: 2", "single document"),
    (b"\xff\xfe\xff", "not UTF-8"),
    (b"a: '\x01'", "not valid YAML"),
    (b"a: !!int '" + b"9" * 5000 + b"'", ""),
    (b"a: !!bool maybe", ""),
    (b"a: !!float x", ""),
])
def test_yaml_beyond_the_plain_is_refused(data, expected):
    with pytest.raises(UserError) as caught:
        parse_yaml(data, "file.yaml")
    assert str(caught.value).startswith("file.yaml") and expected in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("ab:-[]{},\"'#&*!|>%@ \n\t0.1e~?", max_size=60).map(str.encode)))
def test_whatever_the_bytes_they_parse_or_are_refused(data):
    try:
        parse_yaml(data, "file.yaml")
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"- a", b"text", b"3", b"null"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, data):
    path = tmp_path / "suite.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match="a configuration is a list of 'key: value' lines"):
        load_suite(path)


def test_a_missing_huge_or_foreign_file_is_refused(tmp_path):
    (tmp_path / "huge.yaml").write_bytes(b"#" * 300_000)
    for path, message in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "is not a file but a folder"),
                          ("a\0b", "null"), (tmp_path / "huge.yaml", "larger than 256 KiB")):
        with pytest.raises(UserError, match=message):
            load_suite(path)


def test_a_style_overrides_the_suite(tmp_path):
    styles = "[disney, {name: dog, target: a dog, seed: 5, generator: {steps: 9}, losses: {global: 0.5}}]"
    first, second = suite(tmp_path, "generator: {steps: 7, lr: 0.1}", styles=styles).runs()
    assert (first.target, first.seed, first.generator.steps, first.losses.global_) == ("disney", 2, 7, 0.0)
    assert (second.target, second.seed, second.generator.steps, second.generator.lr) == ("a dog", 5, 9, 0.1)
    assert second.losses.global_ == 0.5 and (first.folder, second.folder) == ("00-disney", "01-dog")


def test_the_command_line_wins_over_file_and_style(tmp_path):
    styles = "[disney, {name: dog, generator: {steps: 9}}]"
    overrides = ("generator.steps=3", "losses.global=1e-1", "clip.0.weight=2", "seed=9")
    loaded = suite(tmp_path, "clip: [{model: x}]", styles, overrides)
    assert [run.generator.steps for run in loaded.runs()] == [3, 3]
    assert loaded.losses.global_ == 0.1 and loaded.clip[0].weight == 2 and loaded.seed == 9
    overrides = ("clip=[{model: a}, {model: b, weight: 0.5}]", "generate.seeds='1,2'")
    loaded = suite(tmp_path, styles=styles, overrides=overrides)
    assert [model.model for model in loaded.clip] == ["a", "b"] and loaded.generate.seeds == "1,2"
    assert suite(tmp_path, overrides=("source.class=face=1",)).source.class_name == "face=1"


@pytest.mark.parametrize("override, expected", [
    ("generator.stepz=3", "unknown key 'stepz' (did you mean 'steps'?)"),
    ("generator.steps", "write it as generator.steps=10"),
    ("=3", "write it as"),
    ("generator..steps=3", "write it as"),
    ("seed.x=3", "seed: input should be a valid integer"),
    ("clip.weight=3", "clip: input should be a valid list"),
    ("styles.name=3", "leads nowhere"),
    ("styles.0.name=3", "leads nowhere: what lies before it is text"),
    ("styles.7.name=x", "a list of 2, counted from 0"),
    ("generator.steps=[", "--set"),
    ("generator.steps=*x", "aliases"),
    ("generator=3", "generator"),
])
def test_a_wrong_override_is_told(tmp_path, override, expected):
    assert expected in told(tmp_path, overrides=(override,))


def test_an_unknown_style_is_told_with_the_nearest(tmp_path):
    loaded = suite(tmp_path)
    assert loaded.run_of("anime painting").number == 1
    with pytest.raises(UserError, match="unknown style 'disny' .did you mean 'disney'.*has: disney, anime painting"):
        loaded.run_of("disny")


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 256, "a\x7f"])
def test_a_suite_name_is_a_safe_folder(tmp_path, name):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"suite": name, "styles": ["disney"]}))
    with pytest.raises(UserError, match="suite"):
        load_suite(path)
    with pytest.raises(UserError):
        safe_name(name)


def test_the_training_hash_follows_what_changes_the_weights(tmp_path):
    def hashed(text: str = "", styles: str = "[disney]") -> str:
        return suite(tmp_path, text, styles).runs()[0].training_hash()
    base = hashed()
    same = ("", "run: {log_every: 3}", "generate: {seeds: '5'}", "generator: {steps: 300}")
    assert {hashed(text) for text in same} == {base}
    other = ("seed: 3", "generator: {steps: 4}", "losses: {global: 0.5}", "method: nada")
    others = [*map(hashed, other), hashed(styles="[{name: disney, target: a disney}]"), hashed("clip: [{model: x}]")]
    assert len({base, *others}) == 1 + len(others)


def test_a_younger_setting_leaves_published_hashes_alone(tmp_path):
    def hashed(text: str = "") -> str:
        return suite(tmp_path, text, "[disney]").runs()[0].training_hash()
    assert hashed() == "50606477a58e112adfb48b4f1b08b57a4d23061841e644e0d7d31653af5fd84f"      # of 0.1.0
    assert hashed() == hashed("losses: {anchor: 0}") == hashed("generator: {spread: 0.5, anchors: {first: 7}}")
    some = [hashed(f"losses: {{covariance: {c}, anchor: {a}, consolidation: {e}}}") for c, a, e in np.ndindex(2, 2, 2)]
    further = [hashed(f"losses: {losses}\ngenerator: {generator}") for losses, generator in
               (("{covariance: 1}", "{spread: 0.5}"), ("{anchor: 1}", "{anchors: {first: 7}}"))]
    assert len({*some, *further, hashed("losses: {mean_direction: 1}")}) == 11


def test_a_configuration_cannot_be_changed_and_saving_tells_a_bad_place(tmp_path):
    run = suite(tmp_path).runs()[0]
    with pytest.raises(Exception, match="frozen"):
        run.seed = 3
    with pytest.raises(UserError, match="a part of that path is a file|cannot create the folder"):
        save_config(run, tmp_path / "suite.yaml" / "config.yaml")
    assert StyleRun.model_validate(yaml.safe_load(to_yaml(run))) == run


@pytest.mark.parametrize("value, seeds", [("7", "7"), ("[1, 2, 9]", "1,2,9"), ("0-3", "0-3"), ("'5'", "5")])
def test_seeds_may_be_numbers(value, seeds):
    loaded = load_suite(ROOT / "configs" / "demo.yaml", [f"generate.seeds={value}"])
    assert loaded.runs()[0].generate.seeds == seeds


@pytest.mark.parametrize("value", ["[]", "true", "7.5", "[1, x]", "-3", "null"])
def test_seeds_that_are_none_are_told(value):
    with pytest.raises(UserError, match="seeds"):
        load_suite(ROOT / "configs" / "demo.yaml", [f"generate.seeds={value}"])


@pytest.mark.parametrize("name, near", [("configs/dmo.yaml", "configs/demo.yaml"), ("confgs/demo.yaml", "configs")])
def test_a_misspelt_path_names_its_neighbour(name, near, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=f"did you mean '{near}'"):
        load_suite(name)


def test_a_missing_manifest_is_no_misspelt_seed_list(tmp_path):
    from jittor_ipl.errors import nearest_file
    (tmp_path / "seeds.json").touch()
    assert nearest_file(tmp_path / "manifest.json") == ""
    (tmp_path / "manifset.json").touch()
    assert "manifset.json" in nearest_file(tmp_path / "manifest.json")
