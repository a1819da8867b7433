"""Vision-language models, mask decoders and the bridge between them, built from transformers parts.

No loss, no optimiser and no reading of datasets; a forward returns the same output in training and evaluation.
"""
