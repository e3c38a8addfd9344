"""The first page: what there is to draw, and what else can be done."""
from __future__ import annotations

from typing import Any

from jittor_ipl.webui.catalogue import Domain
from jittor_ipl.webui.pages.frame import PAGES, Site, html, on_load
from jittor_ipl.webui.pages.showing import link, render
from jittor_ipl.webui.pages.style_sheet import STATIC, address


def build(site: Site) -> None:
    """Fill the home page; its cards are made anew whenever it is opened, as styles come and go."""
    site.header()
    cards = html(_cards(site))
    site.footer()
    on_load(lambda: _cards(site), cards)


def _cards(site: Site) -> str:
    words = site.words
    subjects = [_card(site, one) for one in site.choices.subjects]
    return render("home.html", words, subjects=subjects, more=[page for page in PAGES if page != "studio"])


def _card(site: Site, subject: Domain) -> dict[str, Any]:
    words, count = site.words, len({one.name for one in site.choices.of(subject.id)})
    picture = STATIC / f"{subject.id}.webp"
    return {"name": words.or_else("subject", subject.id), "url": link(words, "studio", subject=subject.id),
            "surprise": link(words, "studio", subject=subject.id, surprise=1),
            "text": words.or_else("subject", f"{subject.id}.text"),
            "count": words("home.styles", count=count) if count else words("home.no_styles"),
            "picture": address(picture.name) if picture.is_file() else None}
