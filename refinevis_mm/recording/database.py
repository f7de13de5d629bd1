# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The SQLite file of a recording: what is in it, and nothing else.

SQLite does what a file says: it runs views and triggers, follows pages in
circles, and deletes a file that a journal names.
"""
import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Dict, Iterator, Tuple

FORMAT = 1
APPLICATION_ID = 0x52564953  # 'RVIS'; SQLite keeps both in the file's header
# So ends a journal that names another file, which SQLite then deletes. Those
# of recordings name none.
JOURNAL_END = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'

# `row` counts up, so it keeps the order of the instances in a frame and that
# in which tracks appear. `by_track` holds all that a summary of the tracks
# needs, so that one is made without reading masks.
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE state (key INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE frames (frame_id INTEGER PRIMARY KEY, time REAL NOT NULL);
CREATE TABLE origins (
    frame_id INTEGER PRIMARY KEY, number INTEGER NOT NULL, name TEXT);
CREATE TABLE instances (
    row INTEGER PRIMARY KEY, view INTEGER NOT NULL, frame_id INTEGER NOT NULL,
    track_id INTEGER NOT NULL, state INTEGER NOT NULL, label INTEGER NOT NULL,
    score REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL,
    y2 REAL NOT NULL, counts TEXT, cls_scores BLOB NOT NULL);
CREATE INDEX by_frame ON instances (view, frame_id);
CREATE UNIQUE INDEX by_track ON instances (view, track_id, frame_id, state);
"""


def make_database(path: str) -> sqlite3.Connection:
    """Make the tables of a recording in an empty file.

    Args:
        path (str): The file.

    Returns:
        sqlite3.Connection: Opened; nothing is committed.
    """
    db = sqlite3.connect(path)
    db.executescript(f'BEGIN; PRAGMA application_id = {APPLICATION_ID}; '
                     f'PRAGMA user_version = {FORMAT}; {SCHEMA}')
    return db


def open_database(path: str) -> sqlite3.Connection:
    """Open the file of a recording.

    Args:
        path (str): The file.

    Returns:
        sqlite3.Connection: Its tables are those of a recording, and whole,
        for which the file is read once; what they hold is not looked at.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is none, or a damaged one.
    """
    _check_journal(path)
    db = sqlite3.connect(path)
    try:
        _check_header(db, path)
        _check_tables(db, path)
    except BaseException:
        db.close()
        raise
    return db


def tables_of(db: sqlite3.Connection) -> Dict[Tuple[str, str], str]:
    """How tables and indices were made.

    Args:
        db (sqlite3.Connection): The file.

    Returns:
        dict[tuple[str, str], str]: SQL by kind and name.
    """
    return {
        (kind, name): text
        for kind, name, text in db.execute(
            'SELECT type, name, sql FROM sqlite_master '
            'WHERE sql IS NOT NULL')
    }


@contextmanager
def os_errors(path: str, done: str = 'written') -> Iterator[None]:
    """Turn SQLite's errors (disk full, locked, read-only) into OSError.

    Args:
        path (str): The file.
        done (str): What is done with it. Defaults to 'written'.

    Yields:
        None: To what is done.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"'{path}' cannot be {done}: {error}") from error


def _check_journal(path: str) -> None:
    """Raise ValueError if a journal is none of a recording."""
    journal = Path(f'{path}-journal')
    if journal.is_file():
        with journal.open('rb') as file:
            file.seek(max(file.seek(0, os.SEEK_END) - len(JOURNAL_END), 0))
            if file.read() == JOURNAL_END:
                raise ValueError(f"'{journal}' names another file and is no "
                                 "recording's; delete it to go on without "
                                 'what it would undo')


def _check_header(db: sqlite3.Connection, path: str) -> None:
    """Raise ValueError if a file is not ours, or of a newer version."""
    try:
        (found, ), = db.execute('PRAGMA application_id')
        (version, ), = db.execute('PRAGMA user_version')
    except sqlite3.OperationalError as error:  # locked, for example
        raise OSError(f"'{path}' cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"'{path}' is not a recording ({error})") from None
    if found != APPLICATION_ID:
        raise ValueError(f"'{path}' is not a recording")
    if version > FORMAT:
        raise ValueError(
            f"'{path}' is a recording of format {version}, but this version "
            f'of refinevis_mm reads up to {FORMAT}')


def _check_tables(db: sqlite3.Connection, path: str) -> None:
    """Raise ValueError if there are other tables, or broken ones."""
    with closing(make_database(':memory:')) as new:
        own = tables_of(new)
    with os_errors(path, 'read'):
        tables = tables_of(db)
        tables.setdefault(('table', 'origins'), own['table', 'origins'])
        if tables != own:
            raise ValueError(f"'{path}' must have the tables of a recording "
                             f'only, got {list(tables)}')
        (damage, ), = db.execute('PRAGMA quick_check(1)')
    if damage != 'ok':
        raise ValueError(f"'{path}' is damaged: {damage.splitlines()[-1]}")
