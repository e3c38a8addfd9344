#!/usr/bin/env python
"""Draw the demo world, one labelled row a style.

    python scripts/demo_world_sheet.py docs/demo-world.png                the same faces in all eleven styles
    python scripts/demo_world_sheet.py results/pets.png --subject pets    the pets that a generator's latents mean, in
                                                                          all four styles, and what it draws
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

COUNT = 12


def main() -> None:
    """Write the labelled sheet to the path given (default demo-world.png)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=Path("demo-world.png"))
    parser.add_argument("--subject", choices=("portraits", "pets"), default="portraits")
    options = parser.parse_args()

    from jittor_ipl.disk.atomic import write_bytes
    from jittor_ipl.images.sheets import contact_sheet, encode_sheet
    sheet = contact_sheet(portraits() if options.subject == "portraits" else pets())
    print(write_bytes(options.path, encode_sheet(sheet, options.path.suffix)))


def portraits() -> list:
    """The same random faces in every style."""
    from jittor_ipl.runtime.streams import rng
    from jittor_ipl.world.subjects import PORTRAITS
    face = PORTRAITS.table.sample(rng(5, "sheet"), COUNT)
    return [(style, tiles(PORTRAITS.render(face, style))) for style in PORTRAITS.styles]


def pets() -> list:
    """One pet of each coat in every style, and the generator's pictures of the same seeds.

    Always the first seed of the coat with the species, pattern and ears that make the row varied.
    """
    from jittor_ipl.images.pixels import to_uint8
    from jittor_ipl.models.stylegan2.pictures import pictures
    from jittor_ipl.runtime.streams import z_from_seeds
    from jittor_ipl.weights.generator import load_generator
    from jittor_ipl.world.drawing import attributes
    from jittor_ipl.world.subjects import PETS
    z = z_from_seeds(range(1000), attributes.LATENT_DIM)
    pet = PETS.table.from_latent(z)
    wanted = ((0, 0, 0, 0), (1, 1, 2, 0), (2, 0, 1, 1), (3, 1, 1, 1), (4, 0, 2, 0))     # coat, species, pattern, ears
    labels = np.stack([pet[name] for name in ("coat", "species", "pattern", "ears")], axis=1)
    first = [int((labels == values).all(axis=1).argmax()) for values in wanted]
    z, pet = z[first], attributes.select(pet, first)
    rows = [(style, tiles(PETS.render(pet, style))) for style in PETS.styles]
    return [*rows, ("generator", list(to_uint8(pictures(load_generator("demo:pets-generator"), z))))]


def tiles(images: np.ndarray) -> list[np.ndarray]:
    """uint8 [N, 3, H, W] as a list of [H, W, 3]."""
    return list(images.transpose(0, 2, 3, 1))


if __name__ == "__main__":
    main()
