"""A service without networks, for tests of everything around it: what it does with a job is said by the first seed."""
from __future__ import annotations

import os
import signal
import time

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.webui.task import JobResult, Note

DIES, FAULT, MISTAKE, SLOW = 666, 500, 422, 1000        # other seeds are drawn


class StandIn:
    """Draws a grey square of the seed's shade for every seed."""

    def __call__(self, task, progress):
        import numpy as np
        if task is None:
            return None
        seeds, pictures = task.request.seeds, []
        if seeds[0] == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if seeds[0] == FAULT:
            raise RuntimeError("secret of /place/key")
        if seeds[0] == MISTAKE:
            raise UserError(f"cannot read '{task.folder}/weights.safetensors': it is damaged; /usr/share/x y/z.dat too")
        for number, seed in enumerate(seeds):
            name = f"{number:03d}-seed{seed:04d}.png"
            save_png(task.folder / name, np.full((8, 8, 3), seed % 256, np.uint8), {"seed": str(seed)})
            pictures.append({"name": name, "seed": seed, "style": "source", "settings": {"seed": seed}, "alt": "grey"})
            done = number + 1
            progress(Note("drawing", done, len(seeds), done / len(seeds), (pictures[-1],), ((seed, 0.5),)))
            while seeds[0] == SLOW and not progress.cancelled:
                time.sleep(0.01)
            if progress.cancelled:
                return None
        return JobResult(tuple(pictures), facts={"pid": os.getpid()})
