"""A process that runs a search with the fake trainer: `driver.py GRID`, or `driver.py GRID retry`."""

from __future__ import annotations

import sys
from pathlib import Path

from segtune.core import log
from segtune.core.errors import SegtuneError
from segtune.sweep.grids import load_search
from segtune.sweep.search import search

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_trainer.py")))

if __name__ == "__main__":
    log.setup()
    try:
        search(load_search(sys.argv[1]), retry_failed="retry" in sys.argv, command=COMMAND)
    except SegtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
