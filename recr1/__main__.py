"""`python -m recr1`, and so `accelerate launch -m recr1 train RECIPE`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    # Threads that spin while they wait take the core from other programs: of two runs on two cores, each was measured
    # three times slower. torch reads this once, when it loads; a value of the user's is kept.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # `python -m` looks for modules in the current folder first, where a file `yaml.py` would be run in place of the
    # library. Parts of a recipe are found there all the same (`retrievers.parts`), after everything else.
    home, here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.abspath(os.curdir)
    sys.path[:] = [entry for entry in sys.path if here == home or os.path.abspath(entry) != here]
    _open_streams()
    _hide_secrets()
    from recr1.cli.main import run

    return run(sys.argv[1:])


def _open_streams() -> None:
    """What the shell closed (`2>&-`) goes nowhere: libraries write there too, and a file must not get its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def _hide_secrets() -> None:
    """From now on, nothing on standard error shows a secret, be it a traceback or a line of any library's log."""
    write = sys.stderr.write

    def redacting(text: str) -> int:
        known = sys.modules.get("retrievers.errors")  # without it no secret was read, and it takes time to load
        return write(known.redacted(text) if known else text)

    sys.stderr.write = redacting  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
