"""Dense segmentation: a transformers backbone as encoder, a decoder, and heads for classes and for a binary mask.

What builds and loads these networks, and what of them trains. No loss, no optimiser, no reading of datasets, and no
weights of our own: the two embedded architectures start from random ones.
"""
