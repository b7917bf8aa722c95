"""The Python of one context: takes code, runs it in its namespace, tells.

Runs alone in a sandbox, as `python3 -c <this text>`: it imports nothing of
ours, and nothing at its start that it may not need. Requests are lines of JSON
on descriptor 3, events go out on 4.
"""

import ast
import codecs
import contextlib
import json
import os
import sys
import threading
from datetime import UTC, datetime

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
COROUTINE = 0x80  # inspect.CO_COROUTINE


class Pipe:
    """Descriptor 1 or 2 of the context, whoever writes to it."""

    def __init__(self, number, name, tell):
        self.name, self.tell = name, tell
        self.mark, self.seen = b"", threading.Event()
        self.read, self.write = os.pipe()
        os.dup2(self.write, number)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        left = b""
        while data := os.read(self.read, 1 << 16):
            left += data
            # What may be the beginning of a mark waits for the rest of it.
            keep = 0
            if self.mark:
                at = left.find(self.mark)
                if at >= 0:
                    self.out(decoder, left[:at])
                    left = left[at + len(self.mark) :]
                    self.mark = b""
                    self.seen.set()
                    continue
                keep = len(self.mark) - 1
            cut = max(0, len(left) - keep)
            self.out(decoder, left[:cut])
            left = left[cut:]

    def out(self, decoder, data):
        text = decoder.decode(data)
        if text:
            self.tell({"type": self.name, "text": text, "timestamp": now()})

    def flush(self):
        """All that was written until now has been told."""
        self.seen.clear()
        self.mark = os.urandom(16)
        os.write(self.write, self.mark)
        self.seen.wait(5)


def now():
    return datetime.now(UTC).isoformat()


def result_of(value, main):
    text = repr(value)
    if isinstance(value, str) and text[:1] in "'\"" and len(text) > 1:
        text = text[1:-1]  # its outer quotes are stripped
    told = {"type": "result", "text": text}
    if isinstance(value, (dict, list)):
        with contextlib.suppress(TypeError, ValueError):
            told["json"] = json.loads(json.dumps(value))
    for kind in ("html", "markdown", "svg", "png", "jpeg", "latex"):
        maker = getattr(type(value), f"_repr_{kind}_", None)
        if maker and (made := maker(value)):
            told[kind] = made
    return told | {"extra": {}, "is_main_result": main}


def trace(error):
    """From the cell on: what is above it is this file."""
    import traceback

    frame = error.__traceback__
    while frame and not frame.tb_frame.f_code.co_filename.startswith("<cell"):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def run(code, space, count, tell):
    tree = ast.parse(code, f"<cell {count}>")
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    call(compile(tree, f"<cell {count}>", "exec", FLAGS), space)
    if last is not None and not code.rstrip().endswith(";"):
        value = call(compile(last, f"<cell {count}>", "eval", FLAGS), space)
        if value is not None:
            tell(result_of(value, True))


def call(code, space):
    if code.co_flags & COROUTINE:
        import asyncio

        return asyncio.run(eval(code, space))
    return eval(code, space)


def main():
    lock = threading.Lock()
    source = os.fdopen(3, "r", encoding="utf-8")
    sink = os.fdopen(4, "w", encoding="utf-8", buffering=1)
    os.set_inheritable(3, False)
    os.set_inheritable(4, False)

    def tell(event):
        with lock:
            sink.write(json.dumps(event) + "\n")

    pipes = [Pipe(1, "stdout", tell), Pipe(2, "stderr", tell)]
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    space["display"] = lambda *values: [tell(result_of(one, False)) for one in values]
    sys.argv = [""]
    sys.path[:0] = [""]
    count = 0
    while line := source.readline():
        count += 1
        tell({"type": "number_of_executions", "execution_count": count})
        try:
            run(json.loads(line), space, count, tell)
        except BaseException as error:  # the user's, all of it
            tell(
                {
                    "type": "error",
                    "name": type(error).__name__,
                    "value": str(error),
                    "traceback": trace(error),
                }
            )
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for pipe in pipes:
            pipe.flush()
        tell({"type": "end_of_execution"})


if __name__ == "__main__":
    main()
