"""What the programs say and exit with."""

import sys

OK, LOOK, USAGE, UNREACHABLE, LOST, FENCED = range(6)


def say(words: str) -> None:
    print(f"billing: {words}", file=sys.stderr, flush=True)
