"""Where an engine is and how it is reached: address, headers, proxy, certificates; checked before it is asked."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from retrievers.errors import PermanentError, TransientError, UserError, shown, told
from retrievers.secrets import resolved, variable_problems

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A valid name of a header."""
HOST = re.compile(r"(?=.{1,253}\.?$)(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?|[0-9A-Fa-f:.]+(%\w+)?")
"""A name, whose parts have 1 to 63 characters (of any script), or an address."""


def connection_problems(options: Mapping[str, Any], filled: Collection[str], url: str = "url") -> list[str]:
    """What is wrong with the options that say where an engine is, before it is asked.

    `filled` are the options that take `${NAME}`, and `url` is the one with the address; "" for none.
    """
    problems = variable_problems(options, filled)
    wrong = {problem.partition(":")[0].partition(".")[0] for problem in problems}
    if options.get(url) is not None and url not in wrong:
        problems += [f"{url}: {what}" for what in address_problems(options[url])]
    if options.get("headers") and "headers" not in wrong:
        problems += [f"headers.{name}: {what}" for name, what in header_problems(options["headers"])]
    if options.get("ca_file") is not None:
        problems += [f"ca_file: {what}" for what in _authority_problems(options["ca_file"])]
    return problems


def address_problems(written: str) -> list[str]:
    """What is wrong with an address of http or https, whose `${NAME}` are variables that are set."""
    try:
        parts = urlsplit(address := resolved(written))
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except UserError:
        raise
    except ValueError as error:  # also of `idna`
        return [f"is not an address ({told(error)}), got {shown(written)}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"must be a whole address, as http://host:9200/search, got {shown(written)}"]
    if parts.username is not None or parts.password is not None:
        return ["holds a user or password, which proxies and logs repeat: send a header with ${NAME}"]
    if not address.isprintable() or " " in address or not HOST.fullmatch(host) or port == 0:
        return [f"is not an address (it has a space, or a host or port that is not valid), got {shown(written)}"]
    if parts.fragment:
        return ["has a '#', and what comes after it is never sent: write it as %23"]
    return []


def header_problems(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The name of each header that cannot be sent, and why."""
    wrong = [(name, "is not a valid name of a header") for name in headers if not HEADER_NAME.fullmatch(name)]
    values = {name: str(resolved(value)) for name, value in headers.items()}
    what = "a header may hold printable ASCII only"
    return wrong + [(name, what) for name, value in values.items() if not (value.isascii() and value.isprintable())]


def _authority_problems(file: str) -> list[str]:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # also of `ssl`
        why = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        return [f"{file} cannot be used: {why}"]
    return []


class Proxy(NamedTuple):
    """The proxy of the environment for an address."""

    url: str
    variable: str
    """Where it comes from, for messages."""


def proxy_for(address: str) -> Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name for an address, unless NO_PROXY has its host."""
    parts, known = urlsplit(address), getproxies()
    name = parts.scheme if known.get(parts.scheme) else "all"
    url = known.get(name, "")
    if not url or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return Proxy(url if "://" in url else f"http://{url}", f"{name.upper()}_PROXY")


def proxy_problems(written: str) -> list[str]:
    """Why the proxy for an address cannot be used; its own address may hold a password, and is not repeated."""
    proxy = proxy_for(resolved(written))
    if proxy is None:
        return []
    remedy = f"correct {proxy.variable}, or name the host in NO_PROXY"
    try:
        parts = urlsplit(proxy.url)
        sound = bool(parts.hostname and HOST.fullmatch(parts.hostname)) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("http", "https", "socks5", "socks5h"):
        return [f"the proxy of {proxy.variable} is not an http, https or socks5 address: {remedy}"]
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return [f"the SOCKS proxy of {proxy.variable} needs: pip install 'httpx[socks]'; or name the host in NO_PROXY"]
    return []


def split_query(url: str) -> tuple[str, dict[str, list[str]]]:
    """An address without its query, and the values of each name in that."""
    params: dict[str, list[str]] = {}
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        params.setdefault(name, []).append(value)
    return urlsplit(url)._replace(query="", fragment="").geturl(), params


def certificates(ca_file: str | None) -> ssl.SSLContext:
    """What httpx trusts: the authority of a file, or the usual ones."""
    import httpx

    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


def fault_of_connection(what: str) -> TransientError | PermanentError:
    """The error for a connection that failed; one of TLS stays, and has its remedy."""
    lower = what.lower()
    if "mismatch" in lower and "certificate" in lower:
        return PermanentError(f"its certificate is for another host than the address: {what}")
    if "certificate verify failed" in lower or "certificate_verify_failed" in lower:
        remedy = "set ca_file to the certificate of its authority"
        return PermanentError(f"its certificate is not trusted: {remedy}: {what}")
    if any(
        sign in lower
        for sign in ("wrong_version_number", "wrong version number", "record layer", "record_layer", "support ssl")
    ):
        without = "an address without TLS (http://, sslmode=disable)"
        return PermanentError(f"it does not use TLS: use another port, or {without}: {what}")
    return TransientError(what)
