"""What the policy reads and how an answer is written: context, chat template, special tokens, format."""

from __future__ import annotations

from typing import Any

from recr1.doctor.base import Faults, Finding, Verdict, catching
from recr1.doctor.policy.opened import PolicySetup, concluded
from recr1.errors import UserError, examples
from recr1.formats import WritesQueries, parsed
from recr1.policies.context import check_lengths
from recr1.policies.prompts import BEGINNING, FALLBACK_CHAT_TEMPLATE, prompt_ids
from recr1.policies.transformers import ends_of
from recr1.ranking import WritesLists
from recr1.trainers.pairs.pairs import answer_ids
from retrievers.abilities import capabilities_of
from rewards.base import Recommend, Search

ASKED, ANSWERED, MORE = "a green tent", "tent olive", "for two"
ODD = (
    "tent",
    "crème brûlée torch",
    '21" monitor',
    "men's 3/4 trousers",
    "größe 38 / weiß",
    "北京 茶",
    "salt & pepper <b>mill</b>",
)
"""The shortest query, and some that a tokenizer or a parser may change."""


def context(opened: PolicySetup) -> Finding:
    """The prompt of each need of each split fits into the model's context, with the longest completion."""
    policy, faults, lengths = opened.policy, Faults(), opened.lengths
    config = policy.model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    facts = {name: getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")}
    said = ""
    try:
        said = check_lengths(lengths, policy.context, policy.max_new_tokens)
    except UserError as error:
        faults.add("too long", "error", str(error).removeprefix("policy.model: "))
    kind = rope.get("rope_type", "default")
    scaled = "no RoPE scaling" if kind == "default" else f"RoPE scaling {kind}, factor {rope.get('factor', 1):g}"
    limits = ", ".join(f"{name} {value or 'none'}" for name, value in facts.items())
    facts |= {"context": policy.context, "max_new_tokens": policy.max_new_tokens, "prompts": len(lengths)}
    facts |= {"shortest": min(lengths.values(), default=0), "longest": max(lengths.values(), default=0)}
    facts["rope"] = {name: value for name, value in rope.items() if isinstance(value, str | int | float)}
    return concluded("context", faults, f"prompts have {said} ({limits}, {scaled})", facts)


def template(opened: PolicySetup) -> Finding:
    """The chat template writes all messages, adds none, and ends a prompt where the answer begins."""
    tokenizer, faults = opened.policy.tokenizer, Faults()
    prompt, whole = _text(tokenizer, ASKED, answer=True), _text(tokenizer, ASKED, ANSWERED)
    follows = whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith(ANSWERED)
    if prompt == _text(tokenizer, ASKED) and not follows:
        what = "add_generation_prompt changes nothing, so the model is not told that its turn begins"
        faults.add("no generation prompt", "error", f"{what}: take the template of the model's own chat version")
    if ANSWERED not in whole:
        faults.add("answer left out", "warning", "what the assistant said is not in the chat: examples would be lost")
    if _is_plain(tokenizer):
        faults.add("no template", "ok", "the tokenizer has none, as a base model: messages come one after the other")
    texts = [_rendered(tokenizer, [dict(message) for message in chat], answer=True) for _, chat in opened.needs]
    lost = [need.text for (need, _), text in zip(opened.needs, texts, strict=True) if need.text.strip() not in text]
    told = "do not contain the text of their need {}: correct the template or task.format"
    faults.share("need left out", lost, len(texts), told, warn=0, fail=0)
    system = next((m["content"].strip() for _, chat in opened.needs[:1] for m in chat if m["role"] == "system"), None)
    if system is not None and system not in texts[0]:
        faults.add(
            "system left out", "error", "the recipe's system message is not in the prompt: see task.format.system"
        )
    if added := "" if system is not None else _added(tokenizer):
        what = f"the template writes {added!r} before the first message, and the recipe does not"
        faults.add("system added", "warning", f"{what}: if you do not want it, set task.format.system")
    if "strftime_now" in str(tokenizer.chat_template):
        what = "the template writes the date of today, so that a prompt is another one tomorrow"
        faults.add("changes with the day", "warning", f"{what}: write a fixed date into the template")
    ok = "the template writes all messages, and ends where the answer begins; the first prompt, as the model reads it:"
    return concluded("template", faults, ok, {"prompts": len(texts), "added": added}, texts[0])


def tokens(opened: PolicySetup) -> Finding:
    """The tokens that begin, end and pad a text are there, once, and all tokens have a row in the model."""
    policy, faults = opened.policy, Faults()
    tokenizer, model = policy.tokenizer, policy.model
    ends, pad = ends_of(model, tokenizer), tokenizer.pad_token
    named = [str(tokenizer.convert_ids_to_tokens(end)) for end in ends]
    if tokenizer.init_kwargs.get("pad_token") is None:
        faults.add("no pad token", "ok", f"the tokenizer has none; its end token {pad!r} is used, which is fine here")
    elif pad == tokenizer.eos_token:
        faults.add("pad is end", "ok", f"both are {pad!r}, which is fine here: padding is masked by its place")
    if more := [name for name in named if name != tokenizer.eos_token]:
        faults.add("more ends", "ok", f"generation_config also ends completions at {examples(more)}")
    last = _text(tokenizer, ASKED, ANSWERED).rpartition(ANSWERED)[2]
    if not _is_plain(tokenizer) and not set(ends) & set(tokenizer(last, add_special_tokens=False)["input_ids"]):
        what = f"the template writes {last!r} after an answer, and completions end at {examples(named)}"
        remedy = "the model was not taught to end by it: set eos_token of the tokenizer to what the template writes"
        faults.add("end never written", "warning", f"{what}; {remedy}")
    prompts = prompt_ids(tokenizer, [chat for _, chat in opened.needs])
    _judge_begin(faults, tokenizer, prompts)
    rows = min(len(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()))
    known = tokenizer.get_vocab()
    if beyond := sorted(
        {*(token for token, at in known.items() if at >= rows), *(str(at) for at in ends if at >= rows)}
    ):
        what = f"{len(beyond)} tokens of the tokenizer ({examples(beyond)}) are beyond the {rows} rows of the model"
        faults.add("tokens without a row", "error", f"{what}: take the model's own tokenizer, or resize its embeddings")
    if (unknown := tokenizer.unk_token_id) is not None:
        odd = [need.text for (need, _), ids in zip(opened.needs, prompts, strict=True) if unknown in ids]
        told = "have characters that the tokenizer does not know {}: the policy cannot read these needs"
        faults.share("unknown characters", odd, len(prompts), told, warn=0.02, fail=0.5)
    numbers = {"begin": tokenizer.bos_token, "ends": named, "pad": pad, "rows": rows, "tokens": len(known)}
    ok = f"begin {tokenizer.bos_token!r}, end {examples(named)}, pad {pad!r}; {len(known)} tokens, {rows} rows"
    return concluded("tokens", faults, ok, numbers)


def _judge_begin(faults: Faults, tokenizer: Any, prompts: list[list[int]]) -> None:
    begin = tokenizer.bos_token_id
    if begin is None:
        return
    if any(ids[:2] == [begin, begin] for ids in prompts):
        what = f"prompts begin with {tokenizer.bos_token!r} twice: take it out of the chat template"
        faults.add("begin twice", "error", what)
    elif tokenizer("a")["input_ids"][:1] == [begin] and any(ids[0] != begin for ids in prompts):
        what = f"the tokenizer begins texts with {tokenizer.bos_token!r}, and the chat template does not"
        faults.add("no begin", "warning", f"{what}: if the model was trained with it, write {{{{ bos_token }}}} there")


def answer_format(opened: PolicySetup) -> Finding:
    """What the format writes for a query is read as this query again after the tokenizer, and is short enough."""
    form, tokenizer, most, faults = (
        opened.setup.env.format,
        opened.policy.tokenizer,
        opened.policy.max_new_tokens,
        Faults(),
    )
    if isinstance(form, WritesLists):
        return _list_format(opened, form)
    if not isinstance(form, WritesQueries):
        what = f"not checked: {type(form).__name__} has no method 'write', which says how a query is asked for"
        return Finding("answer_format", "ok", what)
    texts = [" ".join(need.text.split()) for need, _ in opened.needs if need.text.isprintable()]
    written: dict[str, str] = {}
    for text in (*texts, *ODD):
        with catching(f"writing the query {text[:80]!r}"):
            try:
                written[text] = form.write(text)
            except ValueError:  # too long, or it holds a tag: the policy is never shown it
                continue
    ids = {text: answer_ids(tokenizer, answer) for text, answer in written.items()}
    parsed = _parsed(form, written)
    read = _parsed(form, {text: tokenizer.decode(own, skip_special_tokens=True) for text, own in ids.items()})
    wrong = [text for text in written if parsed[text] != text]
    told = f"are read otherwise from the format's own answer {{}}, the first as {parsed.get(next(iter(wrong), ''))!r}"
    faults.share(
        "parser changes", wrong, len(written), f"{told}: correct its methods parse and write", warn=0.01, fail=0.1
    )
    other = [text for text in written if text not in wrong and read[text] != text]
    changed = [text for text in other if read[text].casefold() != text.casefold()]
    told = f"are read otherwise after the tokenizer {{}}, the first as {read.get(next(iter(changed), ''))!r}"
    remedy = "tags that are special tokens are dropped; take another format or tokenizer"
    faults.share("tokenizer changes", changed, len(written), f"{told}: {remedy}", warn=0.01, fail=0.1)
    if len(other) > len(changed):
        what = f"the tokenizer makes capital letters small, in {len(other) - len(changed)} of {len(written)} queries"
        operators = bool(capabilities_of(opened.setup.env.retriever))
        what += ": the operators of this engine, such as AND, cannot be written" if operators else ""
        faults.add("case lost", "warning" if operators else "ok", what)
    shortest = min(map(len, ids.values()), default=0)
    if shortest > most:
        what = f"the shortest answer has {shortest} tokens with its end, and policy.max_new_tokens is {most}"
        faults.add("no room", "error", f"{what}: raise it to {2 * shortest} or more")
    elif long := sum(len(ids[text]) > most for text in texts if text in ids):
        what = f"{long} of {len(texts)} needs, written as queries, are longer than policy.max_new_tokens ({most})"
        faults.add("longer needs", "ok", what)
    longest = max(map(len, ids.values()), default=0)
    ok = f"{len(written)} queries come back as they were written, in {longest} tokens at most with the end"
    return concluded("answer_format", faults, ok, {"written": len(written), "shortest": shortest, "longest": longest})


def _list_format(opened: PolicySetup, form: Any) -> Finding:
    """The same for lists: all candidates of a need, in the reverse of the order shown."""
    tokenizer, most, faults, changed, lengths = opened.policy.tokenizer, opened.policy.max_new_tokens, Faults(), [], []
    for need, _ in opened.needs:
        rows = tuple(one.row for one in reversed(need.candidates))
        with catching(f"writing a list for the need {need.id}"):
            answer = form.write_for(need, rows)
            ids = answer_ids(tokenizer, answer)
            read = parsed(form, need, tokenizer.decode(ids, skip_special_tokens=True))
        lengths.append(len(ids))
        changed += [] if isinstance(read, Recommend) and read.rows == rows else [answer]
    told = "are read otherwise after the tokenizer {}: tags that are special tokens are dropped; take another format"
    faults.share("tokenizer changes", changed, len(lengths), told, warn=0.01, fail=0.1)
    if cut := sum(length > most for length in lengths):
        what = f"{cut} of {len(lengths)} lists of all candidates are longer than policy.max_new_tokens ({most})"
        verdict: Verdict = "error" if cut == len(lengths) else "warning"
        faults.add("no room", verdict, f"{what}: raise it to {max(lengths)} or more, or lower task.count")
    ok = (
        f"{len(lengths)} lists come back as they were written, in {max(lengths, default=0)} tokens at most with the end"
    )
    return concluded("answer_format", faults, ok, {"written": len(lengths), "longest": max(lengths, default=0)})


def _parsed(form: Any, answers: dict[str, str]) -> dict[str, str]:
    with catching("parsing what the format wrote"):
        actions = {text: form.parse(answer) for text, answer in answers.items()}
    return {text: str(action.query) if isinstance(action, Search) else "" for text, action in actions.items()}


def _is_plain(tokenizer: Any) -> bool:
    """Whether it had no chat template, and got recr1's own."""
    return str(tokenizer.chat_template).removeprefix(BEGINNING) == FALLBACK_CHAT_TEMPLATE


def _text(tokenizer: Any, *said: str, answer: bool = False) -> str:
    """A chat in which user and assistant take turns."""
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    return _rendered(tokenizer, turns, answer=answer)


def _rendered(tokenizer: Any, chat: list[dict[str, Any]], *, answer: bool) -> str:
    with catching("rendering the chat template"):
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=answer))


def _added(tokenizer: Any) -> str:
    """What a template writes before the first message and not before a later one, without special tokens."""
    first = _text(tokenizer, ASKED).partition(ASKED)[0]
    later = _text(tokenizer, ASKED, ANSWERED, MORE).partition(ANSWERED)[2].partition(MORE)[0]
    for token in sorted([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens], key=len, reverse=True):
        first, later = first.replace(token, " "), later.replace(token, " ")
    role = " ".join(later.split())
    return " ".join(first.split()).removesuffix(role).strip()
