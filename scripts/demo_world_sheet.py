#!/usr/bin/env python
"""Draw the same faces in all eleven styles of the demo world: python scripts/demo_world_sheet.py docs/demo-world.png"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Write the labelled sheet to the path given (default demo-world.png)."""
    from jittor_ipl.images import contact_sheet, save_png
    from jittor_ipl.runtime.streams import rng
    from jittor_ipl.world import attributes, looks
    face = attributes.sample(rng(5, "sheet"), 12)
    rows = [(style, list(looks.render(face, style).transpose(0, 2, 3, 1))) for style in looks.STYLES]
    print(save_png(sys.argv[1] if len(sys.argv) > 1 else "demo-world.png", contact_sheet(rows)))


if __name__ == "__main__":
    main()
