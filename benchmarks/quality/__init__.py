"""What the demo family is worth: every model on every task of labelled data, beside reference lines.

`tasks` names the sets and judges vectors, `references` are what a small model has to be compared with, `outcomes` the
intervals. Run it with `python -m benchmarks.demo_family`.
"""
