"""Searches over settings: grid files, studies on disk, their trials and their results.

Nothing here trains: each trial is `segtune train` in a process of its own, so torch and models are never imported.
"""
