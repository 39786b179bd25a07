"""Evaluation: how good a model is on labelled texts.

`datasets` reads a user's files. `tasks` turns texts and vectors into one value for each unit: a query, a pair or a
text. `metrics` and `statistics` turn these values into figures with intervals. `ranking_similarity` compares two
rankings without labels.
"""
