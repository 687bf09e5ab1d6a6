"""A causal language model of Hugging Face as a policy: loaded once, for training and for evaluation."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import MinLen

from recr1.errors import MissingLibrary
from recr1.policies.adapters import (
    adapter_problems,
    in_four_bits,
    is_adapted,
    keep_layout,
    merged,
    missing_libraries,
    with_adapter,
)
from recr1.policies.base import Likely, Spent
from recr1.policies.context import check_fit, check_prompts, context_of
from recr1.policies.cpu import Copy, is_fast, is_large, keep_freed_memory
from recr1.policies.loading import load_tokenizer, load_weights, plain_model
from recr1.policies.model_cache import ModelKey, cached
from recr1.policies.prompts import prompt_ids, prompt_tensors
from recr1.policies.reading import Likelihoods, can_share, generate_from_shared, text_likelihoods, until_end
from recr1.policies.sources import Source, find_model, place_of, quiet_transformers, source_problems
from recr1.policies.sources import missing_libraries as missing_for_model
from retrievers.options import NonNegativeInt, PositiveFloat, PositiveInt, ShareBelowOne, checked
from rewards.base import Chat

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

SET_BY_RECIPES = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config", "use_cache"),
    *("output_attentions", "output_hidden_states", "max_length", "max_new_tokens"),
    *("do_sample", "temperature", "top_k", "top_p"),
}
"""Keys of a generation_config that are left out without a warning: a recipe, or this class, sets its own."""


@checked
class Transformers:
    """Any causal language model by path or hub name, or one that ships with recr1 ("tiny-shopper").

    Of the checkpoint's generation_config only the end tokens are used. The rest (repetition_penalty, num_beams, min_p
    ...) would change what evaluation generates and not what training samples, so the trained policy is saved without.

    Args:
        model: a folder, a hub name, "tiny-shopper", or "smollm2"; the folder may hold an adapter, as peft saves it.
        gguf_file: the GGUF file in that folder, or of that hub name, that holds the model.
        lora_rank: train a LoRA adapter of this rank instead of all weights; 0 trains all weights.
        lora_alpha: the adapter's scale; default: twice the rank.
        lora_dropout: share of an adapter's inputs that are dropped in training, also while it samples completions.
        lora_targets: names of the linear layers that get an adapter, such as q_proj; default: all but the output.
        use_dora: let the adapter also learn the length of each row of a weight (DoRA).
        load_in_4bit: QLoRA, with lora_rank: the base weights in 4 bits; needs the library bitsandbytes.
        dtype: of the weights; "auto" is float32, because half precision loses small steps (on a GPU the trainer
            computes in bf16 anyway). Frozen weights below an adapter on a GPU keep the checkpoint's own dtype.
        compute: "bfloat16" computes in it on a CPU that multiplies it faster than float32 (AVX512-BF16, AMX), and in
            float32 on other CPUs, with a warning. Weights stay in `dtype`. On a GPU it is `trl.bf16` that says so.
        trust_remote_code: run Python code that comes with the checkpoint.
        max_new_tokens: tokens per completion, in training and in evaluation.
        temperature: of samples in evaluation; training samples at the trainer's `trl.temperature`.
        batch_size: chats per forward pass in evaluation.
        seed: of samples in evaluation.
    """

    def __init__(
        self,
        *,
        model: str,
        gguf_file: str | None = None,
        lora_rank: NonNegativeInt = 0,
        lora_alpha: PositiveInt | None = None,
        lora_dropout: ShareBelowOne = 0.0,
        lora_targets: Annotated[list[str], MinLen(1)] | None = None,
        use_dora: bool = False,
        load_in_4bit: bool = False,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        compute: Literal["float32", "bfloat16"] = "float32",
        trust_remote_code: bool = False,
        max_new_tokens: PositiveInt = 128,
        temperature: PositiveFloat = 1.0,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        for missing in missing_libraries({"lora_rank": lora_rank, "load_in_4bit": load_in_4bit}):
            raise missing
        self.max_new_tokens, self.temperature, self.batch_size = max_new_tokens, temperature, batch_size
        self._next_seed = seed
        self.spent = Spent()
        if dtype == "auto" and not ((lora_rank or load_in_4bit) and _gpu()):
            dtype = "float32"
        scale = lora_alpha or 2 * lora_rank
        lora = {"r": lora_rank, "lora_alpha": scale, "lora_dropout": lora_dropout, "use_dora": use_dora}

        def load() -> tuple[Any, Any, list[int], object]:
            found = find_model(model, gguf_file)
            path, held = plain_model(found, trust_remote_code=trust_remote_code)
            tokenizer = load_tokenizer(Source(path), trust_remote_code=trust_remote_code)
            loaded = _load_model(path, dtype, in_4bit=load_in_4bit, trust_remote_code=trust_remote_code)
            ends = ends_of(loaded, tokenizer)
            loaded.generation_config = _plain_generation(loaded.generation_config, ends, tokenizer)
            return tokenizer, with_adapter(loaded, lora_targets, **lora) if lora_rank else loaded, ends, held

        adapter = (lora_targets, lora) if lora_rank else None
        key = ModelKey(place_of(model), repr((gguf_file, dtype, load_in_4bit, trust_remote_code, adapter)))
        self.tokenizer, self.model, self._ends, self._held = cached(key, load)
        self.context = context_of(self.model.config, self.tokenizer)
        on_cpu = self.model.device.type == "cpu"
        self.in_bfloat16 = Copy(self.model) if compute == "bfloat16" and on_cpu and is_fast() else None
        if compute == "bfloat16" and not self.in_bfloat16:
            lacks = "this CPU has neither AVX512-BF16 nor AMX" if on_cpu else "it is for CPUs; see trainer.trl.bf16"
            _log.warning("policy.compute: bfloat16 is not used: %s", lacks)
        if on_cpu:
            keep_freed_memory()

    @staticmethod
    def check_options(options: dict[str, Any]) -> list[str]:
        """Options that contradict each other, and a folder that does not exist or holds no model."""
        return adapter_problems(options) + source_problems(options)

    @staticmethod
    def check_training(options: Mapping[str, Any]) -> list[str]:
        """Problems of options with which the policy cannot be trained."""
        if options.get("load_in_4bit") and not options.get("lora_rank"):
            return ["load_in_4bit: 4-bit weights cannot be trained; set lora_rank, such as 16"]
        return []

    @staticmethod
    def missing_libraries(options: Mapping[str, Any]) -> list[MissingLibrary]:
        """What options need that is not installed; nothing is imported."""
        return missing_libraries(options) + missing_for_model(options)

    check_prompts = staticmethod(check_prompts)

    def fits(self, chat: Chat) -> bool:
        """Whether the model's context has room for a prompt and the longest completion."""
        return self.context is None or len(prompt_ids(self.tokenizer, [chat])[0]) + self.max_new_tokens <= self.context

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        import torch

        # A validation must not change the random numbers of the training that it interrupts.
        with torch.random.fork_rng(enabled=n > 0):
            if n:
                torch.manual_seed(self._next_seed)
                self._next_seed += 1
            return self._in_batches(chats, partial(self._generate_batch, n=n), by_length=not n)

    def greedy(self, chats: Sequence[Chat]) -> list[Likely]:
        """One greedy completion of each chat: the text that `generate(chats, 0)` gives, and its likelihood."""
        return self._in_batches(chats, self._greedy_batch, by_length=True)

    def likelihoods(self, texts: Sequence[str]) -> list[float]:
        """The mean natural log-probability of the tokens of each text, which follows the token that begins texts."""
        first = self.tokenizer.bos_token_id
        start = self._ends[0] if first is None else first
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        rows = [ids[place : place + self.batch_size] for place in range(0, len(ids), self.batch_size)]
        return [one for batch in rows for one in text_likelihoods(self.model, batch, start)]

    def _in_batches(self, chats: Sequence[Chat], write: Callable[..., list[_T]], *, by_length: bool) -> list[_T]:
        """What `write` gives for the chats, in their order."""
        answers: list[_T] = []
        # Prompts of one length need no padding. Samples are drawn in the order of the chats.
        by_length = by_length and is_large(self.model)
        order = sorted(range(len(chats)), key=lambda place: _length(chats[place]) if by_length else place)
        for start in range(0, len(chats), self.batch_size):
            answers += write([chats[place] for place in order[start : start + self.batch_size]])
        return [answers[at] for at in sorted(range(len(order)), key=order.__getitem__)]

    def continued(self, chats: Sequence[Chat], n: int, **more: Any) -> tuple[Tensor, Any]:
        """The mask of the prompts (B, P), and what the model's `generate` gives for them: greedy, or n samples each.

        `more` are further options of `generate`, such as `output_logits`. Raises `UserError` where one does not fit.
        """
        import torch

        model = self.in_bfloat16.current() if self.in_bfloat16 else self.model
        ids_BP, mask_BP = prompt_tensors(self.tokenizer, chats, self.model.device)
        check_fit(ids_BP.shape[1], self.max_new_tokens, self.context)
        sampling = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0} if n else {}
        was_training = model.training
        model.eval()
        per_chat = max(n, 1)
        if is_large(model) and can_share(model):
            generate = partial(generate_from_shared, model, model.generate)
            ids, mask = ids_BP.repeat_interleave(per_chat, 0), mask_BP.repeat_interleave(per_chat, 0)
        else:
            generate, ids, mask = partial(model.generate, num_return_sequences=per_chat), ids_BP, mask_BP
        with torch.inference_mode():
            output = generate(
                input_ids=ids,
                attention_mask=mask,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self._ends,
                use_cache=True,
                do_sample=n > 0,
                **{"max_new_tokens": self.max_new_tokens, **sampling, **more},
            )
        model.train(was_training)
        return mask_BP, output

    def _generate_batch(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        per_chat, (texts, _) = max(n, 1), self._written(chats, n)
        return [texts[row * per_chat : (row + 1) * per_chat] for row in range(len(chats))]

    def _greedy_batch(self, chats: Sequence[Chat]) -> list[Likely]:
        kept = Likelihoods()
        texts, written_BT = self._written(chats, 0, logits_processor=[kept])
        return [Likely(*one) for one in zip(texts, kept.means(written_BT, self._ends).tolist(), strict=True)]

    def _written(self, chats: Sequence[Chat], n: int, **more: Any) -> tuple[list[str], Tensor]:
        """The completions as texts and as tokens (B * n, T), counted."""
        mask_BP, output = self.continued(chats, n, **more)
        written = output[:, mask_BP.shape[1] :]
        read, completed = int(mask_BP.sum()), int(until_end(written, self._ends).sum())
        self.spent = Spent(self.spent.read + read, self.spent.written + completed)
        return self.tokenizer.batch_decode(written, skip_special_tokens=True), written


def _length(chat: Chat) -> int:
    return sum(len(message["content"]) for message in chat)


def save(model: Any, tokenizer: Any, folder: Path, adapter: Path | None = None) -> None:
    """Write a policy to `folder` in plain Hugging Face format; an adapter is merged into the weights first, in place.

    Where `adapter` is a folder, the adapter alone is written there before.
    """
    if is_adapted(model):
        if adapter is not None:
            # The other adapter in the model is the reference, a copy of this one at the start.
            model.save_pretrained(adapter, selected_adapters=["default"], save_embedding_layers=False)
        model = merged(model)
    model.save_pretrained(folder)
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        # How the last batch was padded is kept in there too, and a run that was resumed at its end had none.
        backend.no_padding()
        backend.no_truncation()
    tokenizer.save_pretrained(folder)


def save_merged(adapter: Path, tokenizer: Any, folder: Path, *, dtype: Any) -> None:
    """Write to `folder` the whole policy of an adapter that peft saved and the base model that it names."""
    import peft

    base = peft.PeftConfig.from_pretrained(adapter).base_model_name_or_path
    plain = quiet_transformers().AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    save(peft.PeftModel.from_pretrained(plain, adapter), tokenizer, folder)


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a completion, as TRL takes them: the tokenizer's, and those that the model declares."""
    declared = model.generation_config.eos_token_id
    listed = declared if isinstance(declared, list) else [] if declared is None else [declared]
    return listed if tokenizer.eos_token_id in listed else [tokenizer.eos_token_id, *listed]


def _plain_generation(declared: Any, ends: list[int], tokenizer: Any) -> Any:
    """The generation settings of a policy: the tokens that end and pad it, and nothing else of the checkpoint's.

    What is left out is logged, but for the settings of sampling, which recipes set themselves.
    """
    left_out = {name: value for name, value in declared.to_diff_dict().items() if name not in SET_BY_RECIPES}
    if left_out:
        shown = ", ".join(f"{name} {value}" for name, value in sorted(left_out.items()))
        _log.warning("policy.model: not used of its generation_config: %s (training samples without it)", shown)
    end = ends if len(ends) > 1 else ends[0]
    return quiet_transformers().GenerationConfig(eos_token_id=end, pad_token_id=tokenizer.pad_token_id)


def _load_model(path: str, dtype: str, *, in_4bit: bool, trust_remote_code: bool) -> Any:
    device = _gpu() or "cpu"
    given = in_four_bits(dtype, device) if in_4bit else {"dtype": dtype}
    model = load_weights(path, trust_remote_code=trust_remote_code, **given)
    return keep_layout(model) if in_4bit else model.to(device)


def _gpu() -> str | None:
    """The GPU of this process: each rank that a launcher started has its own."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else None
