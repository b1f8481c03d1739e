"""A real browser for pages on the disk. Debian calls it chromium; GitHub's machines have Chrome."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",  # without it Chromium refuses to run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)
INLINE = {"a", "b", "bdi", "code", "small", "span"}


class Page(NamedTuple):
    """What a browser made of a page: its elements as HTML, and what it wrote to the console."""

    dom: str
    console: list[str]

    def text(self) -> str:
        """All text but the style sheet's, with runs of white space, and ends of blocks and cells, as one space."""
        reader = _Text()
        reader.feed(self.dom)
        return " ".join("".join(reader.parts).split())

    def tags(self) -> set[str]:
        return set(re.findall(r"<([a-zA-Z][\w-]*)", self.dom))


def open_page(path: Path) -> Page:
    """Open a local page, let it run, and return what became of it; raises if no browser is installed."""
    found = [name for name in NAMES if shutil.which(name)]
    assert found, f"the report is tested in a real browser, and none of {', '.join(NAMES)} is installed: install one"
    with tempfile.TemporaryDirectory() as profile:
        command = [found[0], *QUIET, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout, done.stderr
    return Page(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def widths(path: Path, frame: int, folder: Path) -> tuple[int, int]:
    """(width of the content, width of the view) of a page in a frame of so many pixels, as on a phone."""
    unfolded = path.read_text().replace("<details>", "<details open>")
    page = html.escape(unfolded.replace('http-equiv="Content-Security-Policy"', ""), quote=True)
    script = (
        "onload = () => { const page = document.querySelector('iframe').contentDocument.documentElement;"
        "document.title = JSON.stringify([page.scrollWidth, page.clientWidth]); }"
    )
    wrapper = folder / "frame.html"
    frame_style = f"width:{frame}px;height:900px;border:0"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><script>{script}</script>'
        f'<iframe style="{frame_style}" srcdoc="{page}"></iframe>'
    )
    (title,) = re.findall("<title>(.*?)</title>", open_page(wrapper).dom.split("<iframe")[0])
    content, view = json.loads(title)
    return content, view


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.parts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in INLINE:
            self.parts.append(" ")
