"""Training of the demo models that ship with the package: see README.md in this folder."""
