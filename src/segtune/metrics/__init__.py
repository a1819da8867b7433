"""What a prediction is worth: counts, mergeable states, the protocol `segtune-1`, trivial baselines, predictions files.

NumPy only: anybody's predictions can be scored without torch. Models, losses and readers of datasets never live here.
"""
