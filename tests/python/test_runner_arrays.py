"""Values of numpy, OpenCV and supervision; skipped, with the reason, where those
are not installed."""

from __future__ import annotations

import base64
import json
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from bfrunner import codec, kinds  # noqa: E402
from support import RunnerTest, needs  # noqa: E402


def there(value: Any) -> Any:
    return json.loads(codec.encode_result(value))


def back(tag: Any) -> Any:
    return codec.decode_inputs(json.dumps({"x": tag}).encode())["x"]


@needs("numpy")
class NumpyTest(unittest.TestCase):
    def test_arrays_there_and_back(self) -> None:
        import numpy as np

        for array in (
            np.arange(6, dtype=np.uint8).reshape(2, 3),
            np.array([1.5, -2.25], dtype=np.float32),
            np.zeros((0, 4), dtype=np.int64),
            np.array([[True], [False]]),
            np.array(5),
            np.array(["a", "\u20ac"]),
        ):
            tag = there(array)
            self.assertEqual(tag["_type"], "ndarray")
            again = back(tag)
            self.assertEqual(again.dtype, array.dtype)
            self.assertEqual(again.shape, array.shape)
            np.testing.assert_array_equal(again, array)

    def test_numbers_are_pythons(self) -> None:
        import numpy as np

        values = [np.float32(0.5), np.float64(0.25), np.int64(2**62), np.bool_(True)]
        self.assertEqual(there(values), [0.5, 0.25, 2**62, True])
        self.assertEqual(there(np.uint64(2**64 - 1)), 2**64 - 1)
        self.assertEqual(there([np.longdouble(1.5), np.str_("s")]), [1.5, "s"])
        self.assertEqual(there({np.int32(1): np.float32(1)}), {"1": 1.0})
        self.assertEqual(codec.encode_result(np.float32("nan")), b"NaN")

    def test_arrays_of_objects(self) -> None:
        import numpy as np

        array = np.array([1, "a", b"b"], dtype=object)
        self.assertEqual(there(array)["value"][:2], [1, "a"])
        self.assertEqual(there(np.array([1 + 2j]))["value"][0]["value"], "(1+2j)")


@needs("numpy", "cv2")
class ImageTest(unittest.TestCase):
    def png(self) -> tuple[Any, dict[str, Any]]:
        import cv2
        import numpy as np

        pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
        raw = cv2.imencode(".png", pixels)[1].tobytes()
        text = base64.b64encode(raw).decode()
        return pixels, {"_type": "workflow_image", "type": "base64", "value": text}

    def test_pixels_are_decoded_and_unchanged_images_keep_their_bytes(self) -> None:
        import numpy as np

        pixels, tag = self.png()
        image = back(tag)
        np.testing.assert_array_equal(image.numpy_image, pixels)
        self.assertEqual(there(image), tag)
        self.assertEqual(image.parent_metadata.origin_coordinates.origin_width, 6)
        self.assertEqual(there(image), tag)
        url = {**tag, "value": "data:image/png;base64," + tag["value"]}
        np.testing.assert_array_equal(back(url).numpy_image, pixels)

    def test_pixels_changed_in_place_are_what_leaves(self) -> None:
        _, tag = self.png()
        image = back(tag)
        image.numpy_image[:] = 255
        again = back(there(image))
        self.assertEqual(int(again.numpy_image.min()), 255)

    def test_an_image_of_pixels_leaves_as_jpeg(self) -> None:
        import numpy as np

        pixels = np.full((8, 8, 3), 100, dtype=np.uint8)
        parent = kinds.ImageParentMetadata("p")
        tag = there(kinds.WorkflowImageData(parent, numpy_image=pixels))
        self.assertEqual(base64.b64decode(tag["value"])[:2], b"\xff\xd8")
        self.assertNotIn("video_metadata", tag)
        self.assertNotIn("parent_id", tag)
        np.testing.assert_allclose(back(tag).numpy_image, pixels, atol=2)

    def test_crops_say_where_they_are_from(self) -> None:
        _, tag = self.png()
        origin = back(tag)
        crop = kinds.WorkflowImageData.create_crop(
            origin, "crop", origin.numpy_image[1:3, 2:5], 2, 1
        )
        found = there(crop)
        self.assertEqual(
            (found["parent_id"], found["root_parent_id"]), ("crop", "input")
        )
        expected = {"offset_x": 2, "offset_y": 1, "width": 6, "height": 4}
        self.assertEqual(found["parent_origin"], expected)
        self.assertEqual(found["root_parent_origin"], expected)

    def test_copies_with_other_pixels(self) -> None:
        _, tag = self.png()
        origin = back(tag)
        copy = kinds.WorkflowImageData.copy_and_replace(
            origin, numpy_image=origin.numpy_image[:2]
        )
        self.assertEqual(back(there(copy)).numpy_image.shape, (2, 6, 3))

    def test_an_image_of_an_array(self) -> None:
        import numpy as np

        pixels, _ = self.png()
        image = back({"_type": "workflow_image", "value": there(pixels)})
        np.testing.assert_array_equal(image.numpy_image, pixels)

    def test_not_an_image(self) -> None:
        image = back({"_type": "workflow_image", "value": "AAAA"})
        with self.assertRaises(ValueError):
            _ = image.numpy_image


def detections_tag(**extra: Any) -> dict[str, Any]:
    def prediction(i: int) -> dict[str, Any]:
        return {
            "width": 4.0,
            "height": 2.0,
            "x": 10.0 + i,
            "y": 8.0,
            "confidence": 0.5,
            "class_id": i,
            "class": f"c{i}",
            "detection_id": f"d{i}",
            "parent_id": "input",
        } | extra

    return {
        "_type": "sv_detections",
        "image": {"width": 40, "height": 30},
        "predictions": [prediction(0), prediction(1)],
    }


@needs("supervision")
class DetectionsTest(unittest.TestCase):
    def assert_kept(self, tag: dict[str, Any]) -> Any:
        found = back(tag)
        self.assertEqual(len(found), len(tag["predictions"]))
        self.assertEqual(there(found), tag)
        return found

    def test_boxes(self) -> None:
        found = self.assert_kept(detections_tag())
        self.assertEqual(found.xyxy[0].tolist(), [8.0, 7.0, 12.0, 9.0])
        self.assertEqual(found.data["class_name"].tolist(), ["c0", "c1"])
        self.assertEqual(found.data["image_dimensions"].tolist(), [[30, 40]] * 2)

    def test_optional_members(self) -> None:
        self.assert_kept(detections_tag(tracker_id=7))
        self.assert_kept(detections_tag(time_in_zone=1.5, speed=2.0, data="QR"))
        self.assert_kept(detections_tag(velocity=[1.0, 2.0], area_px=4.0))
        self.assert_kept(
            detections_tag(
                parent_id="crop",
                parent_origin=_origin(1, 2),
                root_parent_id="image",
                root_parent_origin=_origin(3, 4),
            )
        )

    def test_keypoints_of_different_numbers(self) -> None:
        tag = detections_tag()
        point = {"class_id": 1, "class": "k", "confidence": 0.5, "x": 1.0, "y": 2.0}
        tag["predictions"][0]["keypoints"] = [point, point]
        tag["predictions"][1]["keypoints"] = [point]
        self.assert_kept(tag)

    def test_rle_masks_pass_unchanged(self) -> None:
        tag = detections_tag(rle_mask={"size": [30, 40], "counts": "abc"})
        found = self.assert_kept(tag)
        self.assertIsNone(found.mask)
        self.assert_kept({**tag, "image": {"width": 40, "height": 30}})
        unknown = back({**tag, "image": {"width": None, "height": None}})
        self.assertEqual(there(unknown)["image"], {"width": 40, "height": 30})

    def test_polygons_become_masks_and_polygons_again(self) -> None:
        points = [{"x": x, "y": y} for x, y in ((8, 7), (12, 7), (12, 9), (8, 9))]
        found = back(detections_tag(points=points))
        self.assertEqual(found.mask.shape, (2, 30, 40))
        again = there(found)["predictions"][0]["points"]
        self.assertEqual(
            {(p["x"], p["y"]) for p in again}, {(8, 7), (12, 7), (12, 9), (8, 9)}
        )
        found.mask[0] = False
        self.assertEqual(len(there(found)["predictions"]), 1)

    def test_none_at_all(self) -> None:
        tag = {**detections_tag(), "predictions": []}
        self.assert_kept(tag)
        self.assert_kept({**tag, "image": {"width": None, "height": None}})

    def test_detections_made_by_hand(self) -> None:
        import numpy as np
        import supervision as sv

        tag = there(sv.Detections(xyxy=np.array([[0, 0, 2, 2]])))
        self.assertEqual(tag["predictions"][0]["width"], 2.0)
        self.assertEqual(tag["image"], {"width": None, "height": None})


def _origin(x: int, y: int) -> dict[str, int]:
    return {"offset_x": x, "offset_y": y, "width": 10, "height": 20}


class StandInTest(unittest.TestCase):
    """Where a library is missing, blocks that only pass values along still work."""

    def setUp(self) -> None:
        self.installed = codec._installed
        codec._installed = lambda name: None
        self.addCleanup(setattr, codec, "_installed", self.installed)

    def test_detections(self) -> None:
        tag = detections_tag(unheard_of={"a": 1})
        found = back(tag)
        self.assertEqual((len(found), found.predictions[1]["class"]), (2, "c1"))
        self.assertEqual(there({"d": found}), {"d": tag})
        with self.assertRaisesRegex(AttributeError, "supervision is not installed"):
            _ = found.xyxy

    def test_arrays(self) -> None:
        tag = {"_type": "ndarray", "value": [[1, 2]], "dtype": "uint8", "shape": [1, 2]}
        found = back(tag)
        self.assertEqual(found[0], [1, 2])
        self.assertEqual(there(found), tag)


@needs("numpy", "cv2")
class WarmTest(RunnerTest):
    """The same through a runner that has them preloaded."""

    ARGUMENTS = ()

    def test_preloaded_names_are_there_and_have_one_thread(self) -> None:
        self.assertIn("numpy", self.runner.ready["preloaded"])
        code = (
            "def run(a):\n"
            "    with open('/proc/self/status') as f: s = f.read()\n"
            "    return {'sum': np.sum(a), 'cv': cv2.getNumThreads(),\n"
            "            'n': int(s.split('Threads:')[1].split()[0])}\n"
        )
        tag = {"_type": "ndarray", "value": [1, 2], "dtype": "int32", "shape": [2]}
        self.assertEqual(self.value(code, {"a": tag}), {"sum": 3, "cv": 1, "n": 1})

    def test_runs_draw_different_random_numbers(self) -> None:
        code = (
            "import random\n"
            "def run():\n    return [np.random.rand(), random.random()]\n"
        )
        values = [self.value(code) for _ in range(3)]
        self.assertEqual(len({a for a, _ in values}), 3)
        self.assertEqual(len({b for _, b in values}), 3)

    def test_opencv_works_in_a_fork_of_a_fork(self) -> None:
        code = (
            "K = cv2.GaussianBlur(np.zeros((64, 64), np.uint8), (5, 5), 0)\n"
            "def run():\n"
            "    image = np.zeros((1080, 1920, 3), np.uint8)\n"
            "    return {'m': cv2.GaussianBlur(image, (9, 9), 0).mean(),\n"
            "            'd': np.dot(np.ones((300, 300)), np.ones((300, 300)))[0, 0]}\n"
        )
        self.assertEqual(self.value(code), {"m": 0.0, "d": 300.0})


@needs("numpy")
class ColdTest(RunnerTest):
    """Nothing preloaded: a name is imported because the code mentions it."""

    def test_a_mentioned_name(self) -> None:
        code = "def run():\n    return {'s': np.float32(1) + np.int64(2)}\n"
        self.assertEqual(self.value(code), {"s": 3.0})

    def test_an_unmentioned_one_is_not_imported(self) -> None:
        code = "import sys\ndef run():\n    return 'numpy' in sys.modules\n"
        self.assertFalse(self.value(code))


if __name__ == "__main__":
    unittest.main()
