"""What run_all.py made, for browsing: suites, their styles and pictures; nothing outside of the results folder."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from jittor_ipl.disk.layout import MANIFEST, SEEDS
from jittor_ipl.disk.names import SUFFIX, inside
from jittor_ipl.submission.records import read_seeds, read_set_manifest
from jittor_ipl.webui.page_error import PageError, near
from jittor_ipl.webui.pages.words import Phrase
from jittor_ipl.webui.settings import ServerSettings


def suites(settings: ServerSettings) -> list[str]:
    """Return the names of the suites in the results folder."""
    root = settings.results
    return sorted(path.parent.name for path in root.glob(f"*/{SEEDS}")) if root.is_dir() else []


def find_results(settings: ServerSettings, suite: str) -> Path:
    """Return a suite's folder; UserError for one that is not there."""
    names = suites(settings)
    if suite not in names:
        raise PageError("error.no_results", suite=suite, near=near(suite, names),
                        names=", ".join(names) or Phrase("error.nothing_made"))
    return inside(settings.results, suite)


def suite_to_json(settings: ServerSettings, suite: str) -> dict[str, Any]:
    """Return the styles of a suite with the names and seeds of their pictures; UserError for damaged records."""
    folder = find_results(settings, suite)
    seeds, manifest = read_seeds(folder / SEEDS), read_set_manifest(folder / MANIFEST)
    styles = [{"number": number, "style": plan.style, "source": plan.source,
               "size": manifest.styles[number].size if number in manifest.styles else None,
               "pictures": [{"name": f"{name}{SUFFIX}", "seed": seed,
                             "url": f"/api/v1/results/{suite}/{number}/{name}{SUFFIX}"}
                            for name, seed in plan.images.items()]}
              for number, plan in sorted(seeds.styles.items())]
    return {"suite": suite, "styles": styles}


def picture(settings: ServerSettings, suite: str, number: str, name: str) -> Path:
    """Return the file of a picture that the records name; UserError for any other."""
    folder = find_results(settings, suite)
    plan = read_seeds(folder / SEEDS).styles.get(number)
    path = inside(folder, number, name) if plan and name.removesuffix(SUFFIX) in plan.images else None
    if path is None or not path.is_file():
        raise PageError("error.no_result", suite=suite, name=name[:80], number=number[:10])
    return path
