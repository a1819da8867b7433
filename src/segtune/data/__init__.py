"""From files to batches: readers, what is asked of the model in words, transforms, collation, loading, checking.

It never imports models, losses or metrics, and holds no knowledge of what a model does with a batch.
"""
