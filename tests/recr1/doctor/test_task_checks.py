"""Every fault of a task, a format or a reward is found by the check that is there for it."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.doctor import CHECKS, Setup, open_setup, run_checks
from recr1.env import Environment
from recr1.formats import Plain
from recr1.recipe import load_recipe
from recr1.tasks.splits import near_equal
from rewards.base import Need
from rewards.measures.reward import MeasureReward
from tests.docs.pages import read
from tests.recr1.doctor import faults

COLOURS = ("red", "blue", "green", "black", "white", "amber")
THINGS = ("lamp", "chair", "table", "mug", "tent", "boots", "radio", "clock")
ITEMS = [
    f"{colour} {thing} made{place}" for place, (colour, thing) in enumerate((c, t) for t in THINGS for c in COLOURS)
]


def village(train=range(24), validation=range(24, 36), test=range(36, 48), text=str, shift=0, **options):
    """Needs that want one item each and name it, in splits of different items."""
    needs = {
        split: [(f"{split}{row}", f"{text(ITEMS[row])} please") for row in rows]
        for split, rows in {"train": train, "validation": validation, "test": test}.items()
    }
    qrels = {need_id: {(int(re.sub(r"\D", "", need_id)) + shift) % 48: 1} for of in needs.values() for need_id, _ in of}
    return faults.Village(ITEMS, needs, qrels, **options)


def found(name, task, retriever=faults.Sound, reward=None, group=8):
    env = Environment(task, retriever(task.catalog), [(reward or MeasureReward(measure="nDCG@10"), 1.0)], k=10)
    return CHECKS[name](Setup(env, group=group))


@pytest.mark.parametrize("name", ["qrels", "ceiling", "splits", "prompt", "rewards", "index"])
def test_a_sound_task_is_not_blamed(name):
    assert found(name, village()).verdict == "ok"


# --- splits


def test_equal_needs_of_two_splits_are_counted_whatever_their_case_and_punctuation():
    task = village()
    task._needs["test"] = [Need("t0", "RED lamp, made0 - please!"), Need("t1", "something else"), *task._needs["test"]]
    finding = found("splits", task)
    assert finding.verdict == "error"
    assert finding.message.startswith("1 of 14 needs of test appear with the same text in train ('RED lamp, made0 -")
    assert finding.numbers["train and test"]["equal_needs"] == 1
    assert finding.numbers["train and validation"]["equal_needs"] == 0


@pytest.mark.parametrize(("share", "verdict"), [(1, "warning"), (6, "error")])
def test_near_equal_needs_are_counted_apart(share, verdict):
    words = "i would like one small {} for my old kitchen at home"
    task = village(text=words.format)
    similar = [Need(f"t{row}", words.format(ITEMS[row]) + " please thanks") for row in range(share)]
    task._needs["test"] = [*similar, *(Need(f"u{row}", f"need{row} other{row}") for row in range(12 - share))]
    task._needs["validation"] = []
    finding = found("splits", task)
    assert finding.verdict == verdict
    assert f"{share} of 12 needs of test have nearly the same words as one in train" in finding.message
    assert finding.numbers["train and test"]["near_equal_needs"] == share


def test_needs_of_one_id_in_two_splits_are_an_error():
    task = village()
    task._needs["test"] = [Need("train3", "a thing of its own")]
    finding = found("splits", task)
    assert finding.verdict == "error"
    assert "1 need ids appear in both train and test ('train3')" in finding.message


def test_shared_targets_are_counted_and_no_fault():
    task = village(test=range(20, 30), text=lambda item: "")
    task._needs = {s: [Need(n.id, f"{n.id} {s} wants") for n in needs] for s, needs in task._needs.items()}
    finding = found("splits", task)
    assert finding.verdict == "ok"
    assert "train and test 4 of 10; validation and test 6 of 10" in finding.message


def test_near_equal_needs_are_those_that_comparing_every_pair_finds():
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(12)]
    needs, held = ([Need(str(i), " ".join(rng.choice(words, rng.integers(1, 8)))) for i in range(150)] for _ in "ab")
    for least in (0.5, 0.8, 1.0):
        sets = [set(need.text.split()) for need in needs]
        brute = [
            need.id
            for need in held
            if any(len(set(need.text.split()) & s) / len(set(need.text.split()) | s) >= least for s in sets)
        ]
        assert [need.id for need in near_equal(needs, held, least)] == brute
        assert len(brute) > 20


# --- answer keys and ceiling


def test_needs_without_an_answer_key_are_counted():
    task = village()
    for need_id in ("train3", "train4", "test40", "test41"):
        del task.qrels[need_id]
    finding = found("qrels", task)
    assert finding.verdict == "error"
    assert finding.message.startswith("4 of 48 needs have no answer key ('train3', 'train4', 'test40' and 1 more): use")


def test_rows_beyond_the_catalog_are_an_error():
    task = village()
    task.qrels["train5"] = faults.Qrels({5: 1, 48: 2})
    finding = found("qrels", task)
    assert (finding.verdict, finding.numbers["rows_outside"]) == ("error", 1)
    assert "rows beyond the 48 items of the catalog ('train5')" in finding.message


def test_a_need_that_nothing_is_good_for_is_an_error():
    task = village()
    task.qrels["train5"] = faults.Qrels({5: 0})
    finding = found("qrels", task)
    assert (finding.verdict, finding.numbers["without_positive"]) == ("error", 1)


def test_a_task_without_needs_is_an_error_everywhere():
    task = village(train=[], validation=[], test=[])
    assert [found(name, task).verdict for name in ("qrels", "ceiling", "prompt", "rewards")] == ["error"] * 4


def test_targets_that_no_query_finds_are_listed():
    finding = found("ceiling", village(), faults.Hidden)
    assert finding.verdict == "error"
    assert finding.message.startswith(
        "for 10 of 48 needs no query of the ceiling has nDCG@10 above 0 ('train0', 'train1'"
    )
    assert finding.numbers["unserved"] == [f"train{row}" for row in range(10)]
    assert finding.numbers["best_items_found_by_text"] == pytest.approx(38 / 48)


def test_items_without_a_word_are_counted():
    task = village()
    texts = [*ITEMS, "\u200b ", "--"]
    task.catalog = faults.Catalog([*task.catalog.ids, "blank", "sign"], texts, {"title": [*ITEMS, None, "!"]})
    finding = found("index", task)
    assert finding.verdict == "warning"
    assert "2 items have no word in title or text ('blank', 'sign')" in finding.message


# --- prompts


def test_a_prompt_is_shown_once_as_it_is():
    finding = found("prompt", village(answer_format=Plain(prompt="Find: {need}", system="You shop.")))
    assert (finding.verdict, finding.shown) == ("ok", "system: You shop.\nuser: Find: red lamp made0 please")


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("{need}\nCombine words with AND and OR.", "boolean"),
        ("{need}\nYou may use Boolean operators.", "boolean"),
        ("{need}\nPut quotation marks around phrases.", "phrases"),
        ("{need}\nSuch as title:lamp.", "fields"),
        ("{need}\nSuch as price:[1 TO 5].", "filters"),
    ],
)
def test_a_prompt_that_asks_for_what_the_engine_ignores_is_an_error(prompt, asked):
    finding = found("prompt", village(answer_format=Plain(prompt=prompt)))
    assert finding.verdict == "error"
    assert f"the prompt asks for {asked}, which the retriever does not declare" in finding.message
    assert found("prompt", village(answer_format=Plain(prompt=prompt)), faults.IgnoresOperators).verdict == "ok"


def test_a_prompt_that_only_raises_its_voice_is_no_fault():
    assert found("prompt", village(answer_format=Plain(prompt="{need}\nDo NOT explain."))).verdict == "ok"


def test_operators_in_a_needs_own_words_are_no_fault():
    assert found("prompt", village(text=lambda item: f"{item} AND nothing else")).verdict == "ok"


def test_a_prompt_without_its_need_is_an_error():
    class Deaf(Plain):
        def render(self, need):
            return [{"role": "user", "content": "Write a query."}]

    finding = found("prompt", village(answer_format=Deaf()))
    assert finding.verdict == "error"
    assert "48 of 48 prompts do not contain the text of their need" in finding.message


# --- rewards


def test_rewards_of_random_raw_and_best_queries_rise():
    numbers = found("rewards", village(text=lambda item: item.split()[0])).numbers
    assert numbers["random"]["mean"] < numbers["raw"]["mean"] < numbers["best"]["mean"] == 1.0
    assert numbers["random"]["p10"] <= numbers["random"]["p50"] <= numbers["random"]["p90"]


def test_a_constant_reward_is_an_error():
    finding = found("rewards", village(), reward=faults.Pays(lambda batch: np.full(len(batch), 0.25)))
    assert finding.verdict == "error"
    assert finding.message.startswith(
        "every answer has reward 0.250: the reward is constant, and nothing can be learned"
    )
    assert finding.numbers["zero_variance_groups"] == {"random": 1.0, "raw": 1.0, "best": 1.0}


def test_a_reward_that_pays_random_words_more_is_an_error():
    worse = faults.Pays(lambda batch: -MeasureReward(measure="nDCG@10")(batch))
    finding = found("rewards", village(), reward=worse)
    assert finding.verdict == "error"
    assert "better ones are not rewarded" in finding.message


def test_groups_whose_queries_all_earn_the_same_are_worth_a_warning():
    def first_need_only(batch):
        return [
            float(r.need.id == "train0" and h[0] == 0) for r, h in zip(batch.rollouts, batch.hits.rows_QK, strict=True)
        ]

    finding = found("rewards", village(), reward=faults.Pays(first_need_only))
    assert finding.verdict == "warning"
    assert "groups near the raw need all queries have the same reward" in finding.message


def test_answer_keys_that_know_nothing_of_what_is_found_are_worth_a_warning():
    # The one item that is judged for each need shares no word with it, and 10 of 48 items are looked at.
    finding = found("rewards", village(shift=25))
    assert finding.numbers["hits/blind@10"] == 1.0 and finding.verdict == "warning"
    assert (
        "for 100% of raw needs with hits, none of the first items is judged: their rewards mean nothing; judge more "
        "items, or search and measure deeper" in finding.message
    )


def test_answer_keys_that_know_something_of_one_need_in_ten_are_not_blamed_for_the_rest():
    splits = {"train": range(30), "validation": [], "test": []}
    known, task = village(**splits).qrels, village(**splits, shift=25)
    task.qrels.update({f"train{row}": known[f"train{row}"] for row in range(3)})
    finding = found("rewards", task)
    assert finding.numbers["hits/blind@10"] == 0.9
    assert "is judged" not in finding.message


def test_a_reward_that_raises_is_an_error_of_its_check():
    recipe = load_recipe("toy/echo")
    setup = open_setup(recipe)
    setup.env.rewards = ((faults.Pays(lambda batch: 1 / 0), 1.0),)
    finding = {f.name: f for f in run_checks(setup)}["rewards"]
    assert finding.verdict == "error"
    assert "raised ZeroDivisionError" in finding.message


# --- the command


def test_the_sizes_of_groups_and_batches_are_the_recipes():
    setup = open_setup(load_recipe("quickstart", ["task.items=200", "task.train=20", "trainer.trl.num_generations=4"]))
    assert (setup.group, setup.batch) == (4, 128)
    explicit = ["trainer.trl.steps_per_generation=2", "task.items=200", "task.train=20"]
    assert open_setup(load_recipe("quickstart", explicit)).batch == 256


def test_a_clean_bill_is_status_0_and_lines(capsys):
    assert run(["doctor", "toy/echo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       index          30 items, opened in ")
    assert re.fullmatch(r"echo.yaml: no problems in 24 checks, [0-9.]+ s", lines[-1])


def test_json_holds_every_check_for_a_program(capsys):
    assert run(["doctor", "toy/echo", "retriever.k1=0.9", "--json", "--sample", "20", "--step", "2.5"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["verdict"], [check["name"] for check in whole["checks"]]) == ("ok", list(CHECKS))
    assert next(c for c in whole["checks"] if c["name"] == "latency")["numbers"]["step_seconds"] == 2.5
    assert next(c for c in whole["checks"] if c["name"] == "titles")["numbers"]["titles"] == 20


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """The current folder holds the faulty parts, for recipes to name."""
    shutil.copy(faults.__file__, tmp_path / "faulty_parts.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_an_error_is_status_3(faulty, capsys):
    assert run(["doctor", "toy/echo", "retriever.type=faulty_parts:LosesFirstWord"]) == 3
    out = capsys.readouterr().out
    assert "\nerror    every_word     the first word of a query counts in only 0% of 30" in out
    assert out.endswith(": fix the errors before training\n")


def test_a_retriever_that_cannot_be_opened_is_the_one_finding(faulty, capsys):
    assert run(["doctor", "toy/echo", "retriever.type=faulty_parts:Closed", "--json"]) == 3
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["name"], check["verdict"]) == ("index", "error")
    assert "raised RuntimeError: the index is locked by process 7 (faulty_parts.py:" in check["message"]


def test_a_mistake_in_the_recipe_stays_status_2(capsys):
    assert run(["doctor", "toy/echo", "retriever.k1=-1"]) == 2
    assert run(["doctor", "toy/echo", "retriver.k1=1"]) == 2
    assert "did you mean 'retriever'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--step", "0"], ["--step", "fast"], ["--sample", "9"]])
def test_a_bad_option_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        run(["doctor", "toy/echo", *option])
    assert ended.value.code == 2
    assert "must be " in capsys.readouterr().err


def test_the_page_describes_every_check():
    page = read("docs/doctor.md").partition("## Of the policy")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(CHECKS)


def test_a_task_for_recommenders_whose_prompts_number_the_history_has_no_problem():
    small = ["task.source.users=40", "task.source.items=200", "retriever.type=popularity"]
    findings = {one.name: one for one in run_checks(open_setup(load_recipe("verbalise", small)))}
    assert {one.verdict for one in findings.values()} == {"ok"}, findings
    assert "1. " in findings["prompt"].shown
