"""What a CLIP says of the demo world's pictures, beside what their latents say."""
from __future__ import annotations

import numpy as np

from jittor_ipl.adaptation.captions import captions
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.text.descriptions import Description, descriptions_path, read_description
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.drawing.attributes import PORTRAIT


def test_captions_say_what_the_latents_say():
    """The answers of the shipped list stand in the order of the world's values, so that their places can be compared.
    """
    asked = read_description(descriptions_path("portraits"))
    source = load_generator("demo:generator")
    z = np.random.default_rng(31).standard_normal((96, source.style_dim)).astype(np.float32)
    truth = PORTRAIT.from_latent(z)
    seen = np.clip(pictures(source, z), -1, 1)
    every = Description(" / ".join(f"{{{slot.name}}}" for slot in asked.slots), asked.slots)
    said = [text.split(" / ") for text in captions([load_clip("demo:clip-local")], every, seen)]
    right = {slot.name: np.mean([slot.answers.index(words[place]) == truth[slot.name][row]
                                 for row, words in enumerate(said)]) for place, slot in enumerate(asked.slots)}
    print({name: round(float(share), 2) for name, share in right.items()})
    assert np.mean([*right.values()]) >= .85 and min(right.values()) > .6


def test_several_clips_vote_and_every_picture_is_described():
    asked = read_description(descriptions_path("portraits"))
    images = np.random.default_rng(2).uniform(-1, 1, (3, 3, 64, 64)).astype(np.float32)
    clips = [load_clip(f"demo:clip-{name}") for name in ("local", "robust")]
    one, other, both = (captions(some, asked, images) for some in (clips[:1], clips[1:], clips))
    assert len(one) == len(other) == len(both) == 3 and not any("{" in text for text in both)
    assert captions(clips[:1] * 2, asked, images) == one and captions(clips[::-1], asked, images) == both
