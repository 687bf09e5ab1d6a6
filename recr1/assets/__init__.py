"""The tiny policy that ships with the package, and the scripts that make it and its variant."""

from __future__ import annotations

from pathlib import Path


def shipped_model(name: str) -> Path | None:
    """The folder of a model that ships with recr1 ("tiny-shopper"); None for any other name."""
    folder = Path(__file__).parent / name
    return folder if name and Path(name).name == name and (folder / "config.json").is_file() else None
