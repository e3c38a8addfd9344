"""Jobs as people see them: what a template needs of a job, in the words of one language."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from jittor_ipl.webui.pages.words import Phrase, Words

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
PAGE_OF = {"generate": "studio", "compare": "compare", "align": "photo", "invert": "photo", "edit": "edit",
           "learn": "learn", "learn-pictures": "learn", "score": "results"}     # where each kind is shown
SOURCE = "source"
WIDTH, HEIGHT = 600, 160        # of the loss curve, in units of its own


def render(template: str, words: Words, **fields: Any) -> Markup:
    """Return a template filled in; whatever is not markup of ours is escaped."""
    return Markup(TEMPLATES.get_template(template).render(t=words, language=words.language, **fields))


def link(words: Words, page: str, **query: Any) -> str:
    """Return the address of a page of this language, its query without what is None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"/{words.language}/{page}" + (f"?{urlencode(given, doseq=True)}" if given else "")


def view(job: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Return what `job.html` and `jobs.html` show of a job, given as the API tells it."""
    pictures = job["result"]["pictures"] or job["live"]["pictures"]
    return {"id": job["id"], "state": job["state"], "label": words.or_else("kind", job["kind"]),
            "badge": words("state." + job["state"]), "state_text": state_text(job, words),
            "percent": round(100 * job["fraction"]), "cancelling": job["cancelling"], "error": _error(job, words),
            "over": job["state"] not in ("queued", "running"),
            "iso": datetime.fromtimestamp(job["created"], timezone.utc).isoformat(timespec="seconds"),
            "when": when(job["created"]), "summary": summary(job["request"], words),
            "open": link(words, PAGE_OF.get(job["kind"], "jobs"), job=job["id"]),
            "thumbnails": [_shown(one, job, words) for one in pictures[:6]], "groups": groups(pictures, job, words),
            "facts": facts(job["result"]["facts"], words), "table": table(job["result"]["facts"], words),
            "curve": curve(job["live"]["loss"], words), "kept": _kept(job, words), "links": _links(job, words),
            "notes": notes(job["result"]["facts"], words)}


def _error(job: Mapping[str, Any], words: Words) -> str | None:
    """Return why a job failed; in English where its record is of a version that had no such key or other fields."""
    try:
        return words.phrase(Phrase.from_json({"key": job["error_key"], "fields": job["error_fields"]}))
    except KeyError:
        return job["error"]


def state_text(job: Mapping[str, Any], words: Words) -> str:
    """Return in a few words what a job is at."""
    if job["state"] == "queued":
        place = job["place"] or 0
        return f"{words('state.queued')}: " + (words("place.next") if place == 0 else words("place.one") if place == 1
                                               else words("place.before", place=place))
    if job["state"] != "running":
        return words("state." + job["state"])
    stage = job["stage"] or {"name": "starting"}
    name = words.or_else("stage", stage["name"])
    return words("stage.of", stage=name, done=stage["done"], of=stage["of"]) if stage.get("of") else name


def summary(request: Mapping[str, Any], words: Words) -> str:
    """Return what was asked for, in one line."""
    parts = [words.or_else("subject", str(request.get("subject", "")))]
    parts += [str(request[name]) for name in ("words", "target", "style", "name") if request.get(name)]
    if request.get("styles"):
        parts.append(", ".join(request["styles"]))
    seeds = request.get("seeds") or ([request["seed"]] if "seed" in request else [])
    if seeds and not request.get("face"):
        parts.append(words("picture.seed", seed=", ".join(map(str, seeds[:8])) + (" …" if len(seeds) > 8 else "")))
    return " · ".join(part for part in parts if part)


def groups(pictures: Sequence[Mapping[str, Any]], job: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
    """Return pictures that belong side by side: of a seed in all styles; of an edit each face and style, by offset."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for picture in pictures:
        found.setdefault(_group(picture, job["kind"]), []).append(picture)
    return [{"key": "-".join(key), "shape": _shape(members, job["kind"]),
             "title": _group_title(key, members, job, words),
             "pictures": [_shown(one, job, words) for one in _ordered(members, job["kind"])]}
            for key, members in found.items()]


def facts(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Return what a job found out, name and value, as far as the table of words has a name for it."""
    shown = []
    for name, value in found.items():
        if f"fact.{name}" in words and value not in (None, [], {}, ""):
            value = sum(value.values()) if name == "seconds" and isinstance(value, dict) else value     # of the stages
            value = words.translated(name, value) if name == "verdict" else value
            shown.append((words("fact." + name), percent(value) if name.startswith("explained") else figure(value)))
    return shown


def notes(found: Mapping[str, Any], words: Words) -> list[str]:
    """Return what a person should be told in a line each: remarks on a picture, and how the CLIP reads their words."""
    return [*(words.translated("remark", text) for text in found.get("remarks", ())),
            *(words("note.read_as", word=word, other=other) for word, other in found.get("read_as", {}).items()),
            *(words("note.never_seen", word=word) for word in found.get("unknown_words", ()))]


def table(found: Mapping[str, Any], words: Words) -> dict[str, Any] | None:
    """Return the rows of a job that scores, with the names of their columns; None for other jobs."""
    rows = found.get("rows")
    if not rows:
        return None
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
    return {"columns": [words.or_else("column", name) for name in columns],
            "rows": [[percent(row[name]) if name == "judge" else figure(row.get(name)) for name in columns]
                     for row in rows]}


def figure(value: Any) -> str:
    """Return a fact as people read it: numbers to four digits."""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(value: float | None) -> str:
    """Return a share in per cent."""
    return "–" if value is None else f"{value:.0%}"


def when(seconds: float) -> str:
    """Return a moment in the server's time."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def curve(loss: Sequence[Sequence[float]], words: Words) -> dict[str, str] | None:
    """Return the points of a loss curve in its box, None for fewer than two."""
    if len(loss) < 2:
        return None
    steps, values = zip(*loss)
    low, high = min(values), max(values)
    across = WIDTH / max(1, steps[-1] - steps[0])
    up = (HEIGHT - 20) / ((high - low) or 1)
    points = " ".join(f"{(step - steps[0]) * across:.1f},{HEIGHT - 10 - (value - low) * up:.1f}"
                      for step, value in loss)
    return {"points": points, "last": f"{values[-1]:.4g}",
            "alt": words("learn.loss.alt", first=f"{values[0]:.4g}", last=f"{values[-1]:.4g}", step=steps[-1])}


def style_name(style: str, words: Words) -> str:
    """Return what a picture's style is called on the page."""
    return words.or_else("style", style)


def _shape(members: Sequence[Mapping[str, Any]], kind: str) -> str:
    """Return how pictures of a group stand: a strip to slide along, whole sheets one below the other, or a grid."""
    if kind == "edit":
        return "strip"
    if kind in ("learn", "learn-pictures"):
        return "wide"
    return "few" if len(members) <= 4 else ""


def _group(picture: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    if kind == "edit":
        return str(picture.get("seed")), str(picture["style"])
    return (str(picture.get("seed")),) if kind == "generate" else ("all",)


def _group_title(key: tuple[str, ...], members: Sequence[Mapping[str, Any]], job: Mapping[str, Any],
                 words: Words) -> str:
    if job["kind"] in ("learn", "learn-pictures"):
        return words("learn.samples")
    seed = members[0].get("seed")
    parts = [] if seed is None else [words("picture.seed", seed=seed)]
    if job["kind"] == "edit":
        parts.append(style_name(key[1], words))
    return " · ".join(parts) if job["kind"] in ("edit", "generate") else ""


def _ordered(members: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    if kind in ("learn", "learn-pictures"):
        return list(members)[::-1]      # the newest sample on top
    if kind != "edit":
        return list(members)
    return sorted(members, key=lambda one: one["settings"].get("offset", 0.0))


def _shown(picture: Mapping[str, Any], job: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Return one picture with its alternative text, title, note and links."""
    settings, style = picture["settings"], style_name(picture["style"], words)
    if settings.get("kind") == "invert" and picture["style"] == SOURCE:
        style = words("picture.reconstruction")
    offset = settings.get("offset")
    note = None if picture.get("seed") is None else words("picture.seed", seed=picture["seed"])
    title = style if offset is None else words("picture.offset", offset=f"{offset:g}")
    if settings.get("method"):          # of a comparison
        title = words.or_else("method", settings["method"])
    elif "step" in settings:            # a sample of a training
        title = words("picture.step", stage=words.or_else("stage", settings["stage"]), step=settings["step"])
    return {**{name: picture[name] for name in ("name", "url", "width", "height")}, "title": title,
            "note": note if offset is None else None, "alt": _alt(picture, style, words), "edit": _edit(picture, words)}


def _alt(picture: Mapping[str, Any], style: str, words: Words) -> str:
    settings = picture["settings"]
    subject = words.or_else("one", str(settings.get("subject", "")))
    fields = {"subject": subject, "style": style, "seed": picture.get("seed"), "target": settings.get("target"),
              "offset": settings.get("offset")}
    which = "plain" if picture.get("seed") is None else "edit" if fields["offset"] is not None else "seed"
    return words("picture.alt." + which, **fields)


def _edit(picture: Mapping[str, Any], words: Words) -> str | None:
    settings = picture["settings"]
    if settings.get("kind") != "generate" or picture.get("seed") is None:
        return None
    return link(words, "edit", subject=settings.get("subject"), seed=picture["seed"], style=settings.get("style_id"),
                truncation=settings.get("truncation"))


def _kept(job: Mapping[str, Any], words: Words) -> dict[str, str] | None:
    if job["state"] != "done" or job["kind"] not in ("learn", "learn-pictures"):
        return None
    name = job["request"]["name"]
    return {"text": words("learn.kept", name=name),
            "url": link(words, "studio", subject=job["request"]["subject"], style=name)}


def _links(job: Mapping[str, Any], words: Words) -> list[dict[str, str]]:
    if job["kind"] == "invert" and job["state"] == "done":
        return [{"text": words("photo.edit"), "url": link(words, "edit", face=job["id"])}]
    return []
