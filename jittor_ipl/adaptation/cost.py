"""What a teacher's lessons cost, told in one line before they begin."""
from __future__ import annotations

from typing import TextIO

from jittor_ipl.config.teacher import Teacher
from jittor_ipl.diffusion.teacher import DiffusionTeacher
from jittor_ipl.runtime.memory import available_bytes, in_gib


def rows_of(settings: Teacher, way: str) -> int:
    """Return how many rows the teacher's U-Net computes for one of the ways; guidance asks two of a picture."""
    if way == "pairs":
        own = settings.pairs
        return own.count * own.sampling_steps * (1 + _told(own.guidance))       # into the noise by one row, and back
    own = settings.scores
    return own.steps * own.batch * _told(own.guidance) * (2 if way == "dds" else 1)


def tell_cost(settings: Teacher, teacher: DiffusionTeacher, title: str, stream: TextIO) -> None:
    """Print what all ways ask of the teacher, and a warning where its memory may not suffice."""
    rows = {way: rows_of(settings, way) for way in settings.ways}
    parts = ", ".join(f"{way} {count:,}" for way, count in rows.items())
    print(f"{title}: the teacher's U-Net computes {sum(rows.values()):,} rows of {teacher.size} px ({parts}), "
          f"{teacher.rows} at once, in about {in_gib(teacher.bytes)} beside the weights", file=stream, flush=True)
    free = available_bytes()
    if teacher.bytes > .9 * free:
        print(f"warning: {title}: {in_gib(free)} are free; it may fail: end other programs, or take a teacher of "
              "smaller pictures (sample_size in its unet/config.json)", file=stream, flush=True)


def _told(guidance: float) -> int:
    return 1 if guidance == 1 else 2
