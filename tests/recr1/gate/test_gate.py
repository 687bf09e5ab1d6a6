"""The gate: what it learns, that its bound holds, its file, and what it says where it cannot help."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from recr1.errors import MissingLibrary, UserError
from recr1.gate import Gate, overlaps_of
from recr1.gate.fit import PENALTIES, _threshold, _why_closed, fit
from recr1.gate.gate import features, rewritten
from recr1.gate.outcome import gate_table, outcome, sentence

USUAL = {"margin": 0.05, "bound": 0.05, "confidence": 0.95}
WORDS = [f"word{place}" for place in range(30)]


def shop(rng, size, lengths=(2, 3, 4)):
    """Needs of different lengths, and a query for each that adds a word and drops one."""
    needs = [" ".join(rng.choice(WORDS, rng.choice(lengths), replace=False)) for _ in range(size)]
    return needs, [f"made {need.split(' ', 1)[1]}" for need in needs]


def short_is_harmed(rng, size):
    """A policy that harms every need of two words, and helps all others."""
    needs, queries = shop(rng, size)
    raw = rng.uniform(0.3, 0.6, size)
    short = np.array([len(need.split()) == 2 for need in needs])
    return needs, queries, raw, raw + np.where(short, -0.2, 0.2) + rng.normal(0, 0.02, size)


def test_needs_of_two_words_that_a_policy_harms_are_left_as_they_are():
    rng = np.random.default_rng(0)
    gate, out_of_fold = fit(*short_is_harmed(rng, 300), **USUAL)
    needs, queries, *_ = short_is_harmed(rng, 500)
    found = gate.decide(needs, queries)
    short = np.array([len(need.split()) == 2 for need in needs])
    assert 100 < short.sum() < 250
    assert not found.open_N[short].any()
    assert found.open_N[~short].mean() > 0.98
    assert abs(found.gain_N[~short] - 0.2).max() < 0.15
    assert gate.facts["harmed"] == 0 and gate.facts["rewritten"] == out_of_fold.open_N.mean() > 0.6


def test_words_that_a_policy_harms_are_learned_too():
    rng = np.random.default_rng(1)

    def bad(size):
        needs, queries = shop(rng, size)
        worse = np.array([WORDS[3] in need for need in needs])
        return needs, queries, np.full(size, 0.5), np.where(worse, 0.1, 0.8), worse

    *given, _ = bad(400)
    gate, _ = fit(*given, **USUAL)
    needs, queries, _, _, worse = bad(200)
    assert (gate.decide(needs, queries).open_N == ~worse).mean() > 0.97
    assert gate.weights[f"need:{WORDS[3]}"] < -0.5


def test_predictions_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    needs, queries, raw, policy = short_is_harmed(rng, 200)
    needs[0] += " once"  # in one need: no weight
    likelihoods, overlaps = rng.normal(-1, 0.4, 200), rng.random(200)
    gate, _ = fit(needs, queries, raw, policy, likelihoods, overlaps, **USUAL)
    vectors = DictVectorizer(sparse=False)
    rows_NF = vectors.fit_transform(features(needs, queries, likelihoods, overlaps))
    words = np.array([":" in name for name in vectors.get_feature_names_out()])
    rows_NF[:, ~words] = StandardScaler().fit_transform(rows_NF[:, ~words])
    rows_NF = rows_NF[:, ~words | ((rows_NF != 0).sum(axis=0) > 1)]
    expected = RidgeCV(alphas=PENALTIES).fit(rows_NF, policy - raw).predict(rows_NF)
    assert gate.needs_likelihood and gate.needs_search
    assert gate.decide(needs, queries, likelihoods, overlaps).gain_N == pytest.approx(expected, abs=1e-6)


def test_what_a_gate_needs_must_be_given():
    rng = np.random.default_rng(3)
    needs, queries, raw, policy = short_is_harmed(rng, 100)
    gate, _ = fit(needs, queries, raw, policy, rng.normal(-1, 0.4, 100), **USUAL)
    assert gate.needs_likelihood and not gate.needs_search
    with pytest.raises(ValueError, match="this gate needs the likelihood of each rewrite"):
        gate.decide(needs, queries)


def test_a_copy_of_the_need_is_never_rewritten():
    needs = ["a red sofa", "a red sofa", "A red  sofa!", "a red sofa"]
    queries = ["a red sofa", "A  Red Sofa.", "a red sofa", "red sofa"]
    gate = Gate(intercept=1.0, weights={}, threshold=0.0, facts={})
    found = gate.decide(needs, queries)
    assert found.open_N.tolist() == [False, False, False, True]
    assert found.gain_N.tolist() == [0, 0, 0, 1]
    assert rewritten(needs, queries).tolist() == found.open_N.tolist()


def test_features_are_counts_of_words():
    (row,) = features(["a warm coat, red"], ["Warm coat for winter"], [-0.5], [0.25])
    assert row == {
        **{"need_words": 4, "query_words": 4, "added": 2, "removed": 2, "shared": 2 / 6},
        **{"likelihood": -0.5, "overlap": 0.25},
        **{f"need:{word}": 1 for word in ("a", "warm", "coat", "red")},
        **{"adds:for": 1, "adds:winter": 1},
    }


def test_overlaps_are_shares_of_the_items_of_both_rankings():
    first = np.array([[1, 2, 3, -1], [1, 2, 3, 4], [-1] * 4, [5, -1, -1, -1]], np.int32)
    second = np.array([[3, 1, 9, 8], [4, 3, 2, 1], [-1] * 4, [-1] * 4], np.int32)
    assert overlaps_of(first, second) == [2 / 5, 1, 1, 0]


def test_the_threshold_is_the_loosest_that_passes():
    falling = np.linspace(1, 0.01, 100)
    harmed = np.zeros(100, bool)
    harmed[[10, 40, 60]] = True
    # Of 100 needs, 1 may be harmed for a bound of 5% with 95% confidence: P(X <= 1) = 0.037, P(X <= 2) = 0.118.
    assert _threshold(falling, harmed, 0.05, 0.95) == pytest.approx((falling[39] + falling[40]) / 2)
    assert _threshold(falling, harmed, 0.05, 0.85) == pytest.approx((falling[59] + falling[60]) / 2)
    assert _threshold(falling[::-1], harmed[::-1], 0.05, 0.95) == _threshold(falling, harmed, 0.05, 0.95)
    # No predicted loss is rewritten.
    assert _threshold(falling - falling[20], harmed, 0.05, 0.95) == pytest.approx((falling[19] - falling[20]) / 2)
    assert _threshold(falling, ~harmed & harmed, 0.05, 0.95) == pytest.approx(falling[99] / 2)
    # Predictions of 0.6 would open the second harmed need with the others.
    assert _threshold(falling.round(1), harmed, 0.05, 0.95) == pytest.approx(0.65)
    assert _threshold(np.ones(100), harmed, 0.05, 0.95) is None


def test_a_drop_of_exactly_the_margin_is_no_harm():
    rng = np.random.default_rng(5)
    needs, queries = shop(rng, 100)
    policy = np.where(np.arange(100) < 30, 0.3, 1.0)
    for margin, harmed in ((0.1, 0), (0.0999, 30)):
        gate, _ = fit(needs, queries, np.full(100, 0.4), policy, margin=margin, bound=0.5, confidence=0.9)
        assert gate.facts["harmed"] == harmed / 100


def test_few_needs_close_the_gate_and_it_says_how_many_would_do():
    rng = np.random.default_rng(6)
    gate, found = fit(*short_is_harmed(rng, 58), **USUAL)
    assert gate.threshold is None and not found.open_N.any()
    assert not gate.decide(*shop(rng, 50)).open_N.any()
    assert gate.facts["closed"] == "58 needs cannot show a share below 5.0% with 95% confidence: 59 can"
    assert fit(*short_is_harmed(rng, 59), **USUAL)[0].threshold is not None


def test_a_policy_that_never_helps_or_never_rewrites_closes_the_gate():
    rng = np.random.default_rng(7)
    needs, queries = shop(rng, 100)
    worse, _ = fit(needs, queries, np.full(100, 0.5), rng.uniform(0.1, 0.3, 100), **USUAL)
    assert worse.facts["closed"] == "no query is predicted to help"
    copied, _ = fit(needs, needs, np.full(100, 0.5), np.full(100, 0.5), **USUAL)
    assert copied.facts["closed"] == "no query is predicted to help" and copied.facts["queries_rewritten"] == 0


def test_where_the_best_queries_harm_too_much_it_says_how_many_needs_would_do():
    def why(harmed):
        return _why_closed(np.ones(100), np.arange(100) < harmed, 0.05, 0.95)

    def at_most(needs):
        return binomtest(int(np.ceil(0.04 * needs)), needs, alternative="less").proportion_ci(0.95, "exact").high

    said = re.fullmatch(
        r"the 100 best queries of 100 needs harm 4.0% of the needs: about (.+) needs .* would do", why(4)
    )
    enough = int(said[1].replace(",", ""))
    assert at_most(enough) <= 0.05 < at_most(int(enough / 1.1))
    assert why(5).endswith("harm 5.0% of the needs: no number of needs would do")


def test_the_bound_of_a_threshold_holds_over_many_draws():
    rng = np.random.default_rng(8)
    above = 0
    for _ in range(2_000):
        guess = rng.random(150)
        harmed = rng.random(150) < 0.15 * (1 - guess)  # the lower the prediction, the more harm
        threshold = _threshold(guess, harmed, 0.05, 0.9) or 1.0
        above += 0.15 * (1 - threshold) ** 2 / 2 > 0.05
    assert 0 < above / 2_000 <= 0.1 + 2 * (0.1 * 0.9 / 2_000) ** 0.5


def test_a_need_does_not_choose_its_own_prediction():
    rng = np.random.default_rng(10)
    needs, queries, raw, policy = short_is_harmed(rng, 100)
    changed = policy + np.where(np.arange(100) == 7, 3.0, 0.0)
    (gate, before), (other, after) = (fit(needs, queries, raw, values, **USUAL) for values in (policy, changed))
    assert after.gain_N[7] == before.gain_N[7] and (after.gain_N != before.gain_N).sum() >= 80
    assert gate.decide(needs, queries).gain_N[7] < other.decide(needs, queries).gain_N[7]


@pytest.mark.slow
def test_the_bound_of_a_gate_holds_over_200_fits():
    above, kept = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)

        def drawn(size, rng=rng):
            needs, queries = shop(rng, size)
            risk = np.array([0.3 if any(word in need.split() for word in WORDS[:5]) else 0.02 for need in needs])
            return needs, queries, np.full(size, 0.5), np.where(rng.random(size) < risk, 0.2, 0.7)

        gate, _ = fit(*drawn(200), margin=0.05, bound=0.05, confidence=0.9, seed=seed)
        needs, queries, raw, policy = drawn(2_000)
        opened = gate.decide(needs, queries).open_N
        above += ((policy < raw) & opened).mean() > 0.05
        kept.append((policy - raw)[opened].sum() / (policy - raw).sum())
    assert above / 200 <= 0.1 + 2 * (0.1 * 0.9 / 200) ** 0.5
    assert np.mean(kept) > 0.5


def test_a_gate_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(9)
    given = short_is_harmed(rng, 100)
    for confidence in (0.95, 0.999999):
        gate, _ = fit(*given, margin=0.05, bound=0.05, confidence=confidence, facts={"measure": "nDCG@10"})
        gate.write(tmp_path / "gate.json")
        assert Gate.load(tmp_path / "gate.json") == gate
    assert gate.threshold is None and gate.facts["measure"] == "nDCG@10"


def test_files_that_are_no_gate_are_refused_in_words(tmp_path):
    path = tmp_path / "gate.json"
    with pytest.raises(UserError, match=r"has no gate: make it with recr1 gate RUN"):
        Gate.load(path)
    Gate(intercept=0.5, weights={"added": 0.1}, threshold=0.0, facts={}).write(path)
    text = path.read_text()
    whole = json.loads(text)
    for broken, said in [
        (text[:40], r"gate.json cannot be read, or was cut off: .* \(make it again with recr1 gate RUN\)"),
        ("[1]", r"is no gate: it has no 'gate'"),
        (json.dumps({"version": 3}), r"is no gate: it has no 'gate'"),
        (json.dumps(whole | {"gate": 2}), r"is a gate of version 2, and this recr1 reads version 1 \(make it again"),
        (json.dumps(whole | {"weights": {"added": "much"}}), r"is no gate: weights.added: Input should be a valid num"),
        (json.dumps(whole | {"intercept": float("nan")}), r"is no gate: intercept: Input should be a finite number"),
        (json.dumps({key: whole[key] for key in whole if key != "facts"}), r"is no gate: facts: Field required"),
    ]:
        path.write_text(broken)
        with pytest.raises(UserError, match=said):
            Gate.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        Gate.load(path)


def test_the_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingLibrary, match=r"fitting a gate needs the library 'scikit-learn'.*'recr1\[gate\]'"):
        fit(*short_is_harmed(np.random.default_rng(0), 100), **USUAL)


def gate_with(**facts):
    known = {"measure": "nDCG@10", "split": "validation", "threshold": 0.1, "closed": None, **USUAL, **facts}
    return Gate(intercept=0.0, weights={}, threshold=known["threshold"], facts=known)


def test_the_four_systems_have_the_values_that_they_serve():
    raw = np.array([0.5, 0.5, 0.2, 0.0, 0.3])
    policy = np.array([0.9, 0.1, 0.2, 0.4, 0.0])  # a copy, and last an invalid query
    own, opened = np.array([True, True, False, True, False]), np.array([True, False, False, False, False])
    held = outcome([gate_with()], "nDCG@10", raw, policy, own, opened, seed=0)
    systems = held["systems"]
    assert [systems[name]["mean"] for name in systems] == pytest.approx([0.3, 0.32, 0.38, 0.46])
    assert [systems[name]["rewritten"] for name in systems] == [0, 0.6, 0.2, 0.4]
    assert [systems[name]["harmed"] for name in systems] == [0, 0.4, 0, 0]
    assert [systems[name]["kept"] for name in systems] == pytest.approx([0, 1, 4, 8])
    assert sentence(held).startswith("The gate rewrites 20.0% of needs and keeps 400.0% of the gain: nDCG@10 0.380 (")
    expected = binomtest(2, 5).proportion_ci(0.95, "wilson")
    assert systems["always"]["harmed_interval"] == pytest.approx([expected.low, expected.high])
    harm = "it harms 0.0% of these needs (0.0% to 43.4% of all such needs, whose bound is 5.0%), 40.0% without it."
    assert sentence(held).endswith(harm)
    table = gate_table("test", {"trained": held}, 5)
    assert [row[0] for row in table.rows] == ["raw", "always", "gated", "oracle gate"]
    assert [row[2:] for row in table.rows][1:3] == [["60.0%", "40.0%", "100.0%"], ["20.0%", "0.0%", "400.0%"]]
    assert "it opens from +0.100; fitted on validation to harm at most 5.0% of needs with 95%" in table.notes[1]
    assert max(map(len, table.text(80).splitlines())) <= 80


def test_seeds_are_pooled_and_other_measures_are_said():
    raw, policy = np.array([0.5, 0.5, 0.1]), np.array([[0.9, 0.1, 0.1], [0.7, 0.7, 0.1]])
    opened, own = np.array([[True, False, False], [True, True, False]]), np.ones((2, 3), bool)
    held = outcome([gate_with()] * 2, "R@10", raw, policy, own, opened, seed=0)
    assert held["systems"]["gated"]["rewritten"] == 0.5 and held["systems"]["always"]["harmed"] == 1 / 6
    assert held["systems"]["gated"]["mean"] == pytest.approx((0.9 + 0.5 + 0.1 + 0.7 + 0.7 + 0.1) / 6)
    table = gate_table("test", {"one": held, "two": held}, 3)
    assert table.rows[4][0] == "two: raw"
    assert "two: it was fitted on nDCG@10, not on R@10." in table.notes
    assert "it opens from +0.100, +0.100;" in table.notes[1]


def test_a_closed_gate_says_so():
    gate = gate_with(threshold=None, closed="no query is predicted to help")
    held = outcome([gate], "nDCG@10", np.array([0.5, 0.4]), np.array([0.1, 0.2]), np.ones(2), np.zeros(2), seed=0)
    assert held["systems"]["gated"]["kept"] is None
    assert sentence(held) == "The gate is closed for all needs: no query is predicted to help."
    table = gate_table("test", {"trained": held}, 2)
    assert table.rows[2][2:] == ["0.0%", "0.0%", "-"] and "closed for all needs, as no query" in table.notes[1]
