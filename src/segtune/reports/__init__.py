"""Tables and figures made from run directories after the fact.

Never imports torch: everything it shows has been written by a run.
"""
