"""CTranslate2 as a policy: models of some families, converted once, that a CPU runs faster than PyTorch does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias

from recr1.errors import MissingLibrary, UserError
from recr1.policies.base import Likely, Spent
from recr1.policies.context import check_fit, context_of
from recr1.policies.loading import load_config, load_tokenizer, plain_model
from recr1.policies.prompts import prompt_ids
from recr1.policies.sources import CONFIG, Source, find_model, quiet_transformers, readable
from recr1.policies.transformers import ends_of
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.store import expanded
from rewards.base import Chat

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma")
"""Families (`model_type` of a config) whose converted models were seen to write what transformers writes."""
ROPES = ("default", "linear")
"""Kinds of RoPE of which that holds; CTranslate2 4.8 converts others, and the model then writes something else."""
WEIGHTS, SETTINGS = "model.bin", "generation_config.json"
Quantization: TypeAlias = Literal["float32", "int8"]


@checked
class CTranslate2:
    """A causal language model that CTranslate2 runs: a folder that its converter wrote, with the tokenizer beside it.

    `recr1.policies.ctranslate2.convert` writes such a folder. It can be evaluated and served, and not trained.

    Args:
        model: the folder.
        max_new_tokens: tokens per completion.
        temperature: of samples.
        batch_size: chats at a time.
        threads: of the CPU; null takes OMP_NUM_THREADS, else up to four.
        seed: of samples.
    """

    def __init__(
        self,
        *,
        model: str,
        max_new_tokens: PositiveInt = 128,
        temperature: PositiveFloat = 1.0,
        batch_size: PositiveInt = 64,
        threads: PositiveInt | None = None,
        seed: int = 0,
    ) -> None:
        for missing in self.missing_libraries({}):
            raise missing
        import ctranslate2

        folder = expanded(model)
        self.max_new_tokens, self.temperature, self.batch_size = max_new_tokens, temperature, batch_size
        self._seed = seed
        self.spent = Spent()
        self.tokenizer = load_tokenizer(Source(str(folder)), trust_remote_code=False)
        self.context = context_of(_WITHOUT_LENGTH, self.tokenizer)
        with readable(f"load {model!r}", str(folder)):
            settings = folder / SETTINGS
            ends = json.loads(settings.read_bytes()).get("eos_token_id") if settings.exists() else None
            self._model = ctranslate2.Generator(str(folder), device="cpu", intra_threads=threads or 0)
        self._ends = ends_of(SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=ends)), self.tokenizer)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        """A folder that does not exist, or that holds something else."""
        folder = expanded(str(options["model"]))
        lacks = [name for name in (WEIGHTS, CONFIG, "tokenizer_config.json") if not (folder / name).is_file()]
        remedy = "give a folder that recr1.policies.ctranslate2.convert wrote"
        return [f"model: there is no {folder / lacks[0]}: {remedy}"] if lacks else []

    @staticmethod
    def missing_libraries(_: Mapping[str, Any]) -> list[MissingLibrary]:
        """What it needs that is not installed; nothing is imported."""
        needed = [name for name in ("ctranslate2", "transformers") if find_spec(name) is None]
        return [MissingLibrary(name, "ctranslate2", "policy.type: ctranslate2") for name in needed]

    def fits(self, chat: Chat) -> bool:
        """Whether the model's context has room for a prompt and the longest completion."""
        return self.context is None or len(prompt_ids(self.tokenizer, [chat])[0]) + self.max_new_tokens <= self.context

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        return [[likely.text for likely in texts] for texts in self._written(chats, n)]

    def greedy(self, chats: Sequence[Chat]) -> list[Likely]:
        """The greedy completion of each chat, and how likely it is."""
        return [likely for [likely] in self._written(chats, 0)]

    def _written(self, chats: Sequence[Chat], n: int) -> list[list[Likely]]:
        import ctranslate2

        ids = prompt_ids(self.tokenizer, chats) if chats else []
        check_fit(max(map(len, ids), default=0), self.max_new_tokens, self.context)
        if n:  # read by threads that have drawn nothing yet, as those of a new policy
            ctranslate2.set_random_seed(self._seed)
        how: dict[str, Any] = {"sampling_topk": 1}
        if n:
            how = {"sampling_topk": 0, "sampling_temperature": self.temperature, "num_hypotheses": n}
        found: dict[int, Any] = {}
        # In a batch with a prompt of one token, CTranslate2 4.8 returns the other prompts with their completions.
        for short in (False, True):
            places = [place for place, row in enumerate(ids) if (len(row) == 1) == short]
            prompts = [self.tokenizer.convert_ids_to_tokens(ids[place]) for place in places]
            found |= zip(places, self._asked(prompts, **how), strict=True)
        results = [found[place] for place in range(len(ids))]
        written = sum(len(tokens) for result in results for tokens in result.sequences_ids)
        self.spent = Spent(self.spent.read + sum(map(len, ids)), self.spent.written + written)
        texts = [self.tokenizer.batch_decode(one.sequences_ids, skip_special_tokens=True) for one in results]
        return [list(map(Likely, own, one.scores)) for own, one in zip(texts, results, strict=True)]

    def _asked(self, prompts: list[list[str]], **how: Any) -> list[Any]:
        """The model's results for prompts of tokens; the score of one is its mean log-probability, with its end."""
        found: list[Any] = self._model.generate_batch(
            prompts,
            max_length=self.max_new_tokens,
            max_batch_size=self.batch_size,
            end_token=self._ends,
            include_prompt_in_result=False,
            return_scores=True,
            return_end_token=True,
            **how,
        )
        return found


_WITHOUT_LENGTH = SimpleNamespace(get_text_config=SimpleNamespace)
"""In the place of a config, which the converted folder does not have: the tokenizer says the context."""


def convert(model: str, out: Path, quantization: Quantization = "int8") -> None:
    """Write a model to the new folder `out` as `CTranslate2` opens it; `model` is named as in `policy.model`.

    Raises `UserError` for a family that is not converted, and where `out` exists.
    """
    for missing in CTranslate2.missing_libraries({}):
        raise missing
    from ctranslate2.converters import TransformersConverter

    if out.exists():
        raise UserError(f"{out} exists: remove it, or choose another folder")
    path, _held = plain_model(find_model(model), trust_remote_code=False)
    config = load_config(Source(path), trust_remote_code=False)
    if problem := _not_converted(config):
        raise UserError(
            f"policy.model: {model!r} is not converted to CTranslate2: {problem}; use the transformers engine"
        )
    tokenizer = load_tokenizer(Source(path), trust_remote_code=False)
    tokenizer.model_max_length = context_of(config, tokenizer) or tokenizer.model_max_length
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch, readable(f"convert {model!r}", path):
        kind = {"int8": "int8_float32"}.get(quantization, quantization)  # what is not in 8 bits stays whole
        folder = Path(TransformersConverter(path).convert(f"{scratch}/model", quantization=kind))
        settings = folder / CONFIG
        written = json.loads(settings.read_bytes())
        for name, token in written.items():  # null where the tokenizer has no such token, and CTranslate2 refuses that
            written[name] = tokenizer.eos_token if name.endswith("_token") and token is None else token
        settings.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        tokenizer.save_pretrained(folder)
        _declared(path, config).save_pretrained(folder)
        os.replace(folder, out)


def _not_converted(config: Any) -> str:
    """Why a model is not converted; "" for one that is."""
    if config.model_type not in FAMILIES:
        return f"it is of the family {config.model_type!r}, and the families are {', '.join(FAMILIES)}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPES:
        return f"its positions are of the kind {rope!r} (rope_type), and the kinds are {', '.join(ROPES)}"
    window = getattr(config, "sliding_window", None)
    if window and window < config.max_position_embeddings:
        return f"it has a sliding window ({window} of {config.max_position_embeddings} tokens)"
    return ""


def _declared(path: str, config: Any) -> Any:
    """The generation settings of a model, of which the end tokens are used."""
    load = quiet_transformers().GenerationConfig
    found = (Path(path) / SETTINGS).is_file() or not Path(path).is_dir()
    settings = load.from_pretrained(path) if found else load.from_model_config(config)
    return load(eos_token_id=settings.eos_token_id)
