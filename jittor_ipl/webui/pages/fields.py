"""Fields that several pages have."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from jittor_ipl.webui.catalogue import KEPT, StyleChoice
from jittor_ipl.webui.pages.frame import Site
from jittor_ipl.webui.pages.words import Words

FIRST = 3               # styles that are ticked at first


def subject_field(site: Site) -> gr.Radio:
    """Return the choice of what is pictured."""
    there = [(site.words.or_else("subject", one.id), one.id) for one in site.choices.subjects]
    return gr.Radio(there, value=there[0][1], label=site.words("field.subject"), elem_id="subject")


def truncation(words: Words) -> gr.Slider:
    """Return the slider of truncation."""
    return gr.Slider(0, 1, 0.7, step=0.05, label=words("field.truncation"), info=words("field.truncation.info"),
                     elem_id="truncation", buttons=[])


def strength(words: Words) -> gr.Slider:
    """Return the slider between source and style, a little beyond it."""
    return gr.Slider(0, 1.5, 1, step=0.05, label=words("field.strength"), info=words("field.strength.info"),
                     elem_id="strength", buttons=[])


def styles_field(site: Site, subject: str) -> tuple[gr.Dropdown, gr.CheckboxGroup]:
    """Return the choice of the method and that of the styles it made, the first ones ticked."""
    there = sets(site, subject)
    first = there[0][1] if there else None
    made_by = gr.Dropdown(there, value=first, visible=len(there) > 1, label=site.words("field.set"), elem_id="made-by")
    chosen = styles_of(site, subject, first)
    return made_by, gr.CheckboxGroup(chosen, value=ticked_of(site, subject, first), label=site.words("field.styles"),
                                     show_select_all=True, visible=bool(chosen), elem_id="styles")


def one_style_field(site: Site, subject: str) -> gr.Dropdown:
    """Return the choice of one style or none."""
    return gr.Dropdown(any_style(site, subject), value="", label=site.words("edit.style"), elem_id="style")


def any_style(site: Site, subject: str) -> list[tuple[str, str]]:
    """Return no style and all styles of a subject as choices; those of several methods say which."""
    there = site.choices.of(subject)
    names = [one.name for one in there]
    return [(site.words("field.style.none"), ""),
            *((one.name if names.count(one.name) == 1 else f"{one.name} · {set_name(site, one)}", one.id)
              for one in there)]


def sets(site: Site, subject: str) -> list[tuple[str, str]]:
    """Return by which methods a subject's styles were made, as choices of a field; kept ones are last."""
    found: dict[str, StyleChoice] = {}
    for one in site.choices.of(subject):
        found.setdefault(one.set, one)
    return [(set_name(site, one), name) for name, one in found.items()]


def set_name(site: Site, one: StyleChoice) -> str:
    """Return what the set of a style is called."""
    return site.words("set.kept") if one.set == KEPT else f"{site.words.or_else('method', one.method)} ({one.set})"


def styles_of(site: Site, subject: str, made_by: str | None) -> list[tuple[str, str]]:
    """Return the styles of a set as choices of a field."""
    return [(one.name, one.id) for one in site.choices.of(subject) if one.set == made_by]


def ticked_of(site: Site, subject: str, made_by: str | None) -> list[str]:
    """Return the styles of a set that are ticked at first."""
    return [style for _, style in styles_of(site, subject, made_by)[:FIRST]]


def sets_update(site: Site, subject: str, made_by: str | None = None) -> Any:
    """Return the choice of the method for another subject."""
    there = sets(site, subject)
    return gr.update(choices=there, value=made_by or (there[0][1] if there else None), visible=len(there) > 1)


def styles_update(site: Site, subject: str, made_by: str | None, ticked: list[str] | None = None) -> Any:
    """Return the choice of styles for another set; its first ones are ticked where nothing else is said."""
    there = styles_of(site, subject, made_by)
    return gr.update(choices=there, visible=bool(there),
                     value=ticked_of(site, subject, made_by) if ticked is None else ticked)


def number(given: Mapping[str, Any], name: str, default: float) -> float:
    """Return a number of an address or of settings, the default where there is none."""
    try:
        return float(given.get(name, default))
    except (TypeError, ValueError):
        return default
