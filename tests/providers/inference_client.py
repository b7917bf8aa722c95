"""What an existing Roboflow inference server sends to execute_block, and what it
makes of the answers: field by field as roboflow-workflows 0.2.14 does it
(dynamic_blocks/modal_executor.py, ModalExecutor over http)."""

import gzip
import hashlib
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

READ_TIMEOUT_S = 30.0  # of theirs: between two bytes, not in all

# What is sent to see whether a user's code can be compiled.
VALIDATION = """
import ast

def validate_syntax():
    try:
        # Try to compile the user code
        code = {code!r}
        compile(code, "<string>", "exec")
        # Try to parse as AST to check structure
        ast.parse(code)
        return {{"valid": True}}
    except SyntaxError as e:
        return {{"valid": False, "error": str(e), "line": e.lineno}}
    except Exception as e:
        return {{"valid": False, "error": str(e)}}
"""


class HttpError(Exception):
    """Another status than 200: theirs is a DynamicBlockError, http_request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"Modal endpoint returned status {status}: {text}")
        self.status = status
        self.text = text


class Lost(Exception):
    """No whole answer: theirs is a DynamicBlockError, http_connection."""


class CodeError(Exception):
    """success: false, whatever the reason: the user is told that it is theirs."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(f"{answer.get('error_type')}: {answer.get('error')}")
        self.answer = answer


def code_hash(code: str, imports: Sequence[str] = ()) -> str:
    return hashlib.md5((code + "\n" + "\n".join(imports)).encode()).hexdigest()


@dataclass
class InferenceClient:
    """One executor: one workspace, one connection that is kept."""

    url: str  # MODAL_WEB_ENDPOINT_URL
    workspace: str
    token_id: str  # MODAL_TOKEN_ID
    token_secret: str
    read_timeout_s: float = READ_TIMEOUT_S
    known: set[str] = field(default_factory=set)
    sent: list[dict[str, Any]] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "Modal-Key": self.token_id,
            "Modal-Secret": self.token_secret,
        }

    def post(
        self, body: bytes, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The answer's head; its body is not read."""
        parts = urlsplit(self.url)
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=self.read_timeout_s
            )
        path = f"{parts.path or '/'}?workspace_id={self.workspace}"
        try:
            self._connection.request(
                "POST", path, body, {**self.headers(), **(headers or {})}
            )
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(str(error)) from error

    def exchange(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.sent.append(dict(request))
        body = gzip.compress(json.dumps(request).encode(), compresslevel=1)
        answer = self.post(body)
        try:
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(str(error)) from error
        if answer.status != 200:
            raise HttpError(answer.status, text.decode())
        try:
            return json.loads(text)
        except ValueError as error:
            raise Lost(f"{text!r}: {error}") from error

    def execute_raw(
        self,
        code: str,
        inputs_json: str,
        function: str = "run",
        imports: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The answer, after the one time it may be asked again with the code."""
        digest = code_hash(code, imports)
        request: dict[str, Any] = {
            "code_hash": digest,
            "run_function_name": function,
            "inputs_json": inputs_json,
            "workflow_context": dict(context or {}),
        }
        full = {**request, "code_str": code, "imports": list(imports)}
        by_hash = digest in self.known
        answer = self.exchange(request if by_hash else full)
        if (
            by_hash
            and not answer.get("success", False)
            and answer.get("error_type") == "UnknownCodeHash"
            and answer.get("server_error") is True
        ):
            self.known.discard(digest)
            answer = self.exchange(full)
        if answer.get("success", False):
            self.known.add(digest)
        return answer

    def execute(self, code: str, inputs: Mapping[str, Any], **how: Any) -> Any:
        answer = self.execute_raw(code, json.dumps(inputs), **how)
        if not answer.get("success", False):
            raise CodeError(answer)
        return json.loads(answer.get("result", "{}"))

    def validate(self, code: str) -> dict[str, Any]:
        """As when a workflow is compiled: an executor of its own, for one call."""
        alone = InferenceClient(
            self.url, self.workspace, self.token_id, self.token_secret
        )
        try:
            return alone.execute(
                VALIDATION.format(code=code), {}, function="validate_syntax"
            )
        finally:
            alone.close()
