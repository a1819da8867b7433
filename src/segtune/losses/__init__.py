"""Loss functions per element and the terms made of them, as (sum, count), so that any split of a batch adds up.

They see tensors only: no model, no dataset, no weighting by batch size.
"""
