# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The YouTube-VIS form: reading, writing, masks, class names, and its rules."""
from .class_mapping import (check_class_names, check_same_classes,
                            class_sources, classes_of)
from .class_names import (OVIS, PRESETS, YOUTUBE_VIS_2019, YOUTUBE_VIS_2021,
                          match_classes, preset_of)
from .coco_videos import (ImageVideo, check_coco, usable_annotations,
                          write_videos)
from .defects import ERROR, LEVELS, NOTE, WARNING, Defect
from .frame_files import copy_images, find_frame_defects
from .id_maps import check_sharp, find_cores, read_id_map
from .json_stream import VISJson
from .packed_masks import MaskError, compress_mask, without_points
from .tube_overlap import (Tube, distinct_tubes, frame_ious, mask_areas,
                           to_rles, tube_covers, tube_ious, tube_key)
from .validation import (ALL_CROWDS, CROWD_HINT, ObjectTracks, VideoSize,
                         VISChecker, find_defects, find_result_defects,
                         raise_defect, read_plain_tracks)
from .vis_files import (PathOrObject, check_ground_truth, check_results,
                        load_json, load_pair, missing_results, num_frames_of,
                        rows_from, unpack_json)
from .vis_writer import VISJsonWriter, YouTubeVISWriter

__all__ = [
    'ALL_CROWDS', 'CROWD_HINT', 'Defect', 'ERROR', 'ImageVideo', 'LEVELS',
    'MaskError', 'NOTE', 'OVIS', 'ObjectTracks', 'PRESETS', 'PathOrObject',
    'Tube', 'VISChecker', 'VISJson', 'VISJsonWriter', 'VideoSize', 'WARNING',
    'YOUTUBE_VIS_2019', 'YOUTUBE_VIS_2021', 'YouTubeVISWriter',
    'check_class_names', 'check_coco', 'check_ground_truth', 'check_results',
    'check_same_classes', 'check_sharp', 'class_sources', 'classes_of',
    'compress_mask', 'copy_images', 'distinct_tubes', 'find_cores',
    'find_defects', 'find_frame_defects', 'find_result_defects', 'frame_ious',
    'load_json', 'load_pair', 'mask_areas', 'match_classes', 'missing_results',
    'num_frames_of', 'preset_of', 'raise_defect', 'read_id_map',
    'read_plain_tracks', 'rows_from', 'to_rles', 'tube_covers', 'tube_ious',
    'tube_key', 'unpack_json', 'usable_annotations', 'without_points',
    'write_videos'
]
