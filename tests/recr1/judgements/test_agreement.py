"""Agreement of two judges: kappa by hand and by another implementation, its interval, and pairs in one file alone."""

from __future__ import annotations

import numpy as np
import pytest

from recr1.cli.main import run
from recr1.errors import UserError
from recr1.judgements import Judgement, Judgements
from recr1.judgements.agreement import agreement


def judged(grades, queries=None):
    rows = [(None, f"q{n if queries is None else queries[n]}", f"i{n}", float(g)) for n, g in enumerate(grades)]
    return Judgements([Judgement(*row) for row in rows])


def by_table(x, y):
    """Kappa from the table of grades: Cohen's own form."""
    grades = sorted({*x, *y})
    table = np.zeros((len(grades), len(grades)))
    for one, other in zip(x, y, strict=True):
        table[grades.index(one), grades.index(other)] += 1
    weights = np.subtract.outer(grades, grades) ** 2
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return 1 - (weights * table).sum() / (weights * chance).sum()


def test_kappa_equals_the_value_by_hand():
    # mean (x - y)^2 is 0.25; the means are 1.5 and 1.25, the variances 1.25 and 11/4 - 1.25^2
    found = agreement(judged([0, 1, 2, 3]), judged([0, 1, 1, 3]))
    chance = 1.25 + (11 / 4 - (5 / 4) ** 2) + (1.5 - 1.25) ** 2
    assert found.kappa.mean == pytest.approx(1 - 0.25 / chance)
    assert (found.equal, found.shift) == (0.75, -0.25)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_that_of_the_table_and_the_interval_holds_it(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, 300)
    y = np.clip(x + rng.integers(-1, 2, 300), 0, 3)
    kappa = agreement(judged(x, np.arange(300) // 5), judged(y, np.arange(300) // 5)).kappa
    assert kappa.mean == pytest.approx(by_table(x.tolist(), y.tolist()))
    assert kappa.low < kappa.mean < kappa.high
    assert kappa.high - kappa.low < 0.2


def test_shuffled_grades_have_no_agreement_and_equal_ones_have_all():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, 2000)
    kappa = agreement(judged(x), judged(rng.permutation(x))).kappa
    assert kappa.low < 0 < kappa.high
    assert agreement(judged(x), judged(x)).kappa == (1, 1, 1)
    assert agreement(judged([1, 1]), judged([1, 1])).kappa is None


def test_pairs_in_one_file_alone_are_counted_and_none_in_both_is_refused():
    found = agreement(judged([0, 1, 2]), judged([0, 2]))
    assert (found.pairs, found.queries, found.alone) == (2, 2, (1, 0))
    with pytest.raises(UserError, match="no pair is in both files"):
        agreement(judged([1]), Judgements([Judgement("7", None, "i0", 1.0)]))


def test_the_command_prints_kappa_table_and_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.trec").write_text("q1 0 d1 3\nq1 0 d2 0\nq2 0 d1 1\nq3 0 d1 1\n")
    (tmp_path / "b.csv").write_text("query_id,item,grade\nq1,d1,3\nq1,d2,1\nq2,d1,1\nq9,d1,\n")
    assert run(["judgements", "agree", "a.trec", "b.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[3:6]] == [["0", "0", "1", "0"], ["1", "0", "1", "0"], ["3", "0", "0", "1"]]
    assert lines[7].startswith("weighted kappa (quadratic, 95% interval over queries): 0.870 (")
    assert lines[8:] == [
        "with fewer than 20 queries the interval is rough",
        "pairs in both: 3 of 2 queries, the same grade: 66.7%",
        "mean grade of JUDGE less that of HUMAN: +0.333",
        "pairs in one alone: HUMAN 1, JUDGE 0",
        "counted     JUDGE: pairs without a grade, left out: 1",
    ]
    assert run(["judgements", "agree", "a.trec", "none.csv"]) == 2
    assert "none.csv: no such file" in capsys.readouterr().err


JUDGES = """query,item,grade,source
tent,a,3,people
tent,b,0,people
lamp,a,1,people
tent,a,3,kind
tent,b,1,kind
lamp,a,2,kind
tent,a,3,copy
tent,b,0,copy
lamp,a,1,copy
"""


def test_each_judge_of_one_file_is_compared_with_the_one_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.csv").write_text(JUDGES)
    assert run(["judgements", "agree", "j.csv", "--human", "people"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[3:] if line[:1].strip()}
    # of 3, 0, 1 and 3, 1, 2: the mean square apart is 2/3; the means are 4/3 and 2, the variances 14/9 and 2/3
    assert rows["kind"] == ["kind", f"{1 - (2 / 3) / (14 / 9 + 2 / 3 + 4 / 9):.3f}", "3", "2", "33.3%", "+0.667", "-"]
    assert rows["copy"][1:] == ["1.000", "3", "2", "100.0%", "+0.000", "-"]
    assert run(["judgements", "agree", "j.csv", "--human", "people", "--source", "kind"]) == 0
    assert "mean grade of JUDGE less that of HUMAN: +0.667" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("agree j.csv", "JUDGE: missing: name a second file, or with --human NAME the judge in HUMAN"),
        ("agree j.csv j.csv", "3 judges graded these pairs (people, kind, copy): choose one with --human people"),
        ("agree j.csv --human me", "--human: no judge 'me' here; the judges are: people, kind, copy"),
        ("agree j.csv --human people,kind,copy", "JUDGE: missing: j.csv has no judge but people, kind and copy"),
        ("convert j.csv --out o.csv", "3 judges graded these pairs (people, kind, copy): choose one with --source"),
        ("convert j.csv --out o.csv --source Kind", "--source: no judge 'Kind' here"),
    ],
)
def test_which_of_several_judges_counts_is_never_guessed(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.csv").write_text(JUDGES)
    assert run(["judgements", *options.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


def graded_by(seed, likes):
    """Grades of people, and of a judge who grades as they do, and by `likes` more for every word above four."""
    rng = np.random.default_rng(seed)
    people, judge = Judgements(), Judgements()
    for query in range(120):
        text = " ".join([f"q{query}", *["word"] * rng.integers(1, 8)])
        for item in range(5):
            grade = int(rng.integers(0, 4))
            people.rows.append(Judgement(None, text, f"i{item}", float(grade)))
            more = round(likes * max(len(text.split()) - 4, 0)) + int(rng.integers(-1, 2))
            judge.rows.append(Judgement(None, text, f"i{item}", float(np.clip(grade + more, 0, 3))))
    return people, judge


@pytest.mark.parametrize("seed", range(5))
def test_a_judge_who_likes_long_queries_is_found_out_and_a_fair_one_is_not(seed):
    planted = agreement(*graded_by(seed, 0.5))
    assert planted.long.mean > 0.4 and planted.long.low > 0
    assert any("warning: JUDGE grades long queries higher than HUMAN does" in line for line in planted.lines())
    assert planted.kappa.low > 0.5  # which kappa alone does not show
    fair = agreement(*graded_by(seed, 0))
    assert abs(fair.long.mean) < 0.15
    assert sum("warning" in line for line in fair.lines()) == 0


def test_long_queries_are_not_judged_without_texts_or_with_few_of_them():
    people, judge = graded_by(0, 0.5)
    few = [
        Judgements([row for row in one.rows if row.query in {r.query for r in people.rows[:50]}])
        for one in (people, judge)
    ]
    assert agreement(*few).long is None
    ids = [Judgements([Judgement(row.text, None, *row[2:4]) for row in one.rows]) for one in (people, judge)]
    assert agreement(*ids).long is None
