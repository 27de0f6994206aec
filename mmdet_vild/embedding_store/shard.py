"""One file of an embedding store: an SQLite database that one process writes."""

import errno
import json
import os
import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
import xxhash
from filelock import FileLock, Timeout
from mmengine.logging import MMLogger

from .record import EmbeddingRecord

#: Large enough that a record of 300 regions is read as fast as a file of its own, small enough to
#: waste little of the last page.
PAGE_SIZE = 16384
#: Seconds that a reader waits for a writer's commit, which takes milliseconds, and a writer for
#: readers, before it says so and goes on waiting.
BUSY_TIMEOUT = 60.0
#: Records that are read or written at once where all of them are.
BATCH = 32
#: Pages that SQLite keeps in memory. Of several files, more of them than these would not fit into
#: the processor's cache, which makes reads a fifth slower; a writer keeps what it will commit.
_READER_PAGES, _WRITER_PAGES = 16, 125
#: The columns of a record, as :func:`decode` takes them.
COLUMNS = 'image, regions, height, width, checksum, data'
#: What SQLite keeps beside a file, and takes for part of the next file of that name.
_BESIDE = ('-journal', '-wal', '-shm')
#: What errors of SQLite that have nothing to do with the content of the file say.
_NO_DAMAGE = ('locked', 'I/O error', 'unable to open', 'readonly')
_SCHEMA = """
CREATE TABLE header (content TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, regions INTEGER NOT NULL,
    height INTEGER NOT NULL, width INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL
);
"""
_TABLES = {statement.strip() for statement in _SCHEMA.split(';')} - {''}
#: With this the journal of a transaction ends that changed several databases (SQLite,
#: ``src/pager.c``). Rolling it back deletes the file that it names.
_SUPER_JOURNAL = bytes.fromhex('d9d505f920a163d7')
#: What every message of damage ends with.
REMEDY = (
    'tools/embedding_store.py repair removes what is damaged, and the extraction computes it again'
)


class DamagedRecordError(ValueError):
    """A record's bytes, or those of a whole shard, are not those that were written."""


class EmbeddingShard:
    """One file of an :class:`EmbeddingStore`.

    Any number of processes may read it, also while one writes. A record is there as a whole or
    not at all, whenever the writer is killed or the disk is full: SQLite's transactions see to
    that. Each record has a checksum, of its image and its size too.

    Args:
        path: The file. It must exist; see :meth:`create`.

    Raises:
        DamagedRecordError: It is no file of an embedding store, or damaged.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # SQLite's connections belong to one process, Python's to one thread.
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}
        self._lock: FileLock | None = None
        with reporting(self.path, 'its header'):
            #: dict: What the records are; see :meth:`EmbeddingStore.create`.
            self.header = read_header(self._connected())

    @classmethod
    def create(cls, path: str | Path, header: dict) -> 'EmbeddingShard':
        """Open a shard for writing, a new one or one that was begun earlier.

        Args:
            path: The file.
            header: What the records are, as JSON can hold it. A shard that was begun keeps its
                own, which the caller compares.

        Returns:
            The shard. This process alone may write to it, until it is closed or ends.

        Raises:
            BlockingIOError: Another process writes to it.
        """
        path = Path(path)
        lock = lock_for_writing(path)
        if not path.exists():
            # Complete before it has its name, so that nobody sees a shard without a header.
            partial = path.with_suffix('.partial')
            remove(partial)
            content = json.dumps(header)
            with reporting(path, 'its header'), closing(sqlite3.connect(partial)) as connection:
                connection.execute(f'PRAGMA page_size = {PAGE_SIZE}')
                connection.executescript(_SCHEMA)
                row = (content, checksum(content))
                connection.execute('INSERT INTO header VALUES (?, ?)', row)
                connection.commit()
            put(partial, path)
        shard = cls(path)
        shard._lock = lock
        shard._execute(f'PRAGMA cache_size = {_WRITER_PAGES}')
        return shard

    def close(self) -> None:
        """Close the file, and let others write to it."""
        connection = self._connections.pop(_process_and_thread(), None)
        if connection is not None:
            connection.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write(self, records: Sequence[tuple[int | str, EmbeddingRecord, tuple]]) -> None:
        """Write some images at once: all of them, or none if this fails.

        Args:
            records: For each image its id, its record and the (height, width) of the image.
                An image that has a record is given the new one.

        Waits for whoever reads the file as a whole, and says so in the log.

        Raises:
            OSError: The disk is full, or the file cannot be written.
            ValueError: A record does not fit the store.
        """
        if self._lock is None:
            raise ValueError(f'{self.path} was opened for reading; open it with create')
        rows = []
        for img_id, record, image_size in records:
            record.check(f'the embeddings of image {img_id!r}', self.header['embed_dims'])
            key, data = key_of(img_id), record.to_bytes()
            img_id_of(key)
            numbers = (len(record), *map(int, image_size[:2]))
            rows.append((key, *numbers, checksum(key, data, *numbers), data))
        with reporting(self.path, 'a record'):
            while not self._insert(rows):
                MMLogger.get_current_instance().warning(
                    '%s: somebody has been reading it as a whole for %d seconds; writing waits '
                    'until they are done',
                    *(self.path, BUSY_TIMEOUT),
                )

    def _insert(self, rows: list[tuple]) -> bool:
        """Whether the rows are written: all, or none because somebody reads."""
        connection = self._connected()
        try:
            with connection:
                connection.executemany(
                    f'INSERT OR REPLACE INTO records ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)', rows
                )
        except sqlite3.OperationalError as error:
            if str(error) != 'database is locked':
                raise
            return False
        return True

    def read(self, img_id: int | str) -> tuple[EmbeddingRecord, tuple[int, int]] | None:
        """Read the record of an image.

        Returns:
            The record and the (height, width) of its image; None if the shard has none.

        Raises:
            DamagedRecordError: Its bytes are not those that were written.
        """
        with reporting(self.path, f'the embeddings of image {img_id!r}'):
            key, statement = key_of(img_id), f'SELECT {COLUMNS} FROM records WHERE image = ?'
            row = self._execute(statement, (key,)).fetchone()
            if row is None:
                return None
            found, *record = decode(row, self.header['embed_dims'])
            if found != key:
                raise ValueError(f'the index leads to the record of image {found[:200]}')
            return tuple(record)

    def records(self) -> Iterator[tuple[int | str, EmbeddingRecord, tuple[int, int]]]:
        """Every record, in the order they were written; they keep no writer waiting.

        Yields:
            As :meth:`write` takes them: id, record, and the (height, width) of the image.

        Raises:
            DamagedRecordError: One is damaged or lost.
        """
        listed = self.numbers()
        number, last = -(2**63), max(listed.values(), default=0)
        while rows := self._rows(number, last):
            for number, *row in rows:
                with reporting(self.path, f'the embeddings of image {str(row[0])[:200]}'):
                    key, *record = decode(row, self.header['embed_dims'])
                    if listed.pop(key, None) != number:
                        raise ValueError('the index does not lead to the record')
                yield (img_id_of(key), *record)
        if lost := [key for key, _ in listed.items() & self.numbers().items()]:
            raise DamagedRecordError(
                f'{self.path}: {len(lost)} records are lost, such as that of image '
                f'{str(lost[0])[:200]}; {REMEDY}'
            )

    def _rows(self, after: int, last: int) -> list[tuple]:
        statement = (
            f'SELECT number, {COLUMNS} FROM records WHERE number > ? AND number <= ? '
            'ORDER BY number LIMIT ?'
        )
        with reporting(self.path, 'its records'):
            return self._execute(statement, (after, last, BATCH)).fetchall()

    def numbers(self) -> dict[str, int]:
        """The :func:`key_of` each image that has a record, and the record's number.

        In the order they were written; of a damaged file, names may be among them that are of no
        image. Read from the index alone, as :meth:`read` finds them: reading the records would
        read the whole file.

        Raises:
            DamagedRecordError: The file is damaged.
        """
        with reporting(self.path, 'its list of images'):
            rows = self._execute('SELECT number, image FROM records').fetchall()
            return {key: number for number, key in sorted(rows)}

    def img_ids(self) -> list[int | str]:
        """The images that have a record, in the order they were written.

        Raises:
            DamagedRecordError: The file is damaged.
        """
        keys = self.numbers()
        with reporting(self.path, 'its list of images'):
            return list(map(img_id_of, keys))

    def __contains__(self, img_id: int | str) -> bool:
        with reporting(self.path, f'image {img_id!r}'):
            found = self._execute('SELECT 1 FROM records WHERE image = ?', (key_of(img_id),))
            return found.fetchone() is not None

    def __len__(self) -> int:
        with reporting(self.path, 'its number of images'):
            return self._execute('SELECT count(*) FROM records').fetchone()[0]

    def _execute(self, statement: str, values: tuple = ()) -> sqlite3.Cursor:
        return self._connected().execute(statement, values)

    def _connected(self) -> sqlite3.Connection:
        key = _process_and_thread()
        if key not in self._connections:
            self._connections[key] = connect(self.path)
            self._connections[key].execute(f'PRAGMA cache_size = {_READER_PAGES}')
        return self._connections[key]

    def __getstate__(self) -> dict:
        # A spawned worker opens the file itself, and never writes.
        return {**self.__dict__, '_connections': {}, '_lock': None}


def write_shard(
    path: Path, header: dict, records: Iterable[tuple[int | str, EmbeddingRecord, tuple]]
) -> int:
    """Write a new shard as a whole, in place of what an interrupted attempt left.

    Args:
        path: The file. Nobody else may write to it: the caller has the lock of the name that it
            will be given by :func:`put`.
        header: What the records are.
        records: They, as :meth:`EmbeddingShard.write` takes them.

    Returns:
        The number of records.
    """
    remove(path)
    records, count = iter(records), 0
    with closing(EmbeddingShard.create(path, header)) as shard:
        while batch := list(islice(records, BATCH)):
            shard.write(batch)
            count += len(batch)
    Path(f'{path}.lock').unlink(missing_ok=True)
    return count


def remove(path: Path) -> None:
    """Delete a database, and what a killed writer left beside it."""
    for suffix in ('', *_BESIDE):
        Path(f'{path}{suffix}').unlink(missing_ok=True)


def put(fresh: Path, path: Path) -> None:
    """Give a new database the name of another one, or of one that is gone.

    Without what a killed writer left beside that one, or SQLite rolls it back into the new one.
    """
    for suffix in _BESIDE:
        Path(f'{path}{suffix}').unlink(missing_ok=True)
    fresh.replace(path)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that creates no file.

    Who may write must be let: what a killed writer left is rolled back by the next reader.

    Raises:
        ValueError: Rolling back would delete another file.
    """
    journal = Path(f'{path}-journal')
    if _end(journal, len(_SUPER_JOURNAL)) == _SUPER_JOURNAL:
        raise ValueError(
            f'{journal} names another file, as no writer here does; delete the journal'
        )
    uri = f'file:{quote(str(path.absolute()))}?mode={"rw" if _may_write(path) else "ro"}'
    connection = sqlite3.connect(uri, BUSY_TIMEOUT, uri=True)
    # Halves the time of a read. SQLite maps 2 GB of a file at most and reads the rest.
    connection.execute('PRAGMA mmap_size = 2147418112')
    return connection


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _end(path: Path, size: int) -> bytes:
    """The last bytes of a file, none of which there are if it is gone."""
    try:
        with open(path, 'rb') as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()
    except FileNotFoundError:  # a writer has committed
        return b''


def read_header(connection: sqlite3.Connection) -> dict:
    """What the records of a shard are.

    Raises:
        sqlite3.Error, ValueError, TypeError, RecursionError: It is damaged.
    """
    check_tables(connection)
    ((content, found),) = connection.execute('SELECT content, checksum FROM header').fetchall()
    if checksum(content) != found:
        raise ValueError('the checksum differs')
    header = json.loads(content)
    kinds = {'teacher': str, 'embed_dims': int, 'dataset': dict}
    if not isinstance(header, dict) or {k: type(header.get(k)) for k in kinds} != kinds:
        raise ValueError(f'it is {content[:200]!r}; expected an object with {list(kinds)}')
    if header['embed_dims'] < 1:
        raise ValueError(f'embed_dims is {header["embed_dims"]}')
    return header


def check_tables(connection: sqlite3.Connection) -> None:
    """Refuse a database that holds more than tables: reading a view can run any query in it.

    Raises:
        ValueError: There is something else than the tables of a shard.
    """
    rows = connection.execute('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL').fetchall()
    others = {row[0] for row in rows} - _TABLES
    if others:
        raise ValueError(f'it holds what no embedding store does: {str(min(others))[:200]}')


def lock_for_writing(path: Path) -> FileLock:
    """Keep others from writing to a shard.

    Raises:
        BlockingIOError: Another process writes to it.
    """
    lock = FileLock(f'{path}.lock')
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(
            errno.EWOULDBLOCK,
            'another process is writing to this shard, or verifying, merging or exporting it; '
            'wait for it, or stop it',
            str(path),
        ) from error
    return lock


@contextmanager
def unchanging(paths: Iterable[Path]) -> Iterator[None]:
    """Let nobody write to shards while they are read as a whole.

    Who may not write there cannot see to that; a writer waits for such a reader.

    Raises:
        BlockingIOError: Another process writes to one.
    """
    with ExitStack() as locks:
        for path in filter(_may_write, paths):
            locks.callback(lock_for_writing(path).release)
        yield


def decode(row: Sequence, embed_dims: int) -> tuple[str, EmbeddingRecord, tuple[int, int]]:
    """The ``COLUMNS`` of a record as its key, itself and the (height, width) of its image.

    Raises:
        ValueError, TypeError, RecursionError: They are not what was written.
    """
    key, regions, height, width, found, data = row
    if checksum(key, data, regions, height, width) != found:
        raise ValueError('the checksum differs')
    img_id_of(key)
    return key, EmbeddingRecord.from_bytes(data, regions, embed_dims), (height, width)


def checksum(text: str, data: bytes = b'', *numbers: int) -> int:
    """64 bits that change with everything given.

    Raises:
        ValueError: Something is of another type, or too large for SQLite.
    """
    if not isinstance(text, str) or not isinstance(data, bytes):
        raise ValueError(f'expected a text and bytes, found {type(text)} and {type(data)}')
    try:
        packed = struct.pack(f'<{len(numbers)}q', *numbers)
    except struct.error as error:
        raise ValueError(f'expected whole numbers, found {numbers}') from error
    digest = xxhash.xxh3_64()
    for part in (text.encode('utf-8', 'surrogatepass'), packed, data):
        digest.update(part)
    return digest.intdigest() - 2**63  # SQLite's integers are signed


@contextmanager
def reporting(path: Path, what: str) -> Iterator[None]:
    """Errors of SQLite, and those of content that is not what was written, in words."""
    try:
        yield
    except sqlite3.Error as error:
        message = str(error)
        if 'is full' in message:
            raise OSError(
                errno.ENOSPC,
                'the disk is full; what was written before is kept, so make room and run the '
                'same command again',
                str(path),
            ) from error
        if 'readonly' in message:
            raise OSError(
                errno.EACCES,
                'a writer was killed here, and what it left must be rolled back, which needs '
                'permission to write',
                str(path),
            ) from error
        if any(part in message for part in _NO_DAMAGE):
            raise OSError(f'{path}: {what}: {message}') from error
        raise DamagedRecordError(f'{path}: {what}: {message}; {REMEDY}') from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedRecordError(f'{path}: {what}: {error}; {REMEDY}') from error


def _process_and_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def key_of(img_id: int | str) -> str:
    """The name of an image in a shard: its id in JSON, which tells 1 from '1'."""
    return json.dumps(img_id.item() if isinstance(img_id, np.generic) else img_id)


def img_id_of(key: str) -> int | str:
    """The inverse of :func:`key_of`.

    Raises:
        ValueError, RecursionError: It is something else.
    """
    img_id = json.loads(key)
    if not isinstance(img_id, (int, float, str)) or key_of(img_id) != key:
        raise ValueError(f'{key[:200]!r} is no id of an image; expected a number or a text')
    return img_id
