"""Secrets: what must not be in a recipe, and `${NAME}`, which is read from the environment where it is used.

A recipe is copied into every run folder, report and logger. So a literal secret in a part's options is refused, and the
options of a remote retriever that its attribute `filled` names take `${NAME}` in any text, at any depth. It stays as it
is written in recipes, pickles and messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from retrievers.errors import UserError, hide, shown

VARIABLE = re.compile(r"\$\{(\w+)\}")
REMEDY = "put it in an environment variable, and write ${NAME}"

NAMES = re.compile(
    r"(authorization|cookie|secret|passw(or)?d|pwd|passphrase|credentials?|signature|jwt|bearer|"
    r"(api|app|access|private|secret|auth|client|consumer|subscription|functions?|account|admin|master|shared)key|"
    r"(?<!pad)(?<!eos)(?<!bos)(?<!unk)(?<!sep)(?<!cls)(?<!mask)(?<!stop)token)$|^x?(auth|pass|sig)$"
)
"""Names of secrets, in lower case, letters only; the end counts: `max_tokens` and `author` are not secrets."""
KEY = re.compile(r"key$"), re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=.-]{16,}")
"""A name that ends in "key" is one of a secret if its value is long and has letters and digits."""
NUMBERS = re.compile(r"(passw(or)?d|pwd|secret)$")
"""Names of which a number is a secret too."""
USER = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
"""The user and password of an address."""
SHAPES = re.compile(
    r"^(Bearer|Basic|ApiKey|Token|Digest|AWS4-HMAC-SHA256)\s+(?=\S*\d)(?!.*\{\w+\})\S{8,}$"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]+\."  # a JSON web token
    r"|\b(sk-(proj-|ant-)?[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16}|AIza[\w-]{35})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Texts that are secrets under any name."""
PAIRS = re.compile(r"(?:^|[?&;\s])([\w.-]+)\s*=\s*('[^']*'|[^\s&;#]+)")
"""The parts of an address or a connection string that have names of their own."""
PLACE = re.compile(r"\$?\{\w+\}")


class Text(NamedTuple):
    """One text, or number, of some options."""

    path: str
    name: str
    """Its key; for an item of a list, the key of the list."""
    value: Any


def texts_of(value: object, path: str = "", name: str = "") -> Iterator[Text]:
    """Every text and number of options, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts_of(inner, f"{path}.{key}" if path else str(key), str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from texts_of(inner, f"{path}.{place}", name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield Text(path, name, value)


def literal_secrets(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The path of each secret that is written in options, and what is wrong; its value is not repeated."""
    for text in texts_of(options, path):
        pairs = [(pair[1], pair[2]) for pair in PAIRS.finditer(str(text.value))]
        if any(not VARIABLE.fullmatch(password) for password in USER.findall(str(text.value))):
            yield text.path, "holds a password: take it out, and give it as ${NAME} in a header or an option"
        elif SHAPES.search(str(text.value)) or any(_is_secret(*pair) for pair in [(text.name, text.value), *pairs]):
            yield text.path, f"looks like a secret, and every run folder would hold it: {REMEDY}"


def _is_secret(name: str, value: object) -> bool:
    plain = re.sub(r"[^a-z]", "", name.lower())
    if not isinstance(value, str):
        return bool(NUMBERS.search(plain))
    if not value.strip("' ") or PLACE.search(value):
        return False
    return _names_secret(name) or bool(KEY[0].search(plain) and KEY[1].fullmatch(value))


def _names_secret(name: str) -> bool:
    return bool(NAMES.search(re.sub(r"[^a-z]", "", name.lower())))


def variable_problems(options: Mapping[str, Any], filled: Collection[str]) -> list[str]:
    """What is wrong with each `${NAME}` in options; only those in `filled` may have one."""
    problems = []
    for path, _, value in texts_of(options):
        if "${" in path:
            problems.append(f"{path}: ${{NAME}} is not read in a key")
        if not isinstance(value, str) or "${" not in value:
            continue
        if path.partition(".")[0] not in filled:
            problems.append(f"{path}: ${{NAME}} is not read here, only in {', '.join(filled)}")
        elif "${" in VARIABLE.sub("", value):
            problems.append(f"{path}: write an environment variable as ${{NAME}}, got {shown(value)}")
        else:
            found = [why for name in VARIABLE.findall(value) if (why := _unusable(name))]
            problems += [f"{path}: {why}" for why in found[:1]]
    return problems


def _unusable(name: str) -> str:
    """Why a variable cannot be used, or an empty text."""
    value = os.environ.get(name, "")
    if not value:
        return f"needs the environment variable {name}, which is not set"
    if value != value.strip() or not value.isprintable():
        return f"the environment variable {name} starts or ends with a space or a line end, or has a control character"
    return ""


def read(name: str) -> str:
    """The value of a variable, which messages hide from now on; raises `UserError` where it cannot be used."""
    if why := _unusable(name):
        raise UserError(why)
    hide(os.environ[name], f"${{{name}}}")
    return os.environ[name]


def resolved(value: Any) -> Any:
    """Options with the values of their variables, to be sent and not to be kept; raises `UserError` as `read` does."""
    return _mapped(value, "", lambda text, _: VARIABLE.sub(lambda found: read(found[1]), text))


def without_variables(spec: Any) -> Any:
    """Options with the values of their variables, except those of secrets: what a ranking depends on."""

    def known(text: str, name: str) -> str:
        secret = [pair.span(2) for pair in PAIRS.finditer(text) if _names_secret(pair[1])]
        secret += [user.span(1) for user in USER.finditer(text)]
        secret += [(0, len(text))] if _names_secret(name) else []

        def put(found: re.Match[str]) -> str:
            hidden = any(start <= found.start() < end for start, end in secret)
            return found[0] if hidden else os.environ.get(found[1], found[0])

        return VARIABLE.sub(put, text)

    return _mapped(spec, "", known)


def _mapped(value: Any, name: str, change: Any) -> Any:
    """Options with each text changed by `change(text, name)`."""
    if isinstance(value, Mapping):
        return {key: _mapped(inner, str(key), change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, name, change) for inner in value]
    return change(value, name) if isinstance(value, str) else value
