"""From prompts and seeds to pictures: what a picture depends on, and what it does not."""
from __future__ import annotations

import numpy as np
import pytest
from tiny_model import load_tiny, picture

from jittor_ipl.config.lora import Sampling
from jittor_ipl.diffusion.mean_image import mean_image
from jittor_ipl.diffusion.pipeline import decoded, encoded, first_noise, generate, step_noise
from jittor_ipl.diffusion.samplers import SAMPLERS
from jittor_ipl.diffusion.style_aligned import StyleReference
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt

SAMPLING = Sampling(sampler="dpm++2m", steps=4, guidance=3.0)


def made(prompts, seeds, sampling=SAMPLING, **options) -> list[np.ndarray]:
    return list(generate(load_tiny(), prompts, seeds, sampling, **options))


def test_the_settings_name_the_samplers_there_are():
    assert set(Sampling.model_json_schema()["properties"]["sampler"]["enum"]) == set(SAMPLERS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seeds_picture_does_not_depend_on_the_others(name):
    """Bit for bit: alone, among others, in another order."""
    sampling = Sampling(sampler=name, steps=3, guidance=2.0)
    prompts, seeds = ["a ring", "a", "a a", "ring a"], [5, 6, 7, 5]
    together = made(prompts, seeds, sampling)
    alone = [made([prompt], [seed], sampling)[0] for prompt, seed in zip(prompts, seeds)]
    backwards = made(prompts[::-1], seeds[::-1], sampling)[::-1]
    assert all(picture.dtype == np.uint8 and picture.shape == (16, 16, 3) for picture in together)
    for one, two, three in zip(together, alone, backwards):
        assert (one == two).all() and (one == three).all()
    assert (together[0] != together[1]).any() and (together[0] != together[3]).any()


def test_noise_is_standard_and_each_seeds_own():
    first, shape = first_noise(1, (1, 4, 64, 64)), (1, 4, 64, 64)
    assert first.dtype == np.float32 and abs(first.mean()) < 0.03 and abs(first.std() - 1) < 0.03
    others = [first_noise(2, shape), step_noise(1, shape, 0), step_noise(1, shape, 1), step_noise(2, shape, 0)]
    for other in others:
        assert abs(np.corrcoef(first.reshape(-1), other.reshape(-1))[0, 1]) < 0.04
    assert (first == first_noise(1, shape)).all()
    # frozen: released seeds must give their pictures for ever
    assert first_noise(0, (1, 1, 1, 3)).reshape(-1) == pytest.approx([-1.9756243, -0.2708402, 0.5267755], abs=1e-6)


def test_negative_prompt_guidance_and_prompt_count():
    plain, = made(["a ring"], [1])
    for sampling, prompt in ((SAMPLING.model_copy(update={"negative": "a a"}), "a ring"),
                             (SAMPLING.model_copy(update={"guidance": 9.0}), "a ring"), (SAMPLING, "a a ring")):
        assert (made([prompt], [1], sampling)[0] != plain).any()
    one = SAMPLING.model_copy(update={"guidance": 1.0})       # leaves out the negative prompt
    assert (made(["a"], [1], one)[0] == made(["a"], [1], one.model_copy(update={"negative": "a"}))[0]).all()


def test_a_feature_joins_the_prompt():
    plain, = made(["a"], [1])
    zero, other = jt.zeros([1, 12, 8]), jt.ones([1, 12, 8])
    assert (made(["a"], [1], feature=zero)[0] == plain).all()
    assert (made(["a"], [1], feature=other)[0] != plain).any()


def test_img2img_stays_near_its_start_and_each_picture_has_its_own():
    starts = np.concatenate([picture(1), picture(2)])
    weak, strong = (Sampling(sampler="ddim", steps=20, guidance=1.0, strength=strength) for strength in (0.1, 0.9))
    model = load_tiny()
    best = [to_uint8(decoded(model, encoded(model, start[None]))[0]) for start in starts]
    far = {}
    for name, sampling in (("weak", weak), ("strong", strong)):
        found = made(["a", "a"], [1, 2], sampling, pictures=starts)
        far[name] = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(found, best)])
        alone = made(["a"], [2], sampling, pictures=starts[1:])
        assert (alone[0] == found[1]).all()
    print("mean distance from the start, in levels:", far)
    assert far["weak"] < far["strong"]
    shared = made(["a", "a"], [1, 2], weak, pictures=starts[:1])
    assert (shared[0] == made(["a"], [1], weak, pictures=starts[:1])[0]).all()


def test_progress_is_told():
    told = []
    made(["a", "ring"], [1, 2], SAMPLING, on_step=lambda *step: told.append(step))
    assert told == [(index, step, 4) for index in (0, 1) for step in (1, 2, 3, 4)]
    told.clear()
    made(["a"], [1], Sampling(sampler="ddim", steps=10, strength=0.35), pictures=picture(1),
         on_step=lambda *step: told.append(step))
    assert told == [(0, 1, 3), (0, 2, 3), (0, 3, 3)]


def test_pictures_need_not_be_square():
    found, = made(["a"], [1], size=(12, 24))
    assert found.shape == (12, 24, 3)


def test_user_mistakes_are_one_line():
    for size in ((15, 16), (0, 16), (16, 18)):
        with pytest.raises(UserError, match="multiples of 4 px"):
            made(["a"], [1], size=size)
    with pytest.raises(UserError, match="seed"):
        made(["a"], [-1])
    with pytest.raises(UserError, match="strength"):
        made(["a"], [1], Sampling(steps=4, strength=0.1), pictures=picture(1))


@pytest.mark.parametrize("place, message", [
    ("unet.mid_block.resnets.1.conv2", "the U-Net gives values that are not finite at timestep \\d+, first in "
                                       "mid_block.resnets.1.conv2:"),
    ("unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k", "first in up_blocks.1.attentions.0.*attn1.to_k:"),
    ("vae.decoder.conv_out", "the autoencoder gives values that are not finite, first in decoder.conv_out:")])
def test_a_value_that_is_not_finite_names_its_block(place, message):
    model = load_tiny()
    tensors = named_tensors(getattr(model, place.partition(".")[0]))
    weight = tensors[f"{place.partition('.')[2]}.weight"]
    kept = weight.numpy()
    damaged = kept.copy()
    damaged.reshape(-1)[1] = np.nan
    try:
        weight.assign(jt.array(damaged))
        with pytest.raises(UserError, match=message):
            made(["a"], [3])
        with pytest.raises(UserError, match=message):
            made(["a"], [3], reference=StyleReference(picture(1), "a"))
    finally:
        weight.assign(jt.array(kept))
    assert not any({"execute", "attend"} & vars(module).keys() for _, module in model.unet.named_modules())
    assert len(made(["a"], [3])) == 1


def test_the_mean_image():
    pictures = np.concatenate([picture(seed) for seed in range(5)])
    mean = mean_image(pictures)
    assert mean.shape == (1, 3, 16, 16) and mean.dtype == np.float32
    np.testing.assert_allclose(mean[0], pictures.mean(0), atol=1e-6)
    assert (mean_image(pictures[:1]) == pictures[:1]).all()
