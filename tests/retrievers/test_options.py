"""Options: bounds as annotations, checked and worded in one place, for recipes and for direct calls alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from annotated_types import Ge, Interval, Le, Len, MinLen, MultipleOf

from retrievers.errors import OptionError, UserError
from retrievers.options import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Share,
    ShareBelowOne,
    checked,
    convert,
    in_words,
    option_problems,
    options_of,
    value_problems,
)

NAN, INFINITE = float("nan"), float("inf")


@checked
class Engine:
    """Has bounds, and a rule about two options."""

    renamed: ClassVar[Mapping[str, str]] = {"sharpness": "k1"}

    def __init__(
        self,
        catalog: Any,
        *,
        k1: Annotated[NonNegativeFloat, "0.9 to 1.5 is usual"] = 1.2,
        depth: PositiveInt | None = None,
        fields: dict[str, PositiveFloat] | None = None,
        weights: list[float] | None = None,
        folder: str | None = None,
        scorer: Any = None,
    ) -> None:
        self.catalog, self.k1, self.depth, self.folder, self.weights = catalog, k1, depth, folder, weights

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        return ["depth: must be set with fields"] if options.get("fields") and not options.get("depth") else []


@checked
@dataclass(frozen=True, kw_only=True)
class Alarm:
    after: PositiveInt = 5
    share: Share | None = 0.5

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> list[str]:
        return ["after: must be below 100"] if options.get("after", 0) >= 100 else []


@checked
@dataclass(kw_only=True)
class Section:
    steps: PositiveInt
    names: Annotated[tuple[str, ...], MinLen(1)] = ("a",)
    alarm: Alarm = field(default_factory=Alarm)
    kind: ClassVar[str] = "no option"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an integer"),
        (PositiveInt, "an integer >= 1"),
        (NonNegativeInt | None, "an integer >= 0, or null"),
        (PositiveFloat, "a number > 0"),
        (Share, "a number between 0 and 1"),
        (PositiveShare, "a number > 0 and <= 1"),
        (ShareBelowOne, "a number >= 0 and < 1"),
        (Annotated[int, Interval(ge=1, le=64)], "an integer between 1 and 64"),
        (Annotated[int, Ge(8), MultipleOf(8)], "an integer >= 8 divisible by 8"),
        (Annotated[NonNegativeFloat, "0.9 to 1.5 is usual"], "a number >= 0 (0.9 to 1.5 is usual)"),
        (bool, "true or false"),
        (Literal["any", "all"] | None, "one of 'any', 'all', or null"),
        (str | list[str] | None, "a string or a list of strings, or null"),
        (Annotated[str, MinLen(1)], "a string with at least 1 character"),
        (Annotated[tuple[str, ...], Len(2)], "a list of strings with at least 2 items"),
        (list[PositiveInt], "a list of integers >= 1"),
        (list[Literal["a", "b"]], "a list of 'a', 'b'"),
        (dict[str, Any], "a mapping"),
        (dict[str, PositiveFloat], "a mapping from strings to numbers > 0"),
        (list[dict[str, Any]], "a list of mappings"),
        (Any, "any value"),
        (Path, "Path"),
    ],
)
def test_an_annotation_is_said_in_words(annotation, words):
    assert in_words(annotation) == words


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (PositiveInt, 0, "x: must be an integer >= 1, got 0"),
        (PositiveInt, 1.5, "x: must be an integer >= 1, got 1.5"),
        (PositiveInt, True, "x: must be an integer >= 1, got True"),
        (PositiveInt | None, 0, "x: must be an integer >= 1, or null, got 0"),
        (Share, 2, "x: must be a number between 0 and 1, got 2"),
        (ShareBelowOne, 1, "x: must be a number >= 0 and < 1, got 1"),
        (float, NAN, "x: must be a number, got nan"),
        (float | None, INFINITE, "x: must be a number, or null, got inf"),
        (list[float], [1.0, -INFINITE], "x.1: must be a number, got -inf"),
        (dict[str, PositiveFloat], {"title": 2, "brand": 0}, "x.brand: must be a number > 0, got 0"),
        (list[list[PositiveInt]], [[1], [2, 0]], "x.1.1: must be an integer >= 1, got 0"),
        (Annotated[tuple[str, ...], MinLen(1)], [], "x: must be a list of strings with at least 1 item, got []"),
        (list[str], "tent", "x: must be a list of strings, got 'tent'"),
        (Literal["any", "all"], "most", "x: must be one of 'any', 'all', got 'most'"),
    ],
)
def test_a_value_that_does_not_fit_is_said_with_its_place(annotation, value, problem):
    assert [str(found) for found in value_problems(annotation, value, "x")] == [problem]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (PositiveInt | None, None),
        (float, 1),
        (tuple[str, ...], ["a"]),
        (PositiveInt, np.int64(3)),
        (list[float], np.ones(2)),
        (str, Path("here")),
        (dict[str, Any], {"weight": NAN}),
        (Annotated[int, Le(3)], 3),
    ],
)
def test_a_value_that_fits_is_not_mentioned(annotation, value):
    assert value_problems(annotation, value, "x") == []


def test_a_constructor_refuses_what_a_recipe_is_refused_for_and_says_all_of_it():
    with pytest.raises(OptionError) as refused:
        Engine([], k1=-1, depth=0, fields={"title": 0})
    assert refused.value.problems == [
        "k1: must be a number >= 0 (0.9 to 1.5 is usual), got -1",
        "depth: must be an integer >= 1, or null, got 0",
        "fields.title: must be a number > 0, got 0",
    ]


def test_a_constructor_asks_the_rules_of_the_class_once_the_values_fit():
    with pytest.raises(ValueError, match=r"^depth: must be set with fields$"):
        Engine([], fields={"title": 2})
    assert Engine("shop", k1=2, depth=3, fields={"title": 2}).catalog == "shop"


def test_a_constructor_takes_objects_that_no_recipe_holds():
    assert Engine([], scorer=object(), weights=np.ones(2), folder=Path("here")).folder == Path("here")


def test_a_class_that_inherits_a_checked_constructor_adds_its_own_rules():
    class Stricter(Engine):
        @staticmethod
        def check_options(options: Mapping[str, Any]) -> list[str]:
            return [*Engine.check_options(options), *(["k1: must be set"] if "k1" not in options else [])]

    with pytest.raises(OptionError, match=r"^k1: must be set$"):
        Stricter([])
    assert Stricter([], k1=1).k1 == 1


def test_an_argument_that_does_not_exist_is_pythons_to_refuse():
    with pytest.raises(TypeError, match="depht"):
        Engine([], depht=3)


def test_a_renamed_option_is_refused_with_its_new_name():
    with pytest.raises(OptionError, match=r"^sharpness: is now called k1$"):
        Engine([], sharpness=1)
    found = option_problems(options_of(Engine, takes=1), {"sharpness": 1}, "engine", "mine", renamed=Engine.renamed)
    assert [str(problem) for problem in found] == ["engine.sharpness: is now called k1"]


def test_the_decorator_keeps_signature_and_docstring():
    assert list(options_of(Engine, takes=1))[:2] == ["k1", "depth"]
    assert Engine.__doc__.startswith("Has bounds")


def test_fields_of_a_dataclass_are_options():
    known = options_of(Section)
    assert list(known) == ["steps", "names", "alarm"]
    assert (known["steps"].required, known["names"].default, known["alarm"].default) == (True, ("a",), Alarm())
    assert (known["steps"].written, known["names"].written) == ("required", '["a"]')


def test_fields_that_are_inherited_are_read_in_the_module_of_each_class():
    from tests.retrievers.shared_options import Shared

    @checked
    @dataclass(kw_only=True)
    class Own(Shared):
        extra: PositiveInt = 1

    assert {name: option.expects for name, option in options_of(Own).items()} == {
        "pace": "a number > 0",
        "where": "Path, or null",
        "extra": "an integer >= 1",
    }
    with pytest.raises(OptionError, match=r"^pace: must be a number > 0, got 0$"):
        Own(pace=0)


def test_a_section_inside_of_options_is_checked_and_built():
    given = {"steps": 1, "alarm": {"after": 0, "shere": 1}}
    assert [str(problem) for problem in option_problems(options_of(Section), given, "s", "s")] == [
        "s.alarm.after: must be an integer >= 1, got 0",
        "s.alarm.shere: s.alarm has no option 'shere'; did you mean 'share'? (options: after, share)",
    ]
    assert [str(problem) for problem in value_problems(Section, {"steps": 1, "alarm": {"after": 100}}, "s")] == [
        "s.alarm.after: must be below 100"
    ]
    assert [str(problem) for problem in value_problems(Section, 3, "s")] == [
        "s: must be a mapping with the keys steps, names, alarm, got 3"
    ]
    built = Section(**convert(options_of(Section), {"steps": 1, "names": ["b"], "alarm": {"after": 7}}))
    assert (built.names, built.alarm) == (("b",), Alarm(after=7))


def test_a_class_whose_annotations_do_not_resolve_is_refused():
    class Lost:
        def __init__(self, *, k: Nowhere = 1) -> None: ...  # noqa: F821

    with pytest.raises(UserError, match=r"the annotations of Lost cannot be read \(name 'Nowhere' is not defined\)"):
        options_of(Lost)
