"""How a peer talks with its measurement: one line in names what to do, one line of JSON out says what came of it."""

import json
import sys


def answer(doings: dict) -> None:
    """Answers questions until there are no more. Whatever libraries print goes to standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(doings[line.strip()]()), file=out, flush=True)
