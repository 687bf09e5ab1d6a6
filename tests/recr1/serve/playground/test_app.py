"""What the page asks, over HTTP: two lists and what moved, marks of lists that were shown, and who may ask."""

from __future__ import annotations

import json

import httpx
import pytest

from recr1.gate import Gate
from tests.recr1.serve.playground.conftest import HOSTILE


def post(address, path, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(address + path, content=content, headers=headers, trust_env=False)


def tried(address, need="a lamp", retriever="bm25"):
    return post(address, "/try", {"need": need, "retriever": retriever}).json()


def short(found):
    return {side: [(one["id"], one["other"]) for one in items] for side, items in found["lists"].items()}


def test_both_queries_are_searched_and_each_item_has_its_place_in_the_other_list(opened):
    with opened() as (address, _):
        one = tried(address)
        assert (one["need"], one["query"], one["source"], one["reason"]) == ("a lamp", "red tent", "model", "rewritten")
        assert one["ms"] > 0 and one["searched_ms"] > 0 and one["gain"] is None
        assert short(one) == {
            "raw": [("c", None), ("a", 1), ("b", None), ("f", None)],
            "rewritten": [("a", 2), ("e", None), ("d", None)],
        }
        assert tried(address)["source"] == "cache"
        assert tried(address, retriever="rank_bm25")["lists"]["raw"]


def test_the_place_in_the_other_list_is_found_below_the_items_that_are_shown(opened, monkeypatch):
    monkeypatch.setattr("recr1.serve.playground.app.SHOWN", 1)
    with opened() as (address, _):
        assert short(tried(address)) == {"raw": [("c", None)], "rewritten": [("a", 2)]}


def test_titles_are_sent_as_they_are(opened):
    with opened() as (address, _):
        assert HOSTILE in [one["title"] for one in tried(address, "hostile")["lists"]["rewritten"]]


def test_a_gate_says_what_it_expects_where_it_rewrites_and_where_it_does_not(opened):
    gate = Gate(intercept=0.0, weights={"query_words": 0.1}, threshold=0.15, facts={})
    with opened(gate=gate) as (address, _):
        assert httpx.get(address + "/info", trust_env=False).json()["gate"] is True
        one, short_one = tried(address), tried(address, "kettle")
        assert (one["query"], one["gain"]) == ("red tent", pytest.approx(0.2))
        assert (short_one["query"], short_one["source"], short_one["reason"]) == ("kettle", "raw", "gate")
        assert (short_one["gain"], short_one["trial"]) == (pytest.approx(0.1), None)
        assert (one["held_back"], short_one["held_back"]) == (None, "pot")


@pytest.mark.parametrize(("need", "reason"), [("nothing else", "unchanged"), ("broken", "model failed")])
def test_lists_of_one_query_cannot_be_marked(opened, need, reason):
    with opened() as (address, _):
        one = tried(address, need)
        assert (one["query"], one["reason"], one["trial"]) == (need, reason, None)


def test_a_mark_is_about_the_lists_that_were_shown(opened):
    with opened() as (address, marks):
        trial = tried(address, retriever="rank_bm25")["trial"]
        assert post(address, "/mark", {"trial": trial, "better": "rewritten", "blind": True}).json() == {
            "raw": 0,
            "rewritten": 1,
            "same": 0,
        }
        [line] = [json.loads(line) for line in marks.path.read_text().splitlines()]
        assert (line["need"], line["raw"], line["rewritten"]) == ("a lamp", "a lamp", "red tent")
        assert (line["retriever"], line["better"], line["blind"]) == ("rank_bm25", "rewritten", True)
        info = httpx.get(address + "/info", trust_env=False).json()
        assert info["marks"]["rewritten"] == 1 and info["by"] == line["by"]


def test_the_oldest_lists_are_dropped(opened, monkeypatch):
    monkeypatch.setattr("recr1.serve.playground.app.KEPT", 2)
    with opened() as (address, marks):
        first, *_, last = [tried(address)["trial"] for _ in range(3)]
        said = post(address, "/mark", {"trial": first, "better": "raw"})
        assert (said.status_code, said.json()["detail"]) == (
            404,
            "these lists are no longer kept: search again, then mark",
        )
        assert post(address, "/mark", {"trial": last, "better": "raw"}).status_code == 200
        assert marks.tally()["raw"] == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/try", b"{", 400, "the request cannot be read"),
        ("/try", b"[" * 60_000, 400, "the request cannot be read"),
        ("/try", [1], 400, "the request must be a JSON object, got [1]"),
        ("/try", {"retriever": "bm25"}, 400, "a need must be text of 1 to 2,000 characters"),
        ("/try", {"need": " \n", "retriever": "bm25"}, 400, "a need must be text"),
        ("/try", {"need": "x" * 2001, "retriever": "bm25"}, 400, "a need must be text"),
        ("/try", b'{"need": "\\ud800", "retriever": "bm25"}', 400, "a need must be text"),
        ("/try", {"need": "a", "retriever": ["bm25"]}, 400, "retriever must be one of: bm25, rank_bm25, moody"),
        ("/try", {"need": "a", "retriever": "moody"}, 502, "moody at http://engine, after 3 attempts: no answer"),
        ("/try", b" " * 70_000, 413, "larger than 0.0625 MiB"),
        ("/mark", {"trial": "guessed", "better": "raw"}, 404, "no longer kept"),
        ("/mark", {"trial": ["x"], "better": "raw"}, 404, "no longer kept"),
        ("/mark", {"trial": "x", "better": "left"}, 400, "better must be one of: raw, rewritten, same"),
        ("/mark", {"trial": "x", "better": ["raw"]}, 400, "better must be one of"),
    ],
)
def test_what_cannot_be_answered_is_said(opened, path, body, status, said):
    with opened() as (address, marks):
        answer = post(address, path, body)
        assert answer.status_code == status and said in answer.json()["detail"]
        assert not marks.path.exists()


def test_a_mark_that_cannot_be_written_is_said(opened):
    with opened() as (address, marks):
        trial = tried(address)["trial"]
        marks.path.mkdir()
        answer = post(address, "/mark", {"trial": trial, "better": "raw"})
        assert answer.status_code == 507 and "marks.jsonl cannot be written: Is a directory" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
    ],
)
def test_a_request_of_another_site_is_refused(opened, headers):
    with opened() as (address, marks):
        trial = tried(address)["trial"]
        for answer in (
            post(address, "/mark", {"trial": trial, "better": "raw"}, **headers),
            httpx.get(address + "/info", headers=headers, trust_env=False),
            httpx.get(address, headers=headers, trust_env=False),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (
                403,
                "refused: this request comes from another site",
            )
        assert not marks.path.exists()


def test_a_tunnel_with_another_port_is_this_machine(opened):
    with opened() as (address, _):
        for host in ("localhost:9000", "127.0.0.1", "[::1]:9000"):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert post(address, "/try", {"need": "tents", "retriever": "bm25"}, **headers).status_code == 200


def test_with_a_token_all_but_the_empty_page_needs_it(opened):
    with opened(token="open sesame") as (address, marks):
        body = {"need": "a lamp", "retriever": "bm25"}
        anywhere = {"Host": "shop.example"}
        assert httpx.get(address, headers=anywhere, trust_env=False).status_code == 200
        assert httpx.get(address + "/info", trust_env=False).status_code == 401
        assert post(address, "/try", body).status_code == 401
        assert post(address, "/mark", {}).status_code == 401
        known = {**anywhere, "Authorization": "Bearer open sesame"}
        assert post(address, "/try", body, **known).status_code == 200
        assert post(address, "/try", body, **known, Origin="http://evil.example").status_code == 403
        assert not marks.path.exists()


def test_no_answer_may_be_shown_inside_of_another_page_or_run_what_is_not_its_own(opened):
    with opened() as (address, _):
        rules = httpx.get(address, trust_env=False).headers["content-security-policy"]
        assert rules.startswith("default-src 'none'; style-src 'sha256-")
        for rule in ("connect-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"):
            assert rule in rules
        assert "unsafe" not in rules
        assert httpx.get(address + "/info", trust_env=False).headers["x-content-type-options"] == "nosniff"
