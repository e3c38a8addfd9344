"""The embedded diffusion model: an encoder in closed form, captions that say what they should, a short training."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.state import Loop
from jittor_ipl.world.competition import UNSEEN
from jittor_ipl.world.subjects import PORTRAITS
from jittor_ipl.world.teaching import pool, pretrain_diffusion, pretrain_vae

RECIPE = pretrain_diffusion.RECIPES["diffusion"]


@pytest.fixture(scope="module")
def faces() -> pool.Pool:
    return pool.build(5, "faces of a test", 24)


@pytest.fixture(scope="module")
def vae(faces):
    return pretrain_vae.with_encoder(pretrain_vae.RECIPES["diffusion-decoder"], faces)


def latents_of(vae, images: np.ndarray) -> np.ndarray:
    with jt.no_grad():
        return vae.encode(jt.array(images)).numpy()


def test_the_encoder_is_linear(vae, faces):
    """Its group norm and SiLU are: the latents of a mixture are the mixture of the latents."""
    first, second = (pool.to_float(faces.images[i, :6]) for i in (0, 1))
    mixed = latents_of(vae, .3 * first + .7 * second)
    assert np.abs(mixed - (.3 * latents_of(vae, first) + .7 * latents_of(vae, second))).max() < 1e-3


def test_latents_say_as_much_as_principal_components(vae, faces):
    """As many numbers, chosen best for these very patches, would say little more."""
    images = pool.to_float(faces.images[:, ::2].reshape(-1, 3, 64, 64))
    latents = np.moveaxis(latents_of(vae, images), 1, -1).reshape(-1, vae.config.latent_channels)
    assert abs(latents.std() - 1) < .05
    patches = images.reshape(-1, 3, 8, 8, 8, 8).transpose(0, 2, 4, 1, 3, 5).reshape(len(latents), -1)
    centred = patches - patches.mean(axis=0)
    best = (np.linalg.eigvalsh(centred.T @ centred)[:-latents.shape[1]]).sum() / centred.size
    known = np.c_[latents, np.ones(len(latents))]
    left = patches - known @ np.linalg.lstsq(known, patches, rcond=None)[0]
    assert best <= np.mean(left ** 2) < 1.25 * best


def test_a_short_training_draws_better(faces):
    losses = []
    loop = Loop(on_step=lambda step, metrics, state: losses.append(metrics["loss"]))
    pretrain_vae.train(replace(pretrain_vae.RECIPES["diffusion-decoder"], steps=30, batch=4), faces, loop)
    assert np.mean(losses[-5:]) < .8 * losses[0]


def test_unseen_styles_come_into_no_batch():
    assert set(RECIPE.styles) == set(PORTRAITS.styles) - set(UNSEEN) and len(UNSEEN) == 5
    latents, labels = np.zeros((7, len(RECIPE.styles), 1, 1, 1)), np.zeros((7, len(PORTRAITS.table.values)), int)
    batches = [pretrain_diffusion.batch(RECIPE, latents, labels, rng(1, "test", step)) for step in range(30)]
    said = [text for _, captions in batches for text in captions]
    assert not any(style in text for text in said for style in UNSEEN)
    assert .05 < np.mean([text == "" for text in said]) < .15


def test_the_longest_caption_is_read_whole():
    codec, random = pretrain_diffusion.vocabulary(), rng(1, "captions")
    whole = replace(RECIPE, unconditional=0, complete=1, named=0)
    labels = PORTRAITS.table.labels(PORTRAITS.table.sample(random, 200))
    texts = [f"{pretrain_diffusion.caption(whole, 0, label, random)}, style_04" for label in labels]
    assert max(len(codec.encode(text)) for text in texts) + 2 <= pretrain_diffusion.CONTEXT_LENGTH
