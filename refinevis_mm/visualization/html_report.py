# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One HTML file that shows the results of a video, without a network.

The file holds the page of ``report/`` and one block of JSON per frame: its
JPEG image and, for each view, the objects with their run-length codes. Blocks
are written as the frames come, so the memory does not depend on the length of
the video; the page decodes only the frames it shows.
"""
import base64
import hashlib
import html
import json
import os
import os.path as osp
from pathlib import Path
from string import Template
from typing import (Any, Dict, Iterable, Iterator, List, Optional, Sequence,
                    Tuple, Union)

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from refinevis_mm.evaluation import evaluate_tracking, evaluate_vis
from refinevis_mm.files import whole_file
from refinevis_mm.recording import STATES, VideoRecording
from refinevis_mm.structures import (FrameResult, TrackMerges, check_form,
                                     class_name)
from refinevis_mm.utils.palette import instance_color
from refinevis_mm.vis_json import (check_ground_truth, class_sources,
                                   mask_areas, num_frames_of, to_rles)

Size = Tuple[int, int]  # height, width
Row = List[Any]  # id, label, score or None, state, run-length code or None

PAGE = Path(__file__).parent / 'report'
METRICS = ('AP', 'AP50', 'AP75')
TRACKING = dict(HOTA='hota', AssA='assa', IDF1='idf1')
VIEW_TEXTS = dict(
    frame_level=('Frame level', 'each frame on its own, before refinement'),
    online=('Online', 'each frame refined from the past'),
    offline=('Offline', 'refined clip by clip'),
    ground_truth=('Ground truth', 'the annotations'))
# What an object can be in a frame, stored as the position. The first three
# are those of the recording, in its order.
REPORT_STATES = (*STATES, 'annotated', 'not visible')
ANNOTATED, NOT_VISIBLE = range(len(STATES), len(REPORT_STATES))
DETECTED = STATES.index('detected')
FRAME_SIZE = 640  # px, longer side
JPEG_QUALITY = 80


class FrameSpool:
    """Frames of a video as JPEG in a file, for a report.

    A live source gives its frames once, but a report needs them after the
    last one, when it is known which tracks were noise.

    Args:
        path (str | PathLike): The file. What it holds stays until
            :meth:`load_state_dict` says how much of it counts.
        frame_size (int): Longer frames are scaled down to it. Defaults to
            640 pixels.
        quality (int): Of the JPEG images, in [1, 100]. Defaults to 80.

    Attributes:
        num_frames (int): Frames added so far.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 path: Union[str, os.PathLike],
                 frame_size: int = FRAME_SIZE,
                 quality: int = JPEG_QUALITY) -> None:
        check_encoding(frame_size, quality)
        self.frame_size = frame_size
        self.quality = quality
        self.num_frames = 0
        self._file = open(path, 'a+b')

    def add(self, frame: FrameResult) -> None:
        """Append the image of a frame."""
        jpeg = _encode_frame(frame.image, self.frame_size, self.quality)
        self._file.write(len(jpeg).to_bytes(4, 'little') + jpeg)
        self.num_frames += 1

    def merge(self, merges: TrackMerges) -> None:
        """Frames show no ids: nothing to do."""

    def __iter__(self) -> Iterator[bytes]:
        """Read the JPEG images from the first one."""
        length = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        for _ in range(self.num_frames):
            size = int.from_bytes(self._file.read(4), 'little')
            if not 0 < size <= length - self._file.tell():
                raise ValueError(f"'{self._file.name}' is damaged: it must "
                                 f'hold {self.num_frames} frames')
            yield self._file.read(size)

    def state_dict(self) -> dict:
        """Write what is held back.

        Returns:
            dict: Number of frames and where they end in the file.
        """
        self._file.flush()
        return dict(num_frames=self.num_frames, end=self._file.tell())

    def load_state_dict(self, state: dict) -> None:
        """Go on behind the frames of a state, in its file.

        Args:
            state (dict): What :meth:`state_dict` returned.

        Raises:
            ValueError: If the file ends before them, or the state has another
                form.
        """
        form = dict(num_frames=int, end=int)
        check_form(state, form, 'the state of the report')
        length = self._file.seek(0, os.SEEK_END)
        if not 0 <= state['end'] <= length:
            raise ValueError(f"'{self._file.name}' must hold {state['end']} "
                             f'bytes, got {length}')
        self._file.truncate(state['end'])
        self.num_frames = state['num_frames']

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()


def select_video(gt: dict,
                 video_id: Optional[int] = None,
                 video_name: Optional[str] = None) -> dict:
    """Annotations of one video out of an annotation file.

    Args:
        gt (dict): Annotations in YouTube-VIS format.
        video_id (int, optional): Id of the video. Defaults to None.
        video_name (str, optional): Folder of its frames, used without an id.
            Defaults to None. Neither is needed if there is one video.

    Returns:
        dict: The same with this video only.

    Raises:
        ValueError: If the annotations are malformed, it is not clear which
            video is meant, or it has no annotations.
    """
    check_ground_truth(gt)
    found = gt['videos']
    if video_id is not None:
        wanted = f'the id {video_id}'
        found = [video for video in found if video['id'] == video_id]
    elif video_name is not None:
        wanted = f'the name {video_name!r}'
        found = [video for video in found if _name_of(video) == video_name]
    else:
        wanted = 'neither id nor name'
    if len(found) != 1:
        raise ValueError('one video of the ground truth must be selected, '
                         f'but {wanted} selects {len(found)} of '
                         f'{len(gt["videos"])}')
    annotations = [
        ann for ann in gt['annotations'] if ann['video_id'] == found[0]['id']
    ]
    if not annotations:
        raise ValueError(f'video {found[0]["id"]} of the ground truth has no '
                         'annotations')
    selected = dict(gt, videos=found, annotations=annotations)
    check_ground_truth(selected, check_masks=True)
    return selected


def check_fits(gt: dict,
               num_frames: int,
               size: Size,
               complete: bool = True) -> None:
    """Refuse annotations that belong to another video.

    Args:
        gt (dict): Annotations of one video, see :func:`select_video`.
        num_frames (int): Frames of the video.
        size (tuple[int, int]): Their height and width in pixels.
        complete (bool): Whether no more frames can follow. Defaults to True.

    Raises:
        ValueError: If the number of frames or their size differs.
    """
    video, = gt['videos']
    expected = num_frames_of(video)
    if (size == (video['height'], video['width']) and num_frames <= expected
            and (num_frames == expected or not complete)):
        return
    raise ValueError(
        'the ground truth must have the frames of the video: it has '
        f'{expected} of {video["width"]} x {video["height"]} pixels, the '
        f'video {"" if complete else "at least "}{num_frames} of {size[1]} x '
        f'{size[0]}')


def check_origin(gt: dict, frame_id: int, number: int,
                 name: Optional[str]) -> None:
    """Refuse a frame that is not the annotated one at its place.

    Args:
        gt (dict): Annotations of one video, see :func:`select_video`.
        frame_id (int): Position of the frame among those that were taken.
        number (int): Its position in the video.
        name (str, optional): Its image file; that of the annotation counts
            where frames were left out.

    Raises:
        ValueError: If it is another frame.
    """
    names = gt['videos'][0].get('file_names', ())[frame_id:frame_id + 1]
    stems = [Path(file).stem for file in names]
    if number != frame_id and (not name or [Path(name).stem] != stems):
        raise ValueError(
            f'frame {frame_id} of the ground truth {names} must be the frame '
            f'{frame_id} that is taken, got frame {number} of the video '
            f'({name}); with --start, --stride or --allow-damaged, annotate '
            'the frames that are left')


def categories_of(classes: Sequence[str], gt: dict) -> Dict[int, int]:
    """Category id of each label that the ground truth has, too.

    Args:
        classes (Sequence[str]): Class names of the model, in label order.
        gt (dict): Annotations in YouTube-VIS format.

    Returns:
        dict[int, int]: Category ids by label; found by name.

    Raises:
        ValueError: If there is none.
    """
    categories = gt['categories']
    names = [str(category.get('name')) for category in categories]
    category_ids = {
        label: categories[found[0]]['id']
        for label, found in enumerate(class_sources(classes, names)) if found
    }
    if not category_ids:
        raise ValueError('the ground truth must share a class with the model, '
                         f'which has {list(classes)}, got {names}')
    return category_ids


def write_report(path: Union[str, os.PathLike],
                 frames: Iterable[Union[np.ndarray, bytes]],
                 recording: VideoRecording,
                 title: str,
                 facts: Optional[Dict[str, str]] = None,
                 ground_truth: Optional[dict] = None,
                 score_thr: float = 0.3,
                 cls_thr: float = 0.05,
                 max_per_video: Optional[int] = None,
                 frame_size: int = FRAME_SIZE,
                 quality: int = JPEG_QUALITY) -> int:
    """Write the results of a video as one HTML file.

    The file opens in a browser from the disk and loads nothing. The same
    input gives the same bytes. ``path`` is replaced when all is written, so
    it is never half a report.

    Args:
        path (str | PathLike): The file.
        frames (Iterable[np.ndarray | bytes]): The frames of the recording:
            images of shape (H, W, 3), uint8, BGR, or JPEG files, see
            :class:`FrameSpool`.
        recording (:obj:`VideoRecording`): The results. Its views become
            those of the report.
        title (str): Heading of the page.
        facts (dict[str, str], optional): More lines about the video, e.g.
            the name of the config. Defaults to None.
        ground_truth (dict, optional): Annotations of this video, see
            :func:`select_video`: shown as a view of their own, and each view
            is evaluated on them. Defaults to None.
        score_thr (float): Least final score of a shown track. Defaults to
            0.3.
        cls_thr (float): A class of a track is evaluated when its score is
            greater. Defaults to 0.05.
        max_per_video (int, optional): Only that many classes of tracks are
            evaluated, those of the highest scores. Defaults to None, all.
        frame_size (int): Longer frames and their masks are scaled down to
            it. Defaults to 640 pixels.
        quality (int): Of the JPEG images, in [1, 100]. Defaults to 80.

    Returns:
        int: Size of the file in bytes.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the frames do not belong to the recording, the ground
            truth belongs to another video or shares no class, or an argument
            is out of its range.
    """
    check_encoding(frame_size, quality)
    if not recording.num_frames:
        raise ValueError('a report needs at least one frame, got none')
    size = shown_size(recording.size, frame_size)
    views = [
        _describe_view(recording, view, score_thr) for view in recording.views
    ]
    rows = [
        _recorded_rows(recording, view['key'],
                       {track['id']
                        for track in view['tracks']}, size) for view in views
    ]
    if ground_truth is not None:
        check_fits(ground_truth, recording.num_frames, recording.size)
        for frame_id, origin in enumerate(recording.origins()):
            check_origin(ground_truth, frame_id, *origin)
        for view in views:
            view['metrics'] = _evaluate(recording, view['key'], ground_truth,
                                        cls_thr, max_per_video, score_thr)
        truth, truth_rows = describe_truth(ground_truth, size)
        views.append(truth)
        rows.append(truth_rows)
    jpegs = check_frames(frames, recording.num_frames, recording.size,
                         frame_size, quality)
    return write_page(path, title, facts, recording.times(), recording.fps,
                      recording.size, size, views,
                      recording.views.index(recording.view), jpegs, rows)


def write_page(path: Union[str, os.PathLike], title: str,
               facts: Optional[Dict[str,
                                    str]], times: Sequence[float], fps: float,
               size: Size, shown: Size, views: List[dict], main: int,
               jpegs: Iterable[bytes], rows: List[Iterator[List[Row]]]) -> int:
    """Write views of a video as a page.

    Args:
        path (str | PathLike): The file.
        title (str): Heading of the page.
        facts (dict[str, str] | None): More lines about the video.
        times (Sequence[float]): Second of each frame.
        fps (float): Frames per second, 0 if that is not known.
        size (tuple[int, int]): Height and width of the video in pixels.
        shown (tuple[int, int]): Those of the images and masks.
        views (list[dict]): What the page has to know of each view.
        main (int): The view that is shown first.
        jpegs (Iterable[bytes]): Image of each frame.
        rows (list[Iterator]): Objects of each frame, of each view.

    Returns:
        int: Size of the file in bytes.

    Raises:
        OSError: If the file cannot be written.
    """
    times = [round(time, 4) for time in times]
    height, width = size
    report = dict(
        facts=[
            *(facts or {}).items(), ('Frames', f'{len(times)} at {fps:g} fps'),
            ('Size', f'{width} \u00d7 {height}')
        ],
        fps=fps if fps > 0 else 10,
        main=main,
        size=shown,
        states=REPORT_STATES,
        times=times,
        views=views)
    head, tail = _page(title, report)

    # names of files may hold what UTF-8 has no code for
    with whole_file(path) as part, open(
            part, 'w', encoding='utf-8', errors='xmlcharrefreplace',
            newline='\n') as file:
        file.write(head)
        for index, (jpeg, *view_rows) in enumerate(zip(jpegs, *rows)):
            frame = dict(jpeg=base64.b64encode(jpeg).decode(), views=view_rows)
            file.write(f'<script type="application/json" '
                       f'id="frame-{index}">{_to_json(frame)}</script>\n')
        file.write(tail)
    return osp.getsize(path)


def _page(title: str, report: dict) -> Tuple[str, str]:
    """What comes before and after the frames."""
    css, js = _read_page('report.css'), _read_page('report.js')
    # nothing may run or be loaded but the page's own style and script
    policy = ("default-src 'none'; img-src data:; base-uri 'none'; "
              f"form-action 'none'; style-src {_sha256(css)}; "
              f'script-src {_sha256(js)}')
    frames = '<!-- frames -->'
    page = Template(_read_page('template.html')).substitute(
        policy=policy,
        title=html.escape(title),
        css=css,
        js=js,
        report=_to_json(report),
        frames=frames)
    head, tail = page.split(frames)
    return head, tail


def _read_page(name: str) -> str:
    """Read a file of the page."""
    return (PAGE / name).read_text(encoding='utf-8')


def _sha256(text: str) -> str:
    """Name of an inline style or script in a content security policy."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _to_json(value: Any) -> str:
    """JSON that can stand in a script element: ``<`` is escaped."""
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    return text.replace('<', '\\u003c')


def check_encoding(frame_size: int, quality: int) -> None:
    """Raise ValueError if frames cannot be encoded like this."""
    if frame_size < 1:
        raise ValueError(f'frame_size must be positive, got {frame_size}')
    if not 1 <= quality <= 100:
        raise ValueError(f'quality must lie in [1, 100], got {quality}')


def shown_size(size: Sequence[int], frame_size: int) -> Size:
    """Height and width of frames whose longer side is limited."""
    scale = min(1., frame_size / max(size))
    height, width = (max(1, round(scale * side)) for side in size)
    return height, width


def _encode_frame(image: np.ndarray, frame_size: int, quality: int) -> bytes:
    """Scale a frame down and encode it as JPEG."""
    size = shown_size(image.shape[:2], frame_size)
    if size != image.shape[:2]:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', image,
                        (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def check_frames(frames: Iterable[Union[np.ndarray, bytes]], expected: int,
                 size: Size, frame_size: int, quality: int) -> Iterator[bytes]:
    """Encode the frames; ValueError unless they fit the results."""
    num_frames = 0
    for frame in frames:
        num_frames += 1
        if num_frames > expected:
            break
        if not isinstance(frame, bytes):
            if frame.shape[:2] != size:
                raise ValueError('frames must have the (height, width) '
                                 f'{size} of the results, got '
                                 f'{frame.shape[:2]}')
            frame = _encode_frame(frame, frame_size, quality)
        yield frame
    if num_frames != expected:
        more = 'more' if num_frames > expected else num_frames
        raise ValueError('as many frames as results are needed, '
                         f'{expected}, got {more}')


def _describe_view(recording: VideoRecording, view: str,
                   score_thr: float) -> dict:
    """A view of a recording without its frames, as the page needs it."""
    runs = recording.track_states(view)
    tracks = [
        _describe_track(track.id, track.name, track.score, track.first,
                        track.last, [(first, end, STATES.index(state))
                                     for first, end, state in runs[track.id]])
        for track in recording.tracks(view) if track.score >= score_thr
    ]
    classes = [
        class_name(recording.classes, label)
        for label in range(max(recording.num_classes, len(recording.classes)))
    ]
    return _describe(view, *VIEW_TEXTS[view], classes, range(len(STATES)),
                     tracks)


def _describe(key: str, name: str, about: str, classes: List[str],
              states: Iterable[int], tracks: List[dict]) -> dict:
    """What the page has to know of a view."""
    return dict(
        key=key,
        name=name,
        about=about,
        classes=classes,
        states=list(states),
        metrics=None,
        tracks=tracks)


def _describe_track(track_id: int, name: str, score: Optional[float],
                    first: int, last: int, runs: Sequence[Tuple[int, int,
                                                                int]]) -> dict:
    """What the page has to know of a track."""
    blue, green, red = instance_color(track_id)
    return dict(
        id=track_id,
        name=name,
        score=score,
        first=first,
        last=last,
        color=f'#{red:02x}{green:02x}{blue:02x}',
        runs=runs)


def _recorded_rows(recording: VideoRecording, view: str, kept: set,
                   size: Size) -> Iterator[List[Row]]:
    """Objects of each frame of a view, by rising id."""
    for _, _, instances in recording.frames(view):
        rows = []
        states = zip(instances.recovered, instances.missed)
        for row, (recovered, missed) in enumerate(states):
            if instances.ids[row] not in kept:
                continue
            rows.append([
                instances.ids[row], instances.labels[row],
                round(instances.scores[row], 4),
                STATES.index('recovered') * recovered +
                STATES.index('missed') * missed,
                _shown_code(instances.masks[row], size)
            ])
        yield sorted(rows, key=lambda row: row[0])


def _shown_code(rle: Optional[dict], size: Size) -> Optional[str]:
    """Run-length code of a mask at the size of the report."""
    if rle is None:
        return None
    if tuple(rle['size']) != size:
        mask = 255 * mask_utils.decode(rle)
        cover = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA)
        # what is smaller than a pixel still shows
        threshold = min(128, max(1, int(cover.max())))
        rle = mask_utils.encode(
            np.asfortranarray(cover >= threshold, dtype=np.uint8))
    counts = rle['counts']
    return counts.decode() if isinstance(counts, bytes) else counts


def describe_truth(gt: dict, size: Size) -> Tuple[dict, Iterator[List[Row]]]:
    """Annotations as a view: what the page needs, and the rows."""
    annotations = sorted(gt['annotations'], key=lambda ann: ann['id'])
    return describe_tubes('ground_truth', *VIEW_TEXTS['ground_truth'], gt,
                          annotations, ANNOTATED, size)


def describe_tubes(key: str, name: str, about: str, gt: dict,
                   tubes: Sequence[dict], state: int,
                   size: Size) -> Tuple[dict, Iterator[List[Row]]]:
    """Objects of a video in YouTube-VIS format as a view.

    Args:
        key (str): Of the view, letters and digits.
        name (str): Of the view.
        about (str): What it shows.
        gt (dict): Annotations of one video, see :func:`select_video`.
        tubes (Sequence[dict]): Annotations or results of the video; their
            positions become ids.
        state (int): Position in ``REPORT_STATES`` of what has a mask.
        size (tuple[int, int]): Height and width of the shown frames.

    Returns:
        tuple: What the page needs, and the rows of each frame.
    """
    video, = gt['videos']
    names = {cat['id']: cat.get('name') for cat in gt['categories']}
    labels = {category_id: k for k, category_id in enumerate(sorted(names))}
    classes = [
        str(names[category_id] or category_id) for category_id in labels
    ]
    tracks, objects = [], []
    num_frames = num_frames_of(video)
    for track_id, row in enumerate(tubes):
        tube = to_rles(video, row)
        areas, = mask_areas([tube], num_frames)
        tube = [mask if area else None for mask, area in zip(tube, areas)]
        frames = [frame for frame, mask in enumerate(tube) if mask]
        if not frames:
            continue
        label, score = labels[row['category_id']], row.get('score')
        first, last = frames[0], frames[-1]
        states = [
            state if mask else NOT_VISIBLE for mask in tube[first:last + 1]
        ]
        tracks.append(
            _describe_track(track_id, classes[label], score, first, last,
                            _runs(states, first)))
        objects.append((track_id, label, score, first, states, tube))

    def rows() -> Iterator[List[Row]]:
        for frame in range(num_frames):
            yield [[
                track_id, label, score, states[frame - first],
                _shown_code(tube[frame], size)
            ] for track_id, label, score, first, states, tube in objects
                   if 0 <= frame - first < len(states)]

    return _describe(key, name, about, classes, (state, NOT_VISIBLE),
                     tracks), rows()


def _runs(states: Sequence[int], first: int) -> List[Tuple[int, int, int]]:
    """Runs (first, end, state) of equal states from a frame on."""
    starts = [
        k for k in range(len(states)) if k == 0 or states[k] != states[k - 1]
    ]
    return [
        (first + start, first + end, states[start])
        for start, end in zip(starts, [*starts[1:], len(states)])
    ]


def _evaluate(recording: VideoRecording, view: str, gt: dict, cls_thr: float,
              max_per_video: Optional[int],
              score_thr: float) -> Dict[str, float]:
    """Metrics of one view on one video, classes matched by name."""
    category_ids = categories_of(recording.classes, gt)
    results = [
        dict(
            video_id=gt['videos'][0]['id'],
            category_id=category_ids[tracklet['label']],
            score=tracklet['score'],
            segmentations=tracklet['segmentations'])
        for tracklet in recording.tracklets(view, cls_thr, max_per_video)
        if tracklet['label'] in category_ids
    ]
    return evaluate_view(gt, results, score_thr)


def evaluate_view(gt: dict, results: List[dict],
                  score_thr: float) -> Dict[str, float]:
    """Metrics that the page shows of results of one video."""
    numbers = evaluate_vis(gt, results, num_workers=1)
    tracking = evaluate_tracking(gt, results, score_thr=score_thr)
    return {
        **{
            name: float(numbers[name])
            for name in METRICS
        },
        **{
            name: float(tracking[key])
            for name, key in TRACKING.items()
        }
    }


def _name_of(video: dict) -> Optional[str]:
    """Folder of the frames of an annotated video."""
    files = video.get('file_names')
    return osp.basename(osp.dirname(files[0])) if files else None
