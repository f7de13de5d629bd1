# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Instances drawn over an image."""
import math
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from refinevis_mm.structures import FrameInstances
from refinevis_mm.utils.palette import Color, instance_color
from .text import draw_text, text_size

Box = Tuple[int, int, int, int]
Mask = Union[np.ndarray, dict, None]

WHITE: Color = (255, 255, 255)
MIN_SIDE = 360  # px, below which labels are hardly legible
MAX_SIDE = 1920  # px, above which no image is enlarged
MIN_FONT_SIZE = 11  # px
DASH = 5  # length of a dash, in thicknesses of the line
RECOVERED = 'recovered'  # mark on the label of such an instance


class _Spot(NamedTuple):
    """A mask without the empty space around it.

    Attributes:
        mask (np.ndarray): Uint8, 0 or 1, has shape (h, w).
        x (int): Its left end in the image.
        y (int): Its top.
    """

    mask: np.ndarray
    x: int
    y: int


def display_scale(height: int, width: int) -> int:
    """Whole factor that makes an image large enough for labels.

    Args:
        height (int): Pixels.
        width (int): Pixels.

    Returns:
        int: At least 1. Long, low images are not made wider than
        ``MAX_SIDE``.
    """
    return max(
        1,
        min(
            math.ceil(MIN_SIDE / min(height, width)),
            MAX_SIDE // max(height, width)))


def draw_frame(image: np.ndarray,
               instances: FrameInstances,
               score_thr: float = 0.3,
               scale: Optional[float] = None) -> np.ndarray:
    """Draw what a view says of a frame.

    Every instance with a mask gets the colour of its id, an outline, and a
    label with class, id and score. Those that only refinement found have a
    dashed outline and say so.

    Args:
        image (np.ndarray): The frame, has shape (H, W, 3), uint8, BGR; not
            changed.
        instances (:obj:`FrameInstances`): What is drawn.
        score_thr (float): Least running score of a drawn instance, in
            [0, 1]. Defaults to 0.3.
        scale (float, optional): Factor by which the drawing is larger than
            the image. Defaults to None, that of :func:`display_scale`.

    Returns:
        np.ndarray: Has shape (scale * H, scale * W, 3), uint8, BGR.
    """
    if scale is None:
        scale = display_scale(*image.shape[:2])
    recovered = instances.recovered
    rows = [
        row for row, score in enumerate(instances.scores)
        if score >= score_thr and instances.masks[row] is not None
    ]
    return draw_instances(
        image, [instances.masks[row] for row in rows],
        [instances.ids[row] for row in rows], [
            instance_text(instances.classes[row], instances.ids[row],
                          instances.scores[row], recovered[row])
            for row in rows
        ], [recovered[row] for row in rows],
        scale=scale)


def instance_text(name: str,
                  instance_id: int,
                  score: Optional[float] = None,
                  recovered: bool = False) -> str:
    """Label of an instance.

    Args:
        name (str): Its class.
        instance_id (int): Its id.
        score (float, optional): Its score. Defaults to None, left out.
        recovered (bool): Whether only refinement found it. Defaults to
            False.

    Returns:
        str: Such as ``duck #3 0.87``.
    """
    parts = [name, f'#{instance_id}']
    if score is not None:
        parts.append(f'{score:.2f}')
    if recovered:
        parts.append(RECOVERED)
    return ' '.join(parts)


def draw_instances(image: np.ndarray,
                   masks: Sequence[Mask],
                   ids: Sequence[int],
                   texts: Sequence[str],
                   highlighted: Optional[Sequence[bool]] = None,
                   scale: float = 1.,
                   alpha: float = 0.45) -> np.ndarray:
    """Draw masks with outlines and labels.

    A label stands at the upper left end of its mask, or at the next free
    place above or below. Where it does not fit, it is only the id.

    Args:
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR; not changed.
        masks (Sequence[np.ndarray | dict | None]): N masks, bool of shape
            (H, W) or COCO run-length codes. Instances without a mask or with
            an empty one are left out.
        ids (Sequence[int]): Instance ids, N of them, that set the colours.
        texts (Sequence[str]): Labels, N of them; an empty one is not drawn.
        highlighted (Sequence[bool], optional): Whether the outline of an
            instance is dashed on white, N of them. Defaults to None, none.
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
    canvas = resize_image(image, scale)
    paint_instances(canvas, masks, ids, texts, highlighted, scale, alpha)
    return canvas


def paint_instances(canvas: np.ndarray,
                    masks: Sequence[Mask],
                    ids: Sequence[int],
                    texts: Sequence[str],
                    highlighted: Optional[Sequence[bool]] = None,
                    scale: float = 1.,
                    alpha: float = 0.45) -> None:
    """Draw masks with outlines and labels in place.

    Args:
        canvas (np.ndarray): An image that :func:`resize_image` has brought
            to ``scale``.
        masks (Sequence[np.ndarray | dict | None]): See
            :func:`draw_instances`, as the other arguments; masks have the
            size of the image at scale 1.
        ids (Sequence[int]): Instance ids.
        texts (Sequence[str]): Labels.
        highlighted (Sequence[bool], optional): Defaults to None.
        scale (float): Factor by which the canvas is larger than the masks.
            Defaults to 1.
        alpha (float): Defaults to 0.45.
    """
    thickness = max(1, round(min(canvas.shape[:2]) / 240))
    labels = []
    for row, (mask, instance_id) in enumerate(zip(masks, ids)):
        spot = _find_spot(mask, scale)
        if spot is None:
            continue
        color = instance_color(instance_id)
        dashed = highlighted is not None and bool(highlighted[row])
        _draw_spot(canvas, spot, color, dashed, thickness, alpha)
        if texts[row]:
            labels.append((texts[row], instance_id, (spot.x, spot.y)))
    taken: List[Box] = []
    for text, instance_id, corner in labels:
        _draw_label(canvas, text, instance_id, corner, taken)


def resize_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge or shrink an image.

    Args:
        image (np.ndarray): Has shape (H, W) or (H, W, 3), uint8.
        scale (float): Factor, positive.

    Returns:
        np.ndarray: Has shape (scale * H, scale * W) or with 3 channels, each
        side rounded and at least 1; always a copy.
    """
    if scale == 1:
        return image.copy()
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return cv2.resize(
        image, (width, height),
        interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def _find_spot(mask: Mask, scale: float) -> Optional[_Spot]:
    """The part of a mask that is not empty, at the size of the drawing."""
    if mask is None:
        return None
    if isinstance(mask, dict):
        return _find_spot(mask_utils.decode(mask), scale)
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = rows[0], rows[-1] + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = columns[0], columns[-1] + 1
    if scale == 1:
        part = mask[top:bottom, left:right]
        return _Spot(np.ascontiguousarray(part, np.uint8), left, top)
    # as an image of 255, it gets smooth edges instead of stairs
    large = resize_image(
        np.ascontiguousarray(mask, dtype=np.uint8) * 255, scale)
    x, y, w, h = cv2.boundingRect((large > 127).astype(np.uint8))
    if w == 0:  # too thin for the smaller drawing: its middle remains
        height, width = large.shape
        x = min(int(scale * (left + right) / 2), width - 1)
        y = min(int(scale * (top + bottom) / 2), height - 1)
        return _Spot(np.ones((1, 1), np.uint8), x, y)
    return _Spot((large[y:y + h, x:x + w] > 127).astype(np.uint8), x, y)


def _draw_spot(canvas: np.ndarray, spot: _Spot, color: Color, dashed: bool,
               thickness: int, alpha: float) -> None:
    """Draw a mask and its outline in place."""
    height, width = spot.mask.shape
    part = canvas[spot.y:spot.y + height, spot.x:spot.x + width]
    tinted = cv2.addWeighted(part, 1 - alpha, np.full_like(part, color), alpha,
                             0)
    cv2.copyTo(tinted, spot.mask, part)
    contours, _ = cv2.findContours(
        spot.mask,
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_NONE,
        offset=(int(spot.x), int(spot.y)))
    if not dashed:
        cv2.drawContours(canvas, contours, -1, color, thickness, cv2.LINE_AA)
        return
    cv2.drawContours(canvas, contours, -1, WHITE, 3 * thickness, cv2.LINE_AA)
    step = DASH * thickness
    dashes = [
        contour[start:start + step - 2 * thickness] for contour in contours
        for start in range(0, len(contour), 2 * step)
    ]
    cv2.polylines(canvas, dashes, False, color, 2 * thickness, cv2.LINE_AA)


def _draw_label(canvas: np.ndarray, text: str, instance_id: int,
                corner: Tuple[int, int], taken: List[Box]) -> None:
    """Write a label near ``corner`` where no other one in ``taken`` is."""
    height, width = canvas.shape[:2]
    size = max(MIN_FONT_SIZE, round(min(height, width) / 40))
    for line in (text, f'#{instance_id}'):
        w, h = text_size(line, size)
        w, h = w + 4, h + 2
        place = _free_place(corner, (w, h), (height, width), taken)
        if place is not None and w <= width:
            break
    else:
        if w > width or h > height:
            return  # no room for any text
        place = _nearest_place(corner, (w, h), (height, width))
    x, y = place
    taken.append((x, y, w, h))
    color = instance_color(instance_id)
    cv2.rectangle(canvas, (x, y), (x + w - 1, y + h - 1), color, cv2.FILLED)
    draw_text(canvas, line, (x + 2, y + 1), size, _ink(color))


def _nearest_place(corner: Tuple[int, int], label: Tuple[int, int],
                   image: Tuple[int, int]) -> Tuple[int, int]:
    """Left and top end of a label (w, h) inside of an image (h, w)."""
    return (max(min(int(corner[0]), image[1] - label[0]), 0),
            max(min(int(corner[1]) - label[1], image[0] - label[1]), 0))


def _free_place(corner: Tuple[int, int], label: Tuple[int, int],
                image: Tuple[int, int],
                taken: Sequence[Box]) -> Optional[Tuple[int, int]]:
    """The free place of a label that is the nearest, straight up or down."""
    x, start = _nearest_place(corner, label, image)
    w, h = label
    beside = [box for box in taken if box[0] < x + w and x < box[0] + box[2]]
    ends = [start]
    for box in beside:
        ends += [box[1] - h, box[1] + box[3]]
    free = [
        y for y in ends if 0 <= y <= image[0] - h and not any(
            y < box[1] + box[3] and box[1] < y + h for box in beside)
    ]
    if not free:
        return None
    return x, min(free, key=lambda y: abs(y - start))


def _ink(color: Color) -> Color:
    """Black or white, whichever is easier to read on a colour."""
    blue, green, red = color
    bright = 0.114 * blue + 0.587 * green + 0.299 * red > 110
    return (0, 0, 0) if bright else WHITE
