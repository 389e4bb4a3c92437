"""What the site needs beyond mkdocs: files outside docs/ that pages link to, and pages that the navigation forgot."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
OUTSIDE = "repository/"
"""Where the site keeps files that are not below docs/, by their path in the repository."""
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that pages link to, and those that these link to in turn."""
    waiting = [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(DOCS):
            place = {"abs_src_path": str(ROOT / path), "inclusion": InclusionLevel.INCLUDED}
            files.append(File.generated(config, _in_site(path), **place))
        for target in _targets(path) if path.endswith(".md") else ():
            if target not in seen and (ROOT / target).is_file() and not (ROOT / DOCS / _in_site(target)).exists():
                seen.add(target)
                waiting.append(target)
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that the navigation does not name under its last heading."""
    named = re.findall(r"[\w-]+\.md", str(config.nav))
    rest = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    if rest:
        config.nav = [*(config.nav or []), {"More": rest}]
    return config


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between docs/ and the rest of the repository lead to where the site has these files."""
    uri = page.file.src_uri
    path = uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else DOCS + uri

    def moved(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[2]):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        return match[1] + posixpath.relpath(_in_site(target), posixpath.dirname(uri) or ".") + match[3]

    return _LINK.sub(moved, markdown)


def _in_site(path: str) -> str:
    return path.removeprefix(DOCS) if path.startswith(DOCS) else OUTSIDE + path


def _targets(path: str) -> list[str]:
    """Return the files of the repository that a document links to."""
    prose = _CODE.sub("", (ROOT / path).read_text(encoding="utf-8"))
    links = [link for _, link, _ in _LINK.findall(prose) if not re.match(r"[a-z]+:", link)]
    return [posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in links]
