# ruff: noqa: F821 (names that the runner provides)
# The demo's block: finds what stands out from its surroundings in one frame,
# by its edges, and draws a box around each. np, cv2 and WorkflowImageData are
# there without an import, as in every block.

LARGEST = 12
GREEN, WHITE = (80, 220, 60), (255, 255, 255)


def shapes(gray):
    """Boxes of connected edges, the largest first."""
    smooth = cv2.GaussianBlur(gray, (5, 5), 0)
    middle = float(np.median(smooth))
    edges = cv2.Canny(smooth, 0.66 * middle, 1.33 * middle)
    joined = cv2.dilate(edges, np.ones((3, 3), np.uint8), iterations=1)
    outlines, _ = cv2.findContours(joined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [cv2.boundingRect(outline) for outline in outlines]
    least = gray.size / 400
    boxes = [box for box in boxes if box[2] * box[3] >= least]
    return sorted(boxes, key=lambda box: -box[2] * box[3])


def draw(pixels, boxes, text):
    for x, y, w, h in boxes:
        cv2.rectangle(pixels, (x, y), (x + w, y + h), GREEN, 2)
    height, width = pixels.shape[:2]
    scale = max(width, 320) / 900
    bar = round(32 * scale)
    pixels[height - bar :] //= 3
    at = (round(8 * scale), height - round(10 * scale))
    cv2.putText(
        pixels, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, WHITE, 1, cv2.LINE_AA
    )


def run(self, image, frame):
    pixels = image.numpy_image.copy()
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    boxes = shapes(gray)
    luma = float(gray.mean())
    seconds = frame / image.video_metadata.fps
    text = f"frame {frame}  {seconds:.2f} s  {len(boxes)} shapes  luma {luma:.0f}"
    draw(pixels, boxes[:LARGEST], text)
    return {
        "count": len(boxes),
        "mean_luma": round(luma, 2),
        "boxes": boxes[:LARGEST],
        "image": WorkflowImageData.copy_and_replace(
            origin_image_data=image, numpy_image=pixels
        ),
    }
