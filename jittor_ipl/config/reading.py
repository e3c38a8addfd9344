"""From a YAML file and overrides to a validated suite; every mistake is one line with the file's name."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from jittor_ipl.config.checks import check_prompts
from jittor_ipl.config.lora import LoraRun, LoraSuite
from jittor_ipl.config.plain_yaml import parse_yaml
from jittor_ipl.config.sections import Section
from jittor_ipl.config.suite import StyleEntry, StyleRun, Suite
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import TEXT_BYTES, read_small
from jittor_ipl.errors import UserError, nearest

LORA = "lora"       # the method of another kind of suite
SUITES = Path(__file__).parent / "suites"
AnySection = TypeVar("AnySection", bound=Section)


def suite_path(name: str | Path) -> Path:
    """Return the file of a suite: `name` where it is a file, else a shipped one (`demo`, `configs/demo.yaml`).

    Raises `UserError` for a word that names none; any other path that leads nowhere is left to its reader.
    """
    path, ending = Path(name), ".yaml"
    shipped = SUITES / f"{path.stem}{ending}"
    here = Path("configs") / f"{path.name}{ending}"
    places = {Path(): [here, shipped], Path("configs"): [shipped]}.get(path.parent, [])
    found = next((place for place in (path, *places) if place.is_file()), None)
    if found is None and re.fullmatch(r"[\w-]+", str(name)) and not path.exists():
        known = sorted(file.stem for file in SUITES.glob(f"*{ending}"))
        raise UserError(f"no suite {name!r} ships{nearest(str(name), known)}; there are {', '.join(known)}: "
                        "name one of these, or a file")
    return found or path


def load_suite(path: str | Path, overrides: Sequence[str] = (), styles: Sequence[str] = ()) -> Suite:
    """Read a suite from YAML and apply overrides such as `generator.steps=10` (they win over a style's own settings).

    `path` is a file, or the name of a suite that ships. Raises `UserError` naming the file and the key for anything
    unknown, mistyped, out of range or unsafe. `styles` are those that the call names, listed or not: what is wrong with
    all of the suite is told of the first of these.
    """
    path, settings = _settings(path, overrides)
    if settings.get("method") == LORA:
        raise UserError(f"{path}: a suite with method: lora is trained by dreambooth (METHOD=lora bash train_all.sh)")
    suite = _validated(Suite.model_validate, settings, str(path))
    names = suite.names()
    for style in styles:
        if style not in names:      # it gets what a listed style without settings of its own would
            _validated(partial(suite.resolve, 0), StyleEntry(name=names[0]), f"{path}: the style {style!r}")
    # A mistake in a style is found before any training.
    for number in sorted(range(len(names)), key=lambda number: names[number] not in styles):
        where = f"{path}: styles.{number} ({names[number]})"
        check_prompts(_validated(suite.resolve, number, where), where)
    return suite


def with_images(runs: Sequence[StyleRun], style_images: str) -> list[StyleRun]:
    """Return the one run of `runs` with a folder of pictures of its style; `UserError` for several, or where it cannot.
    """
    if len(runs) != 1:
        raise UserError(f"--style-images {style_images!r} shows one style: name it, any words will do, with one "
                        f"--style; there are {len(runs)}")
    settings = {**runs[0].model_dump(by_alias=True), "style_images": style_images}
    return [_validated(StyleRun.model_validate, settings, runs[0].style)]


def load_lora_suite(path: str | Path, overrides: Sequence[str] = ()) -> LoraSuite:
    """Read a suite with `method: lora`, as `load_suite` reads the others, which raises the same errors."""
    path, settings = _settings(path, overrides)
    if settings.get("method") != LORA:
        raise UserError(f"{path}: not a suite of LoRA (method: lora), such as demo_lora and jittor_b, which ship")
    suite = _validated(LoraSuite.model_validate, settings, str(path))
    for number, entry in enumerate(suite.styles):
        _validated(suite.resolve, number, f"{path}: styles.{number} ({entry.name})")
    return suite


def method_of(path: str | Path, overrides: Sequence[str] = ()) -> str:
    """Return the method that a suite's file names, "ipl" where it names none; `UserError` where it cannot be read."""
    return str(_settings(path, overrides)[1].get("method", "ipl"))


def load_run(path: str | Path) -> StyleRun | LoraRun:
    """Read the configuration of one style's run, of either kind; `UserError` as in `load_config`."""
    return load_config(path, LoraRun if _read(path).get("method") == LORA else StyleRun)


def load_config(path: str | Path, model: type[AnySection]) -> AnySection:
    """Read a YAML file as one closed section; `UserError` with the file and the key for what does not fit."""
    return _validated(model.model_validate, _read(path), str(path))


def save_config(config: Section, path: str | Path) -> Path:
    """Write a configuration as YAML that loads back to an equal one; atomic."""
    return write_bytes(path, to_yaml(config).encode())


def to_yaml(config: Section) -> str:
    """Return a configuration as YAML text, keys in the order of the model."""
    return yaml.safe_dump(config.model_dump(by_alias=True), sort_keys=False, allow_unicode=True, width=120)


def _settings(path: str | Path, overrides: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Return the file of a suite and what it says, with the overrides."""
    path = suite_path(path)
    settings = _read(path)
    for override in overrides:
        _apply(settings, override)
    return path, settings


def _read(path: str | Path) -> dict[str, Any]:
    value = parse_yaml(read_small(path, "configuration", TEXT_BYTES, pipes=True), str(path))
    if not isinstance(value, dict):
        raise UserError(f"{path}: a configuration is a list of 'key: value' lines, this is {_kind(value)}")
    return value


def _apply(settings: dict[str, Any], override: str) -> None:
    """Put `a.b.c=value` into the settings, and into every style's own overrides that set the same key."""
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise UserError(f"cannot understand --set {override!r}: write it as generator.steps=10")
    value = parse_yaml(text.encode(), f"--set {override}")
    _put(settings, path, value, key)
    styles = settings.get("styles")
    for entry in styles if path[0] != "styles" and isinstance(styles, list) else []:
        if isinstance(entry, dict) and _has(entry, path):
            _put(entry, path, value, key)


def _put(place: Any, path: Sequence[str], value: Any, key: str) -> None:
    *parents, last = path
    for name in parents:
        if isinstance(place, dict) and place.get(name) is None:
            place[name] = {}
        place = place[_index(place, name, key)]
    place[_index(place, last, key)] = value


def _index(place: Any, name: str, key: str) -> str | int:
    """Return what `name` means in a mapping or a list; UserError where it leads nowhere."""
    if isinstance(place, dict):
        return name
    if isinstance(place, list) and name.isascii() and name.isdigit() and int(name) < len(place):
        return int(name)
    size = f"a list of {len(place)}, counted from 0" if isinstance(place, list) else _kind(place)
    raise UserError(f"--set {key}: {name!r} leads nowhere: what lies before it is {size}")


def _has(place: Any, path: Sequence[str]) -> bool:
    return not path or isinstance(place, dict) and path[0] in place and _has(place[path[0]], path[1:])


def _validated(validate: Callable[[Any], AnySection], given: Any, source: str) -> AnySection:
    try:
        return validate(given)
    except ValidationError as error:
        raise UserError(f"{source}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """Tell the first mistake of a validation in one line: where, what, the value, and how many more there are."""
    mistakes = error.errors(include_url=False)
    mistake = mistakes[0]
    where = ".".join(str(part) for part in mistake["loc"])
    text, given = mistake["msg"], repr(mistake["input"])
    if mistake["type"] == "value_error":      # raised by a validator of ours, worded in full
        text = str(mistake["ctx"]["error"])
    elif mistake["type"] != "missing":
        text = f"{text[0].lower()}{text[1:]} (given: {given if len(given) <= 80 else given[:77] + '...'})"
    if mistake["type"] == "literal_error":
        text += nearest(given[:40], re.findall("'[^']*'", mistake["msg"])).replace("\"", "")
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return f"{where}: {text}{more}" if where else f"{text}{more}"


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "empty"}
    return names.get(type(value), f"a {type(value).__name__}")
