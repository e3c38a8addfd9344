"""Say in plain words what a file is that is not a weight file."""
from __future__ import annotations

_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for (run `git lfs pull`)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture or a sound or video file"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (b"BZh", "a bzip2 archive (unpack it first)"),
    (b"\xfd7zXZ", "an xz archive (unpack it first)"),
    (b"7z\xbc\xaf", "a 7-Zip archive (unpack it first)"),
    (b"Rar!", "a RAR archive (unpack it first)"),
    (b"PK", "an empty or split zip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"GGUF", "a GGUF language model"),
    (b"#!", "a script"),
)


def describe_foreign(head: bytes) -> str:
    """Return what a file with these first bytes is, as far as one can tell ("a PNG picture")."""
    if not head:
        return "an empty file"
    for signature, description in _SIGNATURES:
        if head.startswith(signature):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive (PyTorch before 0.2 wrote such files: load and save it with a newer one; else unpack it)"
    return _describe_text(head) or "a file of unknown format"


def _describe_text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:256].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (the download was answered with HTML)"
    if start.startswith((b"<?xml", b"<")):
        return "an XML or HTML text"
    if start.startswith((b"{", b"[")):
        return "a JSON text"
    try:
        text = head[:1024].decode("ascii")
    except UnicodeDecodeError:
        return ""
    return "a text file" if text.isprintable() or "\n" in text else ""
