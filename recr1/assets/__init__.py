"""What ships with the package: the tiny shopper policy and the script that makes it."""

from __future__ import annotations

from pathlib import Path


def shipped_model(name: str) -> Path | None:
    """The folder of a model that ships with recr1 ("tiny-shopper"), or None when there is none of that name."""
    folder = Path(__file__).parent / name
    return folder if name and Path(name).name == name and (folder / "config.json").is_file() else None
