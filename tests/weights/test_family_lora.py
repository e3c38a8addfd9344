"""LoRA files of diffusers, peft and kohya's scripts: read to one form, written back, compared with peft."""
from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fixture_files import unpack
from network_names import shapes_of
from reference import run_reference

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.convert import Options, convert
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.lora.modules import base_of, factor_shapes, known_base, kohya_name
from jittor_ipl.weights.families.registry import identify
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.lora import (
    LoraModule,
    read_lora,
    to_tensors,
    write_diffusers_lora,
    write_kohya_lora,
    write_lora,
)

PLAIN = ["diffusers", "diffusers-bin", "peft-names", "plain-kohya.safetensors", "plain-old.bin"]
ALPHA = ["metadata", "alpha-kohya.safetensors"]
TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA_Q = kohya_name(TO_Q)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("lora"), "lora", "diffusion")


@pytest.fixture(scope="module")
def base(files):
    configs = (json.loads((files / "pipeline" / part / "config.json").read_text()) for part in ("unet", "text_encoder"))
    return base_of(*configs)


@pytest.fixture(scope="module")
def deltas(files) -> dict[str, np.ndarray]:
    return read_safetensors(files / "deltas.safetensors")[0]


def assert_equal(lora, other) -> None:
    """Bit-equal in every tensor."""
    ours, theirs = to_tensors(lora), to_tensors(other)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def assert_changes(lora, deltas, prefix: str) -> None:
    """Every module adds to its weight what peft adds, and no other module does."""
    wanted = {name.removeprefix(f"{prefix}."): value for name, value in deltas.items() if name.startswith(f"{prefix}.")}
    assert lora.keys() == wanted.keys()
    for name, module in lora.items():
        assert module.delta().shape == wanted[name].shape
        np.testing.assert_allclose(module.delta(), wanted[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", PLAIN)
def test_every_generation_says_the_same(files, deltas, name):
    lora = read_lora(files / name)
    assert_equal(lora, read_lora(files / PLAIN[0]))
    assert_changes(lora, deltas, "plain")
    assert {module.alpha for module in lora.values()} == {2.0}


def test_names_without_a_part_are_the_unets(files):
    lora = read_lora(files / "plain-bare-unet.bin")
    assert_equal(lora, {name: module
                        for name, module in read_lora(files / PLAIN[0]).items() if name.startswith("unet.")})


@pytest.mark.parametrize("name", ALPHA)
def test_alphas_of_every_dialect(files, deltas, base, name):
    lora = read_lora(files / name, base)
    assert_equal(lora, read_lora(files / name))
    assert_changes(lora, deltas, "alpha")
    assert {module.alpha for module in lora.values()} == {1.0, 2.0, 3.0,
                                                          8.0} and {m.rank for m in lora.values()} == {2, 3, 4}
    assert_equal(lora, read_lora(files / ALPHA[0]))


def test_pefts_own_folder(files, deltas):
    lora = read_lora(files / "peft")
    assert_changes(lora, deltas, "peft")
    assert lora["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_k"].alpha == pytest.approx(10)  # 5 * sqrt(4)


def test_what_jittor_writes(files, tmp_path, monkeypatch):
    """The Jittor competition's baseline saves its LoRA through Jittor's own writer of .bin files."""
    from jittor_ipl.runtime.backend import jt
    torch = ModuleType("torch")         # Jittor's writer borrows the names of PyTorch's classes; it stands in for them
    torch._utils = ModuleType("torch._utils")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", torch._utils)
    tensors = read_safetensors(files / "diffusers" / "pytorch_lora_weights.safetensors")[0]
    jt.save({name: jt.array(value) for name, value in tensors.items()}, str(tmp_path / "pytorch_lora_weights.bin"))
    assert_equal(read_lora(tmp_path), read_lora(files / "diffusers"))


@pytest.mark.parametrize("source", [*PLAIN[:1], *ALPHA])
def test_round_trip_through_every_dialect_is_bit_equal(files, tmp_path, deltas, source):
    first = read_lora(files / source)
    write_lora(tmp_path / "ours.safetensors", first)
    write_kohya_lora(tmp_path / "kohya.safetensors", read_lora(tmp_path / "ours.safetensors"), base="sd2")
    write_lora(tmp_path / "again.safetensors", read_lora(tmp_path / "kohya.safetensors"))
    write_diffusers_lora(tmp_path / "diffusers.safetensors", read_lora(tmp_path / "again.safetensors"))
    last = read_lora(tmp_path / "diffusers.safetensors")
    assert_equal(first, last)
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    for name in first:
        assert np.array_equal(first[name].delta(), last[name].delta())


def test_several_ranks_without_alpha_are_scaled_as_diffusers_does(tmp_path):
    names = {TO_Q: 4, TO_Q.replace("to_q", "to_k"): 2}
    module = {name: (np.ones((rank, 4), "f4"), np.ones((4, rank), "f4")) for name, rank in names.items()}
    tensors = {f"{name}.lora_{letter}.weight": value for name, pair in module.items()
               for letter, value in zip("AB", pair)}
    write_safetensors(tmp_path / "lora.safetensors", tensors)       # to_k is the first in the file
    assert {name: m.alpha for name, m in read_lora(tmp_path / "lora.safetensors").items()} == dict.fromkeys(names, 2.0)
    write_diffusers_lora(tmp_path / "again.safetensors", read_lora(tmp_path / "lora.safetensors"))
    assert_equal(read_lora(tmp_path / "again.safetensors"), read_lora(tmp_path / "lora.safetensors"))
    kohya = {f"{kohya_name(name)}.lora_{role}.weight": value for name, pair in module.items()
             for role, value in zip(("down", "up"), pair)}
    write_safetensors(tmp_path / "kohya.safetensors", kohya)
    assert all(m.alpha == m.rank for m in read_lora(tmp_path / "kohya.safetensors").values())
    write_diffusers_lora(tmp_path / "ranks.safetensors", read_lora(tmp_path / "kohya.safetensors"))
    assert_equal(read_lora(tmp_path / "ranks.safetensors"), read_lora(tmp_path / "kohya.safetensors"))


@pytest.mark.parametrize("source", ["diffusers", "metadata"])
def test_folding_alpha_keeps_the_change(files, tmp_path, source):
    lora = read_lora(files / source)
    write_diffusers_lora(tmp_path / "folded.safetensors", lora, fold_alpha=True)
    tensors, metadata = read_safetensors(tmp_path / "folded.safetensors")
    folded = read_lora(tmp_path / "folded.safetensors")
    assert metadata == {"format": "pt"} and all(module.alpha == module.rank for module in folded.values())
    for name in lora:
        np.testing.assert_allclose(folded[name].delta(), lora[name].delta(), rtol=1e-6, atol=1e-7)


def test_kohyas_metadata(files, tmp_path):
    write_kohya_lora(tmp_path / "a.safetensors", read_lora(files / "metadata"), base="sd2", v_prediction=True,
                     title="ring",
                     metadata={"ss_seed": "3"})
    write_kohya_lora(tmp_path / "b.safetensors", dict(reversed(read_lora(files / "metadata").items())), base="sd2",
                     v_prediction=True, title="ring", metadata={"ss_seed": "3"})
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    facts = read_safetensors(tmp_path / "a.safetensors")[1]
    assert facts["sshs_model_hash"] == hashlib.sha256(data[8 + int.from_bytes(data[:8], "little"):]).hexdigest()
    assert {key: facts[key]
            for key in ("ss_network_module", "ss_network_dim", "ss_base_model_version", "ss_v2", "ss_seed")} == {
        "ss_network_module": "networks.lora", "ss_network_dim": "Dynamic", "ss_base_model_version": "sd_v2_v",
        "ss_v2": "True",
        "ss_seed": "3"}
    assert facts["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert facts["modelspec.prediction_type"] == "v"
    assert facts["modelspec.sai_model_spec"] == "1.0.1" and facts["modelspec.resolution"] == "768x768"
    assert all(isinstance(value, str) for value in facts.values())


def test_kohyas_names_are_unambiguous():
    for name in ("sd1", "sd2", "any"):
        base = known_base(name)
        assert len(base.flat) == len(base.modules)
    assert set(known_base("sd1").modules) | set(known_base("sd2").modules) <= set(known_base("any").modules)
    for base in ("sd1", "sd2"):     # what a LoRA in kohya's names may change: all of the transformers, 192 layers + 32
        transformers = [name for name in known_base(base).modules if name.startswith("unet.")
                        and ".attentions." in name]
        assert len(transformers) == 192


@pytest.mark.parametrize("width, base", [(768, "sd1"), (1024, "sd2"), (512, "any")])
def test_the_base_follows_from_the_widths(tmp_path, width, base):
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    write_lora(tmp_path / "lora.safetensors",
               {module: LoraModule(np.ones((2, width), "f4"), np.ones((640, 2), "f4"), 2)})
    layout = identify(shapes_of(read_safetensors(tmp_path / "lora.safetensors")[0])).layout
    assert layout.config["base"] == base and layout.dialect == "ours" and layout.config["modules"] == {"unet": 1}


def damaged(files: Path, tmp_path: Path, change) -> Path:
    tensors = dict(read_safetensors(files / "alpha-kohya.safetensors")[0])
    change(tensors)
    write_safetensors(tmp_path / "damaged.safetensors", tensors)
    return tmp_path / "damaged.safetensors"


@pytest.mark.parametrize("change, told", [
    (lambda t: t.pop(f"{KOHYA_Q}.lora_up.weight"), f"{KOHYA_Q}.lora_up.weight' is missing"),
    (lambda t: t.pop(f"{KOHYA_Q}.lora_down.weight"), f"{KOHYA_Q}.lora_down.weight' is missing"),
    (lambda t: t.update({KOHYA_Q.replace("to_q", "to_w") + ".lora_up.weight": np.ones((4, 2), "f4")}),
     "no module.*did you mean"),
    (lambda t: t.update({f"{KOHYA_Q}.lora_up.weight": np.ones((4, 3), "f4")}),
     r"has shape \[4, 3\], expected is \[4, 2\]"),
    (lambda t: t.update({f"{KOHYA_Q}.alpha": np.asarray(np.nan, "f4")}), "no finite number"),
    (lambda t: t.update({"stray": np.ones(2, "f4")}), "unexpected tensor 'stray'"),
    (lambda t: t.update({f"{TO_Q}.lora_A.weight": np.ones((2, 4), "f4")}), "are both down"),
    (lambda t: t.update({KOHYA_Q + ".hada_w1_a": np.ones((2, 4), "f4")}), "LoHa"),
    (lambda t: t.update({KOHYA_Q + ".lokr_w1": np.ones((2, 4), "f4")}), "LoKr"),
    (lambda t: t.update({KOHYA_Q + ".dora_scale": np.ones((2, 4), "f4")}), "DoRA"),
    (lambda t: t.update({KOHYA_Q + ".lora_mid.weight": np.ones((2, 2, 3, 3), "f4")}), "Tucker"),
    (lambda t: t.update({KOHYA_Q + ".diff": np.ones((2, 2), "f4")}), "full differences"),
    (lambda t: t.update({KOHYA_Q.replace("unet_down_blocks", "unet_input_blocks") + ".alpha": np.ones(1, "f4")}),
     "no module"),
    (lambda t: t.update({"lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": np.ones(1, "f4")}), "XL")])
def test_faults_are_told_by_name(files, tmp_path, change, told):
    with pytest.raises(UserError, match=told):
        read_lora(damaged(files, tmp_path, change))


def test_widths_are_held_against_a_given_base(files, base, tmp_path):
    path = damaged(files, tmp_path, lambda t: t.update({f"{KOHYA_Q}.lora_down.weight": np.ones((2, 5), "f4")}))
    with pytest.raises(UserError, match=r"has shape \[2, 5\], expected is \[2, 4\]"):
        read_lora(path, base)
    with pytest.raises(UserError, match="no module 'unet.up_blocks.3.*did you mean"):
        module = LoraModule(np.ones((1, 4), "f4"), np.ones((4, 1), "f4"), 1)
        write_lora(tmp_path / "deep.safetensors", {TO_Q.replace("down_blocks.0", "up_blocks.3"): module})
        read_lora(tmp_path / "deep.safetensors", base)


@pytest.mark.parametrize("fields, told", [
    ({"use_dora": True}, "use_dora"), ({"peft_type": "LOHA"}, "LOHA"), ({"bias": "all"}, "bias"),
    ({"init_lora_weights": "pissa_niter_4"}, "pissa"), ({"alpha_pattern": {"(a+)+$": 3}}, "regular expression"),
    ({"alpha_pattern": 3}, "JSON object"), ({"lora_alpha": "much"}, "a number is expected"),
    ({"fan_in_fan_out": True}, "fan_in_fan_out")])
def test_an_adapters_config_is_not_passed_over(files, tmp_path, fields, told):
    folder = Path(shutil.copytree(files / "peft", tmp_path / "peft"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(UserError, match=told):
        read_lora(folder)


@pytest.mark.parametrize("dialect", ["ours", "diffusers-lora", "kohya-lora"])
def test_the_convert_command_keeps_every_alpha(files, tmp_path, dialect):
    (written,) = convert(files / "metadata", tmp_path, Options(dialect=dialect))
    assert_equal(read_lora(written.path), read_lora(files / "metadata"))
    assert written.layout.kind == "lora" and inspect(written.path).exit_code == 0


def test_half_precision_stays(files, tmp_path):
    half = {name: LoraModule(m.down.astype("f2"), m.up.astype("f2"), m.alpha)
            for name, m in read_lora(files / "metadata").items()}
    write_kohya_lora(tmp_path / "half.safetensors", half, base="sd2")
    write_diffusers_lora(tmp_path / "diffusers.safetensors", read_lora(tmp_path / "half.safetensors"))
    assert_equal(read_lora(tmp_path / "diffusers.safetensors"), half)


def test_any_damage_gives_a_layout_or_one_line(files):
    rng = np.random.default_rng(0)
    for name in ("alpha-kohya.safetensors", "diffusers/pytorch_lora_weights.safetensors",
                 "metadata/pytorch_lora_weights.safetensors"):
        tensors, metadata = read_safetensors(files / name)
        for _ in range(30):
            shapes = shapes_of(tensors)
            for one in rng.choice(list(shapes), size=rng.integers(1, 9), replace=False):
                shape = shapes.pop(one)
                odd = [(), shape[::-1], (*shape, 1), (0,) * len(shape), (10**9,)][rng.integers(5)]
                text = list(one)
                text[rng.integers(len(text))] = rng.choice(list("._0aA/"))
                shapes |= [{}, {one: odd}, {"".join(text): shape}, {one + ".x": shape}][rng.integers(4)]
            try:
                identify(shapes, Hints(metadata=metadata))
            except UserError as error:
                assert "\n" not in str(error)


def test_another_file_is_told_apart(tmp_path):
    write_safetensors(tmp_path / "other.safetensors", {"weight": np.ones(2, "f4")})
    with pytest.raises(UserError, match="holds no LoRA"):
        read_lora(tmp_path / "other.safetensors")


@pytest.mark.reference
@pytest.mark.parametrize("which, source", [("plain", "diffusers"), ("alpha", "metadata")])
def test_diffusers_computes_the_same_with_our_files(files, tmp_path, which, source):
    lora = read_lora(files / source)
    for name in ("with-alpha", "folded", "kohya", "pickled"):
        (tmp_path / name).mkdir()
    write_diffusers_lora(tmp_path / "with-alpha" / "pytorch_lora_weights.safetensors", lora)
    write_diffusers_lora(tmp_path / "folded" / "pytorch_lora_weights.safetensors", lora, fold_alpha=True)
    write_kohya_lora(tmp_path / "kohya" / "ring.safetensors", lora)
    write_torch(tmp_path / "pickled" / "pytorch_lora_weights.bin",
                read_safetensors(tmp_path / "folded" / "pytorch_lora_weights.safetensors")[0])
    written = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    results = json.loads(run_reference("tests/parity/make_lora_fixtures.py", "check", which, *written).splitlines()[-1])
    for path, result in results.items():
        assert result["unet"] <= 1e-5 and result["text"] <= 1e-5 and result["effect"] > 1e-2, (path, result)


@pytest.mark.reference
def test_todays_libraries_write_the_same_files(tmp_path, files, deltas):
    run_reference("tests/parity/make_lora_fixtures.py", "make", tmp_path / "made")
    for name in (*PLAIN, *ALPHA, "peft", "plain-bare-unet.bin"):
        assert_equal(read_lora(tmp_path / "made" / name), read_lora(files / name))
    again = read_safetensors(tmp_path / "made" / "deltas.safetensors")[0]
    assert again.keys() == deltas.keys() and all(np.allclose(again[name], deltas[name]) for name in again)


# ---- the original code's names ---------------------------------------------------------------------------------------

# Places that anybody can look up in the original code's U-Net of Stable Diffusion 1.x, against diffusers'.
PLACES = {
    "input_blocks_0_0": "conv_in", "input_blocks_1_1_transformer_blocks_0_attn1_to_q":
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks_4_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in", "input_blocks_11_0_in_layers_2":
    "down_blocks.3.resnets.1.conv1", "middle_block_1_transformer_blocks_0_attn2_to_k":
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    "middle_block_2_out_layers_3": "mid_block.resnets.1.conv2",
    "output_blocks_2_1_conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks_5_2_conv": "up_blocks.1.upsamplers.0.conv",
    "output_blocks_3_1_transformer_blocks_0_ff_net_0_proj":
    "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "output_blocks_11_0_emb_layers_1": "up_blocks.3.resnets.2.time_emb_proj", "out_2": "conv_out", "time_embed_2":
    "time_embedding.linear_2"}


def factors(name: str, weight: tuple[int, ...], rank: int = 2) -> dict[str, np.ndarray]:
    shapes = dict(zip(("down", "up"), factor_shapes(weight, rank)))
    return {f"{name}.lora_{role}.weight": np.ones(shape, "f4") for role, shape in shapes.items()} | {
        f"{name}.alpha": np.float32(1)}


@pytest.mark.parametrize("known", ["sd1", "sd2"])
def test_a_lora_in_the_original_names_is_mapped(tmp_path, known):
    shapes = known_base(known).modules
    tensors = {}
    for theirs, ours in PLACES.items():
        tensors |= factors(f"lora_unet_{theirs}", shapes[f"unet.{ours}"])
    tensors |= factors("lora_te_text_model_encoder_layers_0_mlp_fc1",
                       shapes["text_encoder.text_model.encoder.layers.0.mlp.fc1"])
    write_safetensors(tmp_path / "l.safetensors", tensors)
    lora = read_lora(tmp_path / "l.safetensors")
    assert set(lora) == {f"unet.{ours}"
                         for ours in PLACES.values()} | {"text_encoder.text_model.encoder.layers.0.mlp.fc1"}
    layout = identify(shapes_of(tensors)).layout
    assert (layout.dialect, layout.config["base"]) == ("kohya-ldm", known)


def test_every_module_of_a_known_u_net_has_its_own_original_name():
    base = known_base("sd1")
    named = [module for module in base.modules if module.startswith("unet.")]
    assert set(base.original.values()) == set(named) and all(name not in base.flat for name in base.original)


def test_xl_in_the_original_names_is_told_by_its_widths(tmp_path):
    attention = "input_blocks_4_1_transformer_blocks_1"
    for name, weight, message in ((f"{attention}_attn2_to_k", (640, 2048), "Stable Diffusion XL"),
                                  (f"{attention}_attn1_to_q", (640, 640), "neither Stable Diffusion 1.x nor 2.x")):
        write_safetensors(tmp_path / "l.safetensors", factors(f"lora_unet_{name}", weight))
        with pytest.raises(UserError, match=message):
            read_lora(tmp_path / "l.safetensors")
