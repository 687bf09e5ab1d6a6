"""recr1: reinforcement learning of query-writing language models, with recommender measures as rewards.

`retrievers` knows what exists and how it is ranked, `rewards` knows what was wanted and how good an answer is, and
`recr1` knows how the policy learns.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def _check_siblings() -> None:
    """Raise `ImportError` when another module has the place of our `retrievers` or `rewards`: the names are generic."""
    home = Path(__file__).resolve().parent.parent
    for name in ("retrievers", "rewards"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"recr1 needs its own package '{name}' ({home / name}), but Python finds {found or 'none'}. "
                f"Rename or move the other '{name}', or start Python from another folder."
            )


_check_siblings()
