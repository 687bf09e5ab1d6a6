"""The process that `recr1.serve.model` starts: it loads a bundle, and answers lines of needs with lines of entries."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recr1.errors import UserError
from recr1.serve.bundle import Bundle
from recr1.serve.rewriter import Rewriter

WARM_UP = "warm up"
"""A need that it answers before it counts as ready: the first answer takes longer than others."""


def work(connection: socket.socket) -> None:
    """Load what the first line says, then answer each line of needs with a line of entries."""
    gc.disable()  # imports leave no garbage, and to look for it takes a quarter of the start
    with connection.makefile("rw", encoding="ascii", newline="\n") as lines:

        def send(answer: Any) -> None:
            lines.write(json.dumps(answer) + "\n")
            lines.flush()

        asked = json.loads(lines.readline())
        try:
            bundle = Bundle(Path(asked.pop("bundle")), asked.pop("facts"))  # its checksums were compared by the server
            _leave_out_libraries(bundle, asked)
            rewriter = Rewriter.load(bundle, **asked)
        except UserError as error:
            return send({"refused": str(error)})
        rewriter.tried([WARM_UP])
        gc.freeze()
        gc.enable()
        send({"ready": True})
        for line in lines:
            send(rewriter.tried(json.loads(line)))


def _leave_out_libraries(bundle: Bundle, asked: Mapping[str, Any]) -> None:
    """Spare the process libraries that take much of its start, where nothing computes with them."""
    if asked.get("gate", True) and bundle.gate and bundle.gate.needs_search:
        return  # a retriever may need any of them
    sys.modules["scipy"] = None  # type: ignore[assignment]  # transformers loads it for losses, if it is there
    if (asked.get("engine") or bundle.engine) == "ctranslate2":
        sys.modules["torch"] = None  # type: ignore[assignment]
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # that it is missing


if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])))
