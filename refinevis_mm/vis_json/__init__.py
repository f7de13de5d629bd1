# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The YouTube-VIS form: reading, writing, masks, class names, and its rules."""
from .class_mapping import (check_class_names, check_same_classes,
                            class_sources, classes_of)
from .class_names import (OVIS, PRESETS, YOUTUBE_VIS_2019, YOUTUBE_VIS_2021,
                          match_classes, preset_of)
from .coco_videos import (ImageVideo, check_coco, usable_annotations,
                          write_videos)
from .cvat_video import (NO_TRACK, TRACK_ID, AnnotatedVideo, cvat_labels,
                         read_cvat_video)
from .defects import ERROR, LEVELS, NOTE, WARNING, Defect
from .frame_files import copy_images, find_frame_defects
from .id_maps import check_sharp, find_cores, read_id_map
from .json_stream import VISJson
from .mask_polygons import MIN_IOU, mask_polygons
from .mots_png import (MOTS_FACTOR, MOTS_FOLDER, MOTS_LABELS, is_mots_png,
                       read_mots_png)
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
    'ALL_CROWDS', 'AnnotatedVideo', 'CROWD_HINT', 'Defect', 'ERROR',
    'ImageVideo', 'LEVELS', 'MIN_IOU', 'MOTS_FACTOR', 'MOTS_FOLDER',
    'MOTS_LABELS', 'MaskError', 'NOTE', 'NO_TRACK', 'OVIS', 'ObjectTracks',
    'PRESETS', 'PathOrObject', 'TRACK_ID', 'Tube', 'VISChecker', 'VISJson',
    'VISJsonWriter', 'VideoSize', 'WARNING', 'YOUTUBE_VIS_2019',
    'YOUTUBE_VIS_2021', 'YouTubeVISWriter', 'check_class_names', 'check_coco',
    'check_ground_truth', 'check_results', 'check_same_classes', 'check_sharp',
    'class_sources', 'classes_of', 'compress_mask', 'copy_images',
    'cvat_labels', 'distinct_tubes', 'find_cores', 'find_defects',
    'find_frame_defects', 'find_result_defects', 'frame_ious', 'is_mots_png',
    'load_json', 'load_pair', 'mask_areas', 'mask_polygons', 'match_classes',
    'missing_results', 'num_frames_of', 'preset_of', 'raise_defect',
    'read_cvat_video', 'read_id_map', 'read_mots_png', 'read_plain_tracks',
    'rows_from', 'to_rles', 'tube_covers', 'tube_ious', 'tube_key',
    'unpack_json', 'usable_annotations', 'without_points', 'write_videos'
]
