# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Compare trackers on the same detections of a RefineVIS model.

Every frame goes through the network once; each tracker gets what it found:
the model's own tracker with its trained association head, StreamingTracker
without it, and mmdet's ByteTracker and OCSORT by the boxes, which need the
packages lap and motmetrics.

Example:
    python tools/analysis_tools/compare_trackers.py CONFIG CHECKPOINT \
        data/occluded_shapes/valid.json data/occluded_shapes/valid/JPEGImages
"""
import argparse
import os.path as osp
import time
import warnings
from importlib.util import find_spec
from typing import Any, Dict, List

import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import DetDataSample
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from terminaltables import AsciiTable
from torch import Tensor

from refinevis_mm.apis import Session, init_model
from refinevis_mm.evaluation import evaluate_tracking, evaluate_vis
from refinevis_mm.models import RefineVIS, StreamingTracker, Tracker
from refinevis_mm.models.association import (find_last_merges, find_merges,
                                             mask_iou)
from refinevis_mm.models.layers.nms import greedy_nms
from refinevis_mm.structures import FrameOutput, VideoResult, to_results_json
from refinevis_mm.utils import add_model_arguments, one_line_errors
from refinevis_mm.video_io import ImageFilesSource
from refinevis_mm.vis_json import check_ground_truth, load_json

# mmdet's own matching with the score thresholds of StreamingTracker
BOX_TRACKERS = dict(
    ByteTracker=dict(
        type='ByteTracker',
        motion=dict(type='KalmanFilter'),
        obj_score_thrs=dict(high=0.2, low=0.1),
        init_track_thr=0.3,
        num_frames_retain=60),
    OCSORT=dict(
        type='OCSORTTracker',
        motion=dict(type='KalmanFilter'),
        obj_score_thr=0.2,
        init_track_thr=0.3,
        num_frames_retain=60))
SCORE_THR = 0.3  # of the tracklets that are judged
SELECT_SCORE_THR, MASK_NMS_THR = 0.1, 0.5
PIXELS = 1000.  # side of the picture in which boxes are handed to mmdet


class BoxTracker:
    """A tracker of mmdet for boxes, as a :class:`Tracker` without a state.

    It gets the detections that the others get after their mask NMS.

    Args:
        tracker (dict): Config of the tracker.
    """

    def __init__(self, tracker: dict) -> None:
        self.tracker = MMDET_MODELS.build(tracker)
        self.discarded_ids: List[int] = []

    def reset(self) -> None:
        """Start of a new video."""
        self.tracker.reset()

    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """See :meth:`Tracker.select`."""
        scores, order = cls_scores.max(1).values.sort(descending=True)
        return order[scores > SELECT_SCORE_THR]

    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """See :meth:`Tracker.track`."""
        # imports mmcv.ops, which needs what refinevis_mm prepares
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
        overlaps = mask_iou(detections.masks).cpu().numpy()
        detections = detections[torch.from_numpy(
            greedy_nms(overlaps, MASK_NMS_THR))]
        boxes = bbox_cxcywh_to_xyxy(detections.boxes) * PIXELS
        sample = DetDataSample(metainfo=dict(frame_id=frame_id))
        sample.pred_instances = InstanceData(
            bboxes=boxes, scores=detections.scores, labels=detections.labels)
        tracks = self.tracker.track(data_sample=sample)
        # the rows come back in another order
        same = (tracks.bboxes[:, None] == boxes).all(-1)
        same &= tracks.scores[:, None] == detections.scores
        found = detections[same.nonzero()[:, 1]]
        found.instances_id = tracks.instances_id
        return found


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    add_model_arguments(parser)
    parser.add_argument('ann_file', help='videos in YouTube-VIS format')
    parser.add_argument('img_prefix', help='folder of their frames')
    return parser.parse_args()


def build_trackers(model: RefineVIS) -> Dict[str, Tracker]:
    """The trackers by name.

    Args:
        model (:obj:`RefineVIS`): Has a trained association head.

    Returns:
        dict[str, :obj:`Tracker`]: Those whose packages are installed.
    """
    trackers = {
        f'{type(model.tracker).__name__}, association head': model.tracker,
        'StreamingTracker': StreamingTracker(),
        'StreamingTracker, no embeddings': StreamingTracker()
    }
    if any(find_spec(name) is None for name in ('lap', 'motmetrics')):
        print_log(
            'ByteTracker and OCSORT are left out; they need: pip install lap '
            'motmetrics', 'current')
        return trackers
    trackers.update({
        name: BoxTracker(tracker)
        for name, tracker in BOX_TRACKERS.items()
    })
    return trackers


def embeds_for(name: str, model: RefineVIS, frame: FrameOutput) -> Tensor:
    """What a tracker of :func:`build_trackers` may compare, (1, Q, E)."""
    if name.endswith('association head'):
        return model.association_embeds(frame.embeds)
    embeds = model.frame_model.match_embeds(frame.embeds)
    return embeds[..., :0] if name.endswith('no embeddings') else embeds


@torch.no_grad()
def run_video(model: RefineVIS, trackers: Dict[str, Tracker],
              source: ImageFilesSource,
              seconds: Dict[str, float]) -> Dict[str, List[dict]]:
    """Tracklets of one video by tracker; adds up their time."""
    session = Session(model, views=['frame_level'])
    results = {
        name: VideoResult(source.num_frames, model.score_average)
        for name in trackers
    }
    for tracker in trackers.values():
        tracker.reset()
    for frame_id, timed in enumerate(source):
        image, meta = session.preprocess(timed.image, frame_id)
        frame = model.frame_model.forward_frames(
            image[None], sizes=[meta['img_shape'][:2]])
        for name, tracker in trackers.items():
            frame.assoc_embeds = embeds_for(name, model, frame)
            start = time.perf_counter()
            tracks = model.associate(frame, meta, tracker)
            seconds[name] += time.perf_counter() - start
            decoded = model.decode(tracks, refined=False)
            results[name].discard(tracker.discarded_ids)
            results[name].merge(find_merges(tracker))
            results[name].add_frame(frame_id, decoded.ids, decoded.cls_scores,
                                    decoded.scored, decoded.masks)
    for name, tracker in trackers.items():
        results[name].merge(find_last_merges(tracker))
    return {
        name: result.tracklets(model.cls_thr, model.max_per_video)
        for name, result in results.items()
    }


def table_row(name: str, gt: dict, rows: List[dict],
              milliseconds: float) -> List[Any]:
    """Measures of a tracker."""
    stats = evaluate_vis(gt, rows)
    tracking = evaluate_tracking(gt, rows, score_thr=SCORE_THR)
    values = [
        stats['AP'], stats['AP50'], tracking['hota'], tracking['assa'],
        tracking['idf1'], tracking['mota']
    ]
    return [name] + [f'{100 * value:.1f}' for value in values] + [
        tracking['id_switches'], tracking['fragmentations'],
        f'{milliseconds:.1f}'
    ]


@one_line_errors
def main() -> None:
    """Run the comparison."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    model = init_model(args.config, args.checkpoint)
    if getattr(model, 'association_head', None) is None:
        raise ValueError('the model must have an association head')
    gt = load_json(args.ann_file)
    check_ground_truth(gt, check_masks=True)
    category_ids = sorted(row['id'] for row in gt['categories'])
    trackers = build_trackers(model)
    seconds, num_frames = dict.fromkeys(trackers, 0.), 0
    rows: Dict[str, List[dict]] = {name: [] for name in trackers}
    for video in track_iter_progress(gt['videos']):
        source = ImageFilesSource(
            [osp.join(args.img_prefix, file) for file in video['file_names']])
        num_frames += source.num_frames
        found = run_video(model, trackers, source, seconds)
        for name, tracklets in found.items():
            rows[name] += to_results_json(video['id'], tracklets, category_ids)
    table = AsciiTable([[
        'tracker', 'AP', 'AP50', 'HOTA', 'AssA', 'IDF1', 'MOTA', 'switches',
        'fragments', 'ms/frame'
    ]] + [
        table_row(name, gt, rows[name], 1e3 * seconds[name] / num_frames)
        for name in trackers
    ])
    table.justify_columns = dict.fromkeys(range(1, 10), 'right')
    print()
    print(table.table)


if __name__ == '__main__':
    main()
