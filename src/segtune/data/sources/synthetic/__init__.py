"""Drawn scenes of coloured shapes, with queries whose answers are known: the embedded dataset and pretraining stream.

Here live the drawing, the two grammars (terse attribute phrases and natural questions, with disjoint content words),
the stream that draws afresh, and the writer of the dataset on disk. Never a model, never torch, never a network.
"""
