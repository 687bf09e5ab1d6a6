"""`python -m recr1`, and so `accelerate launch -m recr1 train RECIPE`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    from recr1.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
