# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where results lose identities, what it costs, and what would help most.

Two tables: every identity switch, fragmentation and duplicate by what its
repair would gain in HOTA; and what AP and HOTA would be with perfect classes,
association, detection or masks. With --out-dir a strip of frames for each of
the costliest events. With --held-by the events that are listed and drawn are
switches across which other results keep the object under one id.

Examples:
    python tools/analysis_tools/explain_identity.py valid.json results.json
    python tools/analysis_tools/explain_identity.py valid.json results.json \
        --img-prefix valid/JPEGImages --out-dir work_dirs/identity --top 10
    python tools/analysis_tools/explain_identity.py valid.json before.json \
        --held-by now.json
"""
import argparse
import os
import os.path as osp
from typing import Dict, List, Optional

import numpy as np
from terminaltables import AsciiTable

from refinevis_mm.evaluation.identity_events import (KINDS, IdentityEvent,
                                                     VideoIdentities,
                                                     explain_identity,
                                                     track_held)
from refinevis_mm.evaluation.oracles import evaluate_oracles
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import read_image, write_image
from refinevis_mm.vis_json import Tube, load_json
from refinevis_mm.visualization import draw_instances
from refinevis_mm.visualization.refinement_figure import draw_panels
from refinevis_mm.visualization.vis_overlay import resize_image

NUM_PANELS = 6  # frames of a strip
PANEL_WIDTH = 240  # px


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Explain lost identities',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gt', help='annotations in YouTube-VIS format')
    parser.add_argument('results', help='results in submission format')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='score below which results do not count; default: 0.3')
    parser.add_argument(
        '--top', type=int, default=20, help='events to show; default: 20')
    parser.add_argument(
        '--img-prefix', help='folder of the frames, for --out-dir')
    parser.add_argument('--out-dir', help='folder for strips of frames')
    parser.add_argument(
        '--held-by',
        metavar='RESULTS',
        help='other results; show switches across which these keep the object')
    args = parser.parse_args()
    if args.top < 1:
        parser.error(f'--top must be at least 1, got {args.top}')
    if (args.out_dir is None) != (args.img_prefix is None):
        parser.error('--out-dir and --img-prefix belong together')
    return args


def events_table(events: List[IdentityEvent], names: dict) -> str:
    """Table of events.

    Args:
        events (list[:obj:`IdentityEvent`]): What breaks.
        names (dict): Class names by category id.

    Returns:
        str: A line for each.
    """
    rows = [[
        'HOTA', 'what', 'video', 'object', 'class', 'frames', 'tracks',
        'visible', 'moved'
    ]]
    for event in events:
        tracks = str(event.old) if event.old == event.new else \
            f'{event.old}, {event.new}'
        rows.append([
            f'{100 * event.cost:+.2f}', event.kind,
            str(event.video_id),
            str(event.object_id),
            str(names[event.category_id]), f'{event.before}-{event.after}',
            tracks, f'{event.visible:.2f}', f'{event.moved:.2f}'
        ])
    return AsciiTable(rows).table


def summary_table(events: List[IdentityEvent]) -> str:
    """Number and cost of the events by kind.

    Args:
        events (list[:obj:`IdentityEvent`]): All that breaks.

    Returns:
        str: A line for each kind.
    """
    rows = [['', 'number', 'sum of HOTA', 'behind a hidden stretch']]
    for kind in KINDS:
        part = [event for event in events if event.kind == kind]
        hidden = sum(event.visible < 0.1 for event in part)
        rows.append([
            kind,
            str(len(part)), f'{100 * sum(e.cost for e in part):.1f}',
            '' if kind == 'duplicate' else str(hidden)
        ])
    return AsciiTable(rows).table


def oracle_table(numbers: dict) -> str:
    """Table of the oracles, in percent.

    Args:
        numbers (dict): What ``evaluate_oracles`` returns.

    Returns:
        str: A line for each.
    """
    rows = [['perfect', 'AP', 'AP50', 'HOTA', 'DetA', 'AssA', 'switches']]
    for name, values in numbers.items():
        *shares, switches = values.values()
        rows.append(
            [name, *(f'{100 * value:.1f}' for value in shares),
             str(switches)])
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(1, 7), 'right')
    return table.table


def draw_strip(found: VideoIdentities,
               event: IdentityEvent,
               img_prefix: str,
               other: Optional[VideoIdentities] = None) -> np.ndarray:
    """Frames of an event: the object above, the tracklets below.

    Args:
        found (:obj:`VideoIdentities`): The video.
        event (:obj:`IdentityEvent`): What breaks.
        img_prefix (str): Folder of the frames.
        other (:obj:`VideoIdentities`, optional): The video with results that
            keep the object; the tracklet comes in a third row.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR.
    """
    files = found.video['file_names']
    first = max(event.before - 1, 0)
    last = min(event.after + 1, len(files) - 1)
    frames = np.unique(
        np.linspace(first, last, NUM_PANELS).round().astype(int)).tolist()
    images = [read_image(osp.join(img_prefix, files[i])) for i in frames]

    def draw(tubes: Dict[int, Tube], label: str) -> List[np.ndarray]:
        return [
            draw_instances(
                image, [tube[frame] for tube in tubes.values()],
                list(tubes), [label.format(i) for i in tubes],
                scale=PANEL_WIDTH / image.shape[1])
            for frame, image in zip(frames, images)
        ]

    ids = dict.fromkeys([event.old, event.new])
    rows = [
        draw({event.row: found.objs[event.row]}, 'object'),
        draw({i: found.dets[i]
              for i in ids}, '#{}')
    ]
    titles = [
        f'{event.kind}, video {event.video_id}, object {event.object_id}: '
        f'{100 * event.cost:+.2f} HOTA', f'tracks {event.old} and {event.new}'
    ]
    if other is not None:
        held = track_held(other, event)
        rows.append(draw({held: other.dets[held]}, '#{}'))
        titles.append(f'other results: track {held}')
    size = rows[0][0].shape[1::-1]
    rows = [[
        panel if panel.shape[1::-1] == size else resize_image(
            panel, size[0] / panel.shape[1]) for panel in row
    ] for row in rows]
    return draw_panels(rows, [f'frame {i}' for i in frames], titles)


@one_line_errors
def main() -> None:
    """Print the tables, draw the strips."""
    args = parse_args()
    gt = load_json(args.gt)
    results = load_json(args.results)
    if args.out_dir is not None and not all(
            video.get('file_names') for video in gt['videos']):
        raise ValueError('--out-dir needs the file_names of every video, got '
                         'one without')
    videos = explain_identity(gt, results, args.score_thr)
    others = [None] * len(videos) if args.held_by is None else \
        explain_identity(gt, load_json(args.held_by), args.score_thr)
    names = {row['id']: row.get('name') for row in gt['categories']}
    events = [(video, event, other) for video, other in zip(videos, others)
              for event in video.events]
    events.sort(key=lambda found: -found[1].cost)
    print(summary_table([event for _, event, _ in events]))
    what = 'that cost most'
    if args.held_by is not None:
        events = [
            (video, event, other) for video, event, other in events
            if event.kind == 'switch' and track_held(other, event) is not None
        ]
        what = (f'of {len(events)} switches across which {args.held_by} keeps '
                'the object')
    shown = events[:args.top]
    print(f'\nthe {len(shown)} {what}:')
    print(events_table([event for _, event, _ in shown], names))
    print('\nwith one part perfect:')
    print(oracle_table(evaluate_oracles(gt, results, args.score_thr)))
    if args.out_dir is not None:
        os.makedirs(args.out_dir, exist_ok=True)
        for number, (found, event, other) in enumerate(shown):
            path = osp.join(args.out_dir, f'{number:03d}_{event.kind}.png')
            write_image(path, draw_strip(found, event, args.img_prefix, other))
        print(f'\n{len(shown)} strips in {args.out_dir}')


if __name__ == '__main__':
    main()
