"""Shipped recipes with one mistake each, or with a change that must not matter; seeded, and each knows which it is."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import yaml


class Mutation(NamedTuple):
    """A changed recipe."""

    what: str
    content: bytes
    refused: bool
    """Whether it must be refused; else it must mean what the recipe meant."""
    line: int | None = None
    """The line that the refusal must name."""


class Entry(NamedTuple):
    """A key of a recipe with its value, as nodes that know their places in the text."""

    path: str
    key: yaml.Node
    value: yaml.Node
    flow: bool
    """Whether the mapping is written in braces."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def entries(text: str) -> list[Entry]:
    """Every key of a recipe."""

    def walk(node: yaml.Node, path: str) -> Iterator[Entry]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = f"{path}.{key.value}".lstrip(".")
                yield Entry(here, key, value, bool(node.flow_style))
                yield from walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for place, item in enumerate(node.value):
                yield from walk(item, f"{path}.{place}")

    return list(walk(yaml.compose(text, Loader=yaml.BaseLoader), ""))


def spliced(text: str, node: yaml.Node, new: str) -> str:
    """The text with other text in the place of a node; a block that goes leaves its line end."""
    start, end = node.start_mark.index, node.end_mark.index
    block = not isinstance(node, yaml.ScalarNode) and not node.flow_style
    tail = ("\n" + " " * node.end_mark.column) if block and end < len(text) else ""
    return text[:start] + new + (tail if block else "") + text[end:]


def mutation(number: int, recipes: dict[str, str]) -> tuple[str, Mutation]:
    """The name of a recipe, and the mutation of it with this number, which is the seed."""
    rng = random.Random(number)
    while True:
        name = rng.choice(sorted(recipes))
        make = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        made = make(rng, recipes[name])
        if made:
            return name, made._replace(what=f"{name}: {make.__name__}: {made.what}")


# --- values

IMPOSSIBLE = {
    "seed": ["0.5", "2024-01-01", "1e400", "0x", "nil"],
    "k": ["0", "-5", "10.0", "1e1", "99999999999999999999", "0b11", "1_0", "1:30", "\uff11\uff10"],
    "items": ["0", "-5", "99", ".inf"],
    "steps": ["0", "-1", "2.5", "08:00"],
    "weight": [".nan", "-.inf", "heavy", "True1"],
    "budget": ["0", "-1", "many"],
    "max_new_tokens": ["0", "-3", ".nan"],
    "batch_size": ["0", "-256"],
    "lora_rank": ["-1", "1.5"],
    "every": ["0", "-50", "5%"],
    "needs": ["0", "-1"],
    "split": ["tset", "Validation", "[test]"],
    "keep": ["bset", "1"],
    "measure": ["nDGC@10", "nDCG", "nDCG@0", "nDCG@-1", "nDCG@1000000", "''"],
    "critic": ["heads", "1"],
    "critic_learning_rate": ["0", "-1e-3", ".inf"],
    "without_positive": ["ignore", "yes"],
    "per_need": ["0", "-8"],
    "count": ["0", "1.0"],
    "num_generations": ["0", "-8", "2.0", "eight", "~"],
    "per_device_train_batch_size": ["0", "-128", "128.0", "~"],
    "gradient_accumulation_steps": ["0", "-1", "1.5"],
    "learning_rate": ["-1.0e-3", ".inf", ".nan", "1,0e-3", "1.0e-3x", "1e999", "~"],
    "lr_scheduler_type": ["constnat", "reduce_lr_on_plateau", "1", "~"],
    "beta": ["-1", "-0.001", ".nan", "none"],
    "warmup_steps": ["-1", ".inf"],
    "weight_decay": ["-0.01"],
    "adam_beta2": ["1", "1.98", "-0.1"],
    "vllm_mode": ["sever", "true"],
    "dialect": ["z", "3"],
    "private": ["-0.1", "1.5"],
    "shared": ["2", "-1"],
}
"""Values that a key of this name cannot have, wherever it stands."""
ADDED = {
    "temperature": ["0", "-1", ".inf", "warm"],
    "top_p": ["2", "0", "-0.5"],
    "top_k": ["-1", "50.5"],
    "min_p": ["1.5", "-1"],
    "repetition_penalty": ["0", "-1"],
    "epsilon": ["0", "-0.2", ".nan"],
    "num_iterations": ["0", "1.5"],
    "generation_batch_size": ["0", "3"],
    "scale_rewards": ["groups", "3"],
    "save_steps": ["0", "-1"],
    "optim": ["adamm", "[adamw_torch]", "8"],
    "bf16": ["yes", "no", "on", "1", "'true'"],
    "max_grad_norm": ["-1"],
    "max_steps": ["10"],
    "max_completion_length": ["0", "64"],
    "dataloader_prefetch_factor": ["2"],
    "report_to": ["wandb"],
    "output_dir": ["/tmp"],
}
"""Keys of `trl:` with values that they cannot have, in every trainer that samples."""


def out_of_range(rng: random.Random, text: str) -> Mutation | None:
    """A value that its key cannot have."""
    found = [entry for entry in entries(text) if entry.name in IMPOSSIBLE]
    entry = rng.choice(found)
    value = rng.choice(IMPOSSIBLE[entry.name])
    return Mutation(f"{entry.path}: {value}", encoded(spliced(text, entry.value, value)), True, line_of(entry.key))


def with_a_key_of_trl(rng: random.Random, text: str) -> Mutation | None:
    """A key of TRL more, with a value that it cannot have, or that does not fit the others."""
    found = [entry for entry in entries(text) if entry.name == "trl"]
    sampling = [entry for entry in found if re.search("num_generations", text[entry.value.start_mark.index :])]
    if not sampling:
        return None
    entry = sampling[-1]
    name = rng.choice(sorted(ADDED))
    value = rng.choice(ADDED[name])
    at = entry.value.start_mark.index
    pad = " " * entry.value.start_mark.column
    if entry.value.flow_style:
        return Mutation(
            f"{name}: {value}",
            encoded(f"{text[: at + 1]}{name}: {value}, {text[at + 1 :]}"),
            True,
            line_of(entry.value),
        )
    return Mutation(
        f"{name}: {value}", encoded(f"{text[:at]}{name}: {value}\n{pad}{text[at:]}"), True, line_of(entry.value)
    )


def of_another_type(rng: random.Random, text: str) -> Mutation | None:
    """A value of a type that its key does not take."""
    leaves = [entry for entry in entries(text) if isinstance(entry.value, yaml.ScalarNode)]
    entry = rng.choice(leaves)
    number = re.fullmatch(r"[-+.\deE]+", entry.value.value)
    wrong = ["true", "[1]", "{a: 1}", "many", "'5'"] if number else ["17", "true", "[a]", "{a: b}", "1.5"]
    if entry.value.value in ("true", "false"):
        wrong.remove("true")
    value = rng.choice(wrong)
    return Mutation(f"{entry.path}: {value}", encoded(spliced(text, entry.value, value)), True, line_of(entry.key))


def with_swapped_values(rng: random.Random, text: str) -> Mutation | None:
    """A number and a word that changed places."""
    every = [entry for entry in entries(text) if isinstance(entry.value, yaml.ScalarNode)]
    one, other = rng.sample(every, 2)
    if one.value.start_mark.index > other.value.start_mark.index:
        one, other = other, one
    numbers = [bool(re.fullmatch(r"[-+.\deE]+", entry.value.value)) for entry in (one, other)]
    if numbers[0] == numbers[1]:
        return None
    written = [text[entry.value.start_mark.index : entry.value.end_mark.index] for entry in (one, other)]
    changed = spliced(spliced(text, other.value, written[0]), one.value, written[1])
    return Mutation(f"{one.path} <-> {other.path}", encoded(changed), True, line_of(one.key))


def of_another_shape(rng: random.Random, text: str) -> Mutation | None:
    """A word or a number where a mapping or a list belongs."""
    entry = rng.choice([entry for entry in entries(text) if not isinstance(entry.value, yaml.ScalarNode)])
    value = rng.choice(["grpo", "3", "true", "[a]", "[[]]", "''", "{a: b}", "-1.5e-3"])
    line = None if value[0] in "[{" else line_of(entry.key)  # what is inside may have a line of its own
    return Mutation(f"{entry.path}: {value}", encoded(spliced(text, entry.value, value)), True, line)


def with_swapped_sections(rng: random.Random, text: str) -> Mutation | None:
    """Two sections under each other's names."""
    names = ["task", "retriever", "policy", "rewards", "evaluate", "k"]
    one, other = rng.sample([entry for entry in entries(text) if entry.path in names], 2)
    if one.key.start_mark.index > other.key.start_mark.index:
        one, other = other, one
    changed = spliced(spliced(text, other.key, one.name), one.key, other.name)
    return Mutation(f"{one.path} <-> {other.path}", encoded(changed), True)


# --- keys


def with_a_typo(rng: random.Random, text: str) -> Mutation | None:
    """A key that lost, doubled or exchanged a letter, or has one of another alphabet."""
    every = entries(text)
    entry = rng.choice(every)
    name, place = entry.name, rng.randrange(len(entry.name))
    typos = [name[:place] + name[place + 1 :], name[:place] + name[place] * 2 + name[place + 1 :], name.upper()]
    typos += [
        name.replace("e", "\u0435").replace("a", "\u0430"),
        name.replace("_", "-"),
        f"{name} ",
        f"-{name}",
        f"{name}\u00a0",
    ]
    typo = rng.choice(typos)
    siblings = {other.name for other in every}
    if typo.strip() in siblings | {""} or typo.strip() == name:
        return None
    return Mutation(f"{entry.path} -> {typo!r}", encoded(spliced(text, entry.key, typo)), True, line_of(entry.key))


def with_a_key_twice(rng: random.Random, text: str) -> Mutation | None:
    """A key that appears twice."""
    entry = rng.choice([entry for entry in entries(text) if isinstance(entry.value, yaml.ScalarNode)])
    at, end = entry.key.start_mark.index, entry.value.end_mark.index
    written = text[at:end]
    between = ", " if entry.flow else "\n" + " " * entry.key.start_mark.column
    line = line_of(entry.key) + (0 if entry.flow else 1)
    return Mutation(f"{entry.path} twice", encoded(text[:at] + written + between + text[at:]), True, line)


def without_a_section(rng: random.Random, text: str) -> Mutation | None:
    """A section that is missing, empty or null."""
    entry = rng.choice([e for e in entries(text) if e.path in ("task", "retriever", "k", "rewards", "policy")])
    how = rng.choice(["", "~", "[]", "{}", "null"] if entry.path != "k" else ["", "~", "[]"])
    return Mutation(f"{entry.path}: {how}", encoded(spliced(text, entry.value, how)), True)


# --- YAML and bytes


def odd_yaml(rng: random.Random, text: str) -> Mutation | None:
    """What YAML has and a recipe must not: it is refused at its line."""
    seed = next(entry for entry in entries(text) if entry.path == "seed")
    line, body = line_of(seed.key), text[seed.value.end_mark.index :]
    before = text[: seed.value.start_mark.index]
    odd = {
        "a tag": (f"{before}!!int '0'{body}", line),
        "a Python tag": (f"{before}!!python/object/apply:os.getcwd []{body}", line),
        "a local tag": (f"{before}!env SEED{body}", line),
        "an alias": (f"{before}&a 0{body}log: [*a]\n", None),
        "a merge key": (f"{before}0{body}<<: {{k: 3}}\n", text.count("\n") + 1),
        "a tab": (f"{before}0\n\tnested: 1{body}", None),
        "a tab before a comment": (f"{before}0\t# of all{body}", line),
        "a seed that is too large": (f"{before}4294967296{body}", line),
        "a seed below 0": (f"{before}-1{body}", line),
        "a second document": (f"{before}0{body}---\nseed: 1\n", None),
        "a key that is a list": (f"{before}0\n? [a, b]\n: 1{body}", None),
        "a key that is a number": (f"{before}0\n1: 1{body}", line + 1),
        "a key that is null": (f"{before}0\n~: 1{body}", line + 1),
        "an open quote": (f"{before}'0{body}", None),
        "an open brace": (f"{before}{{a: 0{body}", None),
        "a NUL": (f"{before}0\0{body}", line),
        "a bell": (f"{before}0 \x07{body}", line),
        "a list": (re.sub("(?m)^", "- ", text), None),
        "deep brackets": (f"{before}{'[' * 3000}{body}", None),
        "nothing": ("", None),
        "comments alone": ("# nothing\n", None),
        "a word": ("quickstart\n", None),
        "a directive of YAML 3": (f"%YAML 3.0\n---\n{text}", None),
        "no trainer": (f"{before}0{body}trainer: []\n", None),
        "no measures": (re.sub(r"measures: \[.*?\]", "measures: []", text), None),
        "an empty line end": (text.replace("seed: 0", "seed:\u20280"), None),
    }
    name = rng.choice(sorted(odd))
    content, at = odd[name]
    return Mutation(name, content.encode("utf-8"), True, at)


def odd_bytes(rng: random.Random, text: str) -> Mutation | None:
    """A file that is not UTF-8, or was cut."""
    raw = encoded(text)
    place = rng.randrange(len(raw))
    flows = [match for match in re.finditer(r"(?m)^\w+: \{", text)]
    cut = rng.choice(flows).end() + 1 if flows else 0
    odd = {
        "UTF-16": (text.encode("utf-16"), 1),
        "UTF-16 without a mark": (text.encode("utf-16-le"), None),
        "UTF-32": (text.encode("utf-32"), None),
        "a high bit": (raw[:place] + bytes([raw[place] | 0x80]) + raw[place + 1 :], raw.count(b"\n", 0, place) + 1),
        "cut in braces": (encoded(text[:cut]), None),
        "gzip": (b"\x1f\x8b\x08\x00" + raw, 1),
        "NULs at the end": (raw + b"\0" * 512, text.count("\n") + 1),
    }
    name = rng.choice(sorted(odd))
    return Mutation(name, odd[name][0], True, odd[name][1])


def harmless(rng: random.Random, text: str) -> Mutation | None:
    """What must not matter."""
    k = next(entry for entry in entries(text) if entry.path == "k")
    sections = re.split(r"(?m)^(?=\w)", text)
    head, body = sections[0], [section.rstrip("\n") + "\n" for section in sections[1:]]
    same = {
        "CRLF": text.replace("\n", "\r\n"),
        "a mark of the byte order": "\ufeff" + text,
        "a document mark": f"---\n{text}",
        "a document end": f"{text}...\n",
        "YAML 1.2": f"%YAML 1.2\n---\n{text}",
        "blank lines": re.sub("(?m)^", "\n", text),
        "blanks at line ends": text.replace("\n", "  \n"),
        "no comments": re.sub(r"(?m) *#.*$", "", text),
        "a plus sign": spliced(text, k.value, f"+{k.value.value}"),
        "a leading zero": spliced(text, k.value, f"0{k.value.value}"),
        "hexadecimal": spliced(text, k.value, hex(int(k.value.value))),
        "octal": spliced(text, k.value, oct(int(k.value.value))),
        "another order": head + "".join(rng.sample(body, len(body))),
        "no line end": text.rstrip("\n"),
        "an empty log": f"{text}log: []\n",
        "null": f"{text}log: ~\n",
        "a quoted key": re.sub("(?m)^seed:", '"seed":', text),
    }
    name = rng.choice(sorted(same))
    return Mutation(name, encoded(same[name]), False)


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def encoded(text: str) -> bytes:
    return text.encode("utf-8")


KINDS: dict[Callable[[random.Random, str], Mutation | None], int] = {
    out_of_range: 6,
    with_a_key_of_trl: 4,
    of_another_type: 3,
    with_swapped_values: 2,
    of_another_shape: 2,
    with_swapped_sections: 1,
    with_a_typo: 3,
    with_a_key_twice: 1,
    without_a_section: 1,
    odd_yaml: 3,
    odd_bytes: 2,
    harmless: 2,
}
"""How a recipe is changed -> how often."""
