"""The numbers of an inversion encoder, and what they imply without building one (no Jittor)."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.models.features.ir_units import IR_UNITS

# Units or blocks per resolution, by trunk and layers. The published encoders have IR trunks of 50 layers.
UNITS = {"ir": IR_UNITS, "resnet34": {34: (3, 4, 6, 3)}}
COARSE, MIDDLE = 3, 7       # heads of a pyramid below these read the coarse and the middle map, all others the fine one
# Classes by (trunk, heads). The second of a pair is the progressive one, whose heads but the first give differences.
TYPES = {
    ("ir", "pyramid"): ("GradualStyleEncoder", "Encoder4Editing"),
    ("ir", "flat"): ("BackboneEncoder", "ProgressiveBackboneEncoder"),
    ("ir", "w"): ("BackboneEncoderUsingLastLayerIntoW",),
    ("ir", "w+"): ("BackboneEncoderUsingLastLayerIntoWPlus",),
    ("resnet34", "pyramid"): ("ResNetGradualStyleEncoder",),
    ("resnet34", "flat"): ("ResNetBackboneEncoder", "ResNetProgressiveBackboneEncoder"),
}


@dataclass(frozen=True)
class EncoderConfig:
    """The numbers of an `InversionEncoder`, as its files save them; UserError for numbers that make no encoder."""

    trunk: str = "ir"                   # "ir": a face recogniser's; "resnet34": torchvision's without its first pooling
    heads: str = "pyramid"              # "pyramid" of three maps, "flat": the last map alone, "w+" or "w": one for all
    encoder_type: str | None = None     # the published class: one of TYPES; the first of its pair when None
    layers: int = 50                    # of the trunk
    squeeze: bool = True                # IR units with squeeze-and-excitation
    width: int = 64                     # channels of the trunk's first layer, an eighth of those of its last
    input_channels: int = 3             # 6 when the picture of the last step lies on the input, as in ReStyle
    input_size: int = 256               # side of the pictures, px
    style_dim: int = 512                # width of a code
    n_styles: int = 18                  # codes: one a layer of the generator; 1 for "w"

    def __post_init__(self) -> None:
        possible = TYPES.get((self.trunk, self.heads))
        if possible is None:
            raise UserError(f"no encoder has a {self.trunk!r} trunk with {self.heads!r} heads; there are "
                            + ", ".join(f"{trunk} with {heads}" for trunk, heads in TYPES))
        if self.encoder_type is None:
            object.__setattr__(self, "encoder_type", possible[0])
        if self.encoder_type not in possible:
            raise UserError(f"an encoder with a {self.trunk!r} trunk and {self.heads!r} heads is a "
                            f"{' or '.join(possible)}, not {self.encoder_type!r}")
        if self.layers not in (depths := UNITS[self.trunk]):
            raise UserError(f"no {self.trunk} trunk has {self.layers!r} layers; there are "
                            + ", ".join(map(str, depths)))
        size, smallest = self.input_size, 16 if self.heads in ("w", "w+") else 32
        if not (isinstance(size, int) and smallest <= size <= 1024 and size & (size - 1) == 0):
            raise UserError(f"an encoder of {size!r} px pictures; a power of two in {smallest}..1024 is needed")
        if min(self.width, self.style_dim, self.n_styles) < 1 or self.input_channels not in (3, 6):
            raise UserError(f"numbers that make no encoder: width {self.width}, style_dim {self.style_dim}, n_styles "
                            f"{self.n_styles}, input_channels {self.input_channels} (3 or 6)")
        if self.heads == "pyramid" and self.style_dim != 8 * self.width:
            raise UserError(f"the heads of a pyramid read maps of {self.style_dim} channels, as wide as a code; the "
                            f"trunk ends with {8 * self.width} (8 times its width)")

    @property
    def progressive(self) -> bool:
        """Whether every code is the first head's plus its own head's difference (Tov et al. 2021)."""
        return self.encoder_type != TYPES[self.trunk, self.heads][0]

    @property
    def iterative(self) -> bool:
        """Whether it sees the picture that its last codes drew beside the one to encode (Alaluf et al. 2021)."""
        return self.input_channels == 6

    @property
    def units(self) -> tuple[int, ...]:
        """Units or blocks of the trunk's four resolutions."""
        return UNITS[self.trunk][self.layers]

    def map_side(self, index: int) -> int:
        """Return the side in cells of the map that head `index` reads: a 16th, 8th or 4th of the picture's."""
        fineness = 0 if self.heads == "flat" or index < COARSE else 1 if index < MIDDLE else 2
        return self.input_size // 16 << fineness

    def to_json(self) -> dict[str, Any]:
        """Return the numbers such that `EncoderConfig(**numbers)` is the same, ready for JSON."""
        return asdict(self)
