"""`sv_detections` tags to sv.Detections and back, by the key names of the
workflow engine.  Imported only where supervision is installed.

Given up, as in the engine: a mask leaves as its largest polygon unless it came
as `rle_mask`; an instance with an empty mask is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
import supervision as sv

# Copied per detection, both ways, under the same name in tag and data.
_OPTIONAL = (
    "path_deviation",
    "time_in_zone",
    "polygon",
    "rect",
    "angle",
    "width",
    "height",
    "data",
    "velocity",
    "speed",
    "smoothed_velocity",
    "smoothed_speed",
    "area_px",
    "area_converted",
    "nearest_target_distance",
)
# `width` and `height` are the box's own in every prediction; as data they mean
# the bounding rectangle and only stand beside `rect` and `angle`.
_RECT = ("rect", "angle", "width", "height")


def decode(tag: dict[str, Any]) -> sv.Detections:
    predictions = tag["predictions"]
    height, width = size = _size(tag.get("image") or {}, predictions)
    found = sv.Detections.from_inference(
        {
            "image": {"height": height or 0, "width": width or 0},
            "predictions": [_for_supervision(p) for p in predictions],
        }
    )
    if len(found) != len(predictions):
        predictions = [p for p in predictions if _has_valid_polygon(p)]
    if len(found) == 0 or len(found) != len(predictions):
        if None not in size and hasattr(found, "metadata"):
            found.metadata["image_dimensions"] = np.array(size)
        return found
    if None not in size:
        found.data["image_dimensions"] = np.array([size] * len(found))
    _decode_ids(found, predictions)
    _decode_optional(found, predictions)
    return found


def _size(
    image: dict[str, Any], predictions: list[dict[str, Any]]
) -> tuple[int | None, int | None]:
    """Height and width, from a mask where the image's are lost."""
    size = image.get("height"), image.get("width")
    if None in size and predictions and predictions[0].get("rle_mask"):
        size = tuple(predictions[0]["rle_mask"]["size"])
    return size


def _for_supervision(prediction: dict[str, Any]) -> dict[str, Any]:
    """from_inference decodes masks of its own accord; an rle_mask stays data."""
    return {k: v for k, v in prediction.items() if k not in ("rle", "rle_mask")}


def _has_valid_polygon(prediction: dict[str, Any]) -> bool:
    return "points" not in prediction or len(prediction["points"]) >= 3


def _decode_ids(found: sv.Detections, predictions: list[dict[str, Any]]) -> None:
    def column(key: str, default: Callable[[], str]) -> np.ndarray:
        return np.array([p.get(key) or default() for p in predictions])

    found.data["detection_id"] = column("detection_id", lambda: str(uuid4()))
    for prefix in ("", "root_"):
        found.data[prefix + "parent_id"] = column(prefix + "parent_id", lambda: "input")
        origins: list[Any] = [p.get(prefix + "parent_origin") for p in predictions]
        if all(origins):
            found.data[prefix + "parent_coordinates"] = np.array(
                [[o["offset_x"], o["offset_y"]] for o in origins]
            )
            found.data[prefix + "parent_dimensions"] = np.array(
                [[o["height"], o["width"]] for o in origins]
            )


def _decode_optional(found: sv.Detections, predictions: list[dict[str, Any]]) -> None:
    has_rect = all("rect" in p and "angle" in p for p in predictions)
    for key in _OPTIONAL:
        if key in ("width", "height") and not has_rect:
            continue
        if all(key in p for p in predictions):
            found.data[key] = _array([p[key] for p in predictions])
    if all(p.get("rle_mask") for p in predictions):
        masks = np.empty(len(predictions), dtype=object)
        masks[:] = [p["rle_mask"] for p in predictions]
        found.data["rle_mask"] = masks
    if all("keypoints" in p for p in predictions):
        _decode_keypoints(found, [p["keypoints"] for p in predictions])


def _array(values: list[Any]) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError:  # ragged, such as polygons of different lengths
        ragged = np.empty(len(values), dtype=object)
        ragged[:] = [np.array(value) for value in values]
        return ragged


def _decode_keypoints(found: sv.Detections, rows: list[list[dict[str, Any]]]) -> None:
    """Rectangular arrays, padded at the end; a pad has an empty class name."""
    shape = (len(rows), max(map(len, rows), default=0))
    xy = np.zeros((*shape, 2), dtype=np.float32)
    confidence = np.zeros(shape, dtype=np.float32)
    class_id = np.zeros(shape, dtype=int)
    name = np.full(shape, "", dtype=object)
    for i, row in enumerate(rows):
        for j, point in enumerate(row):
            xy[i, j] = point["x"], point["y"]
            confidence[i, j] = point["confidence"]
            class_id[i, j] = point["class_id"]
            name[i, j] = point["class"]
    found.data["keypoints_xy"] = xy
    found.data["keypoints_confidence"] = confidence
    found.data["keypoints_class_id"] = class_id
    found.data["keypoints_class_name"] = name


def encode(detections: sv.Detections) -> dict[str, Any]:
    size = None
    predictions = []
    for xyxy, mask, confidence, class_id, tracker_id, data in detections:
        size = data.get("image_dimensions", size)
        prediction = _encode_box(xyxy, confidence, class_id, tracker_id, data)
        if not _encode_mask(prediction, mask, data):
            continue
        _encode_parents(prediction, data)
        _encode_optional(prediction, data)
        _encode_keypoints(prediction, data)
        predictions.append(prediction)
    if size is None:
        metadata = getattr(detections, "metadata", None) or {}
        size = metadata.get("image_dimensions")
    image: dict[str, int | None] = {"width": None, "height": None}
    if size is not None:
        image = {"width": int(size[1]), "height": int(size[0])}
    return {"_type": "sv_detections", "image": image, "predictions": predictions}


def _encode_box(
    xyxy: Any, confidence: Any, class_id: Any, tracker_id: Any, data: dict[str, Any]
) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    width, height = abs(x2 - x1), abs(y2 - y1)
    prediction: dict[str, Any] = {
        "width": width,
        "height": height,
        "x": x1 + width / 2,
        "y": y1 + height / 2,
        # Hand-made detections may lack what a model always gives.
        "confidence": 1.0 if confidence is None else float(confidence),
        "class_id": 0 if class_id is None else int(class_id),
        "class": str(data.get("class_name", class_id)),
        "detection_id": str(data.get("detection_id") or uuid4()),
    }
    if tracker_id is not None:
        prediction["tracker_id"] = int(tracker_id)
    return prediction


def _encode_mask(prediction: dict[str, Any], mask: Any, data: dict[str, Any]) -> bool:
    """False for an instance that has no place to go: an empty mask."""
    rle = data.get("rle_mask")
    if rle is not None:
        counts = rle["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode()
        prediction["rle_mask"] = {"size": rle["size"], "counts": counts}
        return True
    if mask is None:
        return True
    polygon = data.get("polygon")
    if polygon is None or len(polygon) < 3:
        polygon = _largest_polygon(mask)
    if polygon is None:
        return False
    prediction["points"] = [{"x": float(x), "y": float(y)} for x, y in polygon]
    return True


def _largest_polygon(mask: Any) -> Any:
    import cv2

    contours, _ = cv2.findContours(
        np.asarray(mask).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE
    )
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea).reshape(-1, 2)
    missing = max(0, 3 - len(contour))
    return np.concatenate([contour, np.repeat(contour[-1:], missing, axis=0)])


def _encode_parents(prediction: dict[str, Any], data: dict[str, Any]) -> None:
    if "parent_id" not in data:
        return
    prediction["parent_id"] = str(data["parent_id"])
    if str(data.get("root_parent_id", data["parent_id"])) == prediction["parent_id"]:
        return
    prediction["root_parent_id"] = str(data["root_parent_id"])
    for prefix in ("", "root_"):
        offset = data.get(prefix + "parent_coordinates")
        size = data.get(prefix + "parent_dimensions")
        if offset is not None and size is not None:
            prediction[prefix + "parent_origin"] = {
                "offset_x": round(float(offset[0])),
                "offset_y": round(float(offset[1])),
                "width": round(float(size[1])),
                "height": round(float(size[0])),
            }


def _encode_optional(prediction: dict[str, Any], data: dict[str, Any]) -> None:
    has_rect = all(key in data for key in _RECT)
    for key in _OPTIONAL:
        if key in data and (has_rect or key not in _RECT):
            prediction[key] = data[key]
    if "polygon" in data:
        polygon = np.asarray(data["polygon"]).astype(float)
        prediction["polygon"] = polygon.round().astype(int).tolist()
    for key in ("velocity", "smoothed_velocity"):
        if key in data:
            prediction[key] = np.asarray(data[key]).tolist()
    for key in ("rect",):
        if isinstance(prediction.get(key), np.ndarray):
            prediction[key] = prediction[key].tolist()


def _encode_keypoints(prediction: dict[str, Any], data: dict[str, Any]) -> None:
    keys = ("keypoints_class_id", "keypoints_class_name", "keypoints_confidence")
    if "keypoints_xy" not in data or not all(key in data for key in keys):
        return
    prediction["keypoints"] = [
        {
            "class_id": int(class_id),
            "class": str(name),
            "confidence": float(confidence),
            "x": float(xy[0]),
            "y": float(xy[1]),
        }
        for class_id, name, confidence, xy in zip(
            *(data[key] for key in keys), data["keypoints_xy"], strict=True
        )
        if str(name) != ""
    ]
