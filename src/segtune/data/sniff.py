"""What a file that is no readable picture seems to be."""

from __future__ import annotations

import io
from pathlib import Path

from segtune.core.regular import open_regular


def sniff(source: Path | io.BytesIO) -> str:
    """Says in words what a file that is no readable image seems to be, from its first bytes.

    Args:
        source: A regular file, or the bytes of one.

    Returns:
        A phrase for the `found` line of a message, such as "an HTML page".
    """
    if isinstance(source, io.BytesIO):
        head = source.getvalue()[:1024]
    else:
        with open_regular(source) as file:
            head = file.read(1024)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known = (
        ((b"<!doctype html", b"<html", b"<head"), "really an HTML page (a download that answered with a web page?)"),
        ((b"<svg",), "an SVG drawing"),
        ((b"<?xml",), "an SVG drawing" if b"<svg" in text else "an XML file"),
        ((b"version https://git-lfs",), "a Git LFS pointer (the picture itself was not fetched: run `git lfs pull`)"),
        ((b"%pdf",), "a PDF document"),
        ((b"%!ps",), "a PostScript file"),
        ((b"{", b"["), "a JSON or text file"),
        ((b"pk\x03\x04",), "a ZIP archive"),
        ((b"\x89png", b"\xff\xd8\xff", b"riff"), "the start of an image whose header is damaged or cut short"),
    )
    for starts, name in known:
        if text.startswith(starts):
            return name
    if head[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    if head and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"bytes of no known image format (the first are {head[:8].hex(' ')})"
