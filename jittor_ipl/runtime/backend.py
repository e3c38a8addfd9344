"""The one door to Jittor: `from jittor_ipl.runtime.backend import jt, nn`.

Importing this module prepares the environment, imports Jittor (`bootstrap.import_jittor`) and puts the process back as
it was.
"""
from __future__ import annotations

from jittor_ipl.runtime.bootstrap import import_jittor

jt = import_jittor()
nn = jt.nn


def on_gpu() -> bool:
    """Tell whether operators run on the GPU in this process."""
    return bool(jt.flags.use_cuda)
