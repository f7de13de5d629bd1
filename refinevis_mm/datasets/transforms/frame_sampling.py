# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Sampling of training clips from videos."""
from typing import Dict, List

import numpy as np
from mmcv.transforms import BaseTransform

from refinevis_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class KeyFirstFrameSample(BaseTransform):
    """Sample a clip whose first frame is its key frame.

    A frame is drawn uniformly (or is ``key_frame_id`` when given), then the
    others without replacement among those at a gap of 1 to ``frame_range``
    from it. The clip is in temporal order and index 0, the earliest, is the
    key: the "first frame" of the paper's Sec. 4.1 that carries the frame
    losses. mmdet's ``UniformRefFrameSample`` marks the drawn frame instead,
    wherever it falls. Frames are drawn again where the video has too few.

    Required Keys:

    - images
    - video_id
    - video_length
    - key_frame_id (optional)

    Added Keys: those of a frame, as lists over the clip, and

    - video_id, video_length, ori_video_length
    - key_frame_flags

    Args:
        num_ref_imgs (int): Frames beside the key frame. Defaults to 1.
        frame_range (int): Largest gap in frames to the drawn frame, at least
            1. Defaults to 10.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, num_ref_imgs: int = 1, frame_range: int = 10) -> None:
        if num_ref_imgs < 0:
            raise ValueError('num_ref_imgs must not be negative, but got '
                             f'{num_ref_imgs}')
        if frame_range < 1:
            raise ValueError('frame_range must be at least 1, but got '
                             f'{frame_range}')
        self.num_ref_imgs = num_ref_imgs
        self.frame_range = frame_range

    def sample(self, video_length: int, drawn: int) -> List[int]:
        """Frame positions of a clip.

        Args:
            video_length (int): Number of frames of the video.
            drawn (int): The frame that belongs to the clip.

        Returns:
            list[int]: 1 + num_ref_imgs positions, ascending.
        """
        first = max(0, drawn - self.frame_range)
        last = min(video_length - 1, drawn + self.frame_range)
        others = [i for i in range(first, last + 1) if i != drawn] or [drawn]
        short = len(others) < self.num_ref_imgs
        refs = np.random.choice(others, self.num_ref_imgs, replace=short)
        return sorted([drawn, *refs.tolist()])

    def transform(self, results: dict) -> Dict[str, list]:
        """Sample a clip from a video.

        Args:
            results (dict): The video.

        Returns:
            dict[str, list]: The clip, each key a list over its frames.
        """
        length = len(results['images'])
        drawn = results.get('key_frame_id')
        if drawn is None:
            drawn = int(np.random.randint(length))
        positions = self.sample(length, drawn)
        frames = [results['images'][i] for i in positions]
        clip = {key: [frame[key] for frame in frames] for key in frames[0]}
        clip['video_id'] = [results['video_id']] * len(frames)
        for key in ('video_length', 'ori_video_length'):
            clip[key] = [results['video_length']] * len(frames)
        clip['key_frame_flags'] = [True] + [False] * self.num_ref_imgs
        return clip

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}('
                f'num_ref_imgs={self.num_ref_imgs}, '
                f'frame_range={self.frame_range})')
