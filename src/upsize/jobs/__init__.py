"""Jobs: files of any length through a model, checked before they start and resumable after a stop.

`input_rows` makes values of records, `survey` reports bad rows before anything is computed, `file_job` computes,
`partial_output` keeps what is done on disk, `output_formats` encodes the results.
"""
