"""The table of sizes (`upsize matrix`): measured facts of each size on this machine, and a recommended use by rule.

A cell is one measurement, made in a process of its own and kept on disk, so that a stopped run resumes. Without real
weights, random weights of the same shape are measured. Where a whole size would take too long, a few of its layers are
measured, and the figure is scaled with the arithmetic shown.
"""

from upsize.selection.matrix.cells import Cell, CellSettings, cells_of, expected_seconds
from upsize.selection.matrix.size_table import SIZE_TABLE_FILE, build_size_table
from upsize.selection.matrix.terminal import print_size_table

__all__ = [
    "SIZE_TABLE_FILE",
    "Cell",
    "CellSettings",
    "build_size_table",
    "cells_of",
    "expected_seconds",
    "print_size_table",
]
