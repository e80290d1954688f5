"""``doctor --leaks``: everything a run was made from, checked against its records and recomputed from training stimuli.

Records are checked first and the numbers after them, for a record can be wrong.
"""
