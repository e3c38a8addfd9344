"""What a server is told, in one place."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Bounds of what anybody may send or keep; sizes in bytes, times in seconds."""

    body: int = 16 << 20            # of a request: an upload with what its form adds
    json_body: int = 256 << 10      # of a request of JSON
    json_depth: int = 32            # objects and lists in one another
    upload_pixels: int = 24_000_000
    upload_side: int = 2048         # larger pictures are kept at this side: no generator here sees more
    uploads: int = 40               # of one owner, the oldest go
    upload_age: float = 6 * 3600
    waiting: int = 8                # jobs of one owner in the queue
    jobs: int = 100                 # of one owner that are kept
    all_jobs: int = 5000            # of all owners
    job_age: float = 7 * 24 * 3600
    body_seconds: float = 30        # in which a body has to arrive


@dataclass(frozen=True)
class ServerSettings:
    """One server.

    host, port  where it listens
    runs        where kept styles and the private folder lie
    trained     folders that hold suites: `B_weight`, `runs`
    results     folder of what run_all.py made
    auth        file of users, None: no sign-in, which only a loopback address allows
    queue       jobs that may wait in each lane
    keep        generators that the worker keeps loaded
    language    of the page until somebody chooses: "en" or "zh"
    """

    host: str = "127.0.0.1"
    port: int = 7860
    runs: Path = Path("runs/webui")
    trained: tuple[Path, ...] = (Path("B_weight"), Path("runs"))
    results: Path = Path("results")
    auth: Path | None = None
    queue: int = 32
    keep: int = 12
    language: str = "en"
    limits: Limits = field(default_factory=Limits)

    @property
    def styles(self) -> Path:
        """Folder of the styles that were learnt on the page."""
        return self.runs / "styles"

    @property
    def private(self) -> Path:
        """Folder of jobs and uploads, which only this user may enter."""
        return self.runs / "private"
