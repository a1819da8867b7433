"""What a prediction is worth: counts, mergeable states, `segtune-1` and `segtune-dense-1`, baselines, prediction files.

NumPy only: anybody's predictions can be scored without torch. Models, losses and readers of datasets never live here.
"""
