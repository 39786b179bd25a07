"""Measurements. Each writes one JSON result that names machine, versions, date and n; the documents quote only those.

python -m benchmarks.long_text FOLDER --tokens 32768
python -m benchmarks.mixed_load FOLDER
python -m benchmarks.fresh_start
python -m benchmarks.page                    # put the results into the documents
"""
