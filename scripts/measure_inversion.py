#!/usr/bin/env python
"""Measure how true renders of the demo world come back from inversion, and whether they reach the styles.

    python scripts/measure_inversion.py                             # every way, 200 unseen faces, 24 where projected
    python scripts/measure_inversion.py --ways encoder --faces 20   # one way, fewer
    OMP_NUM_THREADS=1 python scripts/measure_inversion.py --write docs/inversion_results.md

The judges have no part in any loss of the inversion. Seconds are of one processor, a picture's, without styles.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FIRST_SEED = 2_000_000          # tuning of the recipe looked at those from 4,000,000 on
# Way -> (whether the encoder begins, steps of projection or None for the default, the space, steps of tuning likewise)
WAYS = {"encoder": (True, 0, "w", 0), "encoder, tuning": (True, 0, "w", None), "encoder, W": (True, None, "w", 0),
        "encoder, W, tuning": (True, None, "w", None), "encoder, W+": (True, None, "w+", 0), "W": (False, None, "w", 0),
        "W+": (False, None, "w+", 0), "W, tuning": (False, None, "w", None),
        "W+, tuning": (False, None, "w+", None)}
COLUMNS = {"faces": "faces", "attributes": "attributes agree", "psnr": "PSNR (dB)", "lowest": "lowest",
           "identity": "identity", "style": "style reached", "kept": "attributes in the style",
           "seconds": "CPU seconds a picture"}
PLAIN = {"faces": "d", "psnr": ".1f", "lowest": ".1f", "seconds": ".2f", "identity": ".3f"}


def main() -> None:
    """Print one JSON line a way and the table; write the table where `--write` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", help="comma between groups is ';': \"encoder;W, tuning\"  [default: all]")
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--projected", type=int, default=24, help="of them for ways with a projection, which takes "
                        "seconds a face  [default: 24]")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--encoder", default="demo:encoder")
    parser.add_argument("--release", type=Path, default=Path("B_weight/demo"))
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    options = parser.parse_args()
    panel = Panel(options)
    rows = {"the faces themselves, sampled": panel.sampled()}
    for way in options.ways.split(";") if options.ways else WAYS:
        projects = WAYS[way][1] is None
        rows[way] = panel.measured(way, min(options.faces, options.projected) if projects else options.faces)
        print(json.dumps({way: rows[way]}), flush=True)
    call = "python scripts/measure_inversion.py" + (f' --ways "{options.ways}"' if options.ways else "")
    lines = [f"{options.faces} true renders, seeds {options.first_seed} to {options.first_seed + options.faces - 1}; "
             f"styles of {options.release}. Made by `{call}`.", "",
             "| way | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---:|" * len(COLUMNS)]
    lines += [f"| {way} | " + " | ".join(shown(key, row) for key in COLUMNS) + " |" for way, row in rows.items()]
    print("\n".join(lines))
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write, ("# What inversion keeps\n\n" + "\n".join(lines) + "\n").encode())


def shown(key: str, row: dict[str, float]) -> str:
    """A figure as the table shows it, empty where there is none."""
    return format(row[key], PLAIN.get(key, ".1%")) if key in row else ""


class Panel:
    """The faces, their true renders, the generators and the judges."""

    def __init__(self, options: argparse.Namespace):
        import numpy as np

        from jittor_ipl.inversion.encode import encode_with
        from jittor_ipl.runtime.streams import z_from_seeds
        from jittor_ipl.submission.produce import load, source_of
        from jittor_ipl.submission.sets import open_set
        from jittor_ipl.world.judging.features import extractor_of
        from jittor_ipl.world.judging.judge import load as load_judge
        from jittor_ipl.world.subjects import PORTRAITS
        self.source, self.subject, self.judge = source_of("demo:generator"), PORTRAITS, load_judge()
        self.z = z_from_seeds(range(options.first_seed, options.first_seed + options.faces), self.source.style_dim)
        faces = PORTRAITS.table.from_latent(self.z)
        self.true = np.ascontiguousarray(np.moveaxis(PORTRAITS.render(faces, PORTRAITS.source), 1, -1))
        self.seen, self.extractor = self.attributes(self.true), extractor_of(PORTRAITS)
        self.styles = {entry.plan.style: load(entry) for entry in open_set(options.release).entries}
        self.encode = encode_with(options.encoder, self.source)

    def attributes(self, pixels):
        """Labels [N, attributes] that the judge sees in pictures uint8 [N, H, W, 3]."""
        from jittor_ipl.images.pixels import from_uint8
        return self.judge.attributes(from_uint8(pixels))

    def sampled(self) -> dict[str, float]:
        """The figures of the faces as the generator draws them from their latents: a seed's pictures in the styles."""
        import numpy as np

        from jittor_ipl.inversion.invert import drawn
        from jittor_ipl.runtime.backend import jt
        with jt.no_grad():
            ws = self.source.broadcast(self.source.mapping(jt.array(self.z))).numpy()
        styled = {name: drawn(style, ws) for name, style in self.styles.items()}
        return self.figures(drawn(self.source, ws), {name: np.stack(list(made)) for name, made in styled.items()})

    def measured(self, way: str, faces: int) -> dict[str, float]:
        """The figures of one of WAYS on the first `faces`, each inverted and tuned by itself."""
        import time

        import numpy as np

        from jittor_ipl.images.pixels import from_uint8
        from jittor_ipl.inversion.invert import Tools, drawn, invert
        from jittor_ipl.inversion.matching import Edges
        from jittor_ipl.inversion.settings import settings_of
        from jittor_ipl.weights.tuned import carried_over
        encoded, steps, space, tune_steps = WAYS[way]
        settings = settings_of(self.source.size, encoded,
                               given={"steps": steps, "space": space, "tune_steps": tune_steps})
        tools = Tools(self.source, Edges(), self.encode if encoded else None)
        made, seconds, styled = [], 0.0, {name: [] for name in self.styles}
        invert(tools, ("warm",), from_uint8(self.true[:1]), *settings)      # kernels are compiled, memory is taken
        for index, picture in enumerate(self.true[:faces]):
            began = time.process_time()
            one = invert(tools, (str(index),), from_uint8(picture[None]), *settings)
            seconds += time.process_time() - began
            made.append(one.final[0])
            for name, style in self.styles.items():
                mine = carried_over(one.tuned.generator, self.source, style)
                styled[name].append(drawn(mine, one.tuned.latents)[0])
        stacked = {name: np.stack(pictures) for name, pictures in styled.items()}
        return self.figures(np.stack(made), stacked) | {"seconds": seconds / len(made)}

    def figures(self, made, styled) -> dict[str, float]:
        """What is seen in reconstructions uint8 [N, H, W, 3] and in those of them in the styles.

        attributes   share of those that the judge sees in the true render that it sees in the reconstruction, too
        style        mean over the styles of the share of pictures seen in it
        kept         share of the true render's attributes that are seen in the style, too, but for its hues
        """
        import numpy as np

        from jittor_ipl.images.pixels import from_uint8
        from jittor_ipl.inversion.distances import distances
        seen = self.seen[:len(made)]
        rows = distances(self.extractor, self.true[:len(made)], made)
        psnr = [row["psnr"] for row in rows]
        shapes = [i for i, name in enumerate(self.subject.table.values) if name not in self.subject.hues]
        reached, kept = [], []
        for name, pictures in styled.items():
            labels = self.judge.predict(from_uint8(pictures))
            reached.append((labels[:, 0] == self.subject.styles.index(name)).mean())
            kept.append((labels[:, 1:] == seen)[:, shapes].mean())
        return {"faces": len(made), "attributes": float((self.attributes(made) == seen).mean()),
                "psnr": float(np.mean(psnr)), "lowest": float(np.min(psnr)),
                "identity": float(np.mean([row["identity"] for row in rows])), "style": float(np.mean(reached)),
                "kept": float(np.mean(kept))}


if __name__ == "__main__":
    main()
