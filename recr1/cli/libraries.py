"""What a recipe needs that is not installed on this machine."""

from __future__ import annotations

from recr1.config.build import find_class
from recr1.errors import MissingLibrary
from recr1.recipe import Recipe


def missing_libraries(recipe: Recipe) -> list[MissingLibrary]:
    """Of the classes of policy and trainers, those with a method `missing_libraries(options)` say it themselves."""
    missing: list[MissingLibrary] = []
    for kind, part in [("policy", recipe.policy), *(("trainer", stage) for stage in recipe.stages)]:
        if ask := getattr(find_class(kind, part.type), "missing_libraries", None):
            missing += ask(part.options)
    return missing
