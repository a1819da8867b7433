"""Pure functions on coordinates, masks and token ids: geometry between the three pixel spaces, painting, encoding.

No state, no files, no models, no configuration.
"""
