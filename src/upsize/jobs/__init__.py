"""Jobs that run a model over files of any length. A job checks its input before it starts and can be resumed.

`input_rows` makes values of records, `survey` reports bad rows before anything is computed, `file_job` computes,
`partial_output` keeps what is done on disk, `output_formats` encodes the results.
"""
