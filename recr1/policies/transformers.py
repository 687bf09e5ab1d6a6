"""A causal language model of Hugging Face as a policy: loaded once, for training and for evaluation alike."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from recr1.assets import shipped_model
from recr1.errors import MissingLibrary, UserError
from rewards.base import Chat

FALLBACK_CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
"""For tokenizers without a chat template (base models): the messages, one after the other, each with a line end."""


class Transformers:
    """Any causal language model by path or hub name, or one that ships with recr1 ("tiny-shopper").

    Args:
        model: a folder, a hub name, or the name of a shipped model.
        lora_rank: above 0, training changes a LoRA adapter of this rank instead of all weights.
        lora_alpha: the adapter's scale; default: twice the rank.
        dtype: of the weights; "auto" is float32, because small steps are lost in half precision (on a GPU the trainer
            computes in bf16 all the same), but the checkpoint's own for the frozen weights below an adapter on a GPU.
        trust_remote_code: run code that comes with the checkpoint. Off: a model is data until you say otherwise.
        max_new_tokens: tokens per completion, in training and evaluation alike.
        temperature: of samples in evaluation; training samples at the trainer's own `trl.temperature`.
        batch_size: chats per forward pass in evaluation.
        seed: of samples in evaluation.
    """

    def __init__(
        self,
        *,
        model: str,
        lora_rank: int = 0,
        lora_alpha: int | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        trust_remote_code: bool = False,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        given = {"model": model, "lora_rank": lora_rank, "max_new_tokens": max_new_tokens}
        problems = self.check_options({**given, "temperature": temperature, "batch_size": batch_size})
        if problems:
            raise UserError(problems[0])
        self.max_new_tokens, self.temperature, self.batch_size = max_new_tokens, temperature, batch_size
        self._next_seed = seed
        path = str(shipped_model(model) or model)
        self.tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
        if dtype == "auto" and not (lora_rank and _gpu()):
            dtype = "float32"
        self.model = _load_model(path, dtype, trust_remote_code=trust_remote_code)
        if lora_rank:
            self.model = _with_lora(self.model, lora_rank, lora_alpha or 2 * lora_rank)

    @staticmethod
    def check_options(options: dict[str, Any]) -> list[str]:
        """Problems that show before anything is loaded."""
        problems = []
        if options.get("lora_rank", 0) < 0:
            problems.append(f"lora_rank: must be 0 (train all weights) or more, got {options['lora_rank']}")
        if options.get("max_new_tokens", 1) < 1:
            problems.append(f"max_new_tokens: must be at least 1, got {options['max_new_tokens']}")
        if options.get("batch_size", 1) < 1:
            problems.append(f"batch_size: must be at least 1, got {options['batch_size']}")
        if options.get("temperature", 1.0) <= 0:
            problems.append(f"temperature: must be above 0 (greedy needs none), got {options['temperature']}")
        model = str(options.get("model", ""))
        looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
        if looks_local and not Path(model).expanduser().is_dir():
            problems.append(f"model: there is no folder {model!r}; give a folder, a hub name or a shipped model")
        return problems

    def generate(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        """Completions of each chat: one greedy completion when n is 0, n samples otherwise."""
        import torch

        answers: list[list[str]] = []
        # Sampling here must not move the random numbers of a training run that waits for a validation.
        with torch.random.fork_rng(enabled=n > 0):
            if n:
                torch.manual_seed(self._next_seed)
                self._next_seed += 1
            for start in range(0, len(chats), self.batch_size):
                answers += self._generate_batch(chats[start : start + self.batch_size], n)
        return answers

    def _generate_batch(self, chats: Sequence[Chat], n: int) -> list[list[str]]:
        import torch

        inputs = self.tokenizer.apply_chat_template(
            [list(chat) for chat in chats],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
            padding_side="left",
        ).to(self.model.device)
        sampling = (
            {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
            if n
            else {"do_sample": False}
        )
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=self.max_new_tokens,
                num_return_sequences=n or 1,
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                **sampling,
            )
        self.model.train(was_training)
        texts = self.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        per_chat = n or 1
        return [texts[row * per_chat : (row + 1) * per_chat] for row in range(len(chats))]


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a policy in plain Hugging Face format; an adapter is merged into the weights first, for good."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_tokenizer(path: str, *, trust_remote_code: bool) -> Any:
    """The tokenizer of a folder or hub name, with a pad token and a chat template whatever it came with."""
    transformers = _transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"policy.model: cannot load the tokenizer of {path!r}: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = FALLBACK_CHAT_TEMPLATE
    return tokenizer


def _load_model(path: str, dtype: str, *, trust_remote_code: bool) -> Any:
    transformers = _transformers()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UserError(f"policy.model: cannot load {path!r}: {error}") from error
    return model.to(_gpu() or "cpu")


def _gpu() -> str | None:
    """The GPU of this process: each rank that a launcher started has its own."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else None


def _with_lora(model: Any, rank: int, alpha: int) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingLibrary("peft", "train", "policy.lora_rank") from error
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingLibrary("transformers", "train", "policy.type: transformers") from error
    # Weight-loading bars and advice about generation flags are not news to somebody who launches a recipe.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers
