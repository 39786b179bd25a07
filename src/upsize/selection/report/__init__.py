"""The report: a page that shows a verdict, readable on a phone and on paper, in light and dark, with no network.

`write_report` makes `index.html` from the `verdict.json` beside it. Pictures are SVG within the page; every figure
carries its exact value (`<data value>`), so that a test can hold the page against the JSON.
"""

from upsize.selection.report.page import page, report_verdict, write_matrix, write_report

__all__ = ["page", "report_verdict", "write_matrix", "write_report"]
