"""The report: a page that shows a verdict, readable on a phone and on paper, in light and dark, with no network.

`report_verdict` writes `verdict.json` and `index.html`. `templates` lays the pages out, `tables` and `size_table` have
their rows, `pictures` their drawings. Pictures are SVG within the page. Every figure has its exact value in
`<data value>`, so that a test can compare the page to the JSON.
"""

from upsize.selection.report.page import page, report_verdict, write_matrix, write_report

__all__ = ["page", "report_verdict", "write_matrix", "write_report"]
