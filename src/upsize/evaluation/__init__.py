"""Evaluation: how good a model is on labelled texts.

`datasets` reads a user's files, `tasks` turns texts and vectors into one value a unit, `metrics` and `statistics` turn
these values into figures with intervals.
"""
