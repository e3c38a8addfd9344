"""LoRA branches on tiny networks: against their formula, identity at the start, fused, sums, names."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models import lora as branches
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import TextTower
from jittor_ipl.models.diffusion.config import CROSS_DOWN, CROSS_UP, PLAIN_DOWN, PLAIN_UP, UNetConfig
from jittor_ipl.models.diffusion.unet import UNet
from jittor_ipl.models.layers import Conv, Holder, Linear
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt

CONFIG = UNetConfig(block_out_channels=(8, 16), down_block_types=(CROSS_DOWN, PLAIN_DOWN), norm_num_groups=2,
                    up_block_types=(PLAIN_UP, CROSS_UP), layers_per_block=(1, 1), cross_attention_dim=(8, 8),
                    transformer_layers_per_block=(1, 1), attention_head_dim=(2, 2))
ALL = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2",
       "conv_in", "conv_out", "time_emb_proj", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]


def filled(network, seed):
    rng = np.random.default_rng(seed)
    load_into(network, {name: rng.normal(0, 0.3, var.shape).astype(np.float32)
                        for name, var in named_tensors(network).items()}, source="test")
    return network


@pytest.fixture(scope="module")
def networks():
    return {"unet": filled(UNet(CONFIG), 1), "text_encoder": filled(TextTower(ClipConfig(
        embed_dim=8, image_resolution=16, vision_layers=1, vision_width=64, vision_patch_size=8, transformer_width=8,
        transformer_heads=2, transformer_layers=2, vocab_size=20, context_length=6)), 2)}


@pytest.fixture(autouse=True)
def plain(networks):
    yield
    branches.detach(networks)
    branches.unfuse(networks)


def outputs(networks):
    rng = np.random.default_rng(3)
    tokens = np.array([[3, 4, 19, 0, 0, 0], [5, 6, 7, 8, 9, 19]], np.int32)
    context = rng.standard_normal((2, 6, 8)).astype(np.float32)
    latents = rng.standard_normal((2, 4, 8, 8)).astype(np.float32)
    predicted = networks["unet"](jt.array(latents), jt.array(np.float32([3, 700])), jt.array(context))
    return networks["text_encoder"].encode_text(tokens).numpy(), predicted.numpy()


def drawn(networks, seed=5, rank=2, alpha=3.0):
    """A LoRA on everything that has a name, with an alpha other than its rank."""
    known = branches.places(networks)
    modules = branches.targets(known, "unet", ALL) + branches.targets(known, "text_encoder", TEXT)
    rng = np.random.default_rng(seed)
    lora = branches.initial(known, modules, rank, alpha, rng)
    return {name: rng.normal(0, 0.2, value.shape).astype(np.float32) if name.endswith("up") else value
            for name, value in lora.items()}


def changes(lora):
    for name in sorted({key.rpartition(".")[0] for key in lora}):
        down, up = lora[f"{name}.down"], lora[f"{name}.up"]
        product = np.tensordot(up.reshape(len(up), -1), down, 1)
        yield name, product * np.float32(lora[f"{name}.alpha"] / len(down))


def distance(one, other):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(one, other))


@pytest.mark.parametrize("kind", ["linear", "conv", "strided"])
def test_a_branch_is_its_formula(kind):
    rng = np.random.default_rng(0)
    layer = Linear(6, 5) if kind == "linear" else Conv(6, 5, 3, stride=2 if kind == "strided" else 1, padding=1)
    network = {"unet": filled(Holder(proj=layer), 1)}
    shape = tuple(layer.weight.shape)
    lora = {"unet.proj.down": rng.standard_normal((2, *shape[1:])).astype(np.float32),
            "unet.proj.up": rng.standard_normal((5, 2, *[1] * (len(shape) - 2))).astype(np.float32),
            "unet.proj.alpha": np.float32(3)}
    x = jt.array(rng.standard_normal((2, 3, 6) if kind == "linear" else (2, 6, 7, 7)).astype(np.float32))
    branches.attach(network, lora, weight=0.5)
    found = layer(x).numpy()
    branches.detach(network)
    weight = layer.weight.numpy() + 0.5 * dict(changes(lora))["unet.proj"]
    load_into(layer, {"weight": weight, "bias": layer.bias.numpy()}, source="test")
    error = distance([found], [layer(x).numpy()])
    print(f"{kind}: {error:.1e}")
    assert error < 1e-5


@pytest.mark.parametrize("draw", branches.DRAWS)
def test_a_new_lora_is_the_identity_to_the_bit(networks, draw):
    before = outputs(networks)
    known = branches.places(networks)
    modules = branches.targets(known, "unet", ALL) + branches.targets(known, "text_encoder", TEXT)
    branches.attach(networks, branches.initial(known, modules, 4, 8, np.random.default_rng(0), draw))
    assert all(np.array_equal(a, b) for a, b in zip(outputs(networks), before))


def test_how_down_starts():
    known = {"unet.a": branches.LoraPlace(None, (7, 500)), "unet.b": branches.LoraPlace(None, (7, 50, 3, 3))}
    for draw, deviations in (("gaussian", (1 / 8, 1 / 8)), ("kaiming", (1 / np.sqrt(3 * 500), 1 / np.sqrt(3 * 450)))):
        lora = branches.initial(known, known, 8, 8, np.random.default_rng(0), draw)
        assert lora["unet.b.down"].shape == (8, 50, 3, 3) and lora["unet.b.up"].shape == (7, 8, 1, 1)
        for name, deviation in zip(known, deviations):
            assert lora[f"{name}.down"].std() == pytest.approx(deviation, rel=0.03)
            assert not lora[f"{name}.up"].any()


def test_fused_equals_attached_and_comes_off_without_a_trace(networks):
    before, tensors = outputs(networks), {part: {name: var.numpy() for name, var in named_tensors(one).items()}
                                          for part, one in networks.items()}
    lora = drawn(networks)
    branches.attach(networks, lora)
    attached = outputs(networks)
    branches.detach(networks)
    branches.fuse(networks, changes(lora))
    branches.fuse(networks, changes(lora))      # not twice
    error, effect = distance(outputs(networks), attached), distance(attached, before)
    print(f"fused {error:.1e} from attached, {effect:.1e} from the base")
    assert error < 1e-5 and effect > 1e-2
    branches.unfuse(networks)
    assert all(np.array_equal(a, b) for a, b in zip(outputs(networks), before))
    for part, one in networks.items():
        assert all(np.array_equal(var.numpy(), tensors[part][name]) for name, var in named_tensors(one).items())


def test_a_branch_is_no_part_of_the_networks_state(networks):
    names = [list(named_tensors(one)) for one in networks.values()]
    trained = branches.attach(networks, drawn(networks))
    assert [list(named_tensors(one)) for one in networks.values()] == names
    assert all(name.endswith((".down", ".up")) and var.requires_grad for name, var in trained.items())


def test_names_are_those_of_diffusers(networks):
    known = branches.places(networks)
    assert {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0", "unet.conv_in",
            "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", "unet.time_embedding.linear_1",
            "text_encoder.text_model.encoder.layers.1.self_attn.k_proj",
            "text_encoder.text_model.encoder.layers.0.mlp.fc2"} <= set(known)
    assert branches.targets(known, "unet", ["proj"]) == [
        f"unet.{place}.transformer_blocks.0.ff.net.0.proj" for place in (
            "down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.0",
            "up_blocks.1.attentions.1")]
    assert len(branches.targets(known, "text_encoder", ["q_proj", "out_proj"])) == 4


@pytest.mark.parametrize("change, told", [
    (lambda t: t.update({"unet.conv_inn.down": t["unet.conv_in.down"]}), "no module 'unet.conv_inn' .did you mean"),
    (lambda t: t.update({"unet.conv_in.down": np.ones((2, 5, 3, 3), "f4")}), r"shape \[2, 5, 3, 3\], expected is"),
    (lambda t: t.update({"unet.conv_in.up": np.ones((8, 3, 1, 1), "f4")}), r"expected is \[8, 2, 1, 1\]"),
    (lambda t: t.pop("unet.conv_in.up"), "'unet.conv_in.up' is missing")])
def test_a_lora_that_does_not_fit_is_refused(networks, change, told):
    lora, before = drawn(networks), outputs(networks)
    change(lora)
    with pytest.raises(UserError, match=told):
        branches.attach(networks, lora)
    assert all(np.array_equal(a, b) for a, b in zip(outputs(networks), before))


def test_an_unknown_target_is_told_with_those_there_are(networks):
    with pytest.raises(UserError, match="unet has no module 'to_w' .did you mean.*conv1.*to_out.0"):
        branches.targets(branches.places(networks), "unet", ["to_q", "to_w"])
