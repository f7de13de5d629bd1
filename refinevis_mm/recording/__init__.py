# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a video on disk, and the files made of them."""
from .coco_video import write_coco_video
from .cvat_video import write_cvat_video
from .id_masks import write_id_masks
from .mots_png import write_mots_png
from .results_json import write_results_json
from .stored_codes import check_codes
from .track_rows import TrackRow, track_rows
from .tracks_csv import write_tracks_csv
from .tracks_parquet import (check_pyarrow, join_tracks_parquet,
                             write_tracks_parquet)
from .video_recording import STATES, TrackSummary, VideoRecording

__all__ = [
    'STATES', 'TrackRow', 'TrackSummary', 'VideoRecording', 'check_codes',
    'check_pyarrow', 'join_tracks_parquet', 'track_rows', 'write_coco_video',
    'write_cvat_video', 'write_id_masks', 'write_mots_png',
    'write_results_json', 'write_tracks_csv', 'write_tracks_parquet'
]
