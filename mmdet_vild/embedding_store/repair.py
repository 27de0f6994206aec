"""What is damaged in a file of an embedding store, and what is left of it."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from .record import EmbeddingRecord
from .shard import (
    COLUMNS,
    DamagedRecordError,
    EmbeddingShard,
    check_tables,
    connect,
    decode,
    lock_for_writing,
    put,
    read_header,
    remove,
    write_shard,
)

#: So many numbers in a row without a record that can be read are the end of a damaged file.
_MOST_MISSES = 10000


def damage(
    path: str | Path, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Iterator[str]:
    """Read a shard as a whole; yields a line for each thing that is damaged.

    SQLite checks how the file hangs together first, and meanwhile lets nobody write to it.

    Args:
        path: The file.
        progress: What shows the progress through the numbers of the records that follows, such as
            ``tqdm``.

    Raises:
        OSError: It cannot be read.
    """
    path = Path(path)
    try:
        EmbeddingShard(path).close()
    except DamagedRecordError as error:
        yield str(error)
    with closing(connect(path)) as connection:
        try:
            _let_it_be_cut_off(connection)
            check_tables(connection)
            rows = connection.execute('PRAGMA integrity_check(20)').fetchall()
            problems = '; '.join(str(row[0]) for row in rows)
        except sqlite3.Error as error:
            problems = str(error)
        except ValueError:  # said already
            return
        if problems != 'ok':
            yield f'{path}: {problems}'
        for key, found in _traces(connection, path, progress=progress):
            if isinstance(found, str):
                yield f'{path}: the embeddings of image {key} are damaged: {found}'


def repair(path: str | Path) -> tuple[int, Path] | None:
    """Give a damaged shard a new file with the records that are still right.

    Nothing is deleted: the damaged file stays beside it, under another name.

    Returns:
        How many records were kept, and the name of the damaged file; None if nothing is damaged.

    Raises:
        BlockingIOError: Another process writes to the shard.
        OSError: It cannot be read, or the new file not be written.
    """
    path = Path(path)
    lock = lock_for_writing(path)
    try:
        if not any(True for _ in damage(path)):
            return None
        backup = path.with_suffix('.damaged')
        while backup.exists():
            backup = backup.with_suffix(f'{backup.suffix}-again')
        fresh = path.with_suffix('.repaired')
        kept = _rewrite(path, fresh)
        os.link(path, backup)  # so that at no moment there is no file of the shard's name
        if kept is None:
            remove(path)
        else:
            put(fresh, path)
        return kept or 0, backup
    finally:
        lock.release()


def _rewrite(path: Path, fresh: Path) -> int | None:
    """Copy the records that are right; returns their number, or None where no header is left."""
    with closing(connect(path)) as connection:
        try:
            _let_it_be_cut_off(connection)
            header = read_header(connection)
        except (sqlite3.Error, ValueError, TypeError, RecursionError):
            return None
        traces = _traces(connection, path, header['embed_dims'])
        right = ((json.loads(k), *found) for k, found in traces if not isinstance(found, str))
        return write_shard(fresh, header, right)


def _let_it_be_cut_off(connection: sqlite3.Connection) -> None:
    """SQLite would refuse a file that is not as long as its first page says."""
    connection.execute('PRAGMA writable_schema = ON')


def _traces(
    connection: sqlite3.Connection,
    path: Path,
    embed_dims: int | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Iterator[tuple[str, tuple[EmbeddingRecord, tuple[int, int]] | str]]:
    """Every image whose name can be read, with its record, or with what is wrong with it."""
    try:  # the index alone, which has the names of records that are lost, too
        names = dict(connection.execute('SELECT number, image FROM records').fetchall())
    except sqlite3.Error:
        names = {}
    misses = 0
    for number in progress(names or range(1, path.stat().st_size // 32)):
        key = names.get(number)
        try:
            statement = f'SELECT {COLUMNS} FROM records WHERE number = ?'
            row = connection.execute(statement, (number,)).fetchone()
            if row is None:
                raise ValueError('the record is lost')
            key, *found = decode(row, _width(row) if embed_dims is None else embed_dims)
            misses = 0
            yield key, tuple(found)
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            misses += 1
            if key is not None:
                yield str(key), str(error)
            elif misses == _MOST_MISSES:
                return


def _width(row: tuple) -> int:
    _, regions, *_, data = row
    return (len(data) - 20 * regions) // (2 * regions) if regions else 0
