"""The vocabulary of formats: the registry, the strict comparison, wrappers, contradictions, and strangers."""
from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from network_names import adopt, recognise, recorded

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare, count_problems, require_fit
from jittor_ipl.weights.families import registry as families
from jittor_ipl.weights.families.family import Family, Hints, Layout

FOLDER = Path(families.__file__).parent
EXPECTED = {"a.weight": (2, 3), "a.bias": (3,), "scale": ()}


def test_every_module_with_a_family_is_registered():
    def exposes(path: Path) -> bool:
        return any(isinstance(target, ast.Name) and target.id in ("FAMILY", "FAMILIES")
                   for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)
                   for target in node.targets)
    assert {".".join(path.relative_to(FOLDER).with_suffix("").parts) for path in FOLDER.rglob("*.py")
            if exposes(path)} \
        == set(families.MODULES.values())
    assert [family.kind for family in families.families()] == list(families.MODULES)


def test_families_are_light():
    code = ("import sys; from jittor_ipl.weights.families.registry import families; families(); "
            "sys.exit(str({'jittor', 'pydantic'} & set(sys.modules) or 0))")
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parents[2], capture_output=True, text=True)
    assert done.stderr in ("", "0\n"), done.stderr


@pytest.mark.parametrize("shapes, told", [
    ({"a.weight": (2, 3), "a.bias": (3,), "scale": (1,)}, []),
    ({"a.weight": (2, 3), "scale": ()}, ["tensor 'a.bias' is missing"]),
    ({**EXPECTED, "a.biass": (3,)}, ["unexpected tensor 'a.biass' (did you mean 'a.bias'?)"]),
    ({**EXPECTED, "a.bias": (4,)}, ["tensor 'a.bias' has shape [4], expected is [3]"]),
    ({"a.weight": (2, 3), "a.bia": (3,), "scale": ()}, ["tensor 'a.bias' is missing (did you mean 'a.bia'?)",
                                                        "unexpected tensor 'a.bia' (did you mean 'a.bias'?)"]),
    ({**EXPECTED, "n.tracked": ()}, [])])
def test_compare(shapes, told):
    problems = compare(EXPECTED, (r".*\.tracked",), shapes)
    assert [str(problem) for problem in problems] == told
    assert count_problems(EXPECTED, (r".*\.tracked",), shapes) == len(told)


def test_an_expected_name_may_be_optional_but_not_of_another_shape():
    assert not compare({"noise": (1,), "a": (2,)}, ("noise",), {"a": (2,)})
    assert compare({"noise": (1,), "a": (2,)}, ("noise",), {"a": (2,), "noise": (9,)})


@pytest.mark.parametrize("type_, sound", [("float16", True), ("bfloat16", True), ("float64", True),
                                          ("complex64", False), ("bool", False),
                                          ("int8", False), ("uint16", False), ("int64", False)])
def test_weights_are_floating_point_numbers(type_, sound):
    told = [str(problem) for problem in compare({"a": (2,)}, (), {"a": (2,)}, {"a": type_})]
    assert told == ([] if sound else [f"tensor 'a' is of type {type_}, expected are floating-point numbers"])
    for name in ("x.position_ids", "bn.num_batches_tracked", "unet.to_q.alpha", "token_embedding.rows"):
        assert bool(compare({name: ()}, (), {name: ()}, {name: type_})) == (type_ in ("complex64", "bool"))


def test_many_problems_are_one_short_line():
    with pytest.raises(UserError) as caught:
        require_fit(compare({f"layer.{i}": (1,) for i in range(2000)}, (), {f"block.{i}": (1,) for i in range(2000)}),
                    "x.pt")
    assert "4000 problems in all" in str(caught.value) and len(str(caught.value)) < 400


@pytest.fixture
def toy(monkeypatch):
    """Two families: "toy" has a.weight [n, 3]; "strict" knows it too and contradicts n = 7."""
    def recognise(shapes, hints):
        return Layout("toy", "plain", {"n": 2}, {"a.weight": (2, 3)}, ("mean",), parts=("inner.",),
                      extras=("mean",)) if "a.weight" in shapes else None
    def contradict(shapes, hints):
        if shapes.get("a.weight", (0,))[0] == 7:
            raise UserError("config.json says 2, the tensors 7")
        return None
    toys = (Family("toy", recognise, lambda tensors, _: {f"our.{k}": v for k, v in tensors.items()},
                   landmarks=("a.weight",)),
            Family("strict", contradict, lambda tensors, _: dict(tensors)))
    monkeypatch.setattr(families, "families", lambda kinds=("toy", "strict"): [t for t in toys if t.kind in kinds])
    monkeypatch.setattr(families, "MODULES", dict.fromkeys(("toy", "strict"), ""))


GOOD = {"a.weight": np.zeros((2, 3), "f4")}


def test_adopt_takes_names_extras_and_leaves_parts(toy):
    tensors, layout = adopt({**GOOD, "inner.x": np.ones(1)}, source="x",
                                     extras={"mean": np.ones(2), "other": np.ones(1)},
                                     hints=Hints(extras={"mean": (2,)}))
    assert layout.kind == "toy" and set(tensors) == {"our.a.weight", "our.mean"}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_wrappers_are_taken_off(toy, prefix):
    assert set(adopt({prefix + "a.weight": GOOD["a.weight"]}, source="x")[0]) == {"our.a.weight"}


def test_a_contradiction_is_told_unless_another_family_fits(toy):
    with pytest.raises(UserError, match="says 2, the tensors 7"):
        adopt({"a.weight": np.zeros((7, 3), "f4")}, source="x")
    with pytest.raises(UserError, match="shape"):
        adopt({"a.weight": np.zeros((5, 3), "f4")}, source="x")


def test_strangers_are_told_the_nearest_family(toy):
    with pytest.raises(UserError, match="nearest is toy, which has 'a.weight'"):
        recognise({"a.weigth": (1,)})
    with pytest.raises(UserError, match="this is a 'toy' network, a 'strict' network is expected"):
        adopt(GOOD, source="x", kind="strict")
    with pytest.raises(UserError, match="no known network"):
        recognise({})


def test_a_converted_file_is_known_by_its_metadata(toy):
    facts = {"dialect": "ours", "kind": "toy", "tensors_sha256": "0" * 64, "config": '{"n": 5}'}
    tensors, layout = adopt({"our.a.weight": np.zeros((5, 3), "f4")}, Hints(metadata=facts), source="x")
    assert layout.config == {"n": 5} and set(tensors) == {"our.a.weight"}
    with pytest.raises(UserError, match="no known network"):
        adopt({"our.a.weight": np.zeros((5, 3), "f4")}, Hints(metadata={**facts, "kind": "other"}), source="x")


def test_the_guide_names_every_kind_and_dialect():
    from jittor_ipl.weights.convert import known_dialects
    guide = (FOLDER.parents[2] / "docs" / "formats.md").read_text()
    missing = [word for word in (*(family.kind for family in families.families()), *known_dialects())
               if word not in guide]
    assert not missing


@pytest.mark.parametrize("names, message", [
    (("embeddings.register_tokens", "embeddings.cls_token", "encoder.layer.0.layer_scale1.lambda1"),
     "DINOv2 with registers"),
    (("cls_token", "pos_embed", "blocks.0.attn.qkv.weight"), "names of timm or of DINO's own code"),
    (("conv1.weight", "prelu.weight", "layer1.0.prelu.weight", "features.weight", "fc.weight"), "iresnet"),
    (("repeat_1.0.branch0.conv.weight", "last_linear.weight"), "FaceNet"),
    (("controlnet_cond_embedding.conv_in.weight", "time_embedding.linear_1.weight"), "ControlNet"),
    (("visual.trunk.blocks.0.norm1.weight", "text.transformer.resblocks.0.ln_1.weight"), "timm")])
def test_a_relative_is_named_for_what_it_is(names, message):
    with pytest.raises(UserError, match=message):
        recognise({name: (4, 4) for name in names})


def test_a_network_of_diffusers_that_is_not_known_is_named():
    with pytest.raises(UserError, match="'SD3Transformer2DModel', a network that is not supported"):
        recognise({"transformer_blocks.0.attn.to_q.weight": (4, 4)},
                           Hints(config={"_class_name": "SD3Transformer2DModel"}))


def test_a_network_of_another_kind_is_named():
    """pSp's checkpoint holds a generator too, and the message says where it goes."""
    shapes = {**recorded("encoders")["BackboneEncoder"], "decoder.input.input": (1, 4, 4, 4)}
    with pytest.raises(UserError, match="'inversion-encoder' network, a 'stylegan2' .* expected .the generator under"):
        families.identify(shapes, kind="stylegan2")
