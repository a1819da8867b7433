"""What happens to a model over time: steps, loops, optimisers, schedules, checkpoints, evaluation, prediction.

It puts data, models, losses and metrics to work and reads no recipe; the composition is in `segtune.experiment`.
"""
