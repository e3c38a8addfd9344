"""What there is to choose: subjects, their styles by every method, and results, read from disk without any weights."""
from __future__ import annotations

import importlib.util
import time
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jittor_ipl.config import load_run
from jittor_ipl.disk.layout import CONFIG, SEEDS
from jittor_ipl.errors import UserError
from jittor_ipl.inversion.detect import predictor_file
from jittor_ipl.submission.sets import SetEntry, open_set
from jittor_ipl.webui.page_error import PageError, near
from jittor_ipl.webui.pages.words import Phrase, Words, plural
from jittor_ipl.webui.settings import ServerSettings
from jittor_ipl.weights.refs import locate

FRESH = 1.0             # seconds in which the disk is not looked at again
KEPT = "kept"           # the set of styles that were learnt on the page


@dataclass(frozen=True)
class Domain:
    """What is pictured.

    source      its generator, a weight file or demo:<name>
    encoder     what finds codes of photographs; None: none, and the page says so
    suite       settings with which words are learnt; None: none are
    pictures    settings with which a style is learnt from pictures
    redraws     whether its suite's teacher redraws pictures
    """

    id: str
    source: str
    encoder: str | None = None
    suite: str | None = None
    pictures: str | None = None
    redraws: bool = False


PORTRAITS = Domain("portraits", "demo:generator", "demo:encoder", "demo", "few_shot", redraws=True)
PETS = Domain("pets", "demo:pets-generator", suite="demo_pets", redraws=True)


@dataclass(frozen=True)
class StyleChoice:
    """One style by one method: its id is `<set>/<number>`, its set the folder of its suite."""

    id: str
    name: str
    subject: str
    set: str
    method: str             # "teacher", "nada", "ipl", "few-shot"; "given": no settings tell
    entry: SetEntry

    def to_json(self) -> dict[str, Any]:
        """Return what the page and the API tell of it."""
        return {"id": self.id, "name": self.name, "subject": self.subject, "set": self.set, "method": self.method,
                "kept": self.set == KEPT, "truncation": self.entry.plan.recipe.truncation}


@dataclass(frozen=True)
class Choices:
    """Everything that is there at one moment."""

    subjects: tuple[Domain, ...]
    styles: tuple[StyleChoice, ...]
    problems: tuple[str, ...] = ()

    def subject(self, name: str) -> Domain:
        """Return a subject; UserError for one that is not there."""
        for one in self.subjects:
            if one.id == name:
                return one
        names = [one.id for one in self.subjects]
        raise PageError("error.no_subject", name=name, near=near(name, names), names=", ".join(names))

    def of(self, subject: str) -> list[StyleChoice]:
        """Return the styles of a subject."""
        return [one for one in self.styles if one.subject == subject]

    def style(self, subject: str, name: str) -> StyleChoice:
        """Return a style by its id, or by its name: then the first set's that has it; UserError for none."""
        mine = self.of(subject)
        for one in mine:
            if name == one.id:
                return one
        for one in mine:
            if name.casefold() == one.name.casefold():
                return one
        there = ", ".join(dict.fromkeys(one.name for one in mine)) or Phrase("error.none_yet")
        raise PageError("error.no_style", name=name, subject=plural(subject),
                        near=near(name, [one.name for one in mine]), names=there)

    def methods(self, subject: str, style: str) -> list[StyleChoice]:
        """Return what every method made of a style, by name; UserError where none did."""
        name = self.style(subject, style).name
        return [one for one in self.of(subject) if one.name.casefold() == name.casefold()]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as the API tells it."""
        return {"subjects": [self._of_subject(one) for one in self.subjects], "problems": list(self.problems),
                "finds_faces": finds_faces()}

    def _of_subject(self, subject: Domain) -> dict[str, Any]:
        reason = None if subject.encoder else Words("en")("error.no_encoder", subject=plural(subject.id))
        return {"id": subject.id, "source": subject.source, "styles": [one.to_json() for one in self.of(subject.id)],
                "photographs": subject.encoder is not None, "no_photographs": reason,
                "redraws": subject.redraws, "learns_words": subject.suite is not None,
                "learns_pictures": subject.pictures is not None}


@dataclass
class Catalogue:
    """The choices of a server, read again where a folder has changed since."""

    settings: ServerSettings
    _seen: tuple[float, Hashable, Choices] | None = field(default=None, repr=False)

    def choices(self) -> Choices:
        """Return what there is, as it was at most FRESH seconds ago."""
        if self._seen is None or time.monotonic() - self._seen[0] > FRESH:
            state = self._state()
            known = self._seen is not None and self._seen[1] == state
            self._seen = time.monotonic(), state, self._seen[2] if known else self._found()
        return self._seen[2]

    def _state(self) -> Hashable:
        """Return what changes when a suite or a run appears, ends or goes: their folders' times."""
        folders = [inner for folder in self._folders() for inner in (folder, *folder.iterdir()) if inner.exists()]
        return tuple((str(path), path.stat().st_mtime_ns) for path in folders)

    def _found(self) -> Choices:
        problems: list[str] = []
        subjects = {one.source: one for one in (PORTRAITS, PETS) if _there(one.source)}
        styles = []
        for folder in self._folders():
            try:
                entries = open_set(folder).entries
            except UserError as error:
                problems.append(f"{folder.name}: left out, {error}")
                continue
            for entry in entries:
                if entry.is_lora:
                    continue
                subject = subjects.setdefault(entry.plan.source, Domain(Path(entry.plan.source).stem,
                                                                         entry.plan.source))
                styles.append(_choice(KEPT if folder == self.settings.styles else folder.name, subject, entry))
        return Choices(tuple(subjects.values()), tuple(styles), tuple(problems))

    def _folders(self) -> Iterator[Path]:
        """Yield folders that may hold a suite's styles: released ones first, the page's own last."""
        seen = set()
        for root in self.settings.trained:
            for folder in sorted(root.iterdir()) if root.is_dir() else ():
                if folder.name not in seen and folder.resolve() != self.settings.runs.resolve() and _holds(folder):
                    seen.add(folder.name)
                    yield folder
        if _holds(self.settings.styles):
            yield self.settings.styles


def _holds(folder: Path) -> bool:
    return folder.is_dir() and ((folder / SEEDS).is_file() or any(folder.glob(f"*/{CONFIG}")))


def _there(ref: str) -> bool:
    with suppress(UserError):
        locate(ref)
        return True
    return False


def _choice(name: str, subject: Domain, entry: SetEntry) -> StyleChoice:
    config = entry.weights.parent / CONFIG
    method = _method(config, config.stat().st_mtime_ns) if config.is_file() else "given"
    return StyleChoice(f"{name}/{entry.number}", entry.plan.style, subject.id, name, method, entry)


@lru_cache(maxsize=1000)
def _method(config: Path, changed: int) -> str:
    """Return by which method a run's settings say it was made; `changed` has them read again when they are others."""
    with suppress(UserError):
        run = load_run(config)
        return "few-shot" if run.style_images is not None else run.method
    return "given"


def finds_faces() -> bool:
    """Whether dlib and its landmarks are installed, so that faces need no clicks."""
    if importlib.util.find_spec("dlib") is None:
        return False
    with suppress(UserError):
        predictor_file()
        return True
    return False
