# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Occlusion augmentation with objects of other clips."""
from typing import Dict, List, Sized

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.mask import BitmapMasks

from refinevis_mm.registry import TRANSFORMS
from .filtering import FilterTrackAnnotations, tight_boxes
from .track_pasting import (LayeredClip, TrackPaster, clip_tracks, crowd_ids,
                            instance_labels, instance_masks)


@TRANSFORMS.register_module()
class VideoCopyPaste(BaseTransform):
    """Paste objects of other clips into a clip, with a depth order.

    A pasted object keeps its class and its motion: one random scale, mirroring
    and place hold for all its frames. What it is pasted over loses these
    pixels from its mask; an object that is hidden completely is absent in
    that frame. Objects are pasted one after the other, each before or behind
    all that are there, with new ids. Ignored regions, such as crowds, are
    never pasted and never hide what is. An extension of Simple Copy-Paste
    (Ghiasi et al., https://arxiv.org/abs/2012.07177) to clips.

    To be used in the pipeline of :class:`mmdet.datasets.MultiImageMixDataset`
    around a data set whose own pipeline samples and loads clips of one
    length; frame sizes may differ.

    Required Keys, each a list over the frames:

    - img
    - gt_bboxes, gt_bboxes_labels, gt_masks, gt_instances_ids,
      gt_ignore_flags
    - mix_results (list[dict]): the other clips, in the same form.

    Modified Keys: those above; mix_results is removed.

    Args:
        prob (float): Probability to change a clip. Defaults to 0.5.
        max_clips (int): 1 to ``max_clips`` other clips are drawn. Defaults
            to 2.
        max_tracks (int): 1 to ``max_tracks`` of their objects are pasted, as
            far as there are any; crowds are not. Defaults to 3.
        **kwargs: Scale, place and depth, see :class:`TrackPaster`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 prob: float = 0.5,
                 max_clips: int = 2,
                 max_tracks: int = 3,
                 **kwargs) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], but got {prob}')
        for name, value in (('max_clips', max_clips), ('max_tracks',
                                                       max_tracks)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, but got {value}')
        self.prob = prob
        self.max_clips = max_clips
        self.max_tracks = max_tracks
        self.paster = TrackPaster(**kwargs)
        self.filter = FilterTrackAnnotations()

    def get_indexes(self, dataset: Sized) -> List[int]:
        """Draw the clips to paste from.

        Args:
            dataset (Sized): The data set.

        Returns:
            list[int]: Their indices; none where the clip is to stay.
        """
        if np.random.random() >= self.prob:
            return []
        num = np.random.randint(1, self.max_clips + 1)
        return np.random.randint(len(dataset), size=num).tolist()

    def transform(self, results: Dict[str, list]) -> Dict[str, list]:
        """Paste objects into a clip.

        Args:
            results (dict[str, list]): The clip, each key a list over its
                frames, and ``mix_results``.

        Returns:
            dict[str, list]: The clip with the objects pasted.

        Raises:
            ValueError: If another clip has another number of frames, or the
                frames of this one differ in size.
        """
        tracks = [
            track for clip in results.pop('mix_results')
            for track in clip_tracks(clip)
        ]
        if not tracks:
            return results
        rng = np.random.default_rng(np.random.randint(2**31))
        num = rng.integers(1, self.max_tracks + 1)
        crowds = sorted(crowd_ids(results))
        ids = [i for i in instance_labels(results) if i not in crowds]
        clip = LayeredClip(results['img'], instance_masks(results, ids),
                           instance_masks(results, crowds))
        chosen = rng.permutation(len(tracks))[:num]
        for i in chosen:
            self.paster.paste(clip, tracks[i], rng)
        ids = crowds + ids
        pasted_ids = max(ids, default=0) + 1 + np.arange(len(chosen))
        self._write(results, clip, [*ids, *pasted_ids.tolist()],
                    [tracks[i].label for i in chosen])
        return results

    def _write(self, results: Dict[str, list], clip: LayeredClip,
               ids: List[int], pasted_labels: List[int]) -> None:
        """Put images and annotations into ``results``; ``ids`` are those of
        the ignored regions, then of all objects."""
        results['img'] = clip.frames
        num_pasted = len(pasted_labels)
        rows = {instance_id: row for row, instance_id in enumerate(ids)}
        all_masks = np.concatenate([clip.ignored, clip.masks])
        for t in range(len(clip.frames)):
            own = results['gt_instances_ids'][t]
            frame_ids = np.concatenate([own, ids[len(ids) - num_pasted:]])
            masks = all_masks[[rows[i] for i in frame_ids.tolist()], t]
            masks = BitmapMasks(masks.astype(np.uint8), *clip.size)
            frame = dict(
                gt_bboxes=tight_boxes(masks, results['gt_bboxes'][t]),
                gt_masks=masks,
                gt_instances_ids=frame_ids.astype(own.dtype),
                gt_bboxes_labels=_extend(results['gt_bboxes_labels'][t],
                                         pasted_labels),
                gt_ignore_flags=_extend(results['gt_ignore_flags'][t],
                                        [False] * num_pasted))
            for key, value in self.filter(frame).items():
                results[key][t] = value

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(prob={self.prob}, '
                f'max_clips={self.max_clips}, max_tracks={self.max_tracks}, '
                f'paster={self.paster})')


def _extend(values: np.ndarray, more: list) -> np.ndarray:
    """Append to an array, which keeps its type."""
    return np.concatenate([values, np.array(more, values.dtype)])
