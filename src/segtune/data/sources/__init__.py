"""One module (or folder) for each kind of dataset, each yielding the records of `segtune.core.records`.

A source reads or draws; it never resizes, batches or tokenises.
"""
