"""Files of any length through a model: read, checked as a whole, computed in order, and a kill loses little.

`rows` makes values of records, `survey` lists what is wrong before anything is computed, `bulk`
computes, `partial` keeps what is done, `output` shapes the file that it becomes.
"""
