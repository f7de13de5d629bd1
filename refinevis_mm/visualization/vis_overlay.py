# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Instances drawn over an image."""
import math
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np

Color = Tuple[int, int, int]
Box = Tuple[int, int, int, int]

# Okabe and Ito's colours, told apart with any kind of colour vision, BGR.
PALETTE: Tuple[Color, ...] = ((0, 159, 230), (233, 180, 86), (115, 158, 0),
                              (66, 228, 240), (178, 114, 0), (0, 94, 213),
                              (167, 121, 204))
DARK = 0.6  # brightness of every second round through the palette
MIN_SIDE = 360  # px, below which labels are hardly legible
FONT = cv2.FONT_HERSHEY_SIMPLEX


def instance_color(instance_id: int) -> Color:
    """Colour of an instance, the same in every frame and every run.

    Args:
        instance_id (int): Id inside the video, not negative.

    Returns:
        tuple[int, int, int]: BGR in [0, 255].
    """
    turn, index = divmod(instance_id, len(PALETTE))
    factor = DARK if turn % 2 else 1.
    return tuple(int(round(factor * value)) for value in PALETTE[index])


def display_scale(height: int, width: int) -> int:
    """Whole factor that makes an image large enough for labels.

    Args:
        height (int): Pixels.
        width (int): Pixels.

    Returns:
        int: At least 1.
    """
    return max(1, math.ceil(MIN_SIDE / min(height, width)))


def draw_instances(image: np.ndarray,
                   masks: np.ndarray,
                   ids: Sequence[int],
                   texts: Sequence[str],
                   highlighted: Optional[Sequence[bool]] = None,
                   scale: float = 1.,
                   alpha: float = 0.45) -> np.ndarray:
    """Draw masks with outlines and labels.

    Args:
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR; not changed.
        masks (np.ndarray): Bool, has shape (N, H, W). Instances with an
            empty mask are left out.
        ids (Sequence[int]): Instance ids, N of them, that set the colours.
        texts (Sequence[str]): Labels, N of them.
        highlighted (Sequence[bool], optional): Whether an instance gets a
            white line around its outline, N of them. Defaults to None, none.
        scale (float): Factor by which the drawing is larger than the image.
            Defaults to 1.
        alpha (float): Opacity of the masks in [0, 1]. Defaults to 0.45.

    Returns:
        np.ndarray: Has shape (scale * H, scale * W, 3), uint8, BGR.

    Raises:
        ValueError: If the numbers of masks, ids and texts differ.
    """
    if not len(masks) == len(ids) == len(texts):
        raise ValueError('as many ids and texts as masks are needed, got '
                         f'{len(ids)}, {len(texts)} and {len(masks)}')
    canvas = _resize(image, scale)
    thickness = max(1, round(min(canvas.shape[:2]) / 240))
    labels = []
    for row, (mask, instance_id) in enumerate(zip(masks, ids)):
        # as an image of 255, it gets smooth edges instead of stairs
        mask = np.ascontiguousarray(mask, dtype=np.uint8) * 255
        mask = (_resize(mask, scale) > 127).astype(np.uint8)
        if not mask.any():
            continue
        color = instance_color(instance_id)
        x, y, w, h = cv2.boundingRect(mask)
        part, inside = canvas[y:y + h, x:x + w], mask[y:y + h, x:x + w] > 0
        part[inside] = ((1 - alpha) * part[inside] +
                        alpha * np.array(color)).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP,
                                       cv2.CHAIN_APPROX_NONE)
        if highlighted is not None and highlighted[row]:
            cv2.drawContours(canvas, contours, -1, (255, 255, 255),
                             3 * thickness, cv2.LINE_AA)
        cv2.drawContours(canvas, contours, -1, color, thickness, cv2.LINE_AA)
        labels.append((texts[row], color, (x, y)))
    taken: List[Box] = []
    for text, color, corner in labels:
        _draw_label(canvas, text, color, corner, taken)
    return canvas


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge or shrink an image; always a copy."""
    if scale == 1:
        return image.copy()
    return cv2.resize(
        image,
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def _draw_label(canvas: np.ndarray, text: str, color: Color,
                corner: Tuple[int, int], taken: List[Box]) -> None:
    """Write a label above ``corner`` where no other one in ``taken`` is."""
    size = max(0.4, min(canvas.shape[:2]) / 1000)
    (w, h), base = cv2.getTextSize(text, FONT, size, 1)
    w, h = w + 4, h + base + 2
    x = int(np.clip(corner[0], 0, max(canvas.shape[1] - w, 0)))
    lowest = max(canvas.shape[0] - h, 0)
    start = int(np.clip(corner[1] - h, 0, lowest))
    free = (
        y for y in [*range(start, lowest + 1), *range(start, -1, -1)]
        if not any(_overlap((x, y, w, h), box) for box in taken))
    y = next(free, start)
    taken.append((x, y, w, h))
    cv2.rectangle(canvas, (x, y), (x + w, y + h), color, cv2.FILLED)
    blue, green, red = color
    bright = 0.114 * blue + 0.587 * green + 0.299 * red > 110
    cv2.putText(canvas, text, (x + 2, y + h - base), FONT, size,
                (0, 0, 0) if bright else (255, 255, 255), 1, cv2.LINE_AA)


def _overlap(a: Box, b: Box) -> bool:
    """Whether two boxes (x, y, w, h) overlap."""
    return (a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3]
            and b[1] < a[1] + a[3])
