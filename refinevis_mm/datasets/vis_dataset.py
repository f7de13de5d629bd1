# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Reader of YouTube-VIS style JSON files."""
import json
import logging
from collections import Counter
from typing import Any, Iterable, List, Optional, Tuple, Union

from mmdet.datasets import BaseVideoDataset
from mmengine.fileio import get
from mmengine.logging import print_log

from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import (ALL_CROWDS, CROWD_HINT, ERROR, PRESETS,
                                   WARNING, Defect, VISChecker, VISJson,
                                   check_class_names, match_classes, preset_of,
                                   raise_defect, read_plain_tracks,
                                   unpack_json)
from .frame_index import FrameIndex, VideoFrames

BATCH_FRAMES = 256  # frames of objects that are indexed together
VALIDATOR = 'tools/analysis_tools/validate_vis.py'


@DATASETS.register_module()
class VISDataset(BaseVideoDataset):
    """Video instance segmentation data in YouTube-VIS form.

    Reads the official JSON of YouTube-VIS 2019 / 2021 / 2022 and OVIS as it
    is, plain or gzipped, and any custom data set of that form. Labels follow
    the order of the JSON's categories by id. A flat index keeps each mask as
    compressed RLE; frames are put together when they are asked for, and
    pixels are decoded in the pipeline, for the sampled frames only.

    A frame is a dict with ``img_id`` (int, unique in the data set),
    ``img_path``, ``height``, ``width``, ``frame_id`` (0-based position in the
    video's frame list), and ``instances``, each a dict with ``bbox`` (x1, y1,
    x2, y2), ``bbox_label``, ``mask`` (compressed RLE), ``ignore_flag`` (1
    for crowd) and ``instance_id``, the 1-based position of the annotation
    among those of its video. A null segmentation leaves the instance out of
    that frame. A box is clipped to the frame and, where it is missing or
    empty, taken from the mask.

    ``metainfo['classes']`` selects nothing; when given it must name the
    JSON's categories, in any order, and labels follow the order given. Known
    spellings (OVIS's "Vehical" and "Vehicle"), case and underscores do not
    matter.

    Args:
        *args: See :class:`mmdet.datasets.BaseVideoDataset`.
        preset (str, optional): 'youtube_vis_2019', 'youtube_vis_2021',
            'youtube_vis_2022' or 'ovis': the classes that the JSON must have,
            in the place of ``metainfo['classes']``. Defaults to None, the
            JSON's own.
        **kwargs: See :class:`mmdet.datasets.BaseVideoDataset`.

    Raises:
        ValueError: If the JSON is malformed (see
            :mod:`refinevis_mm.vis_json`), its category names differ from
            the classes asked for, no video is left for training, or
            ``preset`` is none of these or not the only place of classes.
        FileNotFoundError: If ``ann_file`` does not exist.
    """

    def __init__(self,
                 *args: Any,
                 preset: Optional[str] = None,
                 **kwargs: Any) -> None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f'preset must be one of {list(PRESETS)}, got '
                             f'{preset!r}')
        self.preset = preset
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Load the JSON and index it by video.

        Returns:
            list[dict]: One dict per video, without its frames.
        """
        warnings: List[Defect] = []

        def report(defect: Defect) -> None:
            if defect.level == ERROR:
                raise_defect(defect, self.ann_file)
            if defect.level == WARNING:
                warnings.append(defect)

        checker = VISChecker(report)
        try:
            content = VISJson(self._read_text())
            listed = checker.check_header(content.header)
            data_list = self._load_videos(content.header, checker)
            self._index = self._index_frames(checker, listed
                                             or content.annotations(),
                                             data_list)
        except json.JSONDecodeError as error:
            raise ValueError(f'{self.ann_file}: not a JSON file '
                             f'({error})') from None
        self._warn(warnings)
        return data_list

    def _load_videos(self, header: dict, checker: VISChecker) -> List[dict]:
        """Settle the classes and list the videos."""
        self._set_classes(header['categories'])
        data_list, num_frames = [], 0
        for video in header['videos']:
            size = checker.videos[video['id']]
            data_list.append(
                dict(
                    video_id=video['id'],
                    video_length=size.length,
                    first_frame=num_frames,
                    file_names=video['file_names'],
                    height=size.height,
                    width=size.width))
            num_frames += size.length
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """A video with all that is known of it.

        Args:
            idx (int): Its index.

        Returns:
            dict: With ``video_id``, ``video_length``, ``height``, ``width``
            and ``images``, the sequence of its frames, each made when it is
            asked for.
        """
        video = super().get_data_info(idx)
        video['images'] = VideoFrames(self._index, video,
                                      self.data_prefix.get('img_path') or '')
        return video

    def filter_data(self) -> List[dict]:
        """Leave out videos without an object to learn from in training.

        Crowds are no objects. Frames are never dropped: ``frame_id`` keeps
        its meaning and frames without objects serve as negatives.
        ``filter_cfg`` may switch the filter off with
        ``filter_empty_gt=False``.

        Returns:
            list[dict]: The videos kept.

        Raises:
            ValueError: If no video is left.
        """
        filter_empty = (self.filter_cfg or {}).get('filter_empty_gt', True)
        if self.test_mode or not filter_empty:
            return self.data_list
        kept = [
            video for video in self.data_list
            if self._index.count(video['first_frame'], video['video_length'])
        ]
        if not kept:
            raise ValueError(f'{self.ann_file}: none of its '
                             f'{len(self.data_list)} videos has an object, '
                             f'which training needs; {CROWD_HINT}')
        if len(kept) < len(self.data_list):
            print_log(
                f'{self.ann_file}: left out '
                f'{len(self.data_list) - len(kept)} of '
                f'{len(self.data_list)} videos without objects', 'current')
        return kept

    def prepare_data(self, idx: Union[int, Tuple[int, int]]) -> Any:
        """Run the pipeline on a video or on one of its frames.

        As :meth:`BaseVideoDataset.prepare_data`, but ``video_length`` is
        always the length of the whole video, also for a single frame.

        Args:
            idx (int | tuple[int, int]): Video index, or video and frame index.

        Returns:
            Any: What the pipeline returns.
        """
        video_idx, frame_idx = idx if isinstance(idx, tuple) else (idx, None)
        video = self.get_data_info(video_idx)
        if not self.test_mode:
            if frame_idx is not None:
                video['key_frame_id'] = frame_idx
            return self.pipeline(video)
        images = video['images']
        if frame_idx is not None:
            images = [images[frame_idx]]
        results = {key: [image[key] for image in images] for key in images[0]}
        for key in ('video_length', 'ori_video_length'):
            results[key] = [video['video_length']] * len(images)
        results['video_id'] = [video['video_id']] * len(images)
        return self.pipeline(results)

    def _read_text(self) -> str:
        """Read ``ann_file``."""
        data = get(self.ann_file, backend_args=self.backend_args)
        try:
            return unpack_json(data, self.ann_file)
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: not a JSON file '
                             f'({error})') from None

    def _set_classes(self, categories: List[dict]) -> None:
        """Settle class order: as asked for, else by JSON id."""
        categories = sorted(categories, key=lambda item: item['id'])
        names = tuple(category['name'] for category in categories)
        classes = self._metainfo.get('classes')
        if self.preset is not None:
            if classes is not None:
                raise ValueError(
                    'preset and metainfo["classes"] exclude each other, got '
                    f'{self.preset!r} and {classes}')
            classes = PRESETS[self.preset]
        classes = tuple(
            names if classes is
            None else check_class_names(classes, 'metainfo classes'))
        self._metainfo['classes'] = classes
        match = match_classes(names, classes)
        if match is None:
            missing = [name for name in classes if name not in names]
            unknown = [name for name in names if name not in classes]
            known = preset_of(names)
            hint = f"; it has those of preset '{known}'" if known else ''
            raise ValueError(
                f"{self.ann_file}: classes must equal the JSON's categories "
                f'by name, but {missing} are not in the JSON and {unknown} '
                f'are not in classes{hint}')
        label = {name: i for i, name in enumerate(classes)}
        self.cat2label = {
            category['id']: label[match[category['name']]]
            for category in categories
        }

    def _index_frames(self, checker: VISChecker, annotations: Iterable[Any],
                      data_list: List[dict]) -> FrameIndex:
        """Check the annotations and index them, several at a time."""
        first_frames = {
            video['video_id']: video['first_frame']
            for video in data_list
        }
        index, instance_ids = FrameIndex(), Counter()
        batch, num_frames, flags = [], 0, set()
        for position, annotation in enumerate(annotations):
            size = checker.check_annotation(annotation, position)
            video_id = annotation['video_id']
            instance_ids[video_id] += 1
            entry = dict(
                first_frame=first_frames[video_id],
                label=self.cat2label[annotation['category_id']],
                instance_id=instance_ids[video_id],
                ignore_flag=int(annotation.get('iscrowd', 0)))
            flags.add(entry['ignore_flag'])
            batch.append((annotation, size, entry))
            num_frames += size.length
            if num_frames >= BATCH_FRAMES:
                _add_to_index(index, checker, batch)
                batch, num_frames = [], 0
        if batch:
            _add_to_index(index, checker, batch)
        if flags == {1}:
            checker.report(Defect('all-crowds', ALL_CROWDS))
        index.finish(sum(video['video_length'] for video in data_list))
        return index

    def _warn(self, warnings: List[Defect]) -> None:
        """Log one line about data that were read but are wrong."""
        if warnings:
            kinds = Counter(defect.code for defect in warnings)
            counts = ', '.join(f'{n} {code}' for code, n in kinds.items())
            print_log(
                f'{self.ann_file}: {len(warnings)} defects ({counts}), the '
                f'first: {warnings[0]}; {VALIDATOR} lists them',
                'current',
                level=logging.WARNING)


def _add_to_index(index: FrameIndex, checker: VISChecker,
                  batch: List[tuple]) -> None:
    """Add (annotation, extent of its video, entry of the index) together or,
    where one of them has a defect or is of another kind, one by one."""
    annotations, sizes, entries = zip(*batch)
    tracks = read_plain_tracks(annotations, sizes)
    if tracks is None and len(batch) > 1:
        for item in batch:
            _add_to_index(index, checker, [item])
        return
    if tracks is None:
        tracks = checker.check_track(annotations[0], sizes[0])
    index.add(tracks, sizes, entries)
