"""PostgreSQL's full-text search, through psycopg."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import ceil
from queue import Empty, LifoQueue
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from retrievers.analyzer import FieldWeights
from retrievers.base import Catalog
from retrievers.errors import PermanentError, redacted, told
from retrievers.options import PositiveFloat, PositiveInt, checked
from retrievers.remote.address import connection_problems, fault_of_connection
from retrievers.remote.answers import Answer, RemoteRetriever, well_formed
from retrievers.remote.client import EngineClient, require
from retrievers.secrets import REMEDY, VARIABLE, resolved

LABELS, USUAL_WEIGHTS = "ABCD", [0.1, 0.2, 0.4, 1.0]
"""PostgreSQL's labels of words, and its default weights of D, C, B and A."""
LONGEST_WORD = 255
"""Letters; PostgreSQL fails on a query with a word of more than 2 kB."""

ANY = """(SELECT string_agg('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''', ' | ')
    FROM unnest(to_tsvector(%(config)s::regconfig, %(text)s)))::tsquery"""
QUERIES = {
    "any": ANY,
    "all": "plainto_tsquery(%(config)s::regconfig, %(text)s)",
    "web": "websearch_to_tsquery(%(config)s::regconfig, %(text)s)",
}


@checked
class Postgres(RemoteRetriever):
    """Full-text search in PostgreSQL, ranked by `ts_rank_cd`.

    A table is made and filled from the catalog, or an existing one is read. With `match: any` the score of an item is
    the sum, over each place in it where another word of the query occurs, of the weight of the field, as a share of the
    largest weight; rare words do not count more. With "all" and "web" it is the cover density of Clarke, Cormack and
    Tudhope, "Relevance Ranking for One to Three Term Queries", IPM 2000. Equal scores are in the order of rows.

    A search is one statement per query, several at a time, each on a connection of its own. A transient error is tried
    again, then raised as `EngineError`. Searching is safe from several threads.

    Args:
        catalog: What is searched.
        dsn: Where the database is, as libpq reads it: "host=db dbname=shop user=recr1 password=${NAME}". `${NAME}` is
            read from the environment; without a password that comes from PGPASSWORD or the password file.
        table: An existing table, which is only read; null makes one from the catalog, named after its content and these
            options, or finds it. Ranks that start together fill it once.
        id_column: The column of an existing table that holds the catalog's id.
        vector: The tsvector column of an existing table that is searched; its labels weigh 1, 0.4, 0.2 and 0.1.
        fields: Up to four fields to search, with their weights: of the catalog for a table made here (null: its
            `texts`), columns of an existing table that has no `vector` (slow: each search reads all rows).
        match: "any" finds items with any word, "all" those with all words, "web" reads quotation marks, `or` and `-` as
            web search engines do.
        config: PostgreSQL's text search configuration: "simple" splits into words, "english" also drops some and stems.
        normalization: How `ts_rank_cd` uses the length of a text, see PostgreSQL's documentation; 0 ignores it.
        timeout: Seconds for one statement, and for a new connection.
        attempts: How often one query is sent before its error is raised, with growing pauses.
        rate: Queries per second of each process; null for no limit.
        threads: Connections, and queries at the same time.
        cooldown: Seconds without queries after three queries in a row failed in every attempt.
        max_chars: A longer query is cut here.
        ca_file: The certificates to trust, in PEM form, which the server must then have; null: as the dsn says.

    Raises `EngineError` if the table cannot be made.
    """

    filled: ClassVar[tuple[str, ...]] = ("dsn",)
    syntax: ClassVar[Mapping[str, str]] = {
        "boolean": "or between words of which one must be there, - before one that must not, as in tent -pole"
    }

    def __init__(
        self,
        catalog: Catalog,
        *,
        dsn: str = "",
        table: str | None = None,
        id_column: str | None = None,
        vector: str | None = None,
        fields: FieldWeights | None = None,
        match: Literal["any", "all", "web"] = "any",
        config: str = "simple",
        normalization: Annotated[int, Ge(0), Le(63), "a sum of 1, 2, 4, 8, 16 and 32"] = 0,
        timeout: PositiveFloat = 10.0,
        attempts: PositiveInt = 6,
        rate: PositiveFloat | None = None,
        threads: PositiveInt = 8,
        cooldown: PositiveFloat = 30.0,
        max_chars: PositiveInt = 1024,
        ca_file: str | None = None,
    ) -> None:
        require("psycopg", "postgres", "postgres")
        self._catalog, self._timeout, self._max_chars = catalog, timeout, max_chars
        secured = {"sslmode": "verify-full", "sslrootcert": ca_file} if ca_file else {}
        self._where = secured | _parts(dsn)
        self._match, self._config, self._normalization = match, config, normalization
        self.capabilities = frozenset({"boolean", "phrases"} if match == "web" else ())
        pace: dict[str, Any] = {"attempts": attempts, "rate": rate, "threads": threads, "cooldown": cooldown}
        self._engine = EngineClient("postgres", _address(self._where), **pace)
        self._connect()
        self._made_here = table is None
        if table is None:
            fields = fields or {"texts": 1.0}
            key = json.dumps([catalog.fingerprint, config, list(fields)])
            self._table = f"recr1_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
            self._id, self._vector = "row", _name("words")
            columns = [catalog.column(name) for name in fields]
            self._engine.ask(lambda: self._fill(self._table, columns))
        else:
            self._table, self._id = table, str(id_column)
            self._vector = _name(vector) if vector else _vector([f"{_name(name)}::text" for name in fields or {}])
        self._weights = _weights(fields) if fields else USUAL_WEIGHTS

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options, before anything is asked."""
        unfilled = connection_problems(options, cls.filled, "")
        problems = _table_problems(options) + (unfilled or _dsn_problems(options.get("dsn", "")))
        if len(options.get("fields") or ()) > len(LABELS):
            problems.append(f"fields: PostgreSQL takes 1 to {len(LABELS)} fields, got {len(options['fields'])}")
        return problems

    def _connect(self) -> None:
        self._session: LifoQueue[Any] = LifoQueue()  # connections that are free

    def _ask(self, text: str, k: int) -> Answer:
        if self._match == "web":
            text = " ".join(word for word in text.split() if len(word) <= LONGEST_WORD)
        statement = (
            f"SELECT {_name(self._id)}, ts_rank_cd(%(weights)s::real[], {self._vector}, q, %(normalization)s) AS score "
            f"FROM {_name(self._table)}, (SELECT {QUERIES[self._match]} AS q) AS asked "
            f"WHERE {self._vector} @@ q ORDER BY score DESC, {_name(self._id)} LIMIT %(k)s"
        )
        values = {"weights": self._weights, "normalization": self._normalization, "config": self._config}
        with self._connection() as connection, _deadline(connection, self._timeout):
            found = connection.execute(statement, values | {"text": text, "k": k}).fetchall()
        if self._made_here:
            return [(self._catalog.ids[row], score) for row, score in found]
        return [(str(item), score) for item, score in found]

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection for one thread, whose errors become ours; it is used again unless it broke."""
        import psycopg

        connection = None
        try:
            try:
                connection = self._session.get_nowait()
            except Empty:
                options: dict[str, Any] = {
                    "application_name": "recr1",
                    "options": f"-c statement_timeout={ceil(self._timeout * 1000)}",
                }
                seconds = max(2, ceil(self._timeout))  # libpq takes integers, at least 2
                where = {**resolved(self._where), "connect_timeout": seconds, **options}
                connection = psycopg.connect(autocommit=True, **where)
            yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if connection is not None:
                connection.close()
            raise fault_of_connection(_worded(error)) from error
        except psycopg.Error as error:
            raise PermanentError(_worded(error)) from error
        self._session.put(connection)

    def _fill(self, table: str, columns: Sequence[Sequence[str]]) -> None:
        """Makes the table unless it exists, in one transaction, so that it is complete or missing; others wait."""
        vector = _vector(["%s"] * len(columns))
        insert = f"INSERT INTO {_name(table)} VALUES (%s, {vector.replace('%(config)s', '%s')})"
        texts = [[well_formed(text) for text in column] for column in columns]
        with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [table])
            if cursor.execute("SELECT to_regclass(%s)", [_name(table)]).fetchone() != (None,):
                return
            cursor.execute(f"CREATE TABLE {_name(table)} (row integer PRIMARY KEY, words tsvector NOT NULL)")
            rows = enumerate(zip(*texts, strict=True))
            values = ([row, *(part for text in items for part in (self._config, text))] for row, items in rows)
            cursor.executemany(insert, values)
            cursor.execute(f"CREATE INDEX ON {_name(table)} USING gin (words)")
            cursor.execute(f"ANALYZE {_name(table)}")


def _parts(dsn: str) -> dict[str, Any]:
    """What a dsn says, by libpq's names; raises psycopg's `ProgrammingError`."""
    from psycopg.conninfo import conninfo_to_dict

    return dict(conninfo_to_dict(dsn))


def _dsn_problems(dsn: str) -> list[str]:
    with suppress(ImportError):  # the constructor says what is missing
        from psycopg import ProgrammingError

        try:
            parts = _parts(dsn)
        except ProgrammingError as error:
            return [f"dsn: must be like 'host=db dbname=shop user=recr1': {_worded(error)}"]
        if parts.get("password") and not VARIABLE.search(str(parts["password"])):
            return [f"dsn: holds a password: {REMEDY}"]
        ports = str(resolved(parts.get("port", ""))).split(",")
        return [f"dsn: there is no port {redacted(port)}" for port in ports if port and not 0 < _number(port) < 2**16]
    return []


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _table_problems(options: Mapping[str, Any]) -> list[str]:
    if options.get("table") is None:
        given = [name for name in ("id_column", "vector") if options.get(name) is not None]
        return [f"{name}: is for an existing table; name that table with table" for name in given]
    problems = []
    if options.get("id_column") is None:
        problems.append("id_column: name the column of the table with the ids of the catalog")
    if bool(options.get("fields")) == (options.get("vector") is not None):
        problems.append("vector: name the tsvector column to search, or the columns with fields, not both")
    return problems


def _vector(texts: Sequence[str]) -> str:
    """The tsvector of several texts, each with its label."""
    return " || ".join(
        f"setweight(to_tsvector(%(config)s::regconfig, coalesce({text}, '')), '{label}')"
        for text, label in zip(texts, LABELS, strict=False)
    )


def _weights(fields: Mapping[str, float]) -> list[float]:
    """The weights of the labels D, C, B and A; PostgreSQL takes none above 1."""
    shares = [weight / max(fields.values()) for weight in fields.values()]
    return [*[0.0] * (len(LABELS) - len(shares)), *shares[::-1]]


def _name(dotted: str) -> str:
    """A quoted name for SQL; a dot is between schema and table."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in dotted.split("."))
    return quoted.replace("%", "%%")  # psycopg reads a lone % as a place for a value


def _address(parts: Mapping[str, Any]) -> str:
    host = parts.get("host") or os.environ.get("PGHOST", "local socket")
    return f"{host}:{parts.get('port') or os.environ.get('PGPORT', '5432')}/{parts.get('dbname') or '(default)'}"


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {told(' '.join(str(error).split()), 300)}"


@contextmanager
def _deadline(connection: Any, seconds: float) -> Iterator[None]:
    """Closes the connection when a frozen server, which cannot keep its own statement_timeout, does not answer."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        timer = threading.Timer(seconds + 1, line.shutdown, [socket.SHUT_RDWR])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
