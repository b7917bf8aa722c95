"""The unmodified `modal` SDK as a process: operations from stdin, what came of
them to stdout, both as one JSON list. The environment says where to
(MODAL_SERVER_URL, MODAL_TOKEN_ID, MODAL_TOKEN_SECRET) and whom to trust
(SSL_CERT_FILE, in place of the certificates that the SDK brings along).

An operation is {"op", "workspace", "head", "inputs", ...}, texts; what comes of
it {"value": ...} or {"error": class, "says": text}.
"""

import json
import os
import sys
import time
from typing import Any

import certifi

certifi.where = lambda: os.environ["SSL_CERT_FILE"]

import modal  # noqa: E402


def plain(value: list[bytes | None]) -> list[str | None]:
    return [None if part is None else part.decode() for part in value]


def carry_out(cls: Any, given: dict[str, Any]) -> Any:
    method = cls(workspace_id=given["workspace"]).call
    args = [given["head"].encode(), given["inputs"].encode()]
    match given["op"]:
        case "remote":
            return plain(method.remote(*args))
        case "bad_remote":
            return plain(method.remote(args[0]))
        case "spawn":
            call = method.spawn(*args)
            first = plain(call.get(timeout=30))
            again = modal.FunctionCall.from_id(call.object_id)
            return [first, plain(again.get(timeout=30)), call.object_id]
        case "spawn_cancel":
            call = method.spawn(*args)
            time.sleep(given["seconds"])
            call.cancel()
            return plain(call.get(timeout=30))
    raise ValueError(given["op"])


def main() -> None:
    done = []
    for given in json.load(sys.stdin):
        app, name = given.get("app", "blockfleet"), given.get("cls", "Executor")
        try:
            cls = modal.Cls.from_name(app, name)
            done.append({"value": carry_out(cls, given)})
        except Exception as error:  # the test looks at it
            done.append({"error": type(error).__name__, "says": str(error)})
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
