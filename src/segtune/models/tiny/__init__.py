"""The embedded model of about a million parameters: a real LLaVA and a real SAM, small, with their weights.

Only what builds and loads it; it goes through the same classes as the large ones.
"""
