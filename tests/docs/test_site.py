"""The documents' site: it builds without a warning, holds every page, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree, html
from snippets import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PICTURE = 20_000
DOCS = ROOT / "docs"
LOADED = ("//link[not(@rel='canonical')]/@href", "//script/@src", "//img/@src", "//iframe/@src", "//source/@src")


def build(site: Path, docs: Path | None = None) -> subprocess.CompletedProcess[str]:
    config = ROOT / "mkdocs.yml"
    if docs:
        config = docs.parent / "mkdocs.yml"
        text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        config.write_text(text.replace("scripts/", f"{ROOT}/scripts/"), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(site)],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "excluded" not in done.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[Path, html.HtmlElement]]:
    for path in sorted(site.rglob("*.html")):
        yield path, html.fromstring(path.read_text(encoding="utf-8"))


def test_every_document_is_a_page_in_the_navigation(site: Path) -> None:
    (navigation,) = html.parse(str(site / "index.html")).xpath("(//nav[contains(@class, 'md-nav--primary')])[1]")
    linked = {Path(link).name.partition("#")[0] for link in navigation.xpath(".//a/@href")}
    assert {f"{path.stem}.html" for path in DOCS.glob("*.md")} <= linked


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    for path, page in pages(site):
        for query in LOADED:
            assert [url for url in page.xpath(query) if re.match(r"(?:[a-z]+:)?//", str(url))] == [], path
        (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
        assert "default-src 'self'" in policy
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    for path, page in pages(site):
        for link in page.xpath("//article//a/@href"):
            file, _, anchor = str(link).partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), f"{path}: {link}"
            assert not anchor or html.parse(str(target)).xpath(f"//*[@id='{anchor}']"), f"{path}: {link}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("[x](nowhere.md)", "nowhere.md"), ("[x](#nowhere)", "nowhere"), ("[x](../benchmarks/nowhere.md)", "nowhere.md")],
)
def test_a_broken_link_breaks_the_build(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text("", encoding="utf-8")
    done = build(tmp_path / "site", tmp_path / "docs")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_pictures_are_small_and_described() -> None:
    shown = [
        (path, *found)
        for path in DOCS.glob("*.md")
        for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    ]
    assert {(path.parent / link).resolve() for path, _, link in shown} == set((DOCS / "images").iterdir())
    for path, described, link in shown:
        picture = path.parent / link
        assert len(described) > 40, link
        assert picture.stat().st_size < MAX_PICTURE
        root = etree.parse(str(picture)).getroot()
        assert root.findtext("{*}title")
        assert not root.xpath("//@*[contains(., '//')] | //*[local-name()='script']"), link
