# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Videos as the annotation tool CVAT has them ("CVAT for video 1.1").

A track of CVAT is one polygon in every frame: it has no parts and no holes,
and CVAT turns tracks of masks into single shapes when it reads them. So an
object is as many tracks as it has parts. CVAT numbers tracks anew when it
writes them; what it keeps of an object is

- ``group_id``, the same of all its parts: the id of the object + 1, since 0
  is no group;
- the attribute ``track_id`` of its label, where the label has one (see
  :func:`cvat_labels`); -1 is that of objects that were drawn in CVAT.

Tracks with the same ``track_id`` are one object when a file is read; without
one, those of the same group; without both, each is an object of its own.
"""
import lzma
import re
import zlib
from contextlib import contextmanager
from typing import (IO, Any, Dict, Iterator, List, NamedTuple, Optional,
                    Sequence, Tuple)
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import pycocotools.mask as mask_utils

from .packed_masks import MaskError, compress_mask
from .vis_files import MAX_PACKED, MIN_UNPACKED

TRACK_ID = 'track_id'  # attribute of labels
NO_TRACK = -1
LAST_TRACK = 2**31 - 1
SHAPES = ('polygon', 'mask')
OTHER_SHAPES = ('box', 'cuboid', 'ellipse', 'points', 'polyline', 'skeleton')
MAX_FRAMES = 10**7
# of damaged, locked and unknown kinds of zips
ZIP_ERRORS = (BadZipFile, EOFError, RuntimeError, lzma.LZMAError, zlib.error)
Masks = Dict[int, dict]  # run-length codes by position of the frame


class AnnotatedVideo(NamedTuple):
    """A video whose objects keep their ids.

    Attributes:
        numbers (Sequence[int]): Number of each frame in the video that was
            annotated, ascending, also of those without an object.
        classes (list[str]): Names of all labels.
        objects (dict[int, tuple[str, dict]]): By id: name of the class, and
            COCO run-length codes by position of the frame.
    """
    numbers: Sequence[int]
    classes: List[str]
    objects: Dict[int, Tuple[str, Masks]]


class _Track(NamedTuple):
    """A track of the file: one part of an object."""
    name: str  # for messages
    label: str
    group: int
    track_id: int
    masks: Masks


def cvat_labels(classes: Sequence[str]) -> List[dict]:
    """Labels that a task needs for our tracks.

    Args:
        classes (Sequence[str]): Class names.

    Returns:
        list[dict]: What goes into the field "Raw" when a task is made.

    Raises:
        ValueError: If a name comes twice.
    """
    if len(set(classes)) < len(classes):
        raise ValueError('labels of CVAT must have different names, got '
                         f'{list(classes)}')
    attribute = dict(
        name=TRACK_ID,
        mutable=False,
        input_type='number',
        default_value=str(NO_TRACK),
        values=[str(NO_TRACK), str(LAST_TRACK), '1'])
    return [
        dict(name=name, type='any', attributes=[attribute]) for name in classes
    ]


def read_cvat_video(path: str, size: Tuple[int, int]) -> AnnotatedVideo:
    """Read what CVAT has exported of a task or job as "CVAT for video 1.1".

    CVAT writes every frame of a track, those between two keyframes as it
    interpolates them. One track is in memory at a time, and the codes of all
    masks.

    Args:
        path (str): The XML, or the zip that has it.
        size (tuple[int, int]): Height and width of the frames in pixels,
            which it does not tell of tasks that were made of images.

    Returns:
        AnnotatedVideo: With a frame for each of the task, in order; its
        objects by id: the parts of an object are one mask. Objects without an
        id have the next free ones, in the order of the file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file or a damaged one or of another size,
            a shape is neither a polygon nor a mask, frames are missing
            between two shapes of a track, or parts of an object have
            different labels.
    """
    try:
        with _open_xml(path) as file:
            events = ElementTree.iterparse(file, ('start', 'end'))
            return _read(events, path, size)
    except (ElementTree.ParseError, *ZIP_ERRORS) as error:
        raise ValueError(f"'{path}' must be XML of CVAT, but cannot be read: "
                         f'{error}') from error


@contextmanager
def _open_xml(path: str) -> Iterator[IO[bytes]]:
    """Open the XML, which may lie in a zip."""
    with open(path, 'rb') as file:
        if not is_zipfile(file):
            file.seek(0)
            yield file
            return
        with ZipFile(file) as archive:
            names = [
                name for name in archive.namelist() if name.endswith('.xml')
            ]
            if len(names) != 1:
                raise ValueError(f"'{path}' must have one XML of CVAT, got "
                                 f'{len(names)}')
            facts = archive.getinfo(names[0])
            limit = max(MAX_PACKED * facts.compress_size, MIN_UNPACKED)
            if facts.file_size > limit:  # no more than that is read
                raise ValueError(f"'{path}' unpacks to more than {limit} "
                                 'bytes; unpack it and give the .xml if you '
                                 'trust it')
            with archive.open(facts) as member:
                yield member


def _read(events: Iterator[Tuple[str, Any]], path: str,
          size: Tuple[int, int]) -> AnnotatedVideo:
    """Read the parts of the file as they come."""
    root = next(events)[1]
    if root.tag != 'annotations':
        raise ValueError(f"'{path}' must have annotations of CVAT, got "
                         f'<{root.tag}>')
    meta, tracks = None, []
    for event, element in events:
        if event == 'start':
            if element.tag == 'image':
                raise ValueError(
                    f"'{path}' must be exported as \"CVAT for video 1.1\", "
                    'but has images (CVAT for images 1.1)')
        elif element.tag == 'meta':
            meta = _Meta(element, path, size)
        elif element.tag == 'track':
            if meta is None:
                raise ValueError(f"'{path}' must have <meta> before its "
                                 'tracks')
            tracks.append(_read_track(element, meta, path))
            root.clear()
    if meta is None:
        raise ValueError(f"'{path}' must have <meta>")
    return AnnotatedVideo(meta.numbers, meta.labels, _join_parts(tracks, path))


class _Meta:
    """What the file says of its task.

    Args:
        element (Element): ``meta``.
        path (str): For messages.
        size (tuple[int, int]): Height and width in pixels.

    Attributes:
        size (tuple[int, int]): Height and width in pixels.
        numbers (range): Numbers of the frames in the file.
        labels (list[str]): Names.

    Raises:
        ValueError: If something is missing or not a number.
    """

    def __init__(self, element: Any, path: str, size: Tuple[int, int]) -> None:
        self.path = path
        job = element.find('task')
        if job is None:
            job = element.find('job')
        if job is None:
            raise ValueError(f"'{path}' must be the export of one task or "
                             'job, which tells its frames')
        self.size = size
        sides = element.find('.//original_size')
        if sides is not None:
            found = tuple(
                self._number(sides, name, 1) for name in ('height', 'width'))
            if found != tuple(size):
                raise ValueError(f"'{path}' must be of frames of (height, "
                                 f'width) {tuple(size)}, got {found}')
        first = self._number(job, 'start_frame', 0)
        last = self._number(job, 'stop_frame', first)
        step = re.fullmatch(r'step=([1-9]\d{0,6})',
                            job.findtext('frame_filter') or 'step=1')
        if step is None or last - first > MAX_FRAMES:
            raise ValueError(
                f"'{path}': frames must be at most {MAX_FRAMES} at a step, got "
                f'{first} to {last}, {job.findtext("frame_filter")!r}')
        self.numbers = range(first, last + 1, int(step[1]))
        self.labels = [
            label.findtext('name') or ''
            for label in job.iterfind('labels/label')
        ]

    def _number(self, element: Any, name: str, least: int) -> int:
        """A whole number of at least so much."""
        text = (element.findtext(name) or '').strip()
        if not re.fullmatch(r'\d{1,9}', text) or int(text) < least:
            raise ValueError(f"'{self.path}': {name} must be a whole number "
                             f'of at least {least}, got {text!r}')
        return int(text)


def _read_track(element: Any, meta: _Meta, path: str) -> _Track:
    """Read a track."""
    name = f"'{path}': track {element.get('id')}"
    label = element.get('label')
    if label not in meta.labels:
        raise ValueError(f'{name} must have a label of the task, got '
                         f'{label!r}')
    shapes: Dict[int, Any] = {}
    for shape in element:
        if shape.tag in OTHER_SHAPES:
            raise ValueError(f'{name} ({label}): shapes must be polygons or '
                             f'masks, got {shape.tag}')
        if shape.tag in SHAPES:
            frame = _whole(shape, 'frame', name)
            if frame not in meta.numbers or frame in shapes:
                raise ValueError(f'{name}: its frames must be different ones '
                                 f'of the task, got {frame}')
            shapes[frame] = shape
    _check_whole(sorted(shapes), shapes, meta.numbers, name)
    masks = {
        meta.numbers.index(frame):
        _mask(shape, meta.size, f'{name}, frame {frame}')
        for frame, shape in shapes.items() if not _outside(shape)
    }
    ids = {(attribute.text or '').strip()
           for attribute in element.iter('attribute')
           if attribute.get('name') == TRACK_ID} or {str(NO_TRACK)}
    track_id = ids.pop()
    if ids or not re.fullmatch(r'-?\d{1,10}',
                               track_id) or int(track_id) < NO_TRACK:
        raise ValueError(f'{name}: {TRACK_ID} must be one number of at least '
                         f'{NO_TRACK}, got {", ".join([track_id, *ids])}')
    return _Track(name, label, _whole(element, 'group_id', name, 0),
                  int(track_id), masks)


def _check_whole(frames: List[int], shapes: Dict[int, Any], numbers: range,
                 name: str) -> None:
    """Refuse what would have to be interpolated."""
    for frame, other in zip(frames, frames[1:]):
        if other - frame > numbers.step and not _outside(shapes[frame]):
            raise ValueError(
                f'{name}: every frame must be there, as CVAT exports them, '
                f'but between {frame} and {other} there is none')


def _outside(shape: Any) -> bool:
    """Whether the object is not to be seen."""
    return shape.get('outside') == '1'


def _whole(element: Any,
           key: str,
           name: str,
           default: Optional[int] = None) -> int:
    """An attribute that is a whole number."""
    text = element.get(key, '' if default is None else str(default))
    if not re.fullmatch(r'\d{1,10}', text):
        raise ValueError(f'{name}: {key} must be a whole number, got {text!r}')
    return int(text)


def _mask(shape: Any, size: Tuple[int, int], name: str) -> dict:
    """Run-length code of a shape."""
    try:
        mask: Any = [[
            float(number) for point in shape.get('points', '').split(';')
            for number in point.split(',')
        ]] if shape.tag == 'polygon' else _brush_code(shape, size)
        counts, _ = compress_mask(mask, *size)
    except MaskError as error:
        raise ValueError(f'{name}: {error}') from error
    except ValueError as error:
        raise ValueError(f'{name}: the {shape.tag} must be numbers '
                         f'({error})') from error
    return dict(size=list(size), counts=counts.decode('ascii'))


def _brush_code(shape: Any, size: Tuple[int, int]) -> dict:
    """Code of a mask of CVAT's brush: rows of a box, background first."""
    runs = np.array([int(run) for run in shape.get('rle', '').split(',')])
    left, top, width, height = (
        int(shape.get(key, '-1'))
        for key in ('left', 'top', 'width', 'height'))
    inside = min(left, top, width - 1,
                 height - 1) >= 0 and (left + width <= size[1]
                                       and top + height <= size[0])
    if not inside or (runs < 0).any() or runs.sum() != width * height:
        raise ValueError(f'runs must fill a box inside of the frame, got '
                         f'{runs.sum()} pixels for {width} x {height} at '
                         f'{left}, {top}')
    dense = np.zeros(size, np.uint8, order='F')
    dense[top:top + height,
          left:left + width] = np.repeat(np.arange(len(runs)) % 2,
                                         runs).reshape(height, width)
    return mask_utils.encode(dense)


def _join_parts(tracks: Sequence[_Track],
                path: str) -> Dict[int, Tuple[str, Masks]]:
    """Objects by id; codes of their parts become one."""
    found: Dict[int, List[_Track]] = {}
    alone = []
    for track in tracks:
        track_id = track.track_id
        if track_id == NO_TRACK and track.group:
            track_id = track.group - 1
        if track_id == NO_TRACK:
            alone.append(track)
        else:
            found.setdefault(track_id, []).append(track)
    for track_id, track in enumerate(alone, max(found, default=-1) + 1):
        found[track_id] = [track]
    objects = {}
    for track_id, parts in found.items():
        labels = sorted({part.label for part in parts})
        if len(labels) > 1:
            raise ValueError(f"'{path}': tracks of object {track_id} must "
                             f'have one label, got {" and ".join(labels)}')
        codes: Dict[int, List[dict]] = {}
        for part in parts:
            for frame, code in part.masks.items():
                codes.setdefault(frame, []).append(code)
        objects[track_id] = labels[0], {
            frame: _union(codes[frame])
            for frame in sorted(codes)
        }
    return objects


def _union(codes: List[dict]) -> dict:
    """One code of all pixels."""
    if len(codes) == 1:
        return codes[0]
    merged = mask_utils.merge(codes)
    return dict(merged, counts=merged['counts'].decode('ascii'))
