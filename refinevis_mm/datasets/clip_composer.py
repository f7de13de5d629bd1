# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Clips of several, occluding objects made of videos of single ones."""
from typing import Dict, Iterable, Iterator, List, NamedTuple, Tuple

import numpy as np
from mmcv.transforms import Compose

from refinevis_mm.vis_json import YouTubeVISWriter
from .occluded_shapes import summarize
from .transforms.track_pasting import (LayeredClip, Track, TrackPaster,
                                       clip_tracks, crowd_ids, instance_labels,
                                       instance_masks)
from .vis_dataset import VISDataset

NUM_OBJECTS = (3, 6)  # of a clip, as far as there are any
NUM_FRAMES = (20, 36)  # of a clip
# of composed clips: many occlusions
PASTING = dict(
    scale_range=(0.3, 1.6), aim_prob=0.9, behind_prob=0.25, max_drift=1.0)


class ComposedClip(NamedTuple):
    """A clip and the class index of each of its objects and crowds."""
    layers: LayeredClip
    labels: List[int]
    crowd_labels: List[int]


def forth_and_back(length: int, start: int, num_frames: int) -> List[int]:
    """Positions in a video that is played forth and back without end.

    Args:
        length (int): Frames of the video.
        start (int): First position.
        num_frames (int): Number of positions.

    Returns:
        list[int]: Neighbours are at most one frame apart.
    """
    period = max(1, 2 * (length - 1))
    positions = (start + np.arange(num_frames)) % period
    return np.minimum(positions, period - positions).tolist()


class ClipComposer:
    """Composes clips of the videos of a data set.

    Args:
        dataset (VISDataset): The source.
        paster (TrackPaster): Pastes objects.
        num_objects (tuple[int, int]): Fewest and most objects of a clip, as
            far as there are any; the first video keeps all of its own.
            Defaults to (3, 6).
        num_frames (tuple[int, int]): Fewest and most frames of a clip.
            Defaults to (20, 36).
    """

    def __init__(self,
                 dataset: VISDataset,
                 paster: TrackPaster,
                 num_objects: Tuple[int, int] = NUM_OBJECTS,
                 num_frames: Tuple[int, int] = NUM_FRAMES) -> None:
        self.dataset = dataset
        self.paster = paster
        self.num_objects = num_objects
        self.num_frames = num_frames
        self.load = Compose([
            dict(
                type='TransformBroadcaster',
                transforms=[
                    dict(type='refinevis_mm.LoadFrame'),
                    dict(type='LoadTrackAnnotations', with_mask=True)
                ])
        ])

    def compose(self, rng: np.random.Generator) -> ComposedClip:
        """Compose a clip.

        The first of the videos, in random order, is the clip that objects of
        the others, one of each, are pasted into.

        Args:
            rng (np.random.Generator): Source of all randomness.

        Returns:
            ComposedClip: Its crowds are those of the first video, less what
            is pasted over them.
        """
        num_objects = rng.integers(*self.num_objects, endpoint=True)
        num_frames = int(rng.integers(*self.num_frames, endpoint=True))
        order = rng.permutation(len(self.dataset)).tolist()
        clip = self._read(order[0], num_frames, rng)
        tracks = clip_tracks(clip)
        crowds = sorted(crowd_ids(clip))
        layers = LayeredClip(
            clip['img'],
            np.array([track.masks for track in tracks]).reshape(
                len(tracks), num_frames, *clip['img'][0].shape[:2]),
            instance_masks(clip, crowds))
        labels = [track.label for track in tracks]
        for track in self._other_tracks(order[1:], num_frames, rng):
            if len(labels) >= num_objects:
                break
            self.paster.paste(layers, track, rng)
            labels.append(track.label)
        all_labels = instance_labels(clip)
        return ComposedClip(layers, labels, [all_labels[i] for i in crowds])

    def compose_split(self, root: str, split: str, indices: Iterable[int],
                      seed: int) -> dict:
        """Compose and write a split.

        Args:
            root (str): Data set folder.
            split (str): Name of the split.
            indices (Iterable[int]): A number for each clip.
            seed (int): Random seed, not negative; a clip depends on it and
                its number only.

        Returns:
            dict: The seed and the statistics of :func:`summarize`.

        Raises:
            OSError: If a frame does not exist or a file cannot be written.
            ValueError: If a frame cannot be read.
        """
        writer = YouTubeVISWriter(root, split,
                                  self.dataset.metainfo['classes'],
                                  f'{split}: composed with seed {seed}')
        visibility = []
        for index in indices:
            clip = self.compose(np.random.default_rng((seed, index)))
            visibility.append(clip.layers.visibility())
            writer.add_video(
                clip.layers.frames, clip.labels + clip.crowd_labels,
                np.concatenate([clip.layers.masks, clip.layers.ignored]),
                visibility[-1], len(clip.crowd_labels))
        writer.save()
        return dict(seed=seed, **summarize(visibility))

    def _other_tracks(self, indices: List[int], num_frames: int,
                      rng: np.random.Generator) -> Iterator[Track]:
        """An object of each video that has any."""
        for index in indices:
            tracks = clip_tracks(self._read(index, num_frames, rng))
            if tracks:
                yield tracks[rng.integers(len(tracks))]

    def _read(self, index: int, num_frames: int,
              rng: np.random.Generator) -> Dict[str, list]:
        """Load a random part of a video."""
        images = self.dataset.get_data_info(index)['images']
        positions = forth_and_back(
            len(images), int(rng.integers(len(images))), num_frames)
        frames = [images[i] for i in positions]
        return self.load(
            {key: [frame[key] for frame in frames]
             for key in frames[0]})
