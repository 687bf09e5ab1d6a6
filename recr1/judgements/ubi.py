"""Logs of User Behavior Insights (UBI): the queries with their results, and the events that followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from recr1.errors import DataError, shown
from recr1.judgements.base import item_of, query_of
from recr1.judgements.clicks import Impressions, read_rows
from recr1.tasks.readers import records

ITEM, POSITION = "event_attributes.object.object_id", "event_attributes.position.ordinal"
ANSWER = ("query_response_object_ids", "query_response_objects_ids")
SHOWN = "impression"
_View: TypeAlias = tuple[int, str, str, Any]
"""The line, query id, item and position of an impression."""


def read_ubi(events: Path, queries: Path, *, click: str = "click", item: str = ITEM, first: int = 1) -> Impressions:
    """The impressions of a UBI log, each query being a session.

    What was shown are the events with the action `impression`; where a log has none, it is what the search answered
    (`query_response_object_ids`). Both may be flat or nested, and inside of `_source`. `click` is the action of a
    click, `item` the field of an event with the item's id, and `first` the number of the first position in events.
    Raises `DataError` for anything wrong in the files.
    """
    texts, answers = _queries(queries, first)
    clicks, views, counts = _events(events, texts, click, item)
    source = events if views else queries
    if not views:
        views = answers
        counts["impressions from the answers of the search, as no event is an impression"] = len(views)
    counts["clicks of items that were not shown, left out"] = len(clicks - {view[1:3] for view in views})
    rows = ((line, (texts[q], name, at, int((q, name) in clicks), q)) for line, q, name, at in views)
    names = {"query": "user_query", "item": item, "position": POSITION, "clicked": "clicked", "session": "query_id"}
    log = read_rows(source, names, rows, first)
    log.counts = counts
    return log


def _queries(path: Path, first: int) -> tuple[dict[str, str], list[_View]]:
    """Query id -> text, and what the search answered, in its order."""
    texts, answers = dict[str, str](), list[_View]()
    for line, row in records(path, "queries"):
        query = item_of(path, line, _at(row, "query_id"), "query_id")
        if query in texts:
            raise DataError(path, line, f"query_id {shown(query)} is on an earlier line: remove one")
        texts[query] = query_of(path, line, _at(row, "user_query"), "user_query")
        found: Any = next((value for name in ANSWER if (value := _at(row, name)) is not None), [])
        if not isinstance(found, list) or not all(isinstance(name, (str, int)) for name in found):
            raise DataError(path, line, f"{ANSWER[0]} is {shown(found)}: it must be a list of ids")
        answers += [(line, query, str(name), place) for place, name in enumerate(found, first)]
    return texts, answers


def _events(
    path: Path, texts: Mapping[str, str], click: str, item: str
) -> tuple[set[tuple[str, str]], list[_View], Counter[str]]:
    """The (query id, item) that were clicked, what was shown, and counts."""
    clicks, views, counts, actions = set[tuple[str, str]](), list[_View](), Counter[str](), Counter[str]()
    for line, row in records(path, "events"):
        action = str(_at(row, "action_name"))
        actions[action] += 1
        if action not in (click, SHOWN):
            counts["events with another action, left out"] += 1
            continue
        query = item_of(path, line, _at(row, "query_id"), "query_id")
        if query not in texts:
            counts["events of a query_id that is not in the file of queries, left out"] += 1
            continue
        name = item_of(path, line, _at(row, item), item)
        clicks.update([(query, name)] * (action == click))
        views += [(line, query, name, _at(row, POSITION))] * (action == SHOWN)
    if not actions[click]:
        found = ", ".join(f"{action} ({count:,})" for action, count in actions.most_common(5))
        raise DataError(path, None, f"no event with the action {click!r}; there are {found}: set --click")
    return clicks, views, counts


def _at(row: Mapping[str, Any], name: str) -> Any:
    """A field by its name with dots, whether the row is flat or nested; None where it lacks it."""
    inside = row.get("_source", row)
    value: Any = inside if isinstance(inside, dict) else row
    if name in value:
        return value[name]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
