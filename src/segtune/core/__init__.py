"""The ground every other layer stands on: configuration, errors, records, randomness, run directories, logging.

It knows no dataset, model, loss or metric. Only `types` imports torch.
"""
