"""What the worker processes of test_workers do: kept apart from pytest, so that they start fast."""
from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def save_when_stopped(path: str) -> None:
    """Write `path`.pid, sleep, and write `path`.saved at SIGTERM."""
    def save(number, frame):
        Path(path + ".saved").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    Path(path + ".tmp").write_text(str(os.getpid()))
    os.replace(path + ".tmp", path + ".pid")
    time.sleep(600)
