"""DreamBooth on the tiny pipeline: what moves, resuming to the bit, batches, the prior, learning rates."""
from __future__ import annotations

import numpy as np
import pytest
from fixture_files import unpack

from jittor_ipl.config.lora import LoraTraining
from jittor_ipl.diffusion import dreambooth
from jittor_ipl.diffusion.examples import Examples, Picture
from jittor_ipl.diffusion.schedule import noise_schedule
from jittor_ipl.errors import UserError
from jittor_ipl.models.diffusion.style_feature import StyleProjection
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.state import Loop
from jittor_ipl.weights.diffusion import load_diffusion


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_diffusion(unpack(tmp_path_factory.mktemp("diffusion"), "diffusion") / "pipeline")


def pictures(count: int, seed: int = 0, side: int = 16) -> list[Picture]:
    images = np.random.default_rng(seed).uniform(-1, 1, (count, 3, side, side)).astype(np.float32)
    return [Picture(image, f"a ring{' a' * index}") for index, image in enumerate(images)]


def settings(**changes) -> LoraTraining:
    return LoraTraining(**{"rank": 2, "steps": 4, "batch": 2, "lr_unet": 0.01, "lr_text": 0.02, "schedule": "cosine",
                           "unet_targets": ["to_q", "to_k", "to_v", "to_out.0", "proj", "conv1"], **changes})


def train(model, seen=None, loop=None, **changes):
    def keep(step, metrics, state):
        seen[step] = metrics, state()
    prior = pictures(2, 9) if "prior" in changes else ()
    return dreambooth.train_lora(model, pictures(3), settings(**changes), seed=5, prior=prior,
                                 loop=loop or Loop(on_step=None if seen is None else keep))


def moved(lora) -> set[str]:
    """Names of the factors that are not what they were at the start: up is zero there."""
    return {name for name, value in lora.items() if name.endswith(".up") and value.any()}


EVERYTHING = {"feature": {"on": True, "lr": 0.05}, "prior": {"weight": 0.5, "pictures": 2}, "accumulation": 2,
              "min_snr": 5.0, "caption_dropout": 0.3, "lora_plus": 4.0, "warmup": 2}


def test_four_steps_are_two_and_two_to_the_bit(model):
    seen = {}
    straight = train(model, seen, **EVERYTHING)
    resumed = train(model, loop=Loop(2, seen[2][1]), **EVERYTHING)
    assert straight.lora.keys() == resumed.lora.keys()
    assert all(straight.lora[name].tobytes() == resumed.lora[name].tobytes() for name in straight.lora)
    for name, var in named_tensors(straight.feature.projection).items():
        assert np.array_equal(var.numpy(), named_tensors(resumed.feature.projection)[name].numpy()), name
    assert all(np.isfinite(list(metrics.values())).all() for metrics, _ in seen.values())
    assert set(seen[1][0]) == {"loss", "lr", "norm"}


def test_training_changes_the_lora_and_nothing_else(model):
    before = {part: {name: var.numpy() for name, var in named_tensors(getattr(model, part)).items()}
              for part in ("unet", "vae", "text")}
    lora = train(model, steps=3).lora
    assert moved(lora) == {name for name in lora if name.endswith(".up")}
    assert {name.partition(".")[0] for name in lora} == {"unet", "text_encoder"}
    for part, tensors in before.items():
        after = named_tensors(getattr(model, part))
        assert all(np.array_equal(after[name].numpy(), value) for name, value in tensors.items()), part
    from jittor_ipl.models.lora import places
    assert all(place.owner._lora is None
               for place in places({"unet": model.unet, "text_encoder": model.text}).values())


def test_a_frozen_text_encoder_has_no_lora_and_its_states_are_computed_once(model, monkeypatch):
    asked = []
    states = model.text.hidden_states
    monkeypatch.setattr(model.text, "hidden_states", lambda tokens: asked.append(len(tokens)) or states(tokens))
    lora = train(model, text_targets=[]).lora
    assert asked == [4] and {name.partition(".")[0] for name in lora} == {"unet"}


def test_batches_are_summed_as_if_they_were_one(model):
    """Two accumulated batches of one picture give the gradient of one batch of both, where they draw the same."""
    examples, schedule = Examples(model, pictures(3)), noise_schedule(model.scheduler)
    whole = examples.draw(settings(batch=3), schedule, 5, 0)
    from jittor_ipl.models.lora import attach, initial, places, targets
    networks = {"unet": model.unet, "text_encoder": model.text}
    known = places(networks)
    params = attach(networks, initial(known, targets(known, "unet", ["to_q", "conv1"]), 2, 2, np.random.default_rng(0)))

    def gradient(batch):
        loss = dreambooth.denoising_loss(model, schedule, batch, dreambooth.context_of(model, examples, batch))
        return [grad.numpy() for grad in jt.grad(loss, list(params.values()))]
    parts = [gradient(type(whole)(*(array[i:i + 1] for array in whole))) for i in range(3)]
    for one, other in zip(gradient(whole), map(sum, zip(*parts))):
        assert np.abs(one - other).max() <= 1e-5 * max(1e-3, np.abs(one).max())


def test_accumulated_batches_keep_no_graph(model, monkeypatch):
    """What is alive when a step's gradients are summed does not grow with the number of its batches."""
    alive, norm = [], dreambooth.gradient_norm
    monkeypatch.setattr(dreambooth, "gradient_norm", lambda grads: alive.append(jt.liveness_info()) or norm(grads))
    for accumulation in (1, 4):
        train(model, steps=2, accumulation=accumulation)
    print(alive)
    assert alive[3]["lived_vars"] <= 1.1 * alive[1]["lived_vars"]
    assert alive[3]["lived_ops"] <= 1.1 * alive[1]["lived_ops"]


def test_every_picture_is_seen_as_often_as_the_others(model):
    examples, schedule = Examples(model, pictures(3), pictures(2, 9)), noise_schedule(model.scheduler)
    numbers = settings(batch=2, accumulation=3, prior={"weight": 0.25})
    batches = [examples.draw(numbers, schedule, 5, step, part) for step in range(4) for part in range(3)]
    texts = np.stack([batch.texts for batch in batches])
    assert np.bincount(texts[:, :2].reshape(-1)).tolist() == [8, 8, 8]
    assert np.bincount(texts[:, 2:].reshape(-1), minlength=5).tolist() == [0, 0, 0, 12, 12]
    assert batches[0].weights.tolist() == [0.5, 0.5, 0.125, 0.125]
    again = examples.draw(numbers, schedule, 5, 3, 2)
    assert all(np.array_equal(one, other) for one, other in zip(again, batches[-1]))
    assert len({batch.noise.tobytes() for batch in batches}) == 12


def test_dropped_captions_are_the_empty_one_without_the_style_feature(model):
    examples, schedule = Examples(model, pictures(3)), noise_schedule(model.scheduler)
    batch = examples.draw(settings(caption_dropout=1.0), schedule, 5, 0)
    assert (batch.texts == examples.empty).all()
    feature = dreambooth.new_feature(model, examples, settings(feature={"on": True, "weight": 1.0}), 5)
    plain = dreambooth.context_of(model, examples, batch).numpy()
    assert np.array_equal(dreambooth.context_of(model, examples, batch, feature=feature).numpy(), plain)
    told = batch._replace(texts=np.array([0, 3]))
    difference = (dreambooth.context_of(model, examples, told, feature=feature)
                  - dreambooth.context_of(model, examples, told)).numpy()
    assert np.abs(difference[0] - feature.states().numpy()[0]).max() < 1e-5 and not difference[1].any()


def test_means_and_samples_of_latents(model):
    examples = Examples(model, pictures(3))
    spread = np.random.default_rng(1).standard_normal((2, 4, 8, 8)).astype(np.float32)
    mean, log_variance = (np.stack([examples.moments[i][k] for i in (2, 0)]) for k in (0, 1))
    image = jt.array(np.stack([pictures(3)[i].image for i in (2, 0)]))
    assert np.abs(examples.latents([2, 0], None) - model.vae.encode(image).numpy()).max() < 1e-5
    found = model.vae.encode(image, jt.array(spread)).numpy()
    assert np.abs(examples.latents([2, 0], spread) - found).max() < 1e-5 * np.abs(found).max()
    assert mean.shape == log_variance.shape == spread.shape


def test_every_group_has_its_learning_rate():
    names = ["unet.a.down", "unet.a.up", "text_encoder.a.down", "text_encoder.a.up", "feature.conv1.weight"]
    numbers = settings(lora_plus=8.0, feature={"on": True, "lr": 0.5})
    groups = dreambooth.by_rate(dict.fromkeys(names), numbers)
    assert {rate: names for rate, names in groups.items()} == {
        0.01: names[:1], 0.08: names[1:2], 0.02: names[2:3], 0.16: names[3:4], 0.5: names[4:]}


def test_one_step_of_the_optimiser_is_as_long_as_its_rate(model):
    """Adam's first step moves every number by its learning rate, whatever the gradient and its scaling."""
    lora = train(model, steps=1, schedule="constant", weight_decay=0.0, lora_plus=3.0).lora
    for part, rate in (("unet", 0.03), ("text_encoder", 0.06)):
        largest = max(np.abs(value).max() for name, value in lora.items() if name.startswith(part)
                      and name.endswith(".up"))
        assert largest == pytest.approx(rate, rel=1e-3)


def test_mistakes_are_told(model):
    with pytest.raises(UserError, match=r"15 x 15: .* multiples of 4; set resolution to 12"):
        dreambooth.train_lora(model, pictures(2, side=15), settings(), seed=0)
    with pytest.raises(UserError, match="unet has no module 'to_w'"):
        train(model, unet_targets=["to_w"])
    with pytest.raises(UserError, match="style feature has no convolutions .* prompts 1023 wide"):
        StyleProjection((4, 64, 64), 77, 1023)


@pytest.mark.parametrize("latents, length, width, channels, strides", [
    ((4, 64, 64), 77, 1024, 77, [2, 1, 1]), ((4, 64, 64), 77, 768, 231, [2, 2, 1]),
    ((16, 8, 8), 40, 128, 80, [1, 1, 1]), ((4, 8, 8), 12, 8, 24, [2, 2, 1])])
def test_the_style_feature_fits_every_model(latents, length, width, channels, strides):
    projection = StyleProjection(latents, length, width).initialise(np.random.default_rng(0))
    assert projection.conv3.weight.shape[0] == channels and not projection.conv1.weight.numpy().any()
    assert [projection.conv1.stride, projection.conv2.stride, projection.conv3.stride] == strides
    features = projection(jt.array(np.random.default_rng(1).standard_normal((1, 2 * latents[0], *latents[1:]), "f4")))
    assert features.shape == [1, length, width] and np.isfinite(features.numpy()).all()
