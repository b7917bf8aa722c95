"""The engine's value types, as blocks see them, without the engine.

The names, constructors and (underscored too) attributes are those of the
workflow engine's own classes, so that blocks which import the engine where it
is installed can hand the one kind to the other's helpers.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

JPEG_QUALITY = 95

BlockResult = Any  # an annotation only: a dict of outputs, or lists of them


class Batch:
    """Elements of a batch and, when known, their indices."""

    def __init__(
        self, content: list[Any], indices: list[tuple[int, ...]] | None = None
    ) -> None:
        self._content = content
        self._indices = indices

    @classmethod
    def init(cls, content: list[Any], indices: list[tuple[int, ...]]) -> Batch:
        if len(content) != len(indices):
            raise ValueError("a batch needs one index per element")
        return cls(content, indices)

    @property
    def indices(self) -> list[tuple[int, ...]] | None:
        return copy.copy(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._content[index]

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._content)

    def _known_indices(self) -> list[tuple[int, ...]]:
        if self._indices is None:
            raise ValueError("the indices of this batch are not known")
        return self._indices

    def iter_with_indices(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        return zip(self._known_indices(), self._content, strict=True)

    def remove_by_indices(self, indices_to_remove: set[tuple[int, ...]]) -> Batch:
        kept = [
            (
                index,
                item.remove_by_indices(indices_to_remove)
                if isinstance(item, Batch)
                else item,
            )
            for index, item in self.iter_with_indices()
            if index not in indices_to_remove
        ]
        return Batch([item for _, item in kept], [index for index, _ in kept])

    def broadcast(self, n: int) -> Batch:
        if n <= 0:
            raise ValueError(f"cannot broadcast a batch to {n} elements")
        if len(self) == n:
            return self
        if len(self) != 1:
            raise ValueError(f"cannot broadcast a batch of {len(self)} to {n}")
        return Batch(self._content * n, self._known_indices() * n)


@dataclass
class VideoMetadata:
    video_identifier: str
    frame_number: int
    frame_timestamp: datetime
    fps: float | None = None
    measured_fps: float | None = None
    comes_from_video_file: bool | None = None

    def dict(self) -> dict[str, Any]:
        return asdict(self)

    model_dump = dict


@dataclass(frozen=True)
class OriginCoordinatesSystem:
    left_top_x: int
    left_top_y: int
    origin_width: int
    origin_height: int


@dataclass(frozen=True)
class ImageParentMetadata:
    parent_id: str
    origin_coordinates: OriginCoordinatesSystem | None = None


class WorkflowImageData:
    """An image as base64, as pixels (BGR, height first), or both; each is made
    from the other when it is first asked for."""

    def __init__(
        self,
        parent_metadata: ImageParentMetadata,
        workflow_root_ancestor_metadata: ImageParentMetadata | None = None,
        image_reference: str | None = None,
        base64_image: str | None = None,
        numpy_image: Any = None,
        video_metadata: VideoMetadata | None = None,
    ) -> None:
        if not base64_image and numpy_image is None:
            # A reference is a path or a URL, and those are never followed here.
            raise ValueError("a WorkflowImageData needs base64_image or numpy_image")
        self._parent_metadata = parent_metadata
        self._workflow_root_ancestor_metadata = (
            workflow_root_ancestor_metadata or parent_metadata
        )
        self._image_reference = image_reference
        self._base64_image = base64_image
        self._numpy_image = numpy_image
        self._video_metadata = video_metadata

    @classmethod
    def copy_and_replace(
        cls, origin_image_data: WorkflowImageData, **kwargs: Any
    ) -> WorkflowImageData:
        origin = origin_image_data
        parent = origin._parent_metadata
        root = origin._workflow_root_ancestor_metadata
        same = root is parent
        pixels = ("numpy_image", "base64_image", "image_reference")
        if any(name in kwargs for name in pixels):
            values = {name: kwargs.get(name) for name in pixels}
        else:
            values = {name: getattr(origin, "_" + name) for name in pixels}
        if "parent_metadata" in kwargs:
            parent = kwargs["parent_metadata"]
            root = parent if same else root
        if "workflow_root_ancestor_metadata" in kwargs:
            root = kwargs["workflow_root_ancestor_metadata"]
            parent = root if same and "parent_metadata" not in kwargs else parent
        return cls(
            parent_metadata=parent,
            workflow_root_ancestor_metadata=root,
            video_metadata=kwargs.get("video_metadata", origin._video_metadata),
            **values,
        )

    @classmethod
    def create_crop(
        cls,
        origin_image_data: WorkflowImageData,
        crop_identifier: str,
        cropped_image: Any,
        offset_x: int,
        offset_y: int,
        preserve_video_metadata: bool = False,
    ) -> WorkflowImageData:
        height, width = origin_image_data.numpy_image.shape[:2]
        root = origin_image_data.workflow_root_ancestor_metadata
        coordinates = root.origin_coordinates
        assert coordinates is not None
        video = None
        if preserve_video_metadata and origin_image_data._video_metadata is not None:
            video = copy.copy(origin_image_data._video_metadata)
            video.video_identifier += f" | crop: {crop_identifier}"
        return cls(
            parent_metadata=ImageParentMetadata(
                crop_identifier,
                OriginCoordinatesSystem(offset_x, offset_y, width, height),
            ),
            workflow_root_ancestor_metadata=ImageParentMetadata(
                root.parent_id,
                replace(
                    coordinates,
                    left_top_x=coordinates.left_top_x + offset_x,
                    left_top_y=coordinates.left_top_y + offset_y,
                ),
            ),
            numpy_image=cropped_image,
            video_metadata=video,
        )

    def _located(self, metadata: ImageParentMetadata) -> ImageParentMetadata:
        if metadata.origin_coordinates is not None:
            return metadata
        height, width = self.numpy_image.shape[:2]
        whole = OriginCoordinatesSystem(0, 0, width, height)
        return replace(metadata, origin_coordinates=whole)

    @property
    def parent_metadata(self) -> ImageParentMetadata:
        self._parent_metadata = self._located(self._parent_metadata)
        return self._parent_metadata

    @property
    def workflow_root_ancestor_metadata(self) -> ImageParentMetadata:
        root = self._located(self._workflow_root_ancestor_metadata)
        self._workflow_root_ancestor_metadata = root
        return root

    @property
    def numpy_image(self) -> Any:
        if self._numpy_image is None:
            assert self._base64_image is not None
            self._numpy_image = decode_pixels(self._base64_image)
        return self._numpy_image

    @property
    def base64_image(self) -> str:
        if self._base64_image is None:
            self._base64_image = encode_pixels(self._numpy_image)
        return self._base64_image

    def declare_numpy_image_mutated(self) -> None:
        if self._numpy_image is None:
            raise ValueError("numpy_image was never asked for")
        self._base64_image = None
        self._image_reference = None

    def current_base64(self) -> str:
        """base64_image, made anew when the pixels were changed in place since.

        An image that a block only passes along keeps its exact bytes.
        """
        if self._base64_image is not None and self._numpy_image is not None:
            import numpy

            if not numpy.array_equal(
                decode_pixels(self._base64_image), self._numpy_image
            ):
                self._base64_image = None
        return self.base64_image

    @property
    def video_metadata(self) -> VideoMetadata:
        if self._video_metadata is not None:
            return self._video_metadata
        return VideoMetadata(
            video_identifier=self._parent_metadata.parent_id,
            frame_number=0,
            frame_timestamp=datetime.now(),
            fps=30,
        )

    def to_inference_format(self, numpy_preferred: bool = False) -> dict[str, Any]:
        if self._base64_image and not numpy_preferred:
            return {"type": "base64", "value": self._base64_image}
        return {"type": "numpy_object", "value": self.numpy_image}


def decode_pixels(text: str) -> Any:
    """BGR pixels of a base64 image in any format that OpenCV reads."""
    import cv2
    import numpy

    if text.startswith("data:"):
        text = text.partition(",")[2]
    raw = numpy.frombuffer(base64.b64decode(text), dtype=numpy.uint8)
    pixels = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
    if pixels is None:
        raise ValueError("an image could not be decoded")
    return pixels


def encode_pixels(pixels: Any) -> str:
    import cv2

    good, raw = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise ValueError("an image could not be encoded")
    return base64.b64encode(raw.tobytes()).decode("ascii")


class PlainArray(list[Any]):
    """An ndarray where numpy is not installed: nested lists that remember their
    dtype and shape."""

    def __init__(self, values: Iterable[Any], dtype: str, shape: list[int]) -> None:
        super().__init__(values)
        self.dtype = dtype
        self.shape = shape


class PlainDetections:
    """sv.Detections where supervision is not installed: enough to look at the
    predictions and to pass them along, unchanged to the last key."""

    def __init__(self, tag: dict[str, Any]) -> None:
        self.tag = tag

    @property
    def predictions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tag.get("predictions") or []
        return found

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.predictions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"detections have no {name!r} here: supervision is not installed; "
            "use .predictions"
        )


class DebugTraces:
    """Traces are collected only by the engine's local mode."""

    def append(self, *args: Any, **kwargs: Any) -> None:
        return None
