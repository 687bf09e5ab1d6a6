"""Patience, limits and answers of remote engines; what is asked is a function that follows a script."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic, sleep

import numpy as np
import pytest

from retrievers import Catalog
from retrievers.errors import EngineError, MissingAnswers, OptionError, PermanentError, TransientError
from retrievers.remote import client as client_module
from retrievers.remote.answers import hits_of, search_in_batches, sendable
from retrievers.remote.client import EngineClient, Pace, fault_of_status, require

pytest.importorskip("tenacity", reason="remote engines need: pip install 'recr1[remote]'")
pytest.importorskip("pybreaker", reason="remote engines need: pip install 'recr1[remote]'")

CATALOG = Catalog(["a", "b", "c", "d"], ["w"] * 4)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.005)


def client(**options):
    return EngineClient(
        "test", "http://here:1", **{"attempts": 3, "rate": None, "threads": 4, "cooldown": 0.2} | options
    )


def one_by_one(queries, k, ask, **options):
    return search_in_batches(client(), CATALOG, queries, k, lambda texts: [ask(texts[0])], size=1, **options)


class Script:
    """Raises what is in the script, one a call, then answers with the question."""

    def __init__(self, *faults):
        self.faults, self.calls, self.lock = list(faults), 0, threading.Lock()

    def __call__(self, question):
        with self.lock:
            self.calls += 1
            fault = self.faults.pop(0) if self.faults else None
        if fault:
            raise fault
        return question


def test_answers_stand_in_the_order_of_the_questions():
    def slow_first(number):
        sleep(0.02 if number == 0 else 0)
        return number * 2

    assert client().ask_all(slow_first, range(20)) == [number * 2 for number in range(20)]


def test_no_question_asks_nothing():
    script = Script()
    assert client().ask_all(script, []) == []
    assert script.calls == 0


def test_questions_are_asked_several_at_a_time():
    together = threading.Barrier(4, timeout=5)  # breaks, and raises, unless four come at once
    client(threads=4).ask_all(lambda _: together.wait(), range(4))


def test_no_more_are_asked_at_a_time_than_there_are_threads():
    under_way, most, lock = 0, 0, threading.Lock()

    def ask(_):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        sleep(0.002)
        with lock:
            under_way -= 1

    client(threads=3).ask_all(ask, range(30))
    assert 1 < most <= 3


def test_a_fault_that_passes_is_tried_again():
    script = Script(TransientError("no route"), TransientError("500"))
    assert client().ask_all(script, ["q"]) == ["q"]
    assert script.calls == 3


def test_a_fault_that_stays_is_raised_with_engine_address_attempts_and_cause():
    script = Script(*[TransientError(f"fault {number}") for number in range(9)])
    with pytest.raises(EngineError, match=r"^test at http://here:1, after 3 attempts: fault 2$") as caught:
        client().ask_all(script, ["q"])
    assert script.calls == 3
    error = caught.value
    assert (error.engine, error.address, error.attempts, error.cause) == ("test", "http://here:1", 3, "fault 2")
    assert isinstance(error, ConnectionError)


def test_a_refusal_is_not_tried_again():
    script = Script(PermanentError("401: who are you?"))
    with pytest.raises(EngineError, match=r"after 1 attempt: 401: who are you"):
        client().ask_all(script, ["q"])
    assert script.calls == 1


def test_an_error_of_our_own_comes_through_as_it_is():
    with pytest.raises(ZeroDivisionError):
        client().ask_all(lambda number: 1 / number, [1, 0])


def test_one_lost_question_ends_the_search_and_the_rest_is_not_asked():
    script = Script(PermanentError("no"))
    with pytest.raises(EngineError, match="no"):
        client(threads=1).ask_all(lambda question: (sleep(0.002), script(question)), range(1000))
    assert script.calls < 500


def test_each_question_has_its_answer_or_its_fault():
    def ask(question):
        if question == 2:
            raise PermanentError("not this one")
        return question

    answers = client().ask_each(ask, [1, 2, 3])
    assert [answers[0], answers[2]] == [1, 3]
    with pytest.raises(EngineError, match="not this one"):
        raise answers[1]


def test_an_engine_that_is_gone_is_asked_a_few_questions_of_many():
    gone = Script(*[TransientError("no connection")] * 100)
    answers = client(threads=1, attempts=2, cooldown=60.0).ask_each(gone, range(40))
    assert gone.calls == 6 and all(isinstance(answer, EngineError) for answer in answers)


def test_a_search_carries_the_answers_that_it_has():
    def ask(text):
        if text == "lost":
            raise PermanentError("no such query")
        return [("b", 2.0), ("a", 1.0)]

    with pytest.raises(MissingAnswers, match=r"no such query \(1 of the search's 3 queries have no answer\)") as caught:
        one_by_one(["red", "lost", "blue"], 2, ask, max_chars=100)
    assert caught.value.hits.rows_QK.tolist() == [[1, 0], [-1, -1], [1, 0]]
    assert list(caught.value.faults) == [1]
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.hits.rows_QK.tolist() == caught.value.hits.rows_QK.tolist()


def test_queries_of_one_question_share_its_fault_and_others_have_their_answers():
    asked = []

    def ask(texts):
        asked.append(list(texts))
        if "lost" in texts:
            raise PermanentError("not these")
        return [[("a", float(len(text)))] for text in texts]

    with pytest.raises(MissingAnswers, match="not these") as caught:
        search_in_batches(client(), CATALOG, ["one", "", "lost", "three", "four"], 1, ask, max_chars=9, size=2)
    assert sorted(asked) == [["one", "lost"], ["three", "four"]]
    assert list(caught.value.faults) == [0, 2]
    assert caught.value.hits.scores_QK[[3, 4], 0].tolist() == [5, 4]


def test_an_engine_that_asks_for_quiet_gets_it_from_every_thread():
    started = monotonic()
    script = Script(TransientError("429", retry_after=0.3))
    times = client(threads=2).ask_all(lambda question: (script(question), monotonic() - started)[1], range(2))
    assert max(times) >= 0.3


def test_an_engine_that_asks_for_an_hour_is_given_up():
    script = Script(TransientError("429, asks for 3600 s", retry_after=3600))
    with pytest.raises(EngineError, match="after 1 attempt: 429, asks for 3600 s"):
        client().ask_all(script, ["q"])


def test_after_three_faults_in_a_row_the_engine_is_left_alone_and_then_tried_again():
    engine, script = client(attempts=1), Script(*[TransientError("down")] * 3)
    for _ in range(3):
        with pytest.raises(EngineError, match="after 1 attempt: down"):
            engine.ask_all(script, ["q"])
    message = r"not asked: the circuit breaker is open for 0\.2 s after 3 failures in a row; the last one: down"
    with pytest.raises(EngineError, match=message) as caught:
        engine.ask_all(script, ["q"])
    assert (script.calls, caught.value.attempts) == (3, 0)
    sleep(0.25)
    assert engine.ask_all(script, ["q"]) == ["q"]


def test_an_engine_whose_trial_fails_is_left_alone_again():
    engine, script = client(attempts=1), Script(*[TransientError("down")] * 4)
    for _ in range(3):
        with pytest.raises(EngineError, match="down"):
            engine.ask_all(script, ["q"])
    sleep(0.25)
    with pytest.raises(EngineError, match="after 1 attempt"):
        engine.ask_all(script, ["q"])
    with pytest.raises(EngineError, match="not asked"):
        engine.ask_all(script, ["q"])


def test_an_answer_between_faults_starts_the_count_again():
    engine = client(attempts=1)
    for _ in range(4):
        with pytest.raises(EngineError, match="down"):
            engine.ask_all(Script(TransientError("down")), ["q"])
        engine.ask_all(Script(), ["q"])


def test_refusals_do_not_count_as_an_engine_that_is_down():
    engine = client(attempts=1)
    for _ in range(5):
        with pytest.raises(EngineError, match="after 1 attempt: no"):
            engine.ask_all(Script(PermanentError("no")), ["q"])


def test_no_more_is_asked_a_second_than_the_rate():
    started = monotonic()
    client(rate=100.0, threads=8).ask_all(Script(), range(21))
    assert monotonic() - started >= 0.2


def test_a_pause_holds_what_comes_after_it():
    pace, stop = Pace(None), threading.Event()
    pace.pause(0.1)
    started = monotonic()
    assert pace.wait(stop) is False
    assert monotonic() - started >= 0.09


def test_whoever_waits_is_told_to_stop():
    pace, stop = Pace(None), threading.Event()
    pace.pause(60)
    threading.Timer(0.02, stop.set).start()
    assert pace.wait(stop) is True


def test_a_pickled_line_starts_afresh():
    engine = client(attempts=1)
    for _ in range(3):
        with pytest.raises(EngineError, match="down"):
            engine.ask_all(Script(TransientError("down")), ["q"])
    assert pickle.loads(pickle.dumps(engine)).ask_all(Script(), ["q"]) == ["q"]


def test_a_pickled_error_says_the_same():
    error = EngineError("http", "http://h", 4, "500")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (EngineError, str(error), vars(error))


def test_ids_become_rows_and_the_best_comes_first():
    hits = hits_of(client(), CATALOG, [[("c", 1.0), ("a", 2.5)], [], [("d", -1.0)]], 2)
    assert hits.rows_QK.tolist() == [[0, 2], [-1, -1], [3, -1]]
    assert hits.scores_QK.tolist() == [[2.5, 1.0], [-np.inf, -np.inf], [-1.0, -np.inf]]
    assert (hits.rows_QK.dtype, hits.scores_QK.dtype) == (np.int32, np.float32)


def test_equal_scores_are_put_in_the_order_of_rows():
    hits = hits_of(client(), CATALOG, [[("d", 1.0), ("b", 1.0), ("c", 7.0), ("a", 1.0)]], 4)
    assert hits.rows_QK.tolist() == [[2, 0, 1, 3]]


def test_more_items_than_were_asked_for_are_cut_after_ranking():
    assert hits_of(client(), CATALOG, [[("a", 1.0), ("b", 3.0), ("c", 2.0)]], 1).rows_QK.tolist() == [[1]]


def test_unknown_ids_are_refused_with_their_number():
    message = r"2 of the 3 ids in its answers are not in the catalog, 'x' for one: the engine holds other data"
    with pytest.raises(EngineError, match=message):
        hits_of(client(), CATALOG, [[("a", 1.0), ("x", 1.0)], [("y", 1.0)]], 3)


def test_an_item_found_twice_is_refused():
    with pytest.raises(EngineError, match="returned the item 'b' twice for one query"):
        hits_of(client(), CATALOG, [[("b", 1.0), ("a", 1.0), ("b", 2.0)]], 3)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_cannot_be_ranked_is_refused(score):
    with pytest.raises(EngineError, match=f"gave the item 'b' the score {score}"):
        hits_of(client(), CATALOG, [[("a", 1.0), ("b", score)]], 3)


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("  red shoe\n", "red shoe"),
        ("a\x00b\ud800c", "a b c"),
        ("caf\u00e9 \U0001f45f", "caf\u00e9 \U0001f45f"),
        (" \x00\udfff ", ""),
        ("one two three", "one two"),
        ("onetwothree", "onetwothre"),
        ("onetwothr four", "onetwothr"),
        ("1234567890 x", "1234567890"),
    ],
)
def test_a_query_is_sent_as_every_engine_takes_it(query, sent):
    assert sendable(query, 10) == sent


def test_a_query_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match=r"searches text, not a tuple: \(1, 2\)"):
        sendable((1, 2), 10)


def test_a_blank_query_finds_nothing_without_being_sent():
    asked = []

    def ask(text):
        asked.append(text)
        return [("b", 1.0)]

    hits = one_by_one(["", "q", " \ud800"], 2, ask, max_chars=100)
    assert (asked, hits.rows_QK.tolist()) == (["q"], [[-1, -1], [1, -1], [-1, -1]])


def test_wrong_options_are_named():
    with pytest.raises(OptionError) as caught:
        client(attempts=0, threads=-1, rate=float("inf"), cooldown=-1.0)
    assert caught.value.problems == [
        "attempts: must be an integer >= 1, got 0",
        "rate: must be a number > 0, or null, got inf",
        "threads: must be an integer >= 1, got -1",
        "cooldown: must be a number > 0, got -1.0",
    ]


def test_a_missing_library_is_named_with_what_to_install():
    with pytest.raises(
        ValueError, match=r"'milvus' needs the library 'no_such'. Install it with: pip install 'recr1\[m"
    ):
        require("no_such", "milvus", "milvus")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_one(status):
    assert isinstance(fault_of_status(status, "what", {}), TransientError)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413])
def test_a_status_that_will_not_pass_is_a_refusal(status):
    assert isinstance(fault_of_status(status, "what", {"retry-after": "3"}), PermanentError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("7", 7),
        ("soon", 0),
        ("-3", 0),
    ],
)
def test_a_retry_after_is_a_number_of_seconds(header, seconds):
    fault = fault_of_status(429, "what", {"retry-after": header} if header else {})
    assert isinstance(fault, TransientError)
    assert fault.retry_after == seconds


@pytest.mark.parametrize(("ahead", "seconds"), [(timedelta(seconds=400), 400), (timedelta(days=-1), 0)])
def test_a_retry_after_may_be_a_date(ahead, seconds):
    header = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    fault = fault_of_status(429, "what", {"retry-after": header} if header else {})
    assert isinstance(fault, TransientError)
    assert fault.retry_after == pytest.approx(seconds, abs=60)
