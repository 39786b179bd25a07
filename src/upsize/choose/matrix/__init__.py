"""The decision matrix: each size on this machine, as measured facts, and the use that follows from them by rule.

A cell is one figure's measurement, made in a process of its own and kept on disk, so that a matrix goes on where it
stopped. Where the weights are not there, random ones of the same shape are measured; where a whole size would take too
long, a few of its layers, and the figure is scaled with the sum shown.
"""

from upsize.choose.matrix.cells import Cell, Settings, cells_of, expected_seconds
from upsize.choose.matrix.rows import MATRIX, build
from upsize.choose.matrix.text import render

__all__ = ["MATRIX", "Cell", "Settings", "build", "cells_of", "expected_seconds", "render"]
