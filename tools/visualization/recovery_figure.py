# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Draw an object that refinement has recovered, as the paper's Figure 3 does.

The picture has three rows, the image, the frame level and the refined result,
and shows some consecutive frames around one in which the frame level has
missed an object: of all such, the one whose refined mask agrees best with the
ground truth or, without it, covers the largest part of the picture.

Examples:
    python tools/visualization/recovery_figure.py CONFIG CHECKPOINT \
        data/tune/tune.json --img-prefix data/tune/tune/JPEGImages
    python tools/visualization/recovery_figure.py CONFIG CHECKPOINT street.mp4
"""
import argparse
import os.path as osp
import sys
import warnings
from dataclasses import dataclass
from itertools import islice
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmengine.config import DictAction
from mmengine.utils import ProgressBar
from pycocotools import mask as mask_utils

from refinevis_mm.apis import VISInferencer
from refinevis_mm.structures import class_name
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import FrameSource, ImageFilesSource, open_source
from refinevis_mm.vis_json import (Tube, check_ground_truth, load_json,
                                   mask_areas, to_rles, tube_ious)
from refinevis_mm.visualization import display_scale, draw_instances
from refinevis_mm.visualization.refinement_figure import draw_panels

MAX_PANEL_WIDTH = 320  # px
COVER_THR = 0.5  # of a mask that repeats objects found by the frame level


@dataclass
class FollowedVideo:
    """Results of a video before and after refinement.

    Attributes:
        source (:obj:`FrameSource`): Its F frames.
        before (dict[int, list[dict | None]]): Frame-level masks by instance
            id, F run-length codes each.
        after (dict[int, list[dict | None]]): Refined masks, the same ids.
        names (dict[int, str]): Class and id of each instance.
    """

    source: FrameSource
    before: Dict[int, Tube]
    after: Dict[int, Tube]
    names: Dict[int, str]


@dataclass(order=True)
class Recovery:
    """A mask that only the refined result has; ordered by quality.

    Attributes:
        quality (float): IoU with the ground truth, or without it the share
            of the picture, in [0, 1].
        instance_id (int): Of the tracklet.
        frame_id (int): Frame of the video.
    """

    quality: float
    instance_id: int
    frame_id: int


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Draw an object that refinement has recovered')
    parser.add_argument(
        'config', help='config file path or name of a shipped config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'input',
        help='annotations of videos in YouTube-VIS format (.json, .json.gz), '
        'or one video: video file, folder of frames or quoted glob pattern')
    parser.add_argument(
        '--img-prefix', help='folder of the frames of annotated videos')
    parser.add_argument(
        '--out', default='recovery.png', help='the picture, .png or .jpg')
    parser.add_argument(
        '--mode',
        choices=['online', 'offline'],
        default='offline',
        help='refine from past frames or clip by clip')
    parser.add_argument(
        '--num-frames', type=int, default=5, help='columns of the picture')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least class score of a drawn object')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    args = parser.parse_args()
    annotated = args.input.lower().endswith(('.json', '.json.gz'))
    if annotated != (args.img_prefix is not None):
        parser.error('--img-prefix is needed for annotated videos, and only '
                     'for them')
    if args.num_frames < 1:
        parser.error(f'--num-frames must be positive, got {args.num_frames}')
    if not args.out.lower().endswith(('.png', '.jpg')):
        parser.error(f'--out must end in .png or .jpg, got {args.out}')
    return args


def open_videos(
    path: str, img_prefix: Optional[str]
) -> List[Tuple[FrameSource, Optional[List[Tube]]]]:
    """Open the input.

    Args:
        path (str): Annotation file or video.
        img_prefix (str, optional): Folder of the annotated frames.

    Returns:
        list[tuple]: Each video and the masks of its objects as run-length
        codes, None without annotations.
    """
    if img_prefix is None:
        return [(open_source(path), None)]
    gt = load_json(path)
    check_ground_truth(gt, check_masks=True)
    videos = []
    for video in gt['videos']:
        files = [osp.join(img_prefix, name) for name in video['file_names']]
        objects = [
            to_rles(video, ann) for ann in gt['annotations']
            if ann['video_id'] == video['id'] and not ann.get('iscrowd')
        ]
        videos.append((ImageFilesSource(files), objects))
    return videos


def follow(inferencer: VISInferencer, source: FrameSource, score_thr: float,
           progress: ProgressBar) -> FollowedVideo:
    """Run a model over a video.

    Args:
        inferencer (:obj:`VISInferencer`): The model.
        source (:obj:`FrameSource`): The video.
        score_thr (float): Least class score of an instance that is kept.
        progress (:obj:`ProgressBar`): Updated with every frame.

    Returns:
        :obj:`FollowedVideo`: The results.
    """
    recording = inferencer(source, on_frame=progress.update)
    tubes = {
        row['instances_id']: row['segmentations']
        for row in recording.tracklets('frame_level', -1)
    }
    video = FollowedVideo(source, {}, {}, {})
    # the best class of an instance comes last
    for row in sorted(
            recording.tracklets(cls_thr=score_thr),
            key=lambda row: row['score']):
        instance_id, label = row['instances_id'], row['label']
        video.before[instance_id] = tubes[instance_id]
        video.after[instance_id] = row['segmentations']
        name = class_name(recording.classes, label)
        video.names[instance_id] = f'{name} {instance_id}'
    return video


def find_recoveries(video: FollowedVideo,
                    objects: Optional[Sequence[Tube]]) -> Iterator[Recovery]:
    """Masks of a video that only the refined result has.

    Masks that lie on objects found by the frame level are left out.

    Args:
        video (:obj:`FollowedVideo`): The results.
        objects (Sequence[Sequence[dict | None]], optional): Masks of the
            annotated objects. A tracklet is compared with the object of the
            best tube IoU.

    Yields:
        :obj:`Recovery`: Each of these masks.
    """
    for instance_id, tube in video.after.items():
        target = None
        if objects is not None:
            target = best_object(tube, objects)
            if target is None:
                continue
        for frame_id, mask in enumerate(tube):
            if mask is None or video.before[instance_id][frame_id] is not None:
                continue
            found = [
                other[frame_id] for other in video.before.values()
                if other[frame_id] is not None
            ]
            if found and mask_utils.iou([mask], [mask_utils.merge(found)],
                                        [1])[0, 0] > COVER_THR:
                continue
            if target is None:
                quality = mask_utils.area(mask) / np.prod(mask['size'])
            elif target[frame_id] is None:
                continue
            else:
                quality = mask_utils.iou([mask], [target[frame_id]], [0])[0, 0]
            yield Recovery(float(quality), instance_id, frame_id)


def best_object(tube: Tube, objects: Sequence[Tube]) -> Optional[Tube]:
    """The object that a tracklet follows, None if it touches no one."""
    if not objects:
        return None
    num_frames = len(tube)
    ious = tube_ious([tube], objects, mask_areas([tube], num_frames),
                     mask_areas(objects, num_frames))[0]
    return objects[ious.argmax()] if ious.any() else None


def draw(video: FollowedVideo, recovery: Recovery, num_frames: int,
         mode: str) -> np.ndarray:
    """Draw a recovered object.

    Args:
        video (:obj:`FollowedVideo`): The results.
        recovery (:obj:`Recovery`): What is shown, in the middle.
        num_frames (int): Columns.
        mode (str): Mode of refinement, for the title.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR.
    """
    length = len(video.after[recovery.instance_id])
    start = max(
        min(recovery.frame_id - num_frames // 2, length - num_frames), 0)
    frames = islice(video.source, start, start + num_frames)
    images = [frame.image for frame in frames]
    scale = min(
        display_scale(*images[0].shape[:2]),
        MAX_PANEL_WIDTH / images[0].shape[1])
    rows = []
    for tubes in ({}, video.before, video.after):
        panels = []
        for frame_id, image in enumerate(images, start):
            ids = [i for i, tube in tubes.items() if tube[frame_id]]
            masks = [
                mask_utils.decode(tubes[i][frame_id]).astype(bool) for i in ids
            ]
            panels.append(
                draw_instances(
                    image,
                    masks,
                    ids,
                    list(map(str, ids)),
                    [video.before[i][frame_id] is None for i in ids],
                    scale=scale))
        rows.append(panels)
    name = video.names[recovery.instance_id]
    return draw_panels(
        rows, [f'frame {start + column}' for column in range(len(images))], [
            'image', f'frame level: misses {name} in frame '
            f'{recovery.frame_id}',
            f'refined, {mode}: {name} recovered (white outline)'
        ])


@one_line_errors
def main() -> None:
    """Draw the figure."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    videos = open_videos(args.input, args.img_prefix)
    inferencer = VISInferencer(
        args.config,
        args.checkpoint,
        args.device,
        mode=args.mode,
        cfg_options=args.cfg_options)
    if inferencer.model.window == 0:
        raise ValueError('a model with refinement is needed, got window=0')
    progress = ProgressBar(
        sum(source.num_frames for source, _ in videos), file=sys.stderr)
    best, count = None, 0
    for source, objects in videos:
        video = follow(inferencer, source, args.score_thr, progress)
        for recovery in find_recoveries(video, objects):
            count += 1
            if best is None or recovery > best[1]:
                best = video, recovery
    print(file=sys.stderr)
    if best is None:
        raise ValueError(f'nothing was recovered in {len(videos)} video(s)')
    video, recovery = best
    mmcv.imwrite(draw(video, recovery, args.num_frames, args.mode), args.out)
    kind = 'share of the picture' if args.img_prefix is None else 'IoU'
    print(f'{count} masks recovered; the best: '
          f'{video.names[recovery.instance_id]}, frame {recovery.frame_id}, '
          f'{kind} {recovery.quality:.2f}\n{args.out}')


if __name__ == '__main__':
    main()
