# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The folder of all results of a fleet, on this machine or in a storage."""
import json
import os
import os.path as osp
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import (Any, Callable, Dict, Iterator, List, Optional, Sequence,
                    Tuple)

from refinevis_mm.apis import check_settings
from refinevis_mm.files import LOCK, PARTIAL, file_sha256, one_run
from refinevis_mm.recording import join_tracks_parquet
from refinevis_mm.storage import (StorageError, fetch_file, is_address, join,
                                  list_files, read_bytes, read_many, remove,
                                  send_file, write_bytes)
from refinevis_mm.structures import check_form
from .video_unit import VideoUnit, check_names

RUN = 'run.json'  # what all results depend on
VIDEOS = 'videos'  # a folder for each video
VIDEO = 'video.json'  # in it: the video is finished
UNFINISHED = 'unfinished'  # checkpoints, where they cannot grow in place
MANIFEST = 'manifest.json'
SUMS = 'SHA256SUMS'
FAILURES = 'failures.json'
TABLE = 'tracks.parquet'
PROBE = '.probe'
SQLITE = '.sqlite'
RECORD = dict(
    name=str,
    input=str,
    options={str: object},
    num_frames=int,
    num_tracks=int,
    classes=[str],
    files={str: dict(num_bytes=int, sha256=str)})


class VideoPlace:
    """Where the files of a video grow.

    Attributes:
        path (Path): Folder on this machine, for :func:`render_video`.
        on_checkpoint (Callable, optional): What it calls with a checkpoint.
    """

    def __init__(
            self,
            path: Path,
            on_checkpoint: Optional[Callable[[Path], None]] = None) -> None:
        self.path = path
        self.on_checkpoint = on_checkpoint


class FleetFolder:
    """The folder of all results of a fleet.

    ::

        run.json             what all results depend on
        videos/NAME/         the files of a video, and last video.json
        unfinished/NAME/     its checkpoint, in a storage
        manifest.json        all videos, with SHA-256 of all files
        SHA256SUMS           the same for sha256sum -c
        failures.json        videos without a result, and why
        tracks.parquet       the tracks of all videos

    A file is written whole, here by a move, in a storage by one upload. A
    video is finished when its ``video.json`` is there, which is written last.
    On a disk that all workers see, the files of an unfinished video and its
    checkpoint lie in its folder, locked against a second worker. In a storage
    nothing can grow: the files grow on the disk of the worker and each
    checkpoint is sent to ``unfinished``, so that another machine can go on.

    Args:
        out (str): Folder or address.
    """

    def __init__(self, out: str) -> None:
        self.out = out

    @contextmanager
    def one_run(self, part: str = '') -> Iterator[None]:
        """Hold the folder, so that no second run writes to it.

        In a storage there are no locks: two runs would do the same work and
        write the same files.

        Args:
            part (str): Name of the share of a run that holds only its own
                lock. Defaults to '', the whole folder.

        Yields:
            None: While it is held.

        Raises:
            OSError: If another run holds it, or it cannot be written.
        """
        if is_address(self.out):
            yield
            return
        with one_run(osp.join(self.out, part)):
            yield

    def claim(self, settings: dict) -> None:
        """Make sure that the folder belongs to a run.

        Args:
            settings (dict): What all results depend on.

        Raises:
            ValueError: If it holds results of other settings.
            OSError: If it cannot be written.
        """
        path = join(self.out, RUN)
        wanted = json.loads(json.dumps(settings))
        try:
            found = _parse(read_bytes(path), {str: object}, path)
        except FileNotFoundError:
            if any(name.endswith(f'/{VIDEO}') for name in self._listed()):
                raise ValueError(
                    f'"{self.out}" holds results of videos but no {RUN}, so '
                    'it is not known of which model; choose another folder'
                ) from None
            write_bytes(path, _json(wanted))
            return
        check_settings(found, wanted, self.out)

    def settings(self) -> dict:
        """Read what all results depend on.

        Returns:
            dict: What :meth:`claim` has written.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is damaged.
        """
        path = join(self.out, RUN)
        return _parse(read_bytes(path), {str: object}, path)

    def finished(self, units: Sequence[VideoUnit]) -> Dict[str, dict]:
        """Find the videos that have their results.

        A video counts if all files that its ``video.json`` lists are there in
        their length.

        Args:
            units (Sequence[:obj:`VideoUnit`]): The videos of the run.

        Returns:
            dict[str, dict]: Record of each finished video, see
            :meth:`finish`, by name.

        Raises:
            ValueError: If a result is of another input or of other options.
            OSError: If the folder cannot be read.
        """
        listed = self._listed()
        paths = {
            join(self.out, VIDEOS, unit.name, VIDEO): unit
            for unit in units if f'{unit.name}/{VIDEO}' in listed
        }
        records = {}
        for path, content in read_many(list(paths)).items():
            unit = paths[path]
            record = _parse(content, RECORD, path)
            if all(
                    listed.get(f'{unit.name}/{name}') == file['num_bytes']
                    for name, file in record['files'].items()):
                wanted = json.loads(json.dumps(_facts(unit)))
                check_settings({key: record[key]
                                for key in wanted}, wanted,
                               join(self.out, VIDEOS, unit.name))
                records[unit.name] = record
        return records

    @contextmanager
    def place(self, unit: VideoUnit) -> Iterator[VideoPlace]:
        """Give a video its folder, with the checkpoint of an earlier worker.

        Args:
            unit (:obj:`VideoUnit`): The video.

        Yields:
            :obj:`VideoPlace`: Where its files grow.

        Raises:
            OSError: If a checkpoint cannot be fetched.
        """
        if not is_address(self.out):
            yield VideoPlace(Path(self.out, VIDEOS, unit.name))
            return
        kept = join(self.out, UNFINISHED, unit.name)
        with tempfile.TemporaryDirectory(prefix='refinevis_mm-') as scratch:
            for name in list_files(kept):
                fetch_file(join(kept, name), Path(scratch, PARTIAL, name))
            yield VideoPlace(Path(scratch), _Sender(kept).send)

    def finish(self, unit: VideoUnit, place: VideoPlace,
               outputs: Sequence[str], facts: dict) -> dict:
        """Give a video its results, once its files are complete.

        Args:
            unit (:obj:`VideoUnit`): The video.
            place (:obj:`VideoPlace`): Where the files lie.
            outputs (Sequence[str]): Names of the files and folders.
            facts (dict): ``num_frames``, ``num_tracks`` and ``classes``.

        Returns:
            dict: The record: ``name``, ``input``, ``options``, the facts, and
            ``files``, a dict of ``num_bytes`` and ``sha256`` by name.

        Raises:
            OSError: If a file cannot be sent or written.
        """
        target = join(self.out, VIDEOS, unit.name)
        files = {}
        for name in list_files(place.path):
            if name.split('/')[0] not in outputs:
                continue
            path = place.path / name
            files[name] = dict(
                num_bytes=path.stat().st_size, sha256=file_sha256(path))
            if is_address(self.out):
                send_file(path, join(target, name))
        record = dict(_facts(unit), **facts, files=files)
        write_bytes(join(target, VIDEO), _json(record))
        if is_address(self.out):
            remove(join(self.out, UNFINISHED, unit.name))
        return record

    def probe(self) -> None:
        """Write a small file and delete it.

        Raises:
            StorageError: If that is not possible.
        """
        path = join(self.out, PROBE + str(os.getpid()))
        try:
            write_bytes(path, b'')
            remove(path)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f'"{self.out}" can no longer be written: '
                               f'{error.strerror or error}') from error

    def write_summary(self, records: Sequence[dict], failures: Sequence[dict],
                      table: bool) -> None:
        """Write the files of the whole run.

        Args:
            records (Sequence[dict]): Of the finished videos.
            failures (Sequence[dict]): Of the others: ``name``, ``input`` and
                ``reason``.
            table (bool): Whether to join the tables of the videos.

        Raises:
            ImportError: If the table needs pyarrow, which is not installed.
            OSError: If a file cannot be read or written.
            ValueError: If a table is damaged.
        """
        records = sorted(records, key=lambda record: record['name'])
        sums = [(file['sha256'], f'{VIDEOS}/{record["name"]}/{name}')
                for record in records
                for name, file in sorted(record['files'].items())]
        if table:
            sums.append((self._join_tables(records), TABLE))
        write_bytes(
            join(self.out, SUMS),
            ''.join(f'{digest}  {name}\n' for digest, name in sums).encode())
        write_bytes(
            join(self.out, FAILURES),
            _json(sorted(failures, key=lambda failure: failure['name'])))
        write_bytes(
            join(self.out, MANIFEST),
            _json(dict(settings=self.settings(), videos=records)))

    def manifest(self) -> dict:
        """Read the manifest.

        Returns:
            dict: ``settings``, see :meth:`claim`, and ``videos``, a list of
            records.

        Raises:
            FileNotFoundError: If no run has come to its end here.
            OSError: If it cannot be read.
            ValueError: If it is damaged.
        """
        path = join(self.out, MANIFEST)
        manifest = _parse(
            read_bytes(path), dict(settings={str: object}, videos=[RECORD]),
            path)
        check_names([
            VideoUnit(video['name'], video['input'])
            for video in manifest['videos']
        ])
        return manifest

    def read(self, name: str, file: str) -> bytes:
        """Read a file of a video.

        Args:
            name (str): Name of the video.
            file (str): Name of the file.

        Returns:
            bytes: Its content.

        Raises:
            OSError: If it cannot be read.
        """
        return read_bytes(join(self.out, VIDEOS, name, file))

    def _listed(self) -> Dict[str, int]:
        """Length of all files of videos by name."""
        return list_files(join(self.out, VIDEOS))

    def _join_tables(self, records: Sequence[dict]) -> str:
        """Write the table of all videos; its SHA-256."""
        with tempfile.TemporaryDirectory(prefix='refinevis_mm-') as scratch:
            path = Path(scratch, TABLE)
            if not is_address(self.out):
                path = Path(self.out, TABLE)
            join_tracks_parquet(self._tables(records, Path(scratch)), path)
            if is_address(self.out):
                send_file(path, join(self.out, TABLE))
            return file_sha256(path)

    def _tables(self, records: Sequence[dict],
                scratch: Path) -> Iterator[Tuple[str, str]]:
        """Name and table of each video, one at a time on this machine."""
        for record in records:
            name = record['name']
            path = join(self.out, VIDEOS, name, TABLE)
            if not is_address(self.out):
                yield name, path
                continue
            with ExitStack() as stack:
                local = scratch / 'part.parquet'
                fetch_file(path, local)
                stack.callback(local.unlink)
                yield name, str(local)


class _Sender:
    """Sends what has changed of a checkpoint.

    The recording goes last: whatever is cut off, the files of the drawings
    are those of its state or later ones, as after a kill in place.

    Args:
        address (str): Where the checkpoint is kept.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._sent: Dict[str, Tuple[int, int]] = {}

    def send(self, folder: Path) -> None:
        """Send the files of a folder."""
        names: List[str] = list(list_files(folder))
        for name in sorted(names, key=lambda name: name.endswith(SQLITE)):
            if name == LOCK or name.endswith('-journal'):
                continue
            path = folder / name
            stat = path.stat()
            state = stat.st_size, stat.st_mtime_ns
            if self._sent.get(name) != state:
                send_file(path, join(self.address, name))
                self._sent[name] = state


def _facts(unit: VideoUnit) -> dict:
    """What must not change of a video."""
    return dict(name=unit.name, input=unit.input, options=unit.options)


def _parse(content: bytes, form: Any, path: str) -> Any:
    """A JSON file of this folder; ValueError if it is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'"{path}" is damaged: {error}') from None
    check_form(value, form, f'"{path}"')
    return value


def _json(value: Any) -> bytes:
    """JSON for people and programs; equal values give equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) +
            '\n').encode()
