"""A model as it is read: its tokenizer, config and weights, from a plain folder into which others are converted once.

Training copies models for reference, servers open them, and estimates read their configs, all from plain folders. So an
adapter and a GGUF file are converted to one, in the store, which all processes share.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from recr1.errors import UserError
from recr1.policies.prompts import complete_tokenizer
from recr1.policies.sources import ADAPTER, CONFIG, NotAtHand, Source, files_in, quiet_transformers, readable
from retrievers.store import Entry, Store

_log = logging.getLogger(__name__)


def plain_model(source: Source, *, trust_remote_code: bool) -> tuple[str, Entry | None]:
    """A folder or hub name with the whole model in plain format, converted first if it is not; see `Source`.

    While the entry of the store is kept, nothing removes the folder. One process converts, others wait for it.
    """
    if not (source.gguf_file or source.base):
        return source.path, None
    write = partial(_convert, source, trusted=trust_remote_code)
    try:
        with readable(f"convert {source.gguf_file or source.path!r}", source.path):
            entry = Store().open("model", _identity(source), write)
    except NotAtHand as error:
        raise NotAtHand(f"{error}; {source.path}/{ADAPTER} names it as the base of the adapter") from error
    return str(entry.folder), entry


def converted(source: Source, *, local: bool = False) -> Source:
    """The plain folder of a source that was converted before; else the source. With `local` nothing is fetched."""
    if not (source.gguf_file or source.base):
        return source
    folder = Store().place("model", _identity(source, local=local))
    return Source(str(folder)) if (folder / CONFIG).is_file() else source


def _identity(source: Source, *, local: bool = False) -> dict[str, Any]:
    """What a converted model depends on."""
    folder = Path(source.path)
    if source.gguf_file:
        made: dict[str, Any] = {source.gguf_file: _digest(folder / source.gguf_file)}
    elif source.base:
        own = (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".md")
        made = {"base": _identity(source.base, local=local), **{path.name: _digest(path) for path in own}}
    elif folder.is_dir():  # tens of gigabytes are not read for this
        stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
        return {str(folder.resolve()): {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}}
    else:  # the folder of the commit
        with readable(f"find {source.path!r}", source.path):
            config = quiet_transformers().utils.cached_file(source.path, CONFIG, local_files_only=local)
            return {source.path: str(Path(config).parent)}
    return {**made, "transformers": quiet_transformers().__version__}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(source: Source, folder: Path, *, trusted: bool) -> None:
    """Write the model of a source to a folder, in float32: no half precision holds the numbers of either kind."""
    import torch

    float32 = torch.float32
    _log.warning("converting the model %s to a plain one, once", source.gguf_file or source.path)
    tokenizer = _tokenizer(source, trusted=trusted, local=False)
    if source.base is None:
        dense = getattr(quiet_transformers(), "GgufConfig", None)  # else kernels, if there are any, keep it packed
        more = {"quantization_config": dense(dequantize=True)} if dense else {}
        with redirect_stderr(io.StringIO()):  # a bar that no setting turns off
            packed = load_weights(source.path, trust_remote_code=trusted, dtype=float32, **source.arguments, **more)
        vars(packed.config).pop("quantization_config", None)  # a model that has it is not saved, nor is this one
        with torch.device("meta"):
            model = quiet_transformers().AutoModelForCausalLM.from_config(packed.config, dtype=float32)
        model.load_state_dict(packed.state_dict(), assign=True)
        model.tie_weights()
        model.generation_config = packed.generation_config
    else:
        path, _entry = plain_model(source.base, trust_remote_code=trusted)
        model = _merged(load_weights(path, trust_remote_code=trusted, dtype=float32), source.path)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _merged(model: Any, adapter: str) -> Any:
    import peft

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        try:
            adapted = peft.PeftModel.from_pretrained(model, adapter)
        except UserWarning as warning:
            raise UserError(f"policy.model: the adapter {adapter!r} is not of its base model: {warning}") from warning
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.peft_config["default"].peft_type.value
        raise UserError(f"policy.model: the adapter {adapter!r} cannot be merged: a {kind} adds no weights (use LoRA)")
    return adapted.merge_and_unload()


def load_tokenizer(source: Source, *, trust_remote_code: bool, local: bool = False) -> Any:
    """The tokenizer of a model, completed for chats; see `recr1.policies.prompts`. With `local` nothing is fetched."""
    with readable(f"load the tokenizer of {source.path!r}", source.path):
        tokenizer = _tokenizer(source, trusted=trust_remote_code, local=local)
    return complete_tokenizer(tokenizer, source.path)


def _tokenizer(source: Source, *, trusted: bool, local: bool) -> Any:
    if source.base and not files_in(Path(source.path), "tokenizer*"):
        return _tokenizer(source.base, trusted=trusted, local=local)
    load = quiet_transformers().AutoTokenizer.from_pretrained
    return load(source.path, trust_remote_code=trusted, local_files_only=local, **source.arguments)


def load_config(source: Source, *, trust_remote_code: bool, local: bool = False) -> Any:
    """The config of a model; of an adapter, that of its base. With `local` nothing is fetched."""
    if source.base:
        return load_config(source.base, trust_remote_code=trust_remote_code, local=local)
    load = quiet_transformers().AutoConfig.from_pretrained
    with readable(f"read the config of {source.path!r}", source.path):
        return load(source.path, trust_remote_code=trust_remote_code, local_files_only=local, **source.arguments)


def load_weights(path: str, **arguments: Any) -> Any:
    """The model of a plain folder or hub name; raises `UserError` where weights are missing, which would be random."""
    load = quiet_transformers().AutoModelForCausalLM.from_pretrained
    with readable(f"load {path!r}", path):
        model, found = load(path, output_loading_info=True, **arguments)
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"policy.model: the files of {path!r} lack {len(missing)} of the model's weights, such as {missing[0]}: it "
            "is not a whole causal language model; fetch or save it again"
        )
    return model
