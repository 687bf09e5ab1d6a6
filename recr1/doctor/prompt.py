"""What will the policy read? Shown once, and compared with what the retriever understands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recr1.doctor.base import Finding, Patient, Symptom, finding, watching
from recr1.tasks.leaks import copied
from retrievers.abilities import capabilities_of
from rewards.base import Chat, Need, Qrels

SPEAKS_OF: Mapping[str, str] = {
    "boolean": r"\b(AND|OR)\b|\b[Bb]oolean\b",
    "phrases": r"(?i)\bquotation marks\b|\bexact phrases?\b|\bphrase quer(y|ies)\b",
    "fields": r"(?i)\b(title|brand|category|description|body):\w",
    "filters": r"\w:\[\S+ TO ",
}
"""How a prompt sounds that asks for a capability. NOT alone is no sign of one: "Do NOT explain"."""


def prompt(patient: Patient) -> Finding:
    """The prompt holds the need, differs from need to need, and asks for nothing that the engine ignores."""
    if not patient.needs:
        return Finding("prompt", "error", "there is no need to render: the task has none", {})
    env = patient.env
    some = patient.needs[: max(2, min(50, patient.sample))]
    with watching("rendering the prompt"):
        chats = env.prompts(some)
    texts = ["\n".join(message["content"] for message in chat) for chat in chats]
    symptoms = []
    silent = sum(need.text not in text for need, text in zip(some, texts, strict=True))
    if silent:
        what = f"{silent} of {len(some)} prompts do not hold the text of their need"
        symptoms.append(
            Symptom("error", f"{what}: the policy cannot know what is wanted; put {{need}} into the prompt")
        )
    if any(not chat or chat[-1]["role"] != "user" for chat in chats):
        symptoms.append(Symptom("error", "a prompt does not end with a message of the user: see the format's render()"))
    ids, titles = _given_away(patient, some, texts)
    if ids:
        what = f"{len(ids)} of {len(texts)} prompts hold the id of an item that is wanted ({texts[ids[0]][:80]!r})"
        symptoms.append(Symptom("error", f"{what}: the policy is told the answer; take ids out of the needs"))
    asked = _asks_for(texts[0].replace(some[0].text, ""))
    with watching("reading the retriever's capabilities"):
        ignored = sorted(asked - capabilities_of(env.retriever))
    if ignored:
        what = (
            f"the prompt speaks of {', '.join(ignored)}, which the retriever does not declare and would take for words"
        )
        symptoms.append(Symptom("error", f"{what}: change the prompt or the retriever"))
    told = f"; {len(titles)} of {len(texts)} hold the whole title of an item that is wanted" if titles else ""
    fine = f"the prompts hold their needs{told}; the first one, of {len(texts[0])} characters, is shown"
    numbers = {"asks_for": sorted(asked), "characters": len(texts[0]), "ids": len(ids), "titles": len(titles)}
    found = finding("prompt", symptoms, fine, numbers)
    return Finding(found.name, found.verdict, found.message, found.numbers, shown=_shown(chats[0]))


def _given_away(patient: Patient, needs: Sequence[Need], texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """The places of prompts that hold the id of an item that is wanted, and of those that hold its whole title."""
    keys = [patient.env.task.qrels.get(need.id, Qrels({})) for need in needs]
    wanted = [[row for row, grade in key.items() if grade > 0 and row < len(patient.catalog)] for key in keys]
    ids = copied(texts, [[patient.catalog.ids[row] for row in rows] for rows in wanted])
    return ids, copied(texts, [[patient.titles[row] for row in rows] for rows in wanted])


def _asks_for(text: str) -> set[str]:
    return {capability for capability, pattern in SPEAKS_OF.items() if re.search(pattern, text)}


def _shown(chat: Chat | Sequence[Mapping[str, str]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in chat)
