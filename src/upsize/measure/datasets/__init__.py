"""Datasets: users' files of labelled texts, read as a whole, with every row that cannot be used named."""
