"""`python -m recr1`, and so `accelerate launch -m recr1 train RECIPE`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    # Threads that wait for work by spinning take the core from whatever else runs: two runs on two cores were measured
    # three times slower each. Read once, when torch is loaded; what the user says wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from recr1.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
