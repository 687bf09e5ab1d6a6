"""A bundle: the weights of a trained policy with its prompt and parser, and nothing that only training needs.

bundle.json     version, id, run, format, how it writes, and the check that it passed
recipe.yaml     the resolved recipe of the run: task, retriever, measures
model/          weights and tokenizer, as Hugging Face keeps them
ctranslate2/    the same in 8 bits, where asked for
gate.json       where the run has a gate
manifest.json   size and SHA-256 of every file
README.md       the model card
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recr1.config.build import Part, build, options_of_part
from recr1.errors import UserError, shown
from recr1.formats import BUILTIN, Format
from recr1.gate import Gate
from recr1.gate.gate import FILE as GATE
from recr1.policies.base import Policy
from recr1.recipe import Recipe, load_recipe
from recr1.runs.manifest import FILE as MANIFEST
from recr1.runs.manifest import damage
from retrievers.store import expanded

VERSION, FILE, RECIPE, MODEL, INT8, CARD = 1, "bundle.json", "recipe.yaml", "model", "ctranslate2", "README.md"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    facts: Mapping[str, Any]
    """The content of `bundle.json`."""

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """The bundle of a folder, its checksums compared; raises `UserError` for anything else."""
        folder = expanded(path)
        try:
            facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
            version = facts["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if (folder / "run.json").is_file():
                why = f"it is a run folder: make a bundle of it with: recr1 export {path} --out DIR"
            elif not folder.is_dir():
                why = "there is no such folder: make one with: recr1 export RUN --out DIR"
            else:
                why = f"its {FILE} is missing or cannot be read ({type(error).__name__})"
            raise UserError(f"'{path}' is not a bundle: {why}") from error
        if version != VERSION:
            what = f"a bundle of version {shown(version)}, and this recr1 reads version {VERSION}"
            raise UserError(f"'{path}' is {what}: export the run again with this recr1")
        if wrong := damage(folder, folder):
            raise UserError(f"the bundle '{path}' is damaged: {wrong}: copy it again, or export the run again")
        return cls(folder, facts)

    @property
    def id(self) -> str:
        """12 hex digits that change with the weights, the prompt, the parser and how it writes: tables name it."""
        return str(self.facts["id"])

    @cached_property
    def recipe(self) -> Recipe:
        """The run's resolved recipe; raises `RecipeError` where its data is not at hand."""
        return load_recipe(self.path / RECIPE)

    @cached_property
    def format(self) -> Format:
        """The run's prompt and parser."""
        made: Format = build("format", self.facts["format"])
        return made

    @cached_property
    def gate(self) -> Gate | None:
        """What says where to rewrite; None where the run had none."""
        return Gate.load(self.path / GATE) if (self.path / GATE).is_file() else None

    @property
    def engine(self) -> str:
        """The engine that is used unless another one is named: the one of 8 bits where the bundle has it."""
        return "ctranslate2" if (self.path / INT8).is_dir() else "transformers"

    def policy(self, engine: str | None = None, **options: Any) -> Policy:
        """What writes the queries, opened: "transformers", "ctranslate2", or "openai" with its `url` and `model`."""
        engine = engine or self.engine
        if engine == "ctranslate2" and not (self.path / INT8).is_dir():
            raise UserError(f"'{self.path}' has no weights in 8 bits: export the run again with --int8")
        known = options_of_part("policy", engine)
        own = {name: value for name, value in self.facts["policy"].items() if name in known}
        if engine != "openai":
            own["model"] = str(self.path / (INT8 if engine == "ctranslate2" else MODEL))
        collects = gc.isenabled()
        gc.disable()  # imports leave no garbage, and to look for it takes a tenth to a quarter of the start
        try:
            opened: Policy = build("policy", Part(engine, {**own, **options}))
        finally:
            if collects:
                gc.enable()
        return opened


def format_part(of: Format) -> dict[str, Any]:
    """The part that builds a format again, with the prompt that it has now; raises `UserError` where it cannot be.

    Every option of its class must be an attribute of the same name, as it is for all formats here.
    """
    cls = type(of)
    target = f"{cls.__module__}:{cls.__qualname__}"
    name = next((name for name, known in BUILTIN.items() if known == target), target)
    try:
        return {"type": name, **{option: getattr(of, option) for option in options_of_part("format", name)}}
    except AttributeError as error:
        what = f"the format {name} keeps its option {error.name!r} in no attribute of that name"
        raise UserError(f"{what}, so that it cannot be written into a bundle: keep it as self.{error.name}") from error


def id_of(folder: Path, facts: Mapping[str, Any]) -> str:
    """The id of a bundle whose manifest is written."""
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    what = {name: files[name]["sha256"] for name in sorted(files) if name not in (FILE, RECIPE, CARD)}
    made_of = json.dumps([what, facts["format"], facts["policy"]], sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]
