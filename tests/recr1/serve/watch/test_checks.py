"""An unchanged shop is silent, and what changes over night is named: what kind of thing, with examples."""

from __future__ import annotations

import re

import pytest

from recr1.errors import DataError, OptionError, RecipeError
from recr1.serve.watch import KINDS, Thresholds
from recr1.serve.watch.checks import compare
from recr1.serve.watch.look import overlaps
from tests.docs.pages import blocks
from tests.recr1.serve.watch import shops
from tests.recr1.serve.watch.shops import BRANDS, NEEDS, NOUNS, engine, look_again, look_at, searches


@pytest.fixture(scope="module")
def then():
    return look_at(engine(), searches(0))


def found(then, env, needs, write=shops.query_of, **limits):
    """The checks that find something, by name."""
    checks = compare(then, look_again(env, then), look_at(env, needs, write), Thresholds(**limits))
    return {check.name: check for check in checks if check.found}


def changed(checks):
    return {KINDS[check.kind].changed for check in checks.values()}


def test_twenty_samples_of_the_same_traffic_are_silent(then):
    env = engine()
    again = look_again(env, then)
    for seed in range(1, 21):
        checks = compare(then, again, look_at(env, searches(seed)), Thresholds())
        assert {check.kind for check in checks} == set(KINDS)
        assert [check.name for check in checks if check.found] == []


def test_renamed_brands_are_named_with_the_words_that_are_gone(then):
    checks = found(then, engine(shops.renamed()), searches(1))
    assert set(checks) == {"items renamed", "words gone"}
    assert changed(checks) == {"catalog"}
    gone, titles = (checks[name].examples for name in ("words gone", "items renamed"))
    assert {line.split("'")[1] for line in gone} <= {brand.lower() for brand in BRANDS} and len(gone) == 20
    brand, _, pair = titles[0].removeprefix("'").partition("' is gone from ")
    old, new = pair.partition(": ")[2].split(", now ")
    assert (brand.capitalize() in old, new) == (True, old.replace(brand.capitalize(), brand[::-1].capitalize()))


def test_removed_items_are_named_with_their_titles(then):
    checks = found(then, engine(shops.without(NOUNS[:6])), searches(2))
    assert "items removed" in checks and changed(checks) <= {"catalog", "results"}
    assert all(any(noun in line for noun in NOUNS[:6]) for line in checks["items removed"].examples)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("word endings", {"stemmer": None}),
        ("capital letters", {"lowercase": False}),
        ("stop words", {"stopwords": "english"}),
    ],
)
def test_an_engine_with_another_analyzer_is_named(then, name, options):
    checks = found(then, engine(**options), searches(3))
    assert name in checks and changed(checks) <= {"analyzer", "results"}
    assert "find the same" in checks[name].examples[0]


def test_an_engine_that_ranks_in_another_way_is_named_with_what_moved_most(then):
    checks = found(then, engine(k1=3.0, b=0.0), searches(4))
    assert "raw rankings" in checks and changed(checks) == {"results"}
    need, _, rest = checks["raw rankings"].examples[0].partition(": 0% the same; first was ")
    first, _, now = rest.partition(", is ")
    assert need in then.needs and {first, now} <= {*then.titles.values(), *shops.SHOP.catalog.fields["title"]}


def test_an_engine_that_loses_hits_is_named_with_the_searches():
    def write(need):
        return need.split()[-1]

    then = look_at(engine(), searches(5, brands=1.0), write)
    gone = engine(shops.without(NOUNS[:6]))
    checks = found(then, gone, searches(6, brands=1.0), write)
    assert {"rewritten hits lost", "items removed", "words gone"} <= set(checks)
    assert set(checks["rewritten hits lost"].examples) <= {noun.lower() for noun in NOUNS[:6]}
    assert set(found(then, engine(), searches(6, brands=1.0), write)) == set()


def test_a_lower_score_of_the_same_judged_needs_is_named():
    judged = [need.text for need in shops.SHOP.needs("validation")]
    then = look_at(engine(), searches(7, needs=judged, brands=0))
    checks = found(then, engine(fields={"brand": 1.0, "description": 0.1}), searches(8, needs=judged, brands=0))
    assert "raw score" in checks and changed(checks) <= {"results", "analyzer"}
    assert checks["raw score"].then > checks["raw score"].now + 0.02


def test_other_categories_of_needs_are_named_with_their_words(then):
    sofas = [need for need in NEEDS if any(word in need for word in ("sofa", "couch", "settee", "loveseat"))]
    checks = found(then, engine(), searches(9, needs=sofas))
    assert {"words", "categories"} <= set(checks) and changed(checks) == {"traffic"}
    assert {"sofa", "couch"} & {line.split("'")[1] for line in checks["words"].examples}
    assert checks["categories"].now > checks["categories"].then


def test_longer_needs_are_named_with_the_longest(then):
    needs = {f"{need} and I need it by tomorrow please": count for need, count in searches(10).items()}
    checks = found(then, engine(), needs)
    assert {"raw length", "words"} <= set(checks) and not changed(checks) & {"catalog", "analyzer", "results"}
    assert len(checks["raw length"].examples[0].split()) == max(len(need.split()) for need in needs)


def test_a_model_that_answers_no_more_is_named(then):
    checks = found(then, engine(), searches(11), lambda need: None)
    assert "rewrites" in checks and not changed(checks) & {"catalog", "analyzer", "results"}
    assert "'rewritten' in" in checks["rewrites"].examples[0] and "now in 0.0%" in checks["rewrites"].examples[0]


def test_a_change_below_its_threshold_is_not_found(then):
    assert set(found(then, engine(shops.renamed()), searches(1), items=1.0)) == {"words gone"}
    assert set(found(then, engine(shops.renamed()), searches(1), items=1.0, words_gone=0.9)) == set()


def test_the_overlap_of_two_rankings_is_the_share_of_the_longer_one():
    then = [["a", "b"], ["a", "b"], ["a"], [], []]
    assert overlaps(then, [["b", "a"], ["b", "c"], ["a", "b", "c", "d"], [], ["a"]]).tolist() == [1, 0.5, 0.25, 1, 0]


def written(tmp_path, text):
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    return path


def test_thresholds_are_those_of_a_file_and_the_others_are_the_defaults(tmp_path):
    limits = Thresholds.load(written(tmp_path, "rankings: 0.2\nlength: 1\n"))
    assert (limits.rankings, limits.length, limits.items) == (0.2, 1.0, 0.02)


def test_every_mistake_in_a_file_of_thresholds_is_told_with_its_line(tmp_path):
    with pytest.raises(RecipeError) as told:
        Thresholds.load(written(tmp_path, "rankings: 2\nlenght: 1\nsignificance: 0\n"))
    lines = str(told.value).split("\n  ")
    assert lines[0].endswith("limits.yaml: 3 problems")
    assert "limits.yaml:1: rankings: must be a number between 0 and 1, got 2" in lines[1]
    assert "limits.yaml:2: lenght: a watch has no option 'lenght'; did you mean 'length'?" in lines[2]
    assert "limits.yaml:3: significance: must be a number > 0 and < 1, got 0" in lines[3]
    with pytest.raises(RecipeError, match="must be a mapping with some of the keys significance, items"):
        Thresholds.load(written(tmp_path, "- 1\n"))
    with pytest.raises(RecipeError, match=r"limits\.yaml:2: not YAML"):
        Thresholds.load(written(tmp_path, "items: 0.1\n\titems: 1\n"))
    with pytest.raises(DataError, match=r"missing\.yaml"):
        Thresholds.load(tmp_path / "missing.yaml")
    with pytest.raises(OptionError, match="length: must be a number > 0, got 0"):
        Thresholds(length=0)


def test_the_page_of_the_documentation_has_every_threshold_with_its_default(tmp_path):
    shown = next(block.text for block in blocks("text") if 'title="thresholds.yaml"' in block.info)
    assert Thresholds.load(written(tmp_path, shown)) == Thresholds()
    assert set(re.findall(r"^(\w+):", shown, re.MULTILINE)) == set(vars(Thresholds()))


def test_every_kind_of_check_has_a_threshold():
    assert {kind.threshold for kind in KINDS.values()} == set(vars(Thresholds())) - {"significance"}
