"""envd's filesystem.Filesystem and its /files."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import grp
import gzip
import hashlib
import hmac
import json
import mimetypes
import os
import pwd
import shutil
import stat
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .box import Box
from .connect import ConnectError
from .web import Reply, Request
from .world import error

KINDS = {True: "FILE_TYPE_DIRECTORY", False: "FILE_TYPE_FILE"}


# ---- calls ------------------------------------------------------------------


def call(box: Box, method: str, asked: dict[str, Any]) -> dict[str, Any]:
    calls = {
        "Stat": _stat,
        "MakeDir": _make_dir,
        "ListDir": _list_dir,
        "Move": _move,
        "Remove": _remove,
    }
    if method not in calls:
        raise ConnectError("unimplemented", f"{method} is not implemented")
    return calls[method](box, asked)


def _stat(box: Box, asked: dict[str, Any]) -> dict[str, Any]:
    return {"entry": _entry(box, box.absolute(asked.get("path", "")))}


def _make_dir(box: Box, asked: dict[str, Any]) -> dict[str, Any]:
    path = box.absolute(asked.get("path", ""))
    host = _writable(box, path)
    if any(one.is_file() for one in host.parents):
        text = f"error getting file info: stat {path}: not a directory"
        raise ConnectError("internal", text)
    if host.is_dir():
        text = f"directory already exists: {path}"
        raise ConnectError("already_exists", text)
    if host.exists():
        text = f"path already exists but it is not a directory: {path}"
        raise ConnectError("invalid_argument", text)
    try:
        host.parent.mkdir(parents=True, exist_ok=True)
        host.mkdir()
    except FileExistsError:  # somebody was quicker: the parent, or itself
        if host.is_dir():
            text = f"directory already exists: {path}"
            raise ConnectError("already_exists", text) from None
        raise ConnectError("internal", f"path is a file: {path}") from None
    return {"entry": _entry(box, path)}


def _list_dir(box: Box, asked: dict[str, Any]) -> dict[str, Any]:
    path = box.absolute(asked.get("path", ""))
    host = box.host(path)
    if not host.exists():
        text = f"path not found: lstat {path}: no such file or directory"
        raise ConnectError("not_found", text)
    if not host.is_dir():
        text = f"path is not a directory: {path}"
        raise ConnectError("invalid_argument", text)
    found = [_entry(box, one) for one in _walk(box, path, asked.get("depth") or 1)]
    return {"entries": found} if found else {}


def _walk(box: Box, path: str, depth: int) -> list[str]:
    found = []
    for name in sorted(os.listdir(box.host(path))):
        one = f"{path.rstrip('/')}/{name}"
        found.append(one)
        host = box.host(one)
        if depth > 1 and host.is_dir() and not host.is_symlink():
            found += _walk(box, one, depth - 1)
    return found


def _move(box: Box, asked: dict[str, Any]) -> dict[str, Any]:
    source = box.absolute(asked.get("source", ""))
    target = box.absolute(asked.get("destination", ""))
    _writable(box, source)
    host = _writable(box, target)
    host.parent.mkdir(parents=True, exist_ok=True)
    try:
        box.host(source).rename(host)
    except FileNotFoundError:
        text = (
            f"source file not found: rename {source} {target}: "
            "no such file or directory"
        )
        raise ConnectError("not_found", text) from None
    except OSError as broken:
        raise ConnectError("internal", f"error renaming: {broken}") from None
    return {"entry": _entry(box, target)}


def _remove(box: Box, asked: dict[str, Any]) -> dict[str, Any]:
    host = _writable(box, box.absolute(asked.get("path", "")))
    if host.is_dir() and not host.is_symlink():
        shutil.rmtree(host, ignore_errors=True)
    else:
        host.unlink(missing_ok=True)
    return {}


def _writable(box: Box, path: str) -> Path:
    if not box.may_write(path):
        raise ConnectError("permission_denied", f"{path} is not the sandbox's own")
    return box.host(path)


def _entry(box: Box, path: str) -> dict[str, Any]:
    host = box.host(path)
    try:
        what = host.lstat()
    except OSError:
        text = f"file not found: lstat {path}: no such file or directory"
        raise ConnectError("not_found", text) from None
    entry: dict[str, Any] = {
        "name": os.path.basename(path),
        "path": path,
        "size": str(what.st_size),
        "permissions": stat.filemode(what.st_mode).replace("l", "L", 1),
        "owner": _name(pwd.getpwuid, what.st_uid),
        "group": _name(grp.getgrgid, what.st_gid),
        "modifiedTime": _nanos(what.st_mtime_ns),
    }
    if host.is_symlink():
        target = os.path.realpath(host)
        root = str(box.root)
        inside = target[len(root) :] if target.startswith(root) else target
        entry["symlinkTarget"] = inside
    if host.exists():
        entry["type"] = KINDS[host.is_dir()]
        entry["mode"] = host.stat().st_mode & 0o777
    if entry["size"] == "0":  # zero values are left out
        del entry["size"]
    return entry


def _name(look_up: Any, number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def _nanos(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"


# ---- /files -----------------------------------------------------------------


def download(box: Box, token: str | None, request: Request) -> Reply:
    _check(token, request, "read")
    path = box.absolute(request.one("path"))
    host = box.host(path)
    if not host.exists():
        raise error(404, f"path '{path}' does not exist")
    if host.is_dir():
        raise error(400, f"path '{path}' is a directory")
    data = host.read_bytes()
    headers = {
        "content-type": _guess(path, data),
        "content-disposition": f"inline; filename={os.path.basename(path)}",
        "vary": "Accept-Encoding",
    }
    if asked := request.headers.get("range"):
        return _part(data, asked, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Reply(200, gzip.compress(data), {**headers, "content-encoding": "gzip"})
    return Reply(200, data, headers)


def _guess(path: str, data: bytes) -> str:
    """By the name, then by what it looks like."""
    kind = mimetypes.guess_type(path)[0]
    if kind is None:
        texty = all(byte >= 32 or byte in b"\t\n\f\r\x1b" for byte in data[:512])
        kind = "text/plain" if texty else "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _part(data: bytes, asked: str, headers: dict[str, str]) -> Reply:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    begin = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last) + 1 if first and last else len(data), len(data))
    if begin >= end:
        return Reply(416, b"", {"content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {begin}-{end - 1}/{len(data)}"
    return Reply(206, data[begin:end], headers)


def upload(box: Box, token: str | None, request: Request) -> Reply:
    _check(token, request, "write")
    body = _decoded(request)
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/octet-stream"):
        if not request.one("path"):
            text = "path query parameter is required for raw body upload"
            raise error(400, text)
        written = [_write(box, request.one("path"), body)]
    elif kind.startswith("multipart/form-data"):
        written = _parts(box, kind, body, request.one("path"))
    else:
        raise error(
            400,
            f"unsupported content type: {kind}, expected multipart/form-data or "
            "application/octet-stream",
        )
    # As envd has it: JSON that is called text.
    headers = {"content-type": "text/plain; charset=utf-8"}
    return Reply(200, json.dumps(written).encode(), headers)


def _decoded(request: Request) -> bytes:
    match request.headers.get("content-encoding", "identity"):
        case "identity":
            return request.body
        case "gzip":
            try:
                return gzip.decompress(request.body)
            except (OSError, EOFError, zlib.error):
                text = "failed to create gzip reader: unexpected EOF"
                text = f"error decompressing request body: {text}"
                raise error(400, text) from None
        case other:
            text = f"error decompressing request body: unsupported {other}"
            raise error(400, text)


def _parts(box: Box, kind: str, body: bytes, path: str) -> list[dict[str, str]]:
    policy = email.policy.HTTP
    parser = email.parser.BytesParser(policy=policy)
    message = parser.parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    written = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if name == "file":
            target = path or str(part.get_filename())
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            written.append(_write(box, target, data))
    return written


def _write(box: Box, path: str, data: bytes) -> dict[str, str]:
    path = box.absolute(path)
    if not box.may_write(path):
        raise error(403, f"{path} is not the sandbox's own")
    host = box.host(path)
    if host.is_dir():
        raise error(400, f"path is a directory: {path}")
    host.parent.mkdir(parents=True, exist_ok=True)
    host.write_bytes(data)
    return {"path": path, "name": os.path.basename(path), "type": "file"}


def signature(token: str, path: str, operation: str, user: str, expiration: str) -> str:
    text = ":".join(filter(None, [f"{path}:{operation}:{user}:{token}", expiration]))
    digest = hashlib.sha256(text.encode()).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


def _check(token: str | None, request: Request, operation: str) -> None:
    """A token, or a signature."""
    if token is None:
        return
    if given := request.headers.get("x-access-token"):
        if not hmac.compare_digest(given, token):
            text = "access token present in header but does not match"
            raise error(401, text)
        return
    if not request.one("signature"):
        raise error(401, "missing signature query parameter")
    expiration = request.one("signature_expiration")
    wanted = signature(
        token, request.one("path"), operation, request.one("username"), expiration
    )
    if not hmac.compare_digest(wanted, request.one("signature")):
        raise error(401, "invalid signature")
    if expiration and int(expiration) < time.time():
        raise error(401, "signature is already expired")
