"""The report of runs: verdict, tables, curves and single queries, in one HTML file and in Markdown."""

from recr1.report.page import Page, html, markdown, page, write_report
from recr1.report.run_data import RunData, read_run

__all__ = ["Page", "RunData", "html", "markdown", "page", "read_run", "write_report"]
