"""What the demo family is worth: every model on every task of labelled data, beside reference lines.

`sets` reads the data, `tasks` turns vectors or scores into outcomes, `references` are what a small model has to be
compared with, `outcomes` the intervals. Run it with `python -m benchmarks.demo_family`.
"""
