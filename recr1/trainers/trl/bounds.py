"""Keys of TRL that a recipe says elsewhere, and bounds where TRL takes values that fail later or train nonsense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le

from retrievers.options import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Share,
    ShareBelowOne,
    value_problems,
)

ELSEWHERE = {
    "output_dir": "use `--out DIR` on the command line",
    "max_steps": "set trainer.steps",
    "num_train_epochs": "set trainer.steps",
    "seed": "set seed at the top of the recipe",
    "max_completion_length": "set policy.max_new_tokens, which evaluation uses too",
    "report_to": "add a part to `log:` at the top of the recipe, such as {type: wandb}",
    "reward_weights": "give each reward of the recipe its weight",
    "eval_strategy": "set evaluate.every",
    "eval_steps": "set evaluate.every",
    "eval_on_start": "validation before the first step is always made",
    "trust_remote_code": "set policy.trust_remote_code",
    "model_init_kwargs": "set the options of policy",
    "logging_steps": "every step is logged",
    "logging_strategy": "every step is logged",
    "remove_unused_columns": "the needs of a batch are found by a column",
    "load_best_model_at_end": "set evaluate.keep",
    "save_only_model": "a run could not be resumed",
    "resume_from_checkpoint": "`recr1 train RUN` resumes",
    "disable_tqdm": "the progress view is recr1's own",
}
"""Keys of TRL's configs that a recipe may not set, and what to set instead."""

_TABLE: tuple[tuple[Any, str], ...] = (
    (
        PositiveInt,
        "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps generation_batch_size "
        "steps_per_generation num_generations_eval num_iterations ref_model_sync_steps vllm_tensor_parallel_size "
        "vllm_max_model_length dataloader_prefetch_factor ddp_timeout ddp_bucket_cap_mb eval_accumulation_steps "
        "torch_empty_cache_steps max_tool_calling_iterations",
    ),
    (NonNegativeInt, "dataloader_num_workers data_seed num_completions_to_print"),
    (
        PositiveFloat,
        "temperature repetition_penalty epsilon epsilon_high sapo_temperature_neg sapo_temperature_pos save_steps "
        "vllm_importance_sampling_clip_max vllm_importance_sampling_cap vllm_server_timeout off_policy_mask_threshold "
        "entropy_coef_delta",
    ),
    (
        NonNegativeFloat,
        "learning_rate warmup_steps weight_decay adam_epsilon max_grad_norm neftune_noise_alpha eval_delay beta "
        "vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg router_aux_loss_coef entropy_coef_min "
        "entropy_coef_max entropy_target vllm_importance_sampling_clip_min",
    ),
    (Share, "min_p ref_model_mixup_alpha top_entropy_quantile"),
    (PositiveShare, "top_p vllm_gpu_memory_utilization"),
    (ShareBelowOne, "adam_beta1 adam_beta2 label_smoothing_factor"),
    (Annotated[int, Ge(1), Le(65535)], "vllm_server_port vllm_group_port"),
    (Annotated[int, Ge(2), "a group of one has nothing to compare with"], "num_generations"),
    (Annotated[int, Ge(0), "0 for all tokens"], "top_k"),
    (Annotated[float, Gt(1)], "delta"),
    (Annotated[tuple[float, float], "the lowest, then the highest"], "reward_clip_range"),
    (PositiveInt | Literal["auto"], "pad_to_multiple_of"),
    (Literal["grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"], "loss_type"),
    (Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"], "vllm_importance_sampling_mode"),
    (Literal["debug", "info", "warning", "error", "critical", "passive"], "log_level log_level_replica"),
    (str, "debug"),
    (Literal["token", "sequence"], "importance_sampling_level"),
    (Literal["sum_then_normalize", "normalize_then_sum"], "multi_objective_aggregation"),
    (Literal["group", "batch", "none"] | bool, "scale_rewards"),
    (Literal["server", "colocate"], "vllm_mode"),
    (Literal["vllm", "transformers"], "vllm_model_impl"),
)
BOUNDS: Mapping[str, Any] = {name: bound for bound, names in _TABLE for name in names.split()}
"""Key -> the annotation that its value must fit. `learning_rate: 0` measures what chance does, so it is no mistake."""


def bounded(name: str, annotation: Any) -> Any:
    """What a key of TRL must be: its annotation there, or the bounds here, with null where TRL takes it.

    A choice that TRL's own source lists is the newer one.
    """
    bound = BOUNDS.get(name)
    if bound is None or get_origin(annotation) is Literal:
        return annotation
    return bound | None if NoneType in get_args(annotation) and name != "num_generations" else bound


def conflicts(trl: Mapping[str, Any], default_beta: float) -> Iterator[str]:
    """Values that do not fit each other, of which TRL's trainer says so once a model is loaded, or never."""
    schedule, given = str(trl.get("lr_scheduler_type")), trl.get("lr_scheduler_kwargs") or {}
    needed = {"warmup_stable_decay": ["num_decay_steps"]}.get(schedule) or ["min_lr", "min_lr_rate"]
    if schedule.endswith(("_decay", "_min_lr")) and isinstance(given, dict) and not given.keys() & set(needed):
        yield f"trl.lr_scheduler_kwargs: the schedule {schedule} needs {' or '.join(needed)} here"
    sampling = trl.get("generation_kwargs")
    for key, value in sampling.items() if isinstance(sampling, dict) else ():
        yield from map(str, value_problems(BOUNDS.get(key, Any), value, f"trl.generation_kwargs.{key}"))
    if trl.get("sync_ref_model") is True and not trl.get("beta", default_beta):
        yield "trl.sync_ref_model: with beta 0 there is no reference policy: set beta, or leave this out"
    low_high = trl.get("reward_clip_range")
    if low_high and not value_problems(BOUNDS["reward_clip_range"], low_high, "") and low_high[0] >= low_high[1]:
        yield f"trl.reward_clip_range: the lowest is not below the highest, got {low_high}"
