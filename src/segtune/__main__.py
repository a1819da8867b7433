"""`python -m segtune` is the same as `segtune`."""

from __future__ import annotations

from segtune.cli.main import run

if __name__ == "__main__":
    run()
