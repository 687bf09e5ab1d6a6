"""From a run to a bundle, which is only written if it writes the queries of the run."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recr1 import __version__
from recr1.config.build import build
from recr1.env import Environment, open_environment
from recr1.errors import UserError
from recr1.evaluate import Evaluation, Evaluator
from recr1.formats import ReadsNeed
from recr1.gate.gate import FILE as GATE
from recr1.gate.outcome import gate_of
from recr1.judge.difference import paired_test
from recr1.policies.base import Policy
from recr1.policies.ctranslate2 import convert
from recr1.policies.loading import load_tokenizer, load_weights
from recr1.policies.sources import Source
from recr1.recipe import Recipe
from recr1.runs import Run, policy_of, write_text, writing
from recr1.runs.files import new_folder, replacing
from recr1.runs.manifest import write_manifest
from recr1.runs.run import POLICY_CARD
from recr1.runs.targets import trained_part
from recr1.serve.bundle import CARD, FILE, INT8, MODEL, RECIPE, VERSION, Bundle, format_part, id_of
from recr1.serve.card import card
from retrievers.progress import ProgressBar

NEEDS = 400
"""Held-out needs on which a bundle is checked."""
OF_POLICY = ("max_new_tokens", "batch_size", "trust_remote_code", "compute", "dtype")
"""Options of a policy that a bundle keeps."""


def export(
    run: Run, recipe: Recipe, out: str | Path, *, dtype: str | None = None, int8: bool = False, may_lose: float = 0.02
) -> Bundle:
    """Write the bundle of a run into a new folder, and return it.

    It is checked on the first 400 needs of the split that the recipe evaluates on, or of test where that has fewer. In
    full precision it must write the query of the run for each of them; in another dtype, or in 8 bits, the difference
    in the recipe's first measure is kept, and its interval must not reach below `-may_lose`.

    Args:
        run: with a trained policy.
        recipe: the run's.
        out: a folder that does not exist, or is empty.
        dtype: of the weights: "float32", "bfloat16" or "float16"; default: the run's own.
        int8: also convert the weights to 8 bits, for CTranslate2, which is then the bundle's engine.
        may_lose: as above.

    Raises `UserError` where the check fails, with the first need that differs, for a policy that writes no queries, and
    for a family that is not converted;
    `RunError` where the folder cannot be written. Nothing is left half written.
    """
    folder = new_folder(out)
    part = trained_part(run, recipe.policy)
    if part.type != "transformers":
        raise UserError(f"the policy of {run.path} is of type {part.type!r}; only transformers has weights to export")
    env = open_environment(recipe.task, recipe.retriever, [], recipe.k)
    env.refuse_candidates("recr1 export", "a bundle is for policies that write queries")
    if isinstance(env.format, ReadsNeed):
        raise UserError(f"the format of {run.path} reads the need with the answer, which no bundle can give it")
    facts: dict[str, Any] = {
        "version": VERSION,
        "recr1": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": policy_of(run),
        "format": format_part(env.format),
        "policy": {name: value for name, value in part.options.items() if name in OF_POLICY}
        | ({"dtype": dtype} if dtype else {}),
    }
    with writing(folder), replacing(folder) as (written,):
        written.mkdir(parents=True)
        recipe.dump(written / RECIPE)
        _write_model(run.policy_path, written, dtype, trusted=bool(facts["policy"].get("trust_remote_code")))
        if gate := gate_of(run):
            gate.write(written / GATE)
        if int8:
            convert(str(written / MODEL), written / INT8)
        facts["check"] = _check(build("policy", part), Bundle(written, facts), env, recipe, dtype, may_lose)
        write_manifest(written, written)
        facts["id"] = id_of(written, facts)
        write_text(written / FILE, json.dumps(facts, indent=1) + "\n")
        write_text(written / CARD, card(run, recipe, facts))
        write_manifest(written, written)
    return Bundle.open(folder)


def _write_model(policy: Path, written: Path, dtype: str | None, *, trusted: bool) -> None:
    if dtype is None:
        shutil.copytree(policy, written / MODEL, ignore=shutil.ignore_patterns(POLICY_CARD))
        return
    model = load_weights(str(policy), trust_remote_code=trusted, dtype=dtype)
    model.save_pretrained(written / MODEL)
    load_tokenizer(Source(str(policy)), trust_remote_code=trusted).save_pretrained(written / MODEL)


def _held_out(env: Environment, split: str) -> str:
    """The recipe's split, or test where only that has enough needs: nothing is chosen by them."""
    enough = [name for name in (split, "test") if len(env.task.needs(name)) >= NEEDS]
    return enough[0] if enough else split


def _check(
    trained: Policy, bundle: Bundle, env: Environment, recipe: Recipe, dtype: str | None, may_lose: float
) -> dict[str, Any]:
    """How the bundle's engines compare with the run's policy; raises `UserError` where one must not be used."""
    engines = ["transformers", *(["ctranslate2"] if bundle.engine == "ctranslate2" else [])]
    with ProgressBar() as bar:
        split, measure = _held_out(env, recipe.evaluate.split), recipe.evaluate.measures[0]
        evaluator = Evaluator(env, split, [measure], limit=NEEDS, seed=recipe.seed, progress=bar.advance)

        def written(what: str, policy: Policy, of: Evaluator) -> Evaluation:
            bar.begin(what, len(of.needs))
            return of(policy, name=what)

        before = written("the run", trained, evaluator)
        evaluator.env = env.with_format(bundle.format)
        done = {engine: written(f"the bundle, {engine}", bundle.policy(engine), evaluator) for engine in engines}
    found: dict[str, Any] = {"split": evaluator.split, "needs": len(evaluator.needs), "measure": measure}
    for engine, one in done.items():
        equal = [was == now for was, now in zip(before.completions, one.completions, strict=True)]
        test = paired_test(one.per_need(measure), before.per_need(measure), seed=recipe.seed)
        found[engine] = {"equal": sum(equal), "before": float(before.per_need(measure).mean()), **test._asdict()}
        if dtype is None and engine == "transformers":
            if not all(equal):
                place = equal.index(False)
                texts = f"{before.completions[place][0]!r} by the run, {one.completions[place][0]!r} by the bundle"
                what = f"for {len(equal) - sum(equal)} of {len(equal)} needs, such as {evaluator.needs[place].text!r}"
                raise UserError(f"the bundle writes other queries than the run {what}: {texts}; it was not written")
        elif test.low < -may_lose:
            size = f"{test.difference:+.3f} {measure}, interval {test.low:+.3f} to {test.high:+.3f}"
            kind = "8 bits" if engine == "ctranslate2" else dtype
            how = f"{engine} in {kind} may lose too much: {size} on {len(equal)} needs"
            raise UserError(f"{how} (--may-lose is {may_lose:g}); the bundle was not written")
    return found
