# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracks as a Parquet table; the only module that imports pyarrow."""
from itertools import islice
from typing import Any, Iterable, List, Optional, Tuple

from refinevis_mm.files import PathLike, whole_file
from .track_rows import TrackRow, track_rows
from .video_recording import VideoRecording

GROUP = 1 << 16  # rows in memory at a time
INSTALL = 'refinevis_mm[fleet]'
CODEC = 'zstd'


def check_pyarrow() -> None:
    """Check that Parquet tables can be written.

    Raises:
        ImportError: If pyarrow is not installed, or does not work with this
            NumPy; one line with the command that installs it.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(f'Parquet tables need pyarrow ({error}). Run: pip '
                          f'install "{INSTALL}"') from error


def write_tracks_parquet(recording: VideoRecording,
                         path: PathLike,
                         view: Optional[str] = None,
                         score_thr: float = 0.) -> None:
    """Write a row for every track and frame in which it was followed.

    The columns of :func:`write_tracks_csv`, unrounded and with names as they
    are, and besides:

    - ``label``: number of the class, from 0;
    - ``frame_height``, ``frame_width``: of the video, in pixels;
    - ``mask``: ``counts`` of its COCO run-length code, whose ``size`` is
      ``[frame_height, frame_width]``.

    What a missed track does not have is null. Equal recordings give equal
    bytes. The file appears when it is complete.

    Args:
        recording (:obj:`VideoRecording`): The video.
        path (str | PathLike): The file, replaced if it exists.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least ``score`` of a track, in [0, 1]. Defaults to
            0.

    Raises:
        ImportError: If pyarrow is not installed.
        OSError: If the file cannot be written.
        ValueError: If there is no such view.
    """
    check_pyarrow()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter
    schema = _schema()
    rows = (
        _cells(row, recording.size)
        for row in track_rows(recording, view, score_thr))
    with whole_file(path) as part, ParquetWriter(
            part, schema, compression=CODEC) as writer:
        while group := list(islice(rows, GROUP)):
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*group), schema)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def join_tracks_parquet(videos: Iterable[Tuple[str, PathLike]],
                        path: PathLike) -> None:
    """Write the tables of several videos as one, with a column ``video``.

    One row group of one video is in memory at a time.

    Args:
        videos (Iterable[tuple[str, PathLike]]): Name and table of each video.
        path (str | PathLike): The file, replaced if it exists.

    Raises:
        ImportError: If pyarrow is not installed.
        OSError: If a file cannot be read or written.
        ValueError: If a file is no table of :func:`write_tracks_parquet`.
    """
    check_pyarrow()
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile, ParquetWriter
    schema = _schema()
    names = pa.field('video', pa.string(), False)
    with whole_file(path) as part, ParquetWriter(
            part, schema.insert(0, names), compression=CODEC) as writer:
        for name, table in videos:
            try:
                source = ParquetFile(table)
                same = source.schema_arrow.equals(schema)
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"'{table}' is no Parquet table: {error}") from None
            with source:
                if not same:
                    raise ValueError(
                        f"'{table}' is no table of tracks: its "
                        f'columns are {source.schema_arrow.names}')
                for index in range(source.num_row_groups):
                    group = source.read_row_group(index)
                    column = pa.repeat(pa.scalar(name), len(group))
                    writer.write_table(group.add_column(0, names, column))


def _schema() -> Any:
    """Names and types of the columns."""
    import pyarrow as pa
    whole, text, number = pa.int32(), pa.string(), pa.float64()
    return pa.schema([
        pa.field('frame', whole, False),
        pa.field('time_s', number, False),
        pa.field('track_id', pa.int64(), False),
        pa.field('class', text, False),
        pa.field('label', whole, False),
        pa.field('score', number, False),
        pa.field('frame_score', number, False),
        pa.field('state', text, False),
        *(pa.field(name, whole) for name in ('x', 'y', 'width', 'height')),
        pa.field('area_px', pa.int64()),
        pa.field('source_frame', pa.int64(), False),
        pa.field('frame_height', whole, False),
        pa.field('frame_width', whole, False),
        pa.field('mask', text),
    ])


def _cells(row: TrackRow, size: Tuple[int, int]) -> List[Any]:
    """A row in the order of :func:`_schema`."""
    track = row.track
    return [
        row.frame, row.time, track.id, track.name, track.label, track.score,
        row.frame_score, row.state, *(row.box or (None, ) * 4), row.area,
        row.source_frame, *size, row.mask and row.mask['counts']
    ]
