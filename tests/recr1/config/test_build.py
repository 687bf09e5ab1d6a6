"""Parts: finding classes, checking options against annotations, building."""

from __future__ import annotations

import pytest

from recr1.config.build import KINDS, EvaluationSpec, Part, build, builtin, check_part, find_class
from recr1.errors import DataError, OptionError
from retrievers.base import Catalog
from retrievers.options import options_of

HERE = "tests.recr1.config.parts"
CATALOG = Catalog(["a"], ["red tent"])


def problems(kind: str, name: str, **options: object) -> list[str]:
    return [str(problem) for problem in check_part(kind, {"type": f"{HERE}:{name}", **options}, kind)]


def only(kind: str, spec: object) -> str:
    found = check_part(kind, spec, kind)
    assert len(found) == 1
    return str(found[0])


# --- finding classes


def test_a_class_is_found_by_its_path():
    from tests.recr1.config.parts import Scan

    assert find_class("retriever", f"{HERE}:Scan") is Scan


def test_a_class_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine_in_a_folder.py").write_text("class Say:\n    def generate(self, chats, n):\n        return []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    assert find_class("policy", "mine_in_a_folder:Say").__name__ == "Say"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("retriever", "bm52", "retriever.type: no 'bm52' here; did you mean 'bm25'?"),
        ("policy", "ecko", "policy.type: no 'ecko' here; did you mean 'echo'?"),
        (
            "policy",
            "zzz",
            "policy.type: no 'zzz' here; built in: as_shown, best_edit, best_item, best_of, ctranslate2, echo",
        ),
        ("policy", ".json:X", "policy.type: no '.json:X' here"),
        ("policy", "json:", "policy.type: no 'json:' here"),
        ("policy", "nowhere.at_all:X", "policy.type: there is no module 'nowhere' (looked in "),
        ("policy", "json.nowhere:X", "policy.type: there is no module 'json.nowhere'"),
        ("policy", "json:X", "policy.type: the module 'json' has no class 'X'"),
        ("policy", "json:dumps", "policy.type: the module 'json' has no class 'dumps'"),
        ("policy", f"{HERE}:Scan", f"policy.type: '{HERE}:Scan' is not a policy: it has no method 'generate'"),
        (
            "policy",
            f"{HERE}:Loose",
            "policy.type: Loose.__init__ must have its options after a '*', to be checked by name",
        ),
        ("policy", f"{HERE}:Swallow", "'**more: 'Any'' is not"),
    ],
)
def test_a_type_that_cannot_be_used_is_named_with_the_reason(kind, name, message):
    assert message in only(kind, {"type": name})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import a_library_of_nobody", "the module 'mine_broken' cannot be imported: it needs 'a_library_of_nobody'"),
        ("from json import nothing", "cannot be imported: ImportError: cannot import name 'nothing'"),
        ("def broken(:", "cannot be imported: SyntaxError: invalid syntax (mine_broken.py, line 1)"),
    ],
)
def test_a_module_that_does_not_import_says_why(tmp_path, monkeypatch, code, message):
    (tmp_path / "mine_broken.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert message in only("policy", {"type": "mine_broken:Say"})


def test_an_error_inside_a_users_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "mine_raising.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        find_class("policy", "mine_raising:Say")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("echo", "policy: must be a mapping with a type, such as {type: echo}, got 'echo'"),
        ({"model": "x"}, "policy.type: missing (built in: as_shown, best_edit, best_item, best_of, ctranslate2, echo,"),
        ({"type": 3}, "policy.type: must be a name, got 3"),
    ],
)
def test_a_part_without_a_usable_type_is_refused(spec, message):
    assert only("policy", spec).startswith(message)


# --- options


def test_an_unknown_option_is_refused_with_the_nearest_and_all_others():
    message = "has no option 'bost'; did you mean 'boost'? (options: boost, depth, mode, words, lower)"
    assert problems("retriever", "Scan", bost=1) == [f"retriever.bost: {HERE}:Scan {message}"]


def test_a_class_without_options_says_so():
    assert problems("policy", "Mute", model="x") == [f"policy.model: {HERE}:Mute has no option 'model' (it has none)"]


def test_a_class_that_inherits_a_protocol_without_init_has_no_options():
    from recr1.policies import Policy

    class Silent(Policy):
        pass

    assert options_of(Silent) == {}


def test_a_missing_option_is_named():
    assert problems("policy", "Speak") == [f"policy.model: missing: {HERE}:Speak needs it (a string)"]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("boost", "high", "a number, got 'high'"),
        ("boost", True, "a number, got True"),
        ("boost", None, "a number, got None"),
        ("depth", "yes", "an integer, or null, got 'yes'"),
        ("depth", True, "an integer, or null, got True"),
        ("depth", 1.5, "an integer, or null, got 1.5"),
        ("mode", "most", "one of 'any', 'all', got 'most'"),
        ("words", "tent", "a list of strings, got 'tent'"),
        ("lower", 1, "true or false, got 1"),
        ("lower", "no", "true or false, got 'no'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(option, value, expected):
    assert problems("retriever", "Scan", **{option: value}) == [f"retriever.{option}: must be {expected}"]


def test_all_wrong_options_are_told_at_once():
    found = problems("retriever", "Scan", boost="x", depth="y", extra=1)
    assert [problem.partition(":")[0] for problem in found] == ["retriever.boost", "retriever.depth", "retriever.extra"]


def test_a_class_still_checks_its_sound_options_where_another_is_out_of_range():
    found = check_part("retriever", {"type": "bm25", "k1": -1, "stemmer": "klingon"}, "retriever")
    assert [problem.path for problem in found] == ["retriever.k1", "retriever.stemmer"]


def test_a_nested_part_is_checked_under_its_own_path():
    found = problems("task", "Store", format={"type": "tga"})
    assert found == ["task.format.type: no 'tga' here; did you mean 'tag'?"]


def test_each_part_of_a_list_is_checked_under_its_own_path():
    inner = {"type": f"{HERE}:Team", "parts": [{"type": "bm25", "k2": 1}]}
    found = problems("retriever", "Team", parts=[{"type": "bm25"}, {"type": "bm52"}, inner])
    assert found[0] == "retriever.parts.1.type: no 'bm52' here; did you mean 'bm25'?"
    assert found[1].startswith("retriever.parts.2.parts.0.k2: bm25 has no option 'k2'")
    assert len(found) == 2


def test_parts_of_a_fusion_and_of_a_reranker_are_checked_where_they_stand():
    fusion = {"type": "hybrid", "parts": [{"type": "bm25"}, {"type": "bm52"}]}
    assert only("retriever", fusion) == "retriever.parts.1.type: no 'bm52' here; did you mean 'bm25'?"
    rerank = {"type": "rerank", "retriever": fusion, "scorer": {"type": "cross_encoder", "model": "./nowhere"}}
    places = [str(problem).partition(": ")[0] for problem in check_part("retriever", rerank, "retriever")]
    assert places == ["retriever.retriever.parts.1.type", "retriever.scorer.model"]


def test_what_a_fusion_says_of_its_options_is_told_under_them():
    spec = {"type": "hybrid", "parts": [{"type": "bm25"}, {"type": "rank_bm25"}], "weights": [1]}
    assert only("retriever", spec) == "retriever.weights: must be one number per part, got 1 for 2 parts"


def test_a_value_that_only_the_constructor_refuses_is_told_under_the_option():
    assert problems("reward", "Pay", cutoff=0) == ["reward.cutoff: must be at least 1, got 0"]


def test_a_nested_format_that_its_constructor_refuses_is_told_under_its_path():
    (found,) = problems("task", "Store", format={"type": "plain", "prompt": "no slot"})
    assert found.startswith("task.format.prompt: must contain {need}")


def test_what_a_class_says_about_its_options_is_told_under_them():
    found = problems("trainer", "Climb", steps=2000, engine={"rat": 1, "rate": 2})
    assert found == ["trainer.engine.rat: the engine has no field 'rat'", "trainer: more steps than fit"]


# --- building


def test_build_hands_over_arguments_and_options_of_the_annotated_types():
    scan = build("retriever", {"type": f"{HERE}:Scan", "boost": 2, "words": ["tent"]}, CATALOG)
    assert (scan.catalog, scan.boost, type(scan.boost), scan.words) == (CATALOG, 2.0, float, ("tent",))


def test_build_takes_a_part_as_well():
    assert build("policy", Part(f"{HERE}:Speak", {"model": "tiny"})).model == "tiny"


def test_build_refuses_what_a_check_refuses():
    with pytest.raises(OptionError, match=r"policy\.model: missing"):
        build("policy", {"type": f"{HERE}:Speak"})


def test_a_constructors_remark_on_an_option_gets_the_path():
    with pytest.raises(OptionError, match=r"engine: boost must be above 0, got -1\.0"):
        build("retriever", {"type": f"{HERE}:Scan", "boost": -1}, CATALOG, path="engine")


def test_an_error_of_a_data_file_comes_through_as_it_is():
    with pytest.raises(DataError, match=r"^items\.jsonl:3: no field 'title'$"):
        build("task", {"type": f"{HERE}:Store", "broken": "file"})


def test_an_error_that_is_no_remark_on_an_option_comes_through_as_it_is():
    with pytest.raises(UnicodeDecodeError):
        build("task", {"type": f"{HERE}:Store", "broken": "bytes"})


def test_a_part_turns_into_a_mapping_and_back():
    spec = {"type": "bm25", "k1": 0.9, "fields": ["title"]}
    assert Part.from_dict(spec).to_dict() == spec


@pytest.mark.parametrize(("option", "value"), [("measures", ()), ("every", 0), ("needs", 0)])
def test_an_evaluation_that_says_nothing_is_refused(option, value):
    with pytest.raises(ValueError, match=f"^{option}: "):
        EvaluationSpec(**{option: value})


# --- everything that is registered


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in builtin(kind)])
def test_a_built_in_class_has_checkable_options_and_a_docstring(kind, name):
    cls = find_class(kind, name)
    required = {key for key, option in options_of(cls, takes=KINDS[kind].takes).items() if option.required}
    untyped = [key for key, option in options_of(cls, takes=KINDS[kind].takes).items() if option.expects == "any value"]
    assert cls.__doc__
    assert untyped == []
    defaults = {key: o.default for key, o in options_of(cls, takes=KINDS[kind].takes).items() if key not in required}
    wrong = [p.path for p in check_part(kind, {"type": name, **defaults}, kind) if "must be" in p.what]
    assert wrong == []
