"""What a pet of the demo world can be: see `attributes.Table`."""
from __future__ import annotations

from jittor_ipl.world.drawing.attributes import Table

PET = Table(
    values={
        "species": ("cat", "dog"),
        "coat": ("black", "brown", "orange", "grey", "white"),
        "pattern": ("plain", "patches", "stripes"),
        "ears": ("pricked", "folded"),
        "mouth": ("closed", "open"),
        "eyes": ("yellow", "green", "blue"),
        "collar": ("none", "collar"),
        "background": ("blue", "green", "pink", "yellow"),
    },
    cuts={
        "species": (.5, 1), "coat": (.2, .4, .6, .8, 1), "pattern": (.34, .67, 1), "ears": (.5, 1), "mouth": (.5, 1),
        "eyes": (.34, .67, 1), "collar": (.5, 1), "background": (.25, .5, .75, 1),
    },
    jitter=("tone", "shade", "width", "turn", "nod", "light"))
