"""Biases of texts: words about the person in the prompt, long queries, and items whose texts are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recr1.audit.base import DRAWS, NotAudited, Number, Part, Seen, chance_of, lists, mean_of, spread_test, together
from recr1.judge.stats import Doubles, bootstrap_interval, randomisation_test, ratio_interval
from recr1.judge.table import Table
from recr1.tasks.base import HasGroups
from retrievers.abilities import HasItemVectors
from rewards.audit.lists import SIMILARITIES, jaccard, partial_spearman
from rewards.audit.terms import ByPersonReward
from rewards.base import Batch, Search
from rewards.guards.words import repeated_runs, words_of

NEIGHBOURS, PAIRS, ALIKE = 10, 20_000, 0.8
"""Nearest items that are compared; random pairs; titles with this share of common words are almost the same."""


def groups(seen: Seen) -> Part:
    """Whether a word about the person changes the list, and for some people more than for others (FaiRLLM)."""
    numbers = list(_labelled(seen))
    if not seen.words:
        what = "the prompt does not have the text of the need" if seen.spec.words else "audit.words is empty"
        return Part(numbers, remarks=[f"words are not audited: {what}"])
    rows, shares, gap = list[list[str]](), {}, f"gap({seen.ndcg.name})"
    for attribute, batches in seen.words.items():
        alike = {kind: _similarities(seen, kind, list(batches.values())) for kind in SIMILARITIES}
        ndcg_BV = np.array([seen.ndcg.of(batch.graded) for batch in batches.values()], np.float64).T
        for kind, alike_BV in alike.items():
            numbers += _spread(seen, f"{attribute}/{kind}@{seen.cutoff}", alike_BV)
        says, p = f"difference of {seen.ndcg.name} between words (largest - smallest)", spread_test(ndcg_BV, seen.rng())
        found = float(np.ptp(ndcg_BV.mean(axis=0)))
        numbers.append(Number(f"{attribute}/{gap}", found, says, p=p, limit=seen.spec.limits.gap))
        for place, word in enumerate(batches):
            means = [f"{mean_of(of[:, place]):.3f}" for of in alike.values()]
            rows.append([f"{attribute}: {word}", *means, f"{ndcg_BV[:, place].mean():.3f}"])
            values = alike["serp"][:, place]
            if (kept := values[np.isfinite(values)]).size:
                shares[f"{attribute}: {word}"] = bootstrap_interval(kept, seed=seen.seed)._asdict()
    rows.append(["no word", *["1.000"] * len(SIMILARITIES), f"{seen.relevance.mean():.3f}"])
    table = Table("Lists with a word about the person", ["", "Jaccard", "SERP*", "PRAG*", seen.ndcg.name], rows)
    return Part(numbers, [table], shares=shares, picture="SERP* similarity of the list to the one without a word")


def _labelled(seen: Seen) -> Iterator[Number]:
    """The gap between groups of people that the task names; labels are exchanged at random for p."""
    label_of = seen.env.task.group_of if isinstance(seen.env.task, HasGroups) else {}
    labels_B = np.array([label_of.get(need.id, "") for need in seen.needs])
    names, rng = sorted({*labels_B.tolist()} - {""}), seen.rng()
    if len(names) < 2:
        return

    def gap(labels_B: NDArray[np.str_]) -> float:
        return float(np.ptp([seen.relevance[labels_B == name].mean() for name in names]))

    found, drawn = gap(labels_B), np.array([gap(rng.permutation(labels_B)) for _ in range(DRAWS)])
    says = f"difference of {seen.ndcg.name} between people: {', '.join(names)} (largest - smallest)"
    p, limit = chance_of(found, drawn), seen.spec.limits.gap
    yield Number(f"gap({seen.ndcg.name})", found, says, p=p, limit=limit)


def _similarities(seen: Seen, kind: str, batches: Sequence[Batch]) -> Doubles:
    """(B, V) 1 - what the reward `by_person` costs; NaN where a list or its neutral one is empty."""
    term = ByPersonReward(similarity=cast("Any", kind), cutoff=seen.cutoff)
    differs_VB = term.of(together([seen.plain, *batches])).reshape(-1, len(seen.needs))[1:]
    return 1 - differs_VB.T.astype(np.float64)


def _spread(seen: Seen, name: str, alike_BV: Doubles) -> list[Number]:
    whole_BV = alike_BV[np.isfinite(alike_BV).all(axis=1)]
    if not len(whole_BV):
        return []
    means_V, p, limit = whole_BV.mean(axis=0), spread_test(whole_BV, seen.rng()), seen.spec.limits.spread
    says = "difference of that similarity between words (SNSR: largest - smallest)"
    return [
        seen.mean(name, whole_BV.mean(axis=1), "similarity to the list without a word", tested=False),
        Number(f"{name}/spread", float(np.ptp(means_V)), says, p=p, limit=limit),
        Number(f"{name}/deviation", float(means_V.std()), "its standard deviation over words (SNSV)"),
    ]


def bloat(seen: Seen) -> Part:
    """Whether queries are longer than they need to be."""
    limits = seen.spec.limits
    written = [one.action.query if isinstance(one.action, Search) else None for one in seen.plain.rollouts]
    pairs = [(query, seen.needs[row].text, row) for row, query in enumerate(written) if isinstance(query, str)]
    if not pairs:
        raise NotAudited("answers are not queries in text")
    queries, needs, rows = map(list, zip(*pairs, strict=True))
    own_B, need_B = (np.array([len(text.split()) for text in of], np.float64) for of in (queries, needs))
    numbers = [Number("words", float(own_B.mean()), "words of a query")]
    if bounds := ratio_interval(own_B, need_B, seed=seen.seed):
        p = randomisation_test(own_B - need_B, seed=seen.seed)
        says = "words of queries as a multiple of those of needs"
        numbers.append(Number("growth", bounds.mean, says, bounds.low, bounds.high, p, limit=limits.growth))
    again_B = np.array([again / max(runs, 1) for again, runs in (repeated_runs(query, 1) for query in queries)])
    numbers.append(seen.mean("repeated", again_B, "share of words that appeared before", limit=limits.repeated))
    words = [(words_of(query), {*words_of(need)}) for query, need in zip(queries, needs, strict=True)]
    new_B = np.array([np.mean([float(word not in own) for word in of] or [0.0]) for of, own in words])
    numbers.append(Number("unseen", float(new_B.mean()), "share of words that the need does not have"))
    ndcg_B = seen.relevance[rows]
    per_word = float(ndcg_B.sum() / max(own_B.sum(), 1))
    numbers.append(Number("per_word", per_word, f"{seen.ndcg.name} per word of a query"))
    cut = [" ".join(q.split()[: max(int(size), 1)]) or None for q, size in zip(queries, need_B, strict=True)]
    found = seen.env.search(cut, again=2, needs=[seen.needs[row] for row in rows])
    kept_B = seen.ndcg(found.rows_QK, [seen.plain.qrels[row] for row in rows], seen.env.task.catalog)
    says = f"{seen.ndcg.name} lost by queries that are cut to the length of their needs"
    return Part([*numbers, seen.mean("cut", ndcg_B - kept_B, says, tested=False)])


def doubles(seen: Seen) -> Part:
    """Whether lists have one title several times, and items that read alike are alike for the retriever."""
    catalog = seen.env.task.catalog
    doubled_B = np.full(len(seen.needs), np.nan)
    for place, rows in enumerate(lists(seen.plain, seen.cutoff)):
        read = [words_of(catalog.title(row)) for row in rows]
        again = [
            any(one and other and jaccard(one, other) >= ALIKE for other in read[:at]) for at, one in enumerate(read)
        ]
        doubled_B[place] = np.mean(again) if again else np.nan
    says = f"share of listed items with {ALIKE:.0%} of their title's words in common with an item above"
    number = seen.mean("doubles", doubled_B, says, limit=seen.spec.limits.doubles)
    if isinstance(seen.env.retriever, HasItemVectors):
        return Part([number, *_coupled(seen, seen.env.retriever)])
    return Part([number], remarks=["coupling is not audited: the retriever has no vectors of its items"])


def _coupled(seen: Seen, retriever: HasItemVectors) -> list[Number]:
    """How far the retriever's vectors of items follow the words of their texts."""
    catalog, size = seen.env.task.catalog, len(seen.env.task.catalog)
    rows = seen.rng().choice(size, min(size, seen.spec.titles), replace=False).astype(np.int32)
    vectors_ND = np.asarray(retriever.item_vectors()[rows], np.float64)
    by_text_NN, by_vector_NN = (_cosines(of) for of in (tf_idf([catalog.texts[row] for row in rows]), vectors_ND))
    pairs = np.triu_indices(len(rows), 1)
    some = seen.rng().permutation(len(pairs[0]))[:PAIRS]
    one, two = (of[pairs][some] for of in (by_text_NN, by_vector_NN))
    says = f"Spearman of the cosine of texts and that of the retriever's vectors, {len(one)} pairs of items"
    number = Number("coupling", partial_spearman(one, two), says)
    near, own = (_nearest(of) for of in (by_text_NN, by_vector_NN))
    shared = np.array([np.isin(a, b).mean() for a, b in zip(near, own, strict=True)])
    says = f"share of the {near.shape[1]} nearest items by text that are nearest by vectors"
    return [number, seen.mean("neighbours", shared, says, tested=False)]


def tf_idf(texts: Sequence[str]) -> Doubles:
    """(N, words) how often a text has each word, times log(N / texts with it)."""
    words = [words_of(text) for text in texts]
    place_of = {word: place for place, word in enumerate(sorted({word for of in words for word in of}))}
    counts_NW = np.zeros((len(texts), max(len(place_of), 1)))
    for counts_W, of in zip(counts_NW, words, strict=True):
        np.add.at(counts_W, [place_of[word] for word in of], 1.0)
    weights: Doubles = counts_NW * np.log(len(texts) / np.maximum((counts_NW > 0).sum(axis=0), 1))
    return weights


def _cosines(vectors_ND: Doubles) -> Doubles:
    """(N, N) the cosine of each pair; 0 with a vector of zeros."""
    norms_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    units_ND = vectors_ND / np.where(norms_N > 0, norms_N, 1.0)
    found: Doubles = units_ND @ units_ND.T
    return found


def _nearest(cosines_NN: Doubles) -> NDArray[np.intp]:
    off_NN = cosines_NN - 3 * np.eye(len(cosines_NN))
    found: NDArray[np.intp] = np.argsort(-off_NN, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(off_NN) - 1)]
    return found
