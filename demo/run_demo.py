# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""``make demo``: the shipped model on a few new OccludedShapes videos.

Evaluates it without refinement, online and offline, and draws one video with
offline refinement. Run from the root of the repository.
"""
import json
import os
import os.path as osp
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stdout
from typing import Dict, List

from terminaltables import AsciiTable

from refinevis_mm.apis import VISInferencer
from refinevis_mm.evaluation import evaluate_vis
from refinevis_mm.structures import to_results_json
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import ImageFilesSource

MODEL = 'refinevis-small_occluded-shapes'
OUT_DIR = 'work_dirs/demo'
NUM_VIDEOS = 6
NUM_FRAMES = (20, 32)  # fewest and most of a video
SEED = 200000  # other videos than those of training and validation
DRAWN_VIDEO = 1
VIEWS = {
    'frame level only': 'frame_level',
    'online': 'online',
    'offline': 'offline'
}
SCORE_THR = 0.3  # of tracks that are counted and drawn
COLUMNS = ('AP', 'AP50', 'AP75')


def make_videos(data_root: str) -> dict:
    """Make the videos; returns their annotations."""
    command = [
        sys.executable, 'tools/dataset_converters/make_occluded_shapes.py',
        data_root, '--force', '--split', f'demo:{NUM_VIDEOS}:{SEED}',
        '--frames', *map(str, NUM_FRAMES)
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f'the videos cannot be made: {done.stderr.strip()}')
    with open(osp.join(data_root, 'demo.json'), encoding='utf-8') as file:
        return json.load(file)


def frames_of(data_root: str, video: dict) -> ImageFilesSource:
    """The frames of a video of the annotation file."""
    return ImageFilesSource([
        osp.join(data_root, 'demo', 'JPEGImages', name)
        for name in video['file_names']
    ])


def run_view(inferencer: VISInferencer, view: str,
             sources: Dict[int,
                           ImageFilesSource], annotations: dict) -> List[str]:
    """Run all videos; returns the numbers of a table row."""
    category_ids = [row['id'] for row in annotations['categories']]
    rows, num_frames, num_tracks = [], 0, 0
    start = time.perf_counter()
    for video_id, source in sources.items():
        recording = inferencer(source, views=[view])
        tracklets = list(recording.tracklets(cls_thr=inferencer.model.cls_thr))
        rows += to_results_json(video_id, tracklets, category_ids)
        num_frames += recording.num_frames
        num_tracks += len({
            row['instances_id']
            for row in tracklets if row['score'] >= SCORE_THR
        })
    seconds = time.perf_counter() - start
    stats = evaluate_vis(annotations, rows)
    return [f'{100 * stats[column]:.1f}' for column in COLUMNS
            ] + [f'{num_frames / seconds:.1f}',
                 str(num_tracks)]


@one_line_errors
def main() -> None:
    """Run the demo."""
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    with redirect_stdout(sys.stderr):  # for what the package reports
        inferencer = VISInferencer(MODEL, mode='offline')
    print(f'Model: {MODEL}')
    data_root = osp.join(OUT_DIR, 'videos')
    os.makedirs(OUT_DIR, exist_ok=True)
    annotations = make_videos(data_root)
    sources = {
        video['id']: frames_of(data_root, video)
        for video in annotations['videos']
    }
    num_frames = sum(source.num_frames for source in sources.values())
    print(f'Videos: {len(sources)} of OccludedShapes, {num_frames} frames, '
          f'{len(annotations["annotations"])} objects')
    table = [['refinement', *COLUMNS, 'frames/s', 'tracks']]
    for name, view in VIEWS.items():
        table.append([name, *run_view(inferencer, view, sources, annotations)])
    table = AsciiTable(table)
    table.justify_columns = dict.fromkeys(range(1, 6), 'right')
    print(table.table)
    drawn = inferencer.render(
        list(sources.values())[DRAWN_VIDEO], OUT_DIR, score_thr=SCORE_THR)
    for file in drawn.files:
        print(file)


if __name__ == '__main__':
    main()
