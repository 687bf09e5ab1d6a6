from __future__ import annotations

import json
import math

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from recr1.baselines.without_model import Echo, Scripted
from recr1.env import ContractError, Environment
from recr1.errors import RunError, UserError
from recr1.evaluate import Evaluator
from recr1.evaluate.files import escaped, strictly_falling, write
from recr1.evaluate.references import answer_queries, find_references
from recr1.evaluate.report import examples, table
from retrievers.base import Catalog
from retrievers.errors import MissingAnswers
from rewards.base import Need, Qrels
from rewards.measures import parse_measure
from tests.recr1.baselines.world import First, Lossy, Overlap, Valid, World

MEASURES = ["nDCG@3", "R@3", "RR@3", "AP@3", "P@3", "Success@3"]


@pytest.fixture
def env():
    world = World()
    return Environment(world, Overlap(world.catalog), [(First(), 1.0), (Valid(), 0.5)], 4)


def evaluate(policy, env, split, measures, *, samples=0, **options):
    return Evaluator(env, split, measures, **options)(policy, samples=samples)


class Writes:
    """A policy of the task's own format, with a list of completions per need text."""

    def __init__(self, **completions):
        self.completions = completions

    def generate(self, chats, n):
        texts = [self.completions[chat[-1]["content"].split()[0].strip(",")] for chat in chats]
        return [found[: max(n, 1)] for found in texts]


def writes():
    return Writes(something=["[mug]", "[tea]"], green=["oops", "[green]"], zzz=["[qqq]", "[pot blue tea]"])


def test_a_greedy_evaluation_measures_one_completion_a_need(env):
    found = evaluate(writes(), env, "train", ["nDCG@3", "RR@3"])
    # n1 "mug": mug-red (3), mug-blue (1) in this order; n2 invalid; n3 nothing matches
    assert found.values["nDCG@3"].tolist() == [[1.0], [0.0], [0.0]]
    assert found.values["RR@3"].tolist() == [[1.0], [0.0], [0.0]]
    assert found.rewards.tolist() == [[1.5], [0.0], [0.5]]
    assert found.greedy and found.samples == 1


def test_samples_are_averaged_per_need(env):
    found = evaluate(writes(), env, "train", ["RR@3"], samples=2)
    # n1 "tea" finds no mug; n2 "green" finds the tea; n3 "pot blue tea" finds the pot
    assert found.values["RR@3"].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    assert found.per_need("RR@3").tolist() == [0.5, 0.5, 0.5]
    assert found.relevant_ranks(0, 0) == [1, 2] and found.relevant_ranks(0, 1) == []
    assert found.summary["samples"] == 2


def test_behaviour_counts_completions(env):
    assert evaluate(writes(), env, "train", ["RR@3"]).behaviour() == {
        "query_words": 1.0,
        "query_copies_need": 0.0,
        "query_known": 0.5,
        "invalid": 1 / 3,
        "no_hits": 1 / 3,
        "invalid_reasons": {"no brackets": 1 / 3},
    }


def test_echo_equals_the_floor_on_every_need(env):
    found = evaluate(Echo(), env, "train", MEASURES)
    assert found.summary["query_copies_need"] == found.metrics()["eval/train/query/copies_need"] == 1
    for measure in MEASURES:
        assert np.array_equal(found.per_need(measure), found.references.floor[measure])
        versus = found.summary["measures"][measure]["versus_floor"]
        assert (versus["p"], versus["difference"], versus["ties"]) == (1.0, 0.0, 3)


def test_the_floor_is_what_the_raw_need_finds(env):
    floor = evaluate(Echo(), env, "train", ["nDCG@3"]).references.floor["nDCG@3"]
    # n1 "something for coffee, red": mug-red (3), pan; the ideal is 3, 1
    assert floor.tolist() == pytest.approx([3 / (3 + 1 / math.log2(3)), 1.0, 0.0])


def test_the_ceiling_is_never_below_the_floor(env):
    found = evaluate(Echo(), env, "train", MEASURES).references
    assert all((found.ceiling[measure] >= found.floor[measure]).all() for measure in MEASURES)
    # n1: "red mug" finds mug-red (2 words) before mug-blue and the pan (1 word each); the lower row is the mug
    assert found.ceiling["nDCG@3"].tolist() == [1.0, 1.0, 1.0]
    assert found.best_queries[0] == "red mug" and found.best_queries[2] == "tea pot blue"


def test_floor_and_ceiling_take_one_search_for_all_needs(env):
    find_references(env, env.task.needs("train"), [parse_measure("nDCG@3")])
    assert len(env.retriever.calls) == 1


def test_an_evaluator_searches_floor_and_ceiling_once_for_all_policies(env):
    evaluator = Evaluator(env, "train", ["nDCG@3"])
    evaluator(Echo())
    before = len(env.retriever.calls)
    evaluator(Echo(), name="again")
    assert len(env.retriever.calls) == before + 1


def test_answer_queries_are_texts_titles_and_shared_words_of_the_best_items():
    catalog = Catalog(
        ["a", "b", "c"],
        ["Red cup, large " + "x " * 100, "large RED mug", "blue cup"],
        {"title": ["Cup", None, "Blue"]},
    )
    queries = answer_queries(Qrels({0: 2, 1: 2, 2: 1}), catalog)
    assert queries == ["Red cup, large " + "x " * 60 + "x", "large RED mug", "Cup", "red large"]


def test_answer_queries_read_five_items_and_share_words_of_all():
    catalog = Catalog([str(i) for i in range(7)], ["mug red"] * 6 + ["mug blue"])
    queries = answer_queries(Qrels(dict.fromkeys(range(7), 1)), catalog)
    assert queries == ["mug red", "mug"]


def test_limit_takes_the_first_needs(env):
    found = evaluate(Echo(), env, "train", ["nDCG@3"], limit=2)
    assert [need.id for need in found.needs] == ["n1", "n2"]


def test_progress_ends_at_all_needs(env):
    seen = []
    evaluate(Echo(), env, "train", ["nDCG@3"], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_many_needs_go_through_in_chunks_without_changing_a_number():
    world = World()
    needs = [Need(f"m{i}", text) for i, text in enumerate(["red mug", "green tea", "tea pot", "zzz"] * 70)]
    world.splits["test"] = needs
    world.qrels = {need.id: world.qrels["n1"] for need in needs}
    env = Environment(world, Overlap(world.catalog), [], 4)
    found = evaluate(Echo(), env, "test", ["nDCG@3"])
    assert found.per_need("nDCG@3").tolist() == found.per_need("nDCG@3")[:4].tolist() * 70
    assert len(env.retriever.calls) == 2 * math.ceil(280 / 128)


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ([], "at least one measure, such as nDCG@10"),
        (["nDCG@5"], "nDCG@5 needs k >= 5, got k=4"),
        (["ndgc@3"], "no measure 'ndgc@3'"),
    ],
)
def test_measures_that_cannot_be_measured_are_refused(env, measures, message):
    with pytest.raises(UserError, match=message):
        evaluate(Echo(), env, "train", measures)


def test_a_split_without_needs_is_refused(env):
    with pytest.raises(UserError, match=r"split 'train' \(limit 0\) has no needs"):
        evaluate(Echo(), env, "train", ["nDCG@3"], limit=0)
    with pytest.raises(UserError, match="no split 'validation'"):
        evaluate(Echo(), env, "validation", ["nDCG@3"])


def test_a_policy_that_returns_the_wrong_number_is_named(env):
    with pytest.raises(
        ContractError, match=r"policy Writes returned 3 lists of \[2\] completions; 3 chats need 3 each"
    ):
        evaluate(writes(), env, "train", ["nDCG@3"], samples=3)


def test_metrics_have_stable_names(env):
    logged = evaluate(writes(), env, "train", ["nDCG@3"]).metrics()
    assert logged == {
        "eval/train/nDCG@3": pytest.approx(1 / 3),
        "eval/train/nDCG@3/floor": pytest.approx((0.826234 + 1) / 3, abs=1e-5),
        "eval/train/nDCG@3/ceiling": 1.0,
        "eval/train/nDCG@3/stderr": pytest.approx(1 / 3),  # of 0, 0 and 1 on three needs
        # two mugs are shown once each, of six items; the raw needs show five, once each
        "eval/train/Gini@3": pytest.approx((3 + 5) / (6 * 2)),
        "eval/train/Gini@3/floor": pytest.approx((-3 - 1 + 1 + 3 + 5) / (6 * 5)),
        "eval/train/Coverage@3": pytest.approx(2 / 6),
        "eval/train/Coverage@3/floor": pytest.approx(5 / 6),
        "eval/train/reward": pytest.approx(2 / 3),
        "eval/train/query/words": 1.0,
        "eval/train/query/copies_need": 0.0,
        "eval/train/query/known": 0.5,
        "eval/train/outcome/invalid": pytest.approx(1 / 3),
        "eval/train/outcome/no_hits": pytest.approx(1 / 3),
    }


def read_run(path):
    return list(ir_measures.read_trec_run(str(path))), list(
        ir_measures.read_trec_qrels(str(path.parent / "qrels.trec"))
    )


def test_trec_files_give_the_same_numbers_in_other_tools(env, tmp_path):
    found = evaluate(Scripted(answers={}, default="blue red tea mug"), env, "train", MEASURES)
    write(found, tmp_path)
    run, qrels = read_run(tmp_path / "run.trec")
    theirs = ir_measures.calc_aggregate([ir_measures.parse_measure(measure) for measure in MEASURES], qrels, run)
    ours = {measure: found.summary["measures"][measure]["policy"]["mean"] for measure in MEASURES}
    assert {str(measure): value for measure, value in theirs.items()} == pytest.approx(ours, abs=1e-6)


def test_trec_files_keep_our_order_through_ties(tmp_path):
    """All scores are equal, and trec_eval breaks ties by id, descending: the opposite of ours."""
    world = World()
    world.catalog = Catalog([f"{letter} %" for letter in "abcdef"], ["same"] * 6)
    world.qrels["t1"] = Qrels({2: 1, 5: 2})
    world.splits["test"] = [Need("t1", "same")]
    found = evaluate(Echo(), Environment(world, Overlap(world.catalog), [], 6), "test", ["nDCG@6", "RR@6"])
    write(found, tmp_path)
    run = pytrec_eval.parse_run((tmp_path / "run.trec").read_text().splitlines())
    qrels = pytrec_eval.parse_qrel((tmp_path / "qrels.trec").read_text().splitlines())
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.6", "recip_rank"}).evaluate(run)["t1"]
    assert found.values["RR@6"][0, 0] == pytest.approx(1 / 3)
    assert theirs["recip_rank"] == pytest.approx(1 / 3)
    assert theirs["ndcg_cut_6"] == pytest.approx(found.values["nDCG@6"][0, 0])
    assert list(run["t1"]) == [f"{letter}%20%25" for letter in "abcdef"]


def test_every_sample_has_a_run_file_of_its_own(env, tmp_path):
    found = evaluate(writes(), env, "train", ["RR@3"], samples=2)
    write(found, tmp_path)
    means = []
    for sample in (1, 2):
        run, qrels = read_run(tmp_path / f"run.{sample}.trec")
        means.append(ir_measures.calc_aggregate([ir_measures.RR @ 3], qrels, run)[ir_measures.RR @ 3])
    assert means == pytest.approx(found.values["RR@3"].mean(axis=0))


def test_scores_that_do_not_fall_are_lowered_least():
    scores = np.array([[3, 3, 3, 1, -np.inf], [0, 0, -0.5, -0.5, -1]], np.float32)
    falling = strictly_falling(scores)
    assert (np.diff(falling, axis=1) < 0).all()
    assert falling == pytest.approx(scores, abs=1e-6) and falling[0, 0] == 3 and falling[0, 3] == 1


def test_ids_with_white_space_are_escaped_without_clashes():
    assert [escaped(name) for name in ("a b", "a%20b", "a\u00a0b", "plain")] == [
        "a%20b",
        "a%2520b",
        "a%C2%A0b",
        "plain",
    ]
    with pytest.raises(ValueError, match="an id is empty"):
        escaped("")


def test_the_files_of_an_evaluation_say_the_same(env, tmp_path):
    found = evaluate(writes(), env, "train", ["nDCG@3", "R@3"])
    write(found, tmp_path / "deep" / "eval")
    saved = json.loads((tmp_path / "deep" / "eval" / "eval.json").read_text())
    assert saved == json.loads(json.dumps(found.summary))
    lines = [json.loads(line) for line in (tmp_path / "deep" / "eval" / "per_need.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "need": "n1",
        "text": "something for coffee, red",
        "completion": "[mug]",
        "query": "mug",
        "relevant_ranks": [1, 2],
        "found": [
            {"id": "mug-red", "title": "Red Mug", "relevant": True},
            {"id": "mug-blue", "title": "Blue Mug", "relevant": True},
        ],
        "floor": {
            "relevant_ranks": [1],
            "found": [
                {"id": "mug-red", "title": "Red Mug", "relevant": True},
                {"id": "pan", "title": "Red Pan", "relevant": False},
            ],
        },
        "ceiling_query": "red mug",
        "popularity": {"training": "tail"},
        "fields": {},
        "measures": {
            "nDCG@3": {"policy": 1.0, "floor": pytest.approx(0.826234, abs=1e-5), "ceiling": 1.0},
            "R@3": {"policy": 1.0, "floor": 0.5, "ceiling": 1.0},
        },
    }
    assert lines[1]["invalid"] == "no brackets" and "query" not in lines[1]
    for measure in saved["measures"]:
        mean = np.mean([line["measures"][measure]["policy"] for line in lines])
        assert saved["measures"][measure]["policy"]["mean"] == pytest.approx(mean)
    assert (tmp_path / "deep" / "eval" / "eval.md").read_text() == table([found]).markdown()


def test_samples_stand_in_the_per_need_file(env, tmp_path):
    write(evaluate(writes(), env, "train", ["RR@3"], samples=2), tmp_path)
    line = json.loads((tmp_path / "per_need.jsonl").read_text().splitlines()[1])
    assert [sample["RR@3"] for sample in line["samples"]] == [0.0, 1.0]
    assert [sample["completion"] for sample in line["samples"]] == ["oops", "[green]"]


def test_a_folder_that_cannot_be_written_is_named(env, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file/eval cannot be written"):
        write(evaluate(Echo(), env, "train", ["nDCG@3"]), tmp_path / "file" / "eval")


def test_the_table_holds_floor_policies_and_ceiling(env):
    evaluator = Evaluator(env, "train", ["nDCG@3", "R@3"])
    shown = table([evaluator(Echo(), name="untrained"), evaluator(writes(), name="trained")])
    assert [row[0] for row in shown.rows] == ["floor", "untrained", "trained", "ceiling"]
    assert shown.header == ["", "nDCG@3", "R@3", "won/tied/lost", "words", "invalid"]
    assert shown.rows[0][1].startswith("0.609\n0.")
    assert shown.rows[1][1] == shown.rows[0][1].replace("\n", " p = 1.000\n")
    assert shown.rows[2][3:] == ["1/1/1", "1.0", "33.3%"]
    assert all(len(row) == len(shown.header) for row in shown.rows)


def test_markdown_and_terminal_show_the_same_cells(env):
    from rich.console import Console

    shown = table([evaluate(Echo(), env, "train", ["nDCG@3"], seed=4)])
    console = Console(width=200, file=open("/dev/null", "w"), record=True)
    console.print(shown)
    text, markdown = console.export_text(), shown.markdown()
    lines = [line for row in shown.rows for cell in row for line in cell.split("\n") if line]
    assert all(line in text and line in markdown for line in lines)
    assert markdown.count("\n|") == len(shown.rows) + 2


def test_a_table_of_different_needs_is_refused(env):
    with pytest.raises(ValueError, match="on different needs or measures"):
        table([evaluate(Echo(), env, "train", ["nDCG@3"]), evaluate(Echo(), env, "train", ["nDCG@3"], limit=1)])


def test_an_evaluation_is_the_same_each_time(env):
    one, two = (evaluate(writes(), env, "train", MEASURES, seed=5).summary for _ in range(2))
    assert one == two


def test_examples_go_from_the_largest_gain_to_the_largest_loss(env):
    evaluator = Evaluator(env, "train", ["RR@3"])
    before = evaluator(Echo(), name="raw")
    answers = {"something for coffee, red": "mug", "green tea": "pan", "zzz": "tea pot"}
    after = evaluator(Scripted(answers=answers), name="new")
    gain, same, loss, note = examples(before, after, n=5).split("\n\n")
    assert [block.splitlines()[0] for block in (gain, same, loss)] == [
        "need  zzz",
        "need  something for coffee, red",
        "need  green tea",
    ]
    assert gain.splitlines()[1:] == [
        "raw   zzz",
        "      RR@3 0.00, nothing relevant",
        "new   tea pot",
        "      RR@3 1.00, first relevant at 1",
        "        1* Tea Pot Blue",
        "        2  Green Tea Loose Leaf",
        "        3  Black Tea Bags",
    ]
    assert "      RR@3 1.00, first relevant at 1" in loss
    assert loss.splitlines()[-3:] == ["new   pan", "      RR@3 0.00, nothing relevant", "        1  Red Pan"]
    assert note.startswith("The needs are taken at even distances")
    needs = [line for line in examples(before, after, n=2).splitlines() if line.startswith("need")]
    assert needs == ["need  zzz", "need  green tea"]
    assert examples(before, after, n=0) == note


def test_examples_show_invalid_completions_as_such(env):
    evaluator = Evaluator(env, "train", ["RR@3"])
    drawn = examples(evaluator(Echo(), name="untrained"), evaluator(writes(), name="trained"))
    need, before, found, *_, after, nothing = drawn.split("\n\n")[-2].splitlines()
    assert (need, before) == ("need       green tea", "untrained  green tea")
    assert found == "           RR@3 1.00, first relevant at 1"
    assert (after, nothing) == ("trained    (invalid: no brackets)", "           RR@3 0.00, nothing relevant")


def test_long_titles_are_cut_to_the_width(env):
    raw = Evaluator(env, "train", ["RR@3"])(Echo(), name="before")
    body = [line for line in examples(raw, raw, width=24).splitlines() if line.startswith("          ")]
    assert any(line.endswith("...") for line in body)
    assert max(map(len, (line for line in body if "RR@3" not in line))) == 24


def test_an_evaluation_asks_again_and_is_of_all_its_needs_or_none():
    world = World()
    patient = Lossy(world.catalog, {"green tea": 2})
    whole = evaluate(Echo(), Environment(world, Overlap(world.catalog), [], 4), "train", ["nDCG@4"])
    found = evaluate(Echo(), Environment(world, patient, [], 4), "train", ["nDCG@4"])
    assert found.per_need("nDCG@4").tolist() == whole.per_need("nDCG@4").tolist()
    with pytest.raises(MissingAnswers, match="a time-out"):
        evaluate(Echo(), Environment(world, Lossy(world.catalog, {"green tea": 9}), [], 4), "train", ["nDCG@4"])
