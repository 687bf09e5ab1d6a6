"""A report as one HTML file that asks nobody for anything, and as Markdown.

Queries are written by a model and titles by anybody: whatever is put into a template is escaped, unless it is a picture
that this package drew itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recr1.errors import MissingLibrary
from recr1.report.page import Page
from recr1.runs import write_text, writing

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


def write_report(page: Page, out: Path) -> tuple[Path, Path]:
    """Write the HTML file and the Markdown beside it; returns both paths. Raises `RunError` where they cannot be."""
    beside = out.with_suffix(".md")
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, html(page))
        write_text(beside, markdown(page))
    return out, beside


def html(page: Page) -> str:
    """The page."""
    templates = _templates(autoescape=True)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return templates.get_template("report.html.jinja").render(page=page, style=style)


def markdown(page: Page) -> str:
    """The same in Markdown, without its pictures."""
    text = _templates(autoescape=False).get_template("report.md.jinja").render(page=page)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _templates(*, autoescape: bool) -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingLibrary("jinja2", "report", "writing a report") from error
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        finalize=None if autoescape else escaped_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["indented"] = indented
    templates.filters["sentence"] = sentence
    return templates


def sentence(text: str) -> str:
    """A clause as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}."


def indented(text: str) -> str:
    """A block of code in Markdown, which nothing within can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def escaped_markdown(value: Any) -> Any:
    """A text that Markdown shows as it is: one line, without markup, HTML, links or ends of cells."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", line).replace("://", ":\\//")
