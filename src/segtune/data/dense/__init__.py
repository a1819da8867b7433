"""Dense segmentation, from labelled images to batches: counts and weights of classes, sampling, transforms, loading.

What reads files stands in `data.sources`. Nothing here knows a model, a loss or a score.
"""
