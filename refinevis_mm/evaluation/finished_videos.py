# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of the videos that a test run has finished, one file each."""
import json
import os
import os.path as osp
from typing import Any, Iterable, List, Set, Tuple
from urllib.parse import quote

from refinevis_mm.files import write_text
from refinevis_mm.structures import check_form

RUN_FILE = 'run.txt'


class FinishedVideos:
    """A folder with one file for each video that has been tested.

    A file appears only when it is complete, so whatever a killed run leaves
    behind can be used. Ranks may write to the same folder; it must be shared
    by all machines that take part.

    Args:
        folder (str): The folder. Created with the first file.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def claim(self, fingerprint: str) -> None:
        """Make sure that the folder belongs to a run.

        Args:
            fingerprint (str): What the results depend on.

        Raises:
            ValueError: If the folder belongs to a run with another one.
            OSError: If the folder cannot be written.
        """
        path = osp.join(self.folder, RUN_FILE)
        if not osp.isfile(path):
            write_text(path, fingerprint)
        with open(path, encoding='utf-8') as file:
            if file.read() != fingerprint:
                raise ValueError(
                    f'{self.folder} holds results of another checkpoint or '
                    'config, which cannot be continued; delete it or choose '
                    'another folder')

    def ids(self) -> Set[Any]:
        """Ids of the finished videos.

        Returns:
            set: The ids.

        Raises:
            ValueError: If a file is broken.
        """
        return {video_id for video_id, _ in self.load()}

    def add(self, video_id: Any, tracklets: List[dict]) -> None:
        """Write the file of a video.

        Args:
            video_id (int | str): Its id in the annotation file.
            tracklets (list[dict]): See :meth:`VideoResult.tracklets`.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If a score is not finite.
        """
        write_text(
            osp.join(self.folder, _file_name(video_id)),
            json.dumps(
                dict(video_id=video_id, tracklets=tracklets), allow_nan=False))

    def load(self, skip: Iterable[Any] = ()) -> List[Tuple[Any, List[dict]]]:
        """Read the results of the finished videos.

        Args:
            skip (Iterable): Ids of videos that are not needed. Defaults to
                ().

        Returns:
            list[tuple]: (video id, tracklets) by file name.

        Raises:
            ValueError: If a file is broken.
        """
        if not osp.isdir(self.folder):
            return []
        skipped = set(map(_file_name, skip))
        finished = []
        for name in sorted(os.listdir(self.folder)):
            if not name.endswith('.json') or name in skipped:
                continue
            path = osp.join(self.folder, name)
            try:
                with open(path, encoding='utf-8') as file:
                    content = json.load(file)
                for tracklet in content['tracklets']:
                    check_form(tracklet['label'], int, 'label')
                    check_form(tracklet['score'], float, 'score')
                finished.append((content['video_id'], content['tracklets']))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f'{path} is no result of a video: {error!r}') from error
        return finished


def _file_name(video_id: Any) -> str:
    """Name of the file of a video."""
    return quote(f'{video_id}.json', safe='')
