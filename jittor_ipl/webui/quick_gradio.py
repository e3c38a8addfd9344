"""Gradio imported in a third of its time.

With every component class Gradio 6 parses its own source and writes a file of type hints beside it, for editors: four
seconds of six, and writing into an installed package is nothing that a server should do.
"""
from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

_WRITES_HINTS, _FUNCTION = "gradio.component_meta", "create_or_modify_pyi"
# Read when Gradio is imported: no statistics to anybody, no look at newer versions, nothing fetched from a hub.
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_SHARE": "False",
           "GRADIO_MCP_SERVER": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False"}


def import_gradio(temporary: str | os.PathLike) -> ModuleType:
    """Return Gradio, which keeps its temporary files in the folder `temporary` and reaches for nothing outside."""
    os.environ.update(OFFLINE, GRADIO_TEMP_DIR=os.fspath(temporary))
    finder = _WithoutHints()
    sys.meta_path.insert(0, finder)
    try:
        import gradio
    finally:
        sys.meta_path.remove(finder)
    return gradio


@contextmanager
def pages_alone() -> Iterator[None]:
    """While pages are put together: with every page Gradio makes an application of all so far; the mounted one is used.
    """
    from gradio.routes import App
    create = App.__dict__["create_app"]
    App.create_app = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        App.create_app = create


class _WithoutHints(importlib.abc.MetaPathFinder):
    """Finds the module that writes the hints and takes that function out of it."""

    def find_spec(self, name: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of that module alone, None for all others."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == _WRITES_HINTS else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def without(module: ModuleType) -> None:
                execute(module)
                assert hasattr(module, _FUNCTION), f"another Gradio than the pinned one: no {_FUNCTION}"
                setattr(module, _FUNCTION, lambda *_: None)
            spec.loader.exec_module = without
        return spec
