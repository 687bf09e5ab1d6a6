from __future__ import annotations

import json
import random
import subprocess
import sys
from importlib import import_module

import pytest

from recr1.errors import UserError
from recr1.formats import BUILTIN, REASONS, SLOT, Format, JsonAnswer, Plain, Tag
from rewards.base import Invalid, Need, Search
from tests.recr1.hostile import assert_is_an_action, completions

NEED = Need("n1", "a lamp for {camping} nights, 100% dark")
FORMATS = [Plain(), Tag(), JsonAnswer(), JsonAnswer(think_opened=True)]


def answer(body: str) -> str:
    return f"<think>hm</think><answer>{body}</answer>"


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_is_a_format(name):
    module, _, attribute = BUILTIN[name].partition(":")
    built = getattr(import_module(module), attribute)()
    assert isinstance(built, Format)
    assert built.render(NEED)[-1]["role"] == "user"


# render


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: type(f).__name__)
def test_default_prompt_holds_the_need_as_it_is_and_how_to_answer(form):
    (message,) = form.render(NEED)
    assert NEED.text in message["content"]
    assert message["content"].endswith(form.instruction)
    assert SLOT not in message["content"]


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: type(f).__name__)
def test_default_prompt_promises_no_operators(form):
    text = form.render(NEED)[0]["content"]
    assert not any(operator in text.split() for operator in ("AND", "OR", "NOT"))


@pytest.mark.parametrize("form", [Plain(), Tag(), JsonAnswer()])
def test_the_default_prompt_offers_what_the_engine_understands_and_nothing_else(form):
    syntax = {"boolean": "AND and NOT", "phrases": 'words in "quotes"'}
    (message,) = form.with_syntax(syntax).render(NEED)
    situation, offered = message["content"].split("\n\n")[0].split(" Beside plain words, the engine understands:")
    assert offered == '\n- AND and NOT\n- words in "quotes"'
    assert message["content"].startswith(situation) and form.render(NEED)[0]["content"].startswith(situation + "\n\n")
    assert message["content"].endswith(form.instruction)


def test_a_format_that_was_fitted_can_be_fitted_to_another_engine():
    fitted = Tag(system="Be brief.", max_chars=9).with_syntax({"boolean": "AND"})
    assert fitted.with_syntax({}).render(NEED) == Tag(system="Be brief.").render(NEED)
    assert fitted.max_chars == 9


def test_a_prompt_of_your_own_is_left_alone():
    form = Plain(prompt="Find: {need}")
    assert form.with_syntax({"boolean": "AND"}).render(NEED) == form.render(NEED)


def test_the_example_in_the_default_json_prompt_is_itself_valid():
    example = JsonAnswer().instruction.split("like this:\n")[1]
    assert JsonAnswer().parse(example) == Search("your query")


def test_prompt_is_replaced_literally():
    form = Plain(prompt='{"need": "{need}"} {} {0} {need}')
    assert form.render(Need("1", "{need} {x}"))[0]["content"] == '{"need": "{need} {x}"} {} {0} {need} {x}'


def test_system_message_comes_first():
    chat = Plain(prompt="{need}", system="You shop.").render(NEED)
    assert chat == [{"role": "system", "content": "You shop."}, {"role": "user", "content": NEED.text}]


def test_prompt_without_the_slot_is_refused():
    with pytest.raises(UserError, match=r"^prompt: must contain .need., where the text of the need goes, got"):
        Tag(prompt="Find it")


@pytest.mark.parametrize("form", [Plain, Tag, JsonAnswer])
def test_max_chars_below_one_is_refused(form):
    with pytest.raises(UserError, match=r"^max_chars: must be an integer >= 1, got 0"):
        form(max_chars=0)


# parse


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("red shoes", Search("red shoes")),
        ("  red\n\tshoes \r\n", Search("red shoes")),
        ('"red shoes"', Search('"red shoes"')),
        ("red\x00shoes\x1b[0m", Search("red shoes [0m")),
        ("red \ud83d shoes", Search("red shoes")),
        ("r\u00f8d \U0001f45f \u9774", Search("r\u00f8d \U0001f45f \u9774")),
        ("", Invalid("empty query")),
        ("\n \u3000\x00\ud800", Invalid("empty query")),
        ("\u200b \u00ad\ufeff", Invalid("empty query")),
        (None, Invalid("completion is not text")),
        (b"red", Invalid("completion is not text")),
        (["red"], Invalid("completion is not text")),
    ],
)
def test_plain(completion, action):
    assert Plain().parse(completion) == action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("<query>red shoes</query>", Search("red shoes")),
        ("I would say\n<query>\n red  shoes\n</query> Good luck!", Search("red shoes")),
        ("<query><b>red</query>", Search("<b>red")),
        ("red shoes", Invalid("no <query> tag")),
        ("<QUERY>red</QUERY>", Invalid("no <query> tag")),
        ("<query>red", Invalid("no </query> tag")),
        ("<query>red</query><query>blue</query>", Invalid("more than one <query> tag")),
        ("<query>red</query></query>", Invalid("more than one </query> tag")),
        ("</query>red<query>", Invalid("tags out of order")),
        ("<query> </query>", Invalid("empty query")),
        (7, Invalid("completion is not text")),
    ],
)
def test_tag(completion, action):
    assert Tag().parse(completion) == action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        (answer('{"query": "red shoes"}'), Search("red shoes")),
        (
            '<think>\na\n</think>\n\n<answer>\n{"query": "red\\nshoes", "why": [1, null]}\n</answer>\n',
            Search("red shoes"),
        ),
        (answer('{"query": "\\ud83d\\ude00 \\ud83d"}'), Search("\U0001f600")),
        (answer('{"query": "red", "n": ' + "9" * 5000 + "}"), Search("red")),
        (answer('{"query": "red", "more": {"query": "blue"}}'), Search("red")),
        ('<answer>{"query": "red"}</answer>', Invalid("no <think> tag")),
        ('<think>a<answer>{"query": "red"}</answer>', Invalid("no </think> tag")),
        ("<think>a</think>red", Invalid("no <answer> tag")),
        ('<think>a</think><answer>{"query": "red"}', Invalid("no </answer> tag")),
        ("<think>" + answer('{"query": "red"}'), Invalid("more than one <think> tag")),
        (answer('{"query": "red"}</answer><answer>{}'), Invalid("more than one <answer> tag")),
        ('<answer>{"query": "red"}</answer><think>a</think>', Invalid("tags out of order")),
        ('<think><answer>a</think>{"query": "red"}</answer>', Invalid("tags out of order")),
        (answer("red shoes"), Invalid("answer is not JSON")),
        (answer(""), Invalid("answer is not JSON")),
        (answer('```json\n{"query": "red"}\n```'), Invalid("answer is not JSON")),
        (answer("{'query': 'red'}"), Invalid("answer is not JSON")),
        (answer('{"query": "red", "n": NaN}'), Invalid("answer is not JSON")),
        (answer('{"query": "red", "n": -Infinity}'), Invalid("answer is not JSON")),
        (answer('{"query": "red"} {"query": "blue"}'), Invalid("answer is not JSON")),
        (answer('"red"'), Invalid("answer is not a JSON object")),
        (answer('[["query", "red"]]'), Invalid("answer is not a JSON object")),
        (answer("[]"), Invalid("answer is not a JSON object")),
        (answer("{}"), Invalid("no key 'query'")),
        (answer('{"Query": "red"}'), Invalid("no key 'query'")),
        (answer('{"a": {"query": "red"}}'), Invalid("no key 'query'")),
        (answer('{"query": "red", "query": "blue"}'), Invalid("more than one key 'query'")),
        (answer('{"query": ["red"]}'), Invalid("query is not text")),
        (answer('{"query": {}}'), Invalid("query is not text")),
        (answer('{"query": 7}'), Invalid("query is not text")),
        (answer('{"query": null}'), Invalid("query is not text")),
        (answer('{"query": " \\u0000 "}'), Invalid("empty query")),
        (None, Invalid("completion is not text")),
    ],
)
def test_json_answer(completion, action):
    assert JsonAnswer().parse(completion) == action


def test_think_opened_reads_a_completion_that_begins_inside_think():
    assert JsonAnswer(think_opened=True).parse('hm</think><answer>{"query": "red"}</answer>') == Search("red")
    assert JsonAnswer().parse('hm</think><answer>{"query": "red"}</answer>') == Invalid("no <think> tag")
    assert JsonAnswer(think_opened=True).parse(answer('{"query": "red"}')) == Invalid("more than one <think> tag")


@pytest.mark.parametrize(
    ("form", "wrap"),
    [
        (Plain(max_chars=5), "{}"),
        (Tag(max_chars=5), "<query>{}</query>"),
        (JsonAnswer(max_chars=5), '<think></think><answer>{{"query": "{}"}}</answer>'),
    ],
    ids=["plain", "tag", "json_answer"],
)
def test_max_chars_counts_the_collapsed_query(form, wrap):
    assert form.parse(wrap.format("ab    cd")) == Search("ab cd")
    assert form.parse(wrap.format("abc cd")) == Invalid("query too long")


def test_deep_nesting_does_not_end_a_process_that_raised_its_recursion_limit():
    code = "import sys; sys.setrecursionlimit(10**6); from recr1.formats import JsonAnswer; "
    code += "print(JsonAnswer().parse('<think></think><answer>' + '[' * 1_000_000 + '</answer>').reason)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "answer is not JSON\n"


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"query":['])
def test_json_nested_deeper_than_the_stack_is_not_json(opening):
    assert JsonAnswer().parse(answer(opening * 200_000)) == Invalid("answer is not JSON")
    depth = sys.getrecursionlimit() + 10
    closed = '{"query": "red", "a": ' + "[" * depth + "]" * depth + "}"
    assert JsonAnswer().parse(answer(closed)) == Invalid("answer is not JSON")


@pytest.mark.parametrize(
    "piece", ["a ", " ", "\x00", "\ud800", "<", "<query>", "<think>", "</answer>", '{"query":', '"', "\\"]
)
@pytest.mark.parametrize("form", FORMATS, ids=lambda f: type(f).__name__)
def test_ten_megabytes_are_read_like_anything_else(form, piece):
    assert form.parse(piece * (10_000_000 // len(piece))) in {Invalid(reason) for reason in REASONS}


def test_a_query_survives_json_and_utf8():
    query = Plain().parse("".join(map(chr, range(0, 0x11000, 37)))[:900]).query
    assert json.loads(json.dumps(query)) == query.encode().decode()


def test_three_thousand_hostile_completions_each_get_an_action():
    for completion in completions(random.Random(0), 3_000):
        for form in FORMATS:
            assert_is_an_action(form.parse(completion))


# write


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: type(f).__name__)
def test_what_is_written_is_read_as_the_query_in_its_one_spelling(form):
    rng = random.Random(5)
    written = 0
    for query in [*completions(rng, 400), *completions(rng, 400), 'say "so" {need} \\ \n naïve']:
        try:
            completion = form.write(query)
        except ValueError as error:
            assert str(error).startswith("no answer in this format asks for ")
            continue
        written += 1
        assert form.parse(completion) == Plain().parse(query)
        assert form.write(form.parse(completion).query) == completion
    assert written > 20


@pytest.mark.parametrize(
    ("form", "completion"),
    zip(
        FORMATS,
        [
            "oak table",
            "<query>oak table</query>",
            '<think></think>\n<answer>{"query": "oak table"}</answer>',
            '</think>\n<answer>{"query": "oak table"}</answer>',
        ],
        strict=True,
    ),
)
def test_a_query_is_written_as_the_prompt_asks_for_it(form, completion):
    assert form.write(" oak\n table ") == completion


@pytest.mark.parametrize(
    ("form", "query", "reason"),
    [
        (Plain(), " \n", "empty query"),
        (Tag(), "a </query> b", "more than one </query> tag"),
        (JsonAnswer(), "<answer>", "more than one <answer> tag"),
        (Tag(max_chars=3), "abcd", "query too long"),
    ],
)
def test_a_query_that_no_answer_asks_for_is_refused(form, query, reason):
    with pytest.raises(ValueError, match=f"no answer in this format asks for .*: {reason}"):
        form.write(query)
