"""The decision matrix: each size on this machine, as measured facts, and the use that follows from them by rule.

A cell is one figure's measurement, made in a process of its own and kept on disk, so that a matrix goes on where it
stopped. Where the weights are not there, random ones of the same shape are measured; where a whole size would take too
long, a few of its layers, and the figure is scaled with the sum shown.
"""

from upsize.selection.matrix.cells import Cell, CellSettings, cells_of, expected_seconds
from upsize.selection.matrix.table import MATRIX, build
from upsize.selection.matrix.terminal import render

__all__ = ["MATRIX", "Cell", "CellSettings", "build", "cells_of", "expected_seconds", "render"]
