# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert videos that were annotated in CVAT to YouTube-VIS.

Expects the frames as ``FRAMES/<video>/<frame>.jpg``, which stay where they
are, and the export of each task as ``EXPORTS/<video>.zip`` or ``.xml``: "CVAT
for video 1.1", which keeps the ids of our tracks, or "MOTS PNG 1.0".

The folder of a video has either the frames of the task or all frames of the
video that the task was made of. ``track_id`` of an annotation is the id of the
object.

Example:
    python tools/dataset_converters/cvat_to_youtubevis.py data/raw/frames \\
        data/raw/cvat data/street/train.json
"""
import argparse
import os.path as osp
from typing import List, Optional, Tuple

from mmengine.utils import track_iter_progress

from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import image_folder, read_image, visible_names
from refinevis_mm.vis_json import (AnnotatedVideo, VISJsonWriter, is_mots_png,
                                   read_cvat_video, read_mots_png)

SUFFIXES = ('.xml', '.zip')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Convert videos that were annotated in CVAT to '
        'YouTube-VIS')
    parser.add_argument('frames', help='folder of the frames, by video')
    parser.add_argument(
        'exports', help='folder of the exports, <video>.zip or <video>.xml')
    parser.add_argument('out', help='YouTube-VIS file to write, .json')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing file')
    return parser.parse_args(argv)


def read_video(args: argparse.Namespace,
               export: str) -> Tuple[List[str], tuple, AnnotatedVideo]:
    """Read an export and look at its frames.

    Args:
        args (argparse.Namespace): The command line.
        export (str): Its file name.

    Returns:
        tuple: File names of its frames, relative to the folder of all
        frames, their size and the annotations.

    Raises:
        OSError: If a file or folder is missing.
        ValueError: If a file cannot be read, or the frames are not those of
            the annotations.
    """
    video, path = osp.splitext(export)[0], osp.join(args.exports, export)
    folder = osp.join(args.frames, video)
    names = [osp.basename(name) for name in image_folder(folder)]
    sizes = [read_image(osp.join(folder, name)).shape[:2] for name in names]
    if len(set(sizes)) > 1:
        raise ValueError(f'video {video}: all frames must have one (height, '
                         f'width), but got {sorted(set(sizes))}')
    if is_mots_png(path):
        stems = [osp.splitext(name)[0] for name in names]
        annotated = read_mots_png(path, stems, sizes[0])
    else:
        annotated = read_cvat_video(path, sizes[0])
    numbers = annotated.numbers
    if len(names) != len(numbers):
        if len(names) <= numbers[-1]:
            raise ValueError(
                f"video {video}: '{folder}' must have the {len(numbers)} "
                f"frames of the task, or all of its video's up to "
                f'{numbers[-1]}, got {len(names)}')
        names = [names[number] for number in numbers]
    return [f'{video}/{name}' for name in names], sizes[0], annotated


@one_line_errors
def main() -> None:
    """Convert videos that were annotated in CVAT to YouTube-VIS."""
    args = parse_args()
    exports = [
        name for name in visible_names(args.exports) if name.endswith(SUFFIXES)
    ]
    if not exports:
        raise ValueError(f"'{args.exports}' must have an export <video>.zip "
                         'or <video>.xml of each video, but has none')
    stems = [osp.splitext(name)[0] for name in exports]
    if len(set(stems)) < len(stems):
        raise ValueError(f"'{args.exports}' must have one export of each "
                         f'video, got {", ".join(exports)}')
    videos = [
        read_video(args, export) for export in track_iter_progress(exports)
    ]
    classes = dict.fromkeys(name for _, _, annotated in videos
                            for name in annotated.classes)
    ids = {name: i for i, name in enumerate(classes, 1)}
    with VISJsonWriter(args.out,
                       [dict(id=i, name=name) for name, i in ids.items()],
                       'from CVAT by cvat_to_youtubevis.py',
                       args.force) as writer:
        for names, size, annotated in videos:
            video_id = writer.add_video(names, *size)
            for track_id, (name, masks) in annotated.objects.items():
                if masks:
                    writer.add_annotation(
                        video_id,
                        ids[name],
                        [masks.get(frame) for frame in range(len(names))],
                        track_id=track_id)
    print(f'\n{writer.summary} written to {args.out}')


if __name__ == '__main__':
    main()
