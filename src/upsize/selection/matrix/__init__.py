"""The decision matrix: each size on this machine, as measured facts, and the use that follows from them by rule.

A cell is one figure's measurement, made in a process of its own and kept on disk, so that a matrix goes on where it
stopped. Where the weights are not there, random ones of the same shape are measured; where a whole size would take too
long, a few of its layers, and the figure is scaled with the sum shown.
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
