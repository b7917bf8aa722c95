"""Inputs from JSON and results to JSON, with the `_type` tags of the engine.

What the engine's own encoder would refuse goes out in the nearest form:

    numpy number or bool        the Python number or bool
    set, frozenset              list, sorted where that is possible
    tuple, deque, range, Batch  list
    date, time                  ISO 8601 string (a datetime keeps its tag)
    bytearray, memoryview       as bytes
    Enum                        its value
    numpy key of a dict         as the Python value; other keys: str(key)
    complex, Decimal, UUID, …   {"_type": "object", "class", "value": str(x)}

NaN and infinities stand bare, integers have any size.
"""

from __future__ import annotations

import base64
import json
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from bfrunner import kinds

_dumps = json.dumps
_loads = json.loads


class InputError(Exception):
    """Inputs that cannot be turned into values; user code has not seen them."""


def decode_inputs(raw: bytes) -> dict[str, Any]:
    try:
        inputs = decode(_loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise InputError(f"the inputs could not be decoded: {detail}") from error
    if type(inputs) is not dict:
        raise InputError("the inputs are not a JSON object")
    return inputs


def decode(value: Any) -> Any:
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get("_type")
    if tag is None and value.get("type") == "base64" and "value" in value:
        tag = "workflow_image"
    decoder = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decoder is not None:
        return decoder(value)
    return {key: decode(item) for key, item in value.items()}


def _decode_datetime(value: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(value["value"])


def _decode_bytes(value: dict[str, Any]) -> bytes:
    return base64.b64decode(value["value"])


def _decode_ndarray(value: dict[str, Any]) -> Any:
    numpy = _installed("numpy")
    if numpy is None:
        return kinds.PlainArray(value["value"], value["dtype"], value["shape"])
    return numpy.array(value["value"], dtype=value["dtype"]).reshape(value["shape"])


def _decode_object(value: dict[str, Any]) -> Any:
    return value["value"]


def _decode_batch(value: dict[str, Any]) -> kinds.Batch:
    indices = value.get("indices")
    if indices is not None:
        indices = [tuple(index) for index in indices]
    return kinds.Batch([decode(item) for item in value["value"]], indices)


def _decode_detections(value: dict[str, Any]) -> Any:
    if _installed("supervision") is None:
        return kinds.PlainDetections(value)
    from bfrunner import detections

    return detections.decode({key: decode(item) for key, item in value.items()})


def _decode_video(value: dict[str, Any]) -> kinds.VideoMetadata:
    stamp = decode(value["frame_timestamp"])
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    return kinds.VideoMetadata(
        video_identifier=value["video_identifier"],
        frame_number=value["frame_number"],
        frame_timestamp=stamp,
        fps=value.get("fps"),
        measured_fps=value.get("measured_fps"),
        comes_from_video_file=value.get("comes_from_video_file"),
    )


def _decode_image(value: dict[str, Any]) -> kinds.WorkflowImageData:
    pixels = decode(value["value"])
    if isinstance(pixels, str) and pixels.startswith(("http://", "https://")):
        raise ValueError("an image must be inline; references are not followed")
    video = value.get("video_metadata")
    text = isinstance(pixels, str)
    return kinds.WorkflowImageData(
        parent_metadata=_decode_parent(value, "") or kinds.ImageParentMetadata("input"),
        workflow_root_ancestor_metadata=_decode_parent(value, "root_"),
        base64_image=pixels if text else None,
        numpy_image=None if text else pixels,
        video_metadata=_decode_video(video) if video else None,
    )


def _decode_parent(
    value: dict[str, Any], prefix: str
) -> kinds.ImageParentMetadata | None:
    name = value.get(prefix + "parent_id")
    origin = value.get(prefix + "parent_origin")
    if not name:
        return None
    if not origin:
        return kinds.ImageParentMetadata(name)
    return kinds.ImageParentMetadata(
        name,
        kinds.OriginCoordinatesSystem(
            origin["offset_x"], origin["offset_y"], origin["width"], origin["height"]
        ),
    )


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "datetime": _decode_datetime,
    "bytes": _decode_bytes,
    "ndarray": _decode_ndarray,
    "object": _decode_object,
    "batch": _decode_batch,
    "sv_detections": _decode_detections,
    "video_metadata": _decode_video,
    "workflow_image": _decode_image,
}


def encode_result(result: Any) -> bytes:
    """JSON text, ASCII.  Raises what encoding raises; RecursionError for a value
    that contains itself."""
    return _dumps(encode(result), allow_nan=True).encode("ascii")


def encode(value: Any) -> Any:
    """`value` made of what json.dumps takes."""
    kind = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_key(key): encode(item) for key, item in value.items()}
    if isinstance(value, kinds.PlainArray):
        return _array_tag(list(value), value.dtype, value.shape)
    if isinstance(value, (list, tuple, deque, range, kinds.Batch)):
        return [encode(item) for item in value]
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, (str, int, float)):
        return _plain(value)
    if isinstance(value, (set, frozenset)):
        return [encode(item) for item in _sorted(value)]
    return _encode_special(value)


def _plain(value: Any) -> Any:
    """A subclass of a JSON type, numpy.float64 and numpy.str_ among them."""
    for base in (str, float, int):
        if isinstance(value, base):
            return base(value)
    return value


def _key(key: Any) -> Any:
    key = _unwrap_number(key)
    if key is None or isinstance(key, (str, int, float)):
        return key
    return str(key)


def _sorted(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _unwrap_number(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    plain = value.item()
    # A longdouble unwraps to itself.
    return float(value) if isinstance(plain, numpy.generic) else plain


def _encode_special(value: Any) -> Any:
    plain = _unwrap_number(value)
    if plain is not value:
        return encode(plain)
    if isinstance(value, datetime):
        return {"_type": "datetime", "value": value.isoformat()}
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = base64.b64encode(bytes(value)).decode("ascii")
        return {"_type": "bytes", "value": text}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _encode_array(value)
    if isinstance(value, kinds.PlainDetections):
        return encode(value.tag)
    supervision = sys.modules.get("supervision")
    if supervision is not None and isinstance(value, supervision.Detections):
        from bfrunner import detections

        return encode(detections.encode(value))
    # By name, so that the engine's own classes are known where it is installed.
    encoder = _ENCODERS.get(type(value).__name__)
    if encoder is not None:
        return encoder(value)
    return {"_type": "object", "class": type(value).__name__, "value": str(value)}


def _array_tag(values: Any, dtype: str, shape: list[int]) -> dict[str, Any]:
    return {"_type": "ndarray", "value": values, "dtype": dtype, "shape": shape}


def _encode_array(value: Any) -> dict[str, Any]:
    values = value.tolist()
    if value.dtype.kind not in "biuf":
        values = encode(values)
    return _array_tag(values, str(value.dtype), list(value.shape))


def _encode_video(value: Any) -> dict[str, Any]:
    tag = {key: encode(item) for key, item in value.dict().items()}
    return {"_type": "video_metadata", **tag}


def _encode_image(value: Any) -> dict[str, Any]:
    current = getattr(value, "current_base64", None)
    tag = {
        "_type": "workflow_image",
        "type": "base64",
        "value": current() if current else value.base64_image,
    }
    # The engine refuses a null here and makes metadata up when there is none.
    if value._video_metadata is not None:
        tag["video_metadata"] = _encode_video(value._video_metadata)
    parent = value._parent_metadata
    root = value._workflow_root_ancestor_metadata
    if parent.parent_id != root.parent_id:
        tag |= _encode_parent(value.parent_metadata, "")
        tag |= _encode_parent(value.workflow_root_ancestor_metadata, "root_")
    return tag


def _encode_parent(parent: Any, prefix: str) -> dict[str, Any]:
    origin = parent.origin_coordinates
    return {
        prefix + "parent_id": parent.parent_id,
        prefix + "parent_origin": {
            "offset_x": encode(origin.left_top_x),
            "offset_y": encode(origin.left_top_y),
            "width": encode(origin.origin_width),
            "height": encode(origin.origin_height),
        },
    }


def _encode_batch(value: Any) -> list[Any]:
    return [encode(item) for item in value]


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "WorkflowImageData": _encode_image,
    "VideoMetadata": _encode_video,
    "Batch": _encode_batch,
}


def _installed(name: str) -> Any:
    """The module, None when it is not installed."""
    found = sys.modules.get(name)
    if found is None:
        try:
            found = __import__(name)
        except ImportError:
            return None
    return found
