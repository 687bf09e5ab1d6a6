"""What a source of behaviour has: a catalog, and events of users, cut into what is learned from and what is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recr1.errors import UserError
from recr1.tasks.base import SPLITS
from recr1.tasks.splits import unit_hash
from retrievers.base import Catalog
from retrievers.options import NonNegativeInt, PositiveShare, did_you_mean

FOLD_IN = 0.8
"""The share of the items of a held-out user that are their history; the others are asked for (arXiv 1802.05814)."""

Asked: TypeAlias = tuple[str, slice | NDArray[np.bool_], slice | NDArray[np.bool_]]
"""The split of a need, and which events of a user are its history and its targets."""


@dataclass(frozen=True)
class Past:
    """What a user did before a moment, and what they took then: a need of every task about people."""

    id: str
    """The user's id and how many of their events came before, "anna/12"; unique over all splits."""
    user: int
    """The user's place in `Source.user_ids`, which is also the `user` of their events."""
    history: tuple[int, ...]
    """Catalog rows, oldest first; a row that was taken again is there again."""
    values: tuple[float, ...]
    """The value of each event of the history: a rating, or 1."""
    targets: tuple[int, ...]
    """Catalog rows of the next item or basket, each once; some may be in the history too."""
    target_values: tuple[float, ...]
    """The value of each target: a rating, or 1."""
    time: int
    """When the targets were taken, in seconds; 0 where that is not known."""


class Review(NamedTuple):
    """What a user said about an item."""

    title: str
    text: str
    features: tuple[str, ...] = ()
    """Words of the text that name what the user liked or disliked of the item; empty where the data has none."""


class Source:
    """Behaviour of users over a catalog. Built as `cls(*, options)`.

    Attributes:
        catalog: the items. Its `interactions` are the events to learn from, of dtype `EVENT`, sorted by user and time:
            no target of any split is among them, those of training needs included, so that a reward in training means
            what it means in a test.
        user_ids: the ids of users; a user's number is a place here. Those with events to learn from come first.
        groups: a label of each user for an audit of groups, "" where there is none.
        reviews: (user number, catalog row) -> what the user said about the item, whatever the split.
        scale: the lowest and the highest rating; None where values are 1.
        counts: what was left out, merged or missing -> how many, without zeros.
        text_fields: the fields of the catalog that an item's text is made of.
        all_pasts: split -> its pasts.
    """

    catalog: Catalog
    user_ids: Sequence[str]
    groups: Sequence[str]
    reviews: Mapping[tuple[int, int], Review]
    scale: tuple[float, float] | None
    counts: Mapping[str, int]
    text_fields: Sequence[str]
    all_pasts: Mapping[str, Sequence[Past]]

    def pasts(self, split: str) -> Sequence[Past]:
        """The pasts of "train", "validation" or "test"; raises `UserError` for a split that is not there."""
        if not self.all_pasts.get(split):
            known = ", ".join(name for name in SPLITS if self.all_pasts.get(name))
            raise UserError(f"no split {split!r} in this behaviour{did_you_mean(split, SPLITS)}; it has: {known}")
        return self.all_pasts[split]


@dataclass(kw_only=True, eq=False)
class SplitSource(Source):
    """A source whose subclass gives `settle` all events. Events of a user at the same time are one basket."""

    split: Literal["leave_last", "time", "users"] = "leave_last"
    """leave_last: the last basket of a user is the test, the one before it validation, and the ones before that are
    training; with `shares` that many users have a need of this split alone, their last basket, and the others those of
    training alone. time: the first basket of each user after each of two times. users: some users are held out, a fifth
    of whose items are asked for, and the others are their history."""
    per_user: NonNegativeInt = 1
    """Training needs of a user, from the last basket of training backwards; none of these is learned from otherwise."""
    shares: dict[str, PositiveShare] | None = None
    """users: the shares of users whose items are asked for, by split; null for 0.2, 0.1 and 0.1. time: the shares of
    events after the cuts, {validation: 0.1, test: 0.1} for null. leave_last: the shares of users who are held out,
    whose events nothing learns from; null for none."""
    cuts: tuple[int, int] | None = None
    """time: the seconds with which validation and test begin, instead of shares."""
    split_seed: int = 0
    """Draws held-out users and their items."""

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with options of the right types, found without opening a file."""
        split, shares, cuts = (options.get(name, getattr(cls, name)) for name in ("split", "shares", "cuts"))
        problems = []
        allowed = SPLITS if split == "users" else SPLITS[1:]
        if shares is not None and (set(shares) - set(allowed) or sum(shares.values()) >= 1):
            what = f"must be of {', '.join(allowed)} and sum to less than 1"
            problems.append(f"shares: {what} with split: {split}, got {dict(shares)}")
        if cuts is not None and (split != "time" or cuts[0] >= cuts[1]):
            problems.append(f"cuts: must be two times, the earlier first, and with split: time, got {list(cuts)}")
        return problems

    def settle(
        self,
        catalog: Catalog,
        events: NDArray[Any],
        users: Sequence[str],
        counts: Counter[str],
        *,
        groups: Sequence[str] = (),
        reviews: Mapping[tuple[int, int], Review] | None = None,
    ) -> None:
        """Sets all that a source has from (E,) events of dtype `EVENT`, in any order; equal times keep their order."""
        events = events[np.lexsort((events["time"], events["user"]))]
        found: dict[str, list[Past]] = {split: [] for split in SPLITS}
        kept, cut = [events[:0]], self._cut(events)
        for own in np.split(events, np.flatnonzero(np.diff(events["user"])) + 1):
            user = users[int(own["user"][0])]
            asked, learned_E = (
                self._held_out(own, user, counts) if self.split == "users" else self._next(own, user, cut, counts)
            )
            for split, before, taken in asked:
                found[split].append(_past(user, own[before], own[taken]))
            kept.append(own[learned_E])
        learned = np.concatenate(kept)
        order = [*np.unique(learned["user"]).tolist()]
        order += np.setdiff1d(np.arange(len(users)), order).tolist()
        number_of = np.empty(len(users), np.int32)
        number_of[order] = np.arange(len(users))
        learned["user"] = number_of[learned["user"]]
        catalog.interactions = learned
        self.catalog, self.user_ids = catalog, [users[user] for user in order]
        self.groups = [groups[user] if groups else "" for user in order]
        self.reviews = {(int(number_of[user]), row): said for (user, row), said in (reviews or {}).items()}
        self.all_pasts = {
            split: [replace(past, user=int(number_of[past.user])) for past in pasts] for split, pasts in found.items()
        }
        self.counts = {what: count for what, count in counts.items() if count}

    def _cut(self, events: NDArray[Any]) -> tuple[int, int]:
        if self.split != "time":
            return 0, 0
        if not events["time"].any():
            raise UserError(
                "split: time needs to know when events were, and no event has a time: use leave_last or users"
            )
        if self.cuts is not None:
            return self.cuts
        shares = self.shares or {"validation": 0.1, "test": 0.1}
        at = [1 - shares.get("test", 0) - shares.get("validation", 0), 1 - shares.get("test", 0)]
        early, late = np.quantile(events["time"], at, method="higher").tolist()
        return int(early), int(late)

    def _split_of(self, user: str, shares: Mapping[str, float]) -> str:
        """The split that a user is held out for, drawn by name; "" for none."""
        at = unit_hash(self.split_seed, user)
        for name in reversed([name for name in SPLITS if name in shares]):
            if at < shares[name]:
                return name
            at -= shares[name]
        return ""

    def _next(
        self, own: NDArray[Any], user: str, cut: tuple[int, int], counts: Counter[str]
    ) -> tuple[list[Asked], slice]:
        """What is asked of one user, and which of their events remain to be learned from."""
        times = own["time"]
        starts = np.flatnonzero((np.diff(times, prepend=times[0] - 1) != 0) | (times == 0)).tolist()
        bounds = [*starts, len(own)]
        held_out = self._split_of(user, self.shares) if self.split == "leave_last" and self.shares else None
        baskets = list(self._baskets([int(times[start]) for start in starts], cut, held_out))
        if held_out and not baskets:
            counts["users held out with one basket, no need"] += 1
        if held_out is None and not any(split == "test" for split, _ in baskets):
            counts["users without a test need, too few baskets"] += 1
        learned = bounds[min((basket for _, basket in baskets), default=len(starts))]
        asked: list[Asked] = [
            (split, slice(bounds[one]), slice(bounds[one], bounds[one + 1])) for split, one in baskets
        ]
        if held_out:
            return asked, slice(0)
        if self.split == "time":
            before = int((times < cut[0]).sum())
            used = sum(len(own[taken]) for split, _, taken in asked if split != "train")
            counts["events after the cuts that are no target"] += len(own) - before - used
            learned = min(learned, before)
        return asked, slice(learned)

    def _baskets(self, times: Sequence[int], cut: tuple[int, int], held_out: str | None) -> Iterator[tuple[str, int]]:
        """(split, basket) of what is asked of a user with baskets of these times; the first basket never is.

        `held_out` is the only split of the user, "" for training, None where users have needs of every split.
        """
        last = len(times)
        if held_out:
            if last > 1:
                yield held_out, last - 1
            return
        if self.split == "leave_last":
            for split in ("test", "validation") if held_out is None else ():
                last -= 1
                if last >= 1:
                    yield split, last
        else:
            after = [sum(time < one for time in times) for one in cut]
            for split, first, end in (("test", after[1], len(times)), ("validation", after[0], after[1])):
                if 1 <= first < end:
                    yield split, first
            last = after[0]
        yield from (("train", basket) for basket in range(last - 1, max(last - 1 - self.per_user, 0), -1))

    def _held_out(self, own: NDArray[Any], user: str, counts: Counter[str]) -> tuple[list[Asked], NDArray[np.bool_]]:
        """As `_next`: a part of the items of some users."""
        split = self._split_of(user, self.shares or {"train": 0.2, "validation": 0.1, "test": 0.1})
        rows = list(dict.fromkeys(own["row"].tolist()))
        if not split or len(rows) < 2:
            counts["users held out with one item, no need"] += bool(split)
            return [], np.full(len(own), split in ("", "train"))
        drawn = sorted(rows, key=lambda row: unit_hash(self.split_seed, f"{user}\0{row}"))
        asked_E = np.isin(own["row"], drawn[: max(1, round((1 - FOLD_IN) * len(rows)))])
        return [(split, ~asked_E, asked_E)], ~asked_E & (split == "train")


def _past(user: str, before: NDArray[Any], taken: NDArray[Any]) -> Past:
    targets = dict(zip(taken["row"].tolist(), taken["value"].tolist(), strict=True))
    history, values = tuple(before["row"].tolist()), tuple(before["value"].tolist())
    name = f"{user}/{len(history)}"
    return Past(
        name, int(taken["user"][0]), history, values, tuple(targets), tuple(targets.values()), int(taken["time"][0])
    )
