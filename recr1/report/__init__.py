"""The report of runs: the verdict, tables, curves and single queries, in one HTML file and in Markdown."""

from recr1.report.page import Page, page
from recr1.report.render import html, markdown, write_report
from recr1.report.source import Source, read_source

__all__ = ["Page", "Source", "html", "markdown", "page", "read_source", "write_report"]
