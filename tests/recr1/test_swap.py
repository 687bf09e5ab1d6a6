"""Policies by retrievers: what was written once, searched by several engines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recr1.baselines.without_model import Echo, Scripted
from recr1.cli.main import run
from recr1.config.build import Part
from recr1.config.spelling import read_part, read_retrievers, spell_part, split_outside_brackets
from recr1.env import Environment
from recr1.errors import RecipeError, UserError
from recr1.evaluate import Evaluator
from recr1.formats import Plain
from recr1.swap import swap, swap_tables, write_swap
from tests.recr1.baselines.world import First, Overlap, World

TRAINED = {"something for coffee, red": "red mug", "green tea": "green tea", "zzz": "pot tea"}


class FirstWord(Overlap):
    """Reads the first word of a query and no other."""

    def search(self, queries, k):
        return super().search([query.partition(" ")[0] for query in queries], k)


class Counting(Scripted):
    """Counts what it is asked to write."""

    asked = 0

    def generate(self, chats, n):
        self.asked += len(chats)
        return super().generate(chats, n)


class Mugs:
    """A policy of the task's own format."""

    def generate(self, chats, n):
        return [["mug"] * max(n, 1) for _ in chats]


@pytest.fixture
def env():
    world = World()
    return Environment(world, Overlap(world.catalog), [(First(), 1.0)], 4)


def two(env, measures=("RR@4",), samples=0):
    evaluator = Evaluator(env, "train", measures)
    trained = Scripted(answers=TRAINED)
    return [evaluator(Echo(), samples=samples, name="untrained"), evaluator(trained, samples=samples, name="trained")]


def swapped(env, **more):
    return swap(two(env, **more), {"first word": FirstWord(env.task.catalog)}, "overlap")


def test_each_retriever_searches_what_was_written_once(env):
    policy = Counting(answers=TRAINED)
    found = swap([Evaluator(env, "train", ["RR@4"])(policy)], {"first word": FirstWord(env.task.catalog)}, "overlap")
    own, other = found.columns["overlap"][0], found.columns["first word"][0]
    assert policy.asked == 3
    assert other.completions == own.completions and other.actions == own.actions
    # "red mug" finds mug-red first on both; "green tea" its tea; "pot tea" the pot first, on the first word too
    assert own.per_need("RR@4").tolist() == [1, 1, 1]
    assert other.per_need("RR@4").tolist() == [1, 1, 1]


def test_floor_and_ceiling_are_those_of_the_column(env):
    found = swapped(env)
    floors = {name: column[0].references.floor["RR@4"].tolist() for name, column in found.columns.items()}
    # On its first word, "something for coffee, red" finds nothing and "green tea" the green tea.
    assert floors == {"overlap": [1, 1, 0], "first word": [0, 1, 0]}


def test_gains_and_what_is_kept_are_of_the_last_policy_over_the_first(env):
    found = swapped(env)
    assert found.gain_name == "trained - untrained"
    assert found.gain_per_need("overlap", "RR@4").tolist() == [0, 0, 1]
    assert found.gain_per_need("first word", "RR@4").tolist() == [1, 0, 1]
    gain, versus = found.gain("first word", "RR@4"), found.gain_versus_own("first word", "RR@4")
    assert (gain.difference, gain.wins, gain.ties, gain.losses) == (pytest.approx(2 / 3), 2, 1, 0)
    assert (versus.difference, versus.wins, versus.ties) == (pytest.approx(1 / 3), 1, 2)
    assert found.gain_versus_own("overlap", "RR@4").p == 1.0


def test_a_policy_alone_is_measured_against_the_floor(env):
    trained = Evaluator(env, "train", ["RR@4"])(Scripted(answers=TRAINED), name="trained")
    found = swap([trained], {"first word": FirstWord(env.task.catalog)}, "overlap")
    assert found.gain_name == "trained - floor"
    assert found.gain_per_need("first word", "RR@4").tolist() == [1, 0, 1]


def many(env, count=40):
    """The needs of the world many times over, so that a mean is clearly above 0."""
    from rewards.base import Need

    world = env.task
    needs = world.splits["train"]
    world.splits["train"] = [Need(f"{need.id}-{i}", need.text) for i in range(count) for need in needs]
    world.qrels = {f"{name}-{i}": key for name, key in world.qrels.items() for i in range(count)}


def test_what_is_kept_is_a_share_of_a_gain_that_is_clear(env):
    assert swapped(env).kept("first word", "RR@4") is None  # of three needs, nothing is clear
    many(env)
    found = swapped(env)
    assert found.kept("overlap", "RR@4") == 1.0
    assert found.kept("first word", "RR@4") == pytest.approx(2.0)
    assert swap_tables(found.summary)[0].rows[-1] == ["gain kept", "100%", "200%"]
    assert found.gain("overlap", "RR@4").p < 0.001


def test_samples_are_searched_all(env):
    found = swapped(env, samples=2)
    other = found.columns["first word"][1]
    assert other.samples == 2 and other.values["RR@4"].shape == (3, 2)


def test_prompts_stay_as_they_were_written_for_the_first_engine(env):
    env.task.format = Plain()
    env.retriever.capabilities = frozenset({"phrases"})
    knowing = Environment(env.task, env.retriever, [], 4)
    done = Evaluator(knowing, "train", ["RR@4"])(Mugs(), name="policy")
    found = swap([done], {"first word": FirstWord(env.task.catalog)}, "overlap")
    need = done.needs[0]
    assert found.columns["first word"][0].env.format.render(need) == knowing.format.render(need)
    assert "first word reads as words what overlap understands: phrases." in swap_tables(found.summary)[0].notes


def test_the_table_has_a_column_for_each_retriever(env):
    result = swap(two(env, ("RR@4", "P@1")), {"first word": FirstWord(env.task.catalog)}, "overlap")
    main, second = swap_tables(result.summary)
    assert (main.title, second.title) == (
        "RR@4 on train: 3 needs, by retriever",
        "P@1 on train: 3 needs, by retriever",
    )
    assert main.header == ["", "overlap", "first word"]
    labels = ["floor", "untrained", "trained", "ceiling", "trained - untrained", "gain - first's"]
    assert [row[0] for row in main.rows] == labels
    assert main.rows[0][1].startswith("0.667\n") and main.rows[0][2].startswith("0.333\n")
    assert main.rows[2][2].startswith("1.000 p = ")
    assert main.rows[4][2].startswith("+0.667 p = ") and main.rows[5][1] == ""
    assert all(len(row) == 3 for row in main.rows)
    assert second.notes == ()


def test_long_names_get_a_number_and_stand_in_the_notes(env):
    name = "bm25(k1=0.9, b=0.4, stemmer=english)"
    found = swap(two(env), {name: FirstWord(env.task.catalog)}, "overlap")
    table = swap_tables(found.summary)[0]
    assert table.header == ["", "overlap", "bm25 #2"]
    assert f"bm25 #2: {name}." in table.notes


def test_evaluations_of_other_needs_are_refused(env):
    other = Evaluator(env, "train", ["RR@4"], limit=1)(Echo())
    with pytest.raises(ValueError, match="on different needs or measures"):
        swap([*two(env), other], {}, "overlap")


def test_the_files_hold_every_number(env, tmp_path):
    found = swapped(env)
    write_swap(found, tmp_path / "deep")
    saved = json.loads((tmp_path / "deep" / "swap.json").read_text())
    assert (saved["own"], saved["gain"], list(saved["retrievers"])) == (
        "overlap",
        "trained - untrained",
        ["overlap", "first word"],
    )
    column = saved["retrievers"]["first word"]
    assert column["gains"]["RR@4"]["gain"]["difference"] == pytest.approx(2 / 3)
    assert column["policies"]["trained"]["measures"]["RR@4"]["policy"]["mean"] == 1.0
    assert np.isclose(column["policies"]["untrained"]["measures"]["RR@4"]["floor"]["mean"], 1 / 3)
    written = (tmp_path / "deep" / "swap.md").read_text()
    assert written.startswith("## RR@4 on train: 3 needs, by retriever\n")
    assert "- On first word, trained against untrained: +0.667 RR@4 (95% interval" in written


# --- how retrievers are written


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bm25", Part("bm25")),
        (" bm25( k1 = 0.9 , stemmer=english) ", Part("bm25", {"k1": 0.9, "stemmer": "english"})),
        ("bm25()", Part("bm25")),
        ("a.b:C(name='x, y', none=null, on=true)", Part("a.b:C", {"name": "x, y", "none": None, "on": True})),
        (
            "hybrid(parts=[{type: bm25, k1: 1}, {type: rank_bm25}], method=sum)",
            Part("hybrid", {"parts": [{"type": "bm25", "k1": 1}, {"type": "rank_bm25"}], "method": "sum"}),
        ),
        ('bm25(stopwords="null")', Part("bm25", {"stopwords": "null"})),
    ],
)
def test_a_retriever_is_its_type_with_options_in_brackets(text, part):
    assert read_part(text) == part
    assert read_part(spell_part(part)) == part


def test_spelling_is_short():
    assert spell_part(read_part("hybrid(parts=[{type: bm25, k1: 0.9}, {type: 'rank_bm25'}])")) == (
        "hybrid(parts=[{type: bm25, k1: 0.9}, {type: rank_bm25}])"
    )


def test_retrievers_are_split_at_commas_outside_of_brackets():
    assert split_outside_brackets("bm25, bm25(k1=1,b=2),a:B(x=[1,{a: 2, b: ')'}]),") == [
        "bm25",
        "bm25(k1=1,b=2)",
        "a:B(x=[1,{a: 2, b: ')'}])",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bm25(k1=1", r"'bm25\(k1=1': the closing '\)' is missing"),
        ("bm25(x='a)", 'the closing "\'" is missing'),
        ("bm25(x=[1)", r"the closing '\]' is missing"),
    ],
)
def test_open_brackets_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        split_outside_brackets(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bm 25", r"must be a type, with options in brackets, such as bm25\(k1=0\.9\), got 'bm 25'"),
        ("bm25(0.9)", r"'bm25\(0\.9\)': '0\.9': an option is name=value"),
        ("bm25(k1={a)", r"the closing '\}' is missing"),
    ],
)
def test_what_is_no_retriever_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        read_part(text)


def test_all_mistakes_are_told_at_once_before_anything_is_opened():
    with pytest.raises(RecipeError) as caught:
        read_retrievers(["bm52", "bm25(k2=1)", "hybrid(parts=[{type: bm25}, {type: bm52}])"], Part("bm25"))
    assert [line.partition(" ")[0] for line in caught.value.problems] == [
        "bm52.type:",
        "bm25(k2=1).k2:",
        "hybrid(parts=[{type:",
    ]


def test_the_own_retriever_is_not_searched_twice():
    own = Part("bm25", {"k1": 0.9})
    assert list(read_retrievers(["bm25(k1=0.9)", "bm25", " bm25"], own)) == ["bm25"]


# --- the command


def test_eval_prints_and_writes_the_matrix(tmp_path, capsys):
    status = run(["eval", "toy/echo", "--retrievers", "rank_bm25,bm25(k1=0)", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert status == 0
    assert "nDCG@10 on test: 6 needs, by retriever" in said
    assert "On rank_bm25, echo against the raw need: +0.000 nDCG@10" in said
    assert sorted(path.name for path in (tmp_path / "out").glob("swap.*")) == ["swap.json", "swap.md"]
    assert (tmp_path / "out" / "eval.json").is_file()


def test_eval_prints_the_matrix_as_json(capsys):
    assert run(["eval", "toy/echo", "--retrievers", "rank_bm25", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["retrievers"]) == ["bm25", "rank_bm25"]


def test_eval_refuses_a_retriever_that_cannot_find_as_many_as_the_recipe_asks_for(capsys):
    shallow = "hybrid(parts=[{type: bm25}, {type: rank_bm25}], depth=5)"
    assert run(["eval", "toy/echo", "--retrievers", shallow]) == 2
    assert "retriever Hybrid finds at most 5 items" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(["eval", "toy/echo", "--retrievers", "bm25(k1=1"])
    assert "the closing ')' is missing" in capsys.readouterr().err
