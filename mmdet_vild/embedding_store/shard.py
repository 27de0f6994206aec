"""One file of an embedding store: an SQLite database that one process writes."""

import errno
import json
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import xxhash
from filelock import FileLock, Timeout

from .record import EmbeddingRecord

#: A record of 300 regions is read as fast as a file of its own, and little of the last page wasted.
PAGE_SIZE = 16384
#: Seconds that readers and writers wait for whoever has the file locked.
BUSY_TIMEOUT = 600.0
#: Pages that SQLite keeps in memory. With more, those of several files do not fit into the
#: processor's cache, and reads are a fifth slower; a writer keeps what it will commit.
_READER_PAGES, _WRITER_PAGES = 16, 125
_SCHEMA = """
CREATE TABLE header (content TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, regions INTEGER NOT NULL,
    height INTEGER NOT NULL, width INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL
);
"""
_TABLES = {statement.strip() for statement in _SCHEMA.split(';')} - {''}
#: The ``user_version`` of a file that never changes again, which SQLite keeps in bytes 60 to 63.
_FINISHED = 1
#: With this a journal ends that, rolled back, deletes the file it names (SQLite's ``pager.c``).
_SUPER_JOURNAL = bytes.fromhex('d9d505f920a163d7')
#: What content raises that is not what was written.
_WRONG = (ValueError, TypeError, AttributeError, RecursionError, struct.error)
_REMEDY = 'delete this file and run the extraction again, which embeds its images alone'


class DamagedRecordError(ValueError):
    """A record's bytes, or those of a whole shard, are not those that were written."""


class EmbeddingShard:
    """One file of an :class:`EmbeddingStore`.

    Any number of processes may read it, also while one writes. A record is there as a whole or
    not at all, whenever the writer is killed or the disk is full: SQLite's transactions see to
    that. Each record has a checksum, of its image and its size too. A finished file never changes
    again, and is read without locks.

    Args:
        path: The file. It must exist; see :meth:`create`.

    Raises:
        DamagedRecordError: It is no file of an embedding store, or damaged; also by each method.
        OSError: It cannot be read, or written; also by each method.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # SQLite's connections belong to one process, Python's to one thread.
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}
        self._lock: FileLock | None = None
        with reporting(self.path, 'its header'):
            #: dict: What the records are; see :meth:`EmbeddingStore.create`.
            self.header = _read_header(self._connected())

    @classmethod
    def create(cls, path: str | Path, header: dict) -> 'EmbeddingShard':
        """Open a shard, which this process alone may write until it is closed or ends.

        Args:
            path: The file, which is made if need be. Where it is finished, another one beside it.
            header: What the records are, as JSON can hold it. A shard that was begun keeps its
                own, which the caller compares.

        Raises:
            BlockingIOError: Another process writes to it.
        """
        path = Path(path)
        lock = lock_for_writing(path)
        if not path.exists():
            # Complete before it has its name, so that nobody sees a shard without a header.
            partial, content = path.with_suffix('.partial'), json.dumps(header)
            discard(partial, path)
            with reporting(path, 'its header'), closing(sqlite3.connect(partial)) as connection:
                connection.executescript(f'PRAGMA page_size = {PAGE_SIZE}; {_SCHEMA}')
                with connection:
                    row = (content, checksum(content))
                    connection.execute('INSERT INTO header VALUES (?, ?)', row)
            partial.replace(path)
        shard = cls(path)
        shard._lock = lock
        if is_finished(path):
            shard.close()
            return cls.create(path.with_stem(f'{path.stem}-more'), header)
        shard._execute(f'PRAGMA cache_size = {_WRITER_PAGES}')
        return shard

    def finish(self) -> None:
        """Close the file for ever, if there is a record in it."""
        if self._lock is not None and len(self):
            with reporting(self.path, 'its end'):
                self._execute(f'PRAGMA user_version = {_FINISHED}')
        self.close()

    def close(self) -> None:
        """Close the file, and let others write to it."""
        connection = self._connections.pop((os.getpid(), threading.get_ident()), None)
        if connection is not None:
            connection.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write(self, records: Sequence[tuple[int | str, EmbeddingRecord, tuple]]) -> None:
        """Write some images at once: all of them, or none if this fails.

        Args:
            records: For each image its id, its record, which takes the place of an earlier one, and
                the (height, width) of the image.

        Raises:
            ValueError: A record does not fit the store.
        """
        if self._lock is None:
            raise ValueError(f'{self.path} was opened for reading; open it with create')
        rows = []
        for img_id, record, image_size in records:
            record.check(f'the embeddings of image {img_id!r}', self.header['embed_dims'])
            key, data = key_of(img_id), record.to_bytes(self.header['version'])
            img_id_of(key)  # refuses what is none
            numbers = (len(record), *map(int, image_size[:2]))
            rows.append((key, *numbers, checksum(key, data, *numbers), data))
        with reporting(self.path, 'a record'), self._connected() as connection:
            connection.executemany(
                'INSERT OR REPLACE INTO records (image, regions, height, width, checksum, data) '
                'VALUES (?, ?, ?, ?, ?, ?)',
                rows,
            )

    def read(
        self, key: str, listed: bool = False
    ) -> tuple[EmbeddingRecord, tuple[int, int]] | None:
        """Read the record of an image, and its (height, width).

        Args:
            key: The :func:`key_of` the image.
            listed: Whether the image is one of :meth:`keys`, so that a record which is not there is
                damage. Otherwise None is returned for it.
        """
        with reporting(self.path, f'the embeddings of image {key[:200]}'):
            columns = 'regions, height, width, checksum, data'
            statement = f'SELECT {columns} FROM records WHERE image = ?'
            row = self._execute(statement, (key,)).fetchone()
            if row is None:
                if listed:
                    raise ValueError('the record is lost')
                return None
            regions, height, width, expected, data = row
            if checksum(key, data, regions, height, width) != expected:
                raise ValueError('the checksum differs')
            dims, version = self.header['embed_dims'], self.header['version']
            return EmbeddingRecord.from_bytes(data, regions, dims, version), (height, width)

    def keys(self, check: bool = False) -> list[str]:
        """The :func:`key_of` each image that has a record, in the order they were written.

        They are read from the index alone. With ``check`` they are compared with the records, which
        reads many pages of the file, and keys of no image are refused.
        """
        with reporting(self.path, 'its list of images'):
            rows = self._execute('SELECT number, image FROM records').fetchall()
            keys = [key for _, key in sorted(rows)]
            if check:
                count = self._execute('SELECT count(*) FROM records NOT INDEXED').fetchone()[0]
                named = {key for key in keys if img_id_of(key) is not None}
                if count != len(named):
                    raise ValueError(f'it names {len(named)} of {count} images')
            return keys

    def keys_without_regions(self) -> list[str]:
        """The :func:`key_of` each image of which the record has no region.

        That reads a page of the file for nearly every record: of 100,000 in a minute, if no page is
        in memory.
        """
        with reporting(self.path, 'its numbers of regions'):
            rows = self._execute('SELECT image FROM records WHERE regions = 0').fetchall()
            return [key for (key,) in rows]

    def has_regions(self) -> bool:
        """Whether any image has a region; that is known as soon as one is found."""
        with reporting(self.path, 'its numbers of regions'):
            return bool(self._execute('SELECT 1 FROM records WHERE regions > 0 LIMIT 1').fetchone())

    def __len__(self) -> int:
        return len(self.keys())

    def _execute(self, statement: str, values: tuple = ()) -> sqlite3.Cursor:
        return self._connected().execute(statement, values)

    def _connected(self) -> sqlite3.Connection:
        key = os.getpid(), threading.get_ident()
        if key not in self._connections:
            self._connections[key] = _connect(self.path)
        return self._connections[key]

    def __getstate__(self) -> dict:
        # A spawned worker opens the file itself, and never writes.
        return {**self.__dict__, '_connections': {}, '_lock': None}


def is_finished(path: Path) -> bool:
    """Whether a shard never changes again. Beside a journal, whoever finished it was killed."""
    with suppress(FileNotFoundError), open(path, 'rb') as file:
        mark = file.read(64)[60:]
        return mark == _FINISHED.to_bytes(4, 'big') and not _journal(path).exists()
    return False


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that creates no file.

    If the file may change, each read locks it for a moment, and rolls back what a killed writer
    left, for which it needs permission to write.

    Raises:
        OSError: Rolling back would delete another file.
    """
    mode = 'ro&immutable=1' if is_finished(path) else 'rw'
    with suppress(FileNotFoundError), open(_journal(path), 'rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_SUPER_JOURNAL)))
        if file.read() == _SUPER_JOURNAL:
            raise OSError(
                f'{_journal(path)} names another file, as no writer here does; delete the journal'
            )
    uri = f'file:{quote(str(path.absolute()))}?mode={mode}'
    connection = sqlite3.connect(uri, BUSY_TIMEOUT, uri=True)
    # Halves the time of a read. SQLite maps 2 GB of a file at most and reads the rest.
    connection.execute('PRAGMA mmap_size = 2147418112')
    connection.execute(f'PRAGMA cache_size = {_READER_PAGES}')
    return connection


def _read_header(connection: sqlite3.Connection) -> dict:
    """What the records are, if there are only our tables: reading a view could run anything."""
    rows = connection.execute('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL').fetchall()
    if others := {row[0] for row in rows} - _TABLES:
        raise ValueError(f'it holds what no embedding store does: {str(min(others))[:200]}')
    ((content, found),) = connection.execute('SELECT content, checksum FROM header').fetchall()
    if checksum(content) != found:
        raise ValueError('the checksum differs')
    header = json.loads(content)
    kinds = {'teacher': str, 'embed_dims': int, 'dataset': dict, 'version': int}
    if not isinstance(header, dict) or {k: type(header.get(k)) for k in kinds} != kinds:
        raise ValueError(f'it is {content[:200]!r}; expected an object with {list(kinds)}')
    if header['embed_dims'] < 1:
        raise ValueError(f'embed_dims is {header["embed_dims"]}')
    return header


def lock_for_writing(path: Path) -> FileLock:
    """Keep others from writing to a shard; BlockingIOError if another process writes to it."""
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


def _journal(path: Path) -> Path:
    return Path(f'{path}-journal')


def discard(*paths: Path) -> None:
    """Delete shards, and their journals, which would be rolled back into others of the name."""
    for path in paths:
        _journal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def checksum(text: str, data: bytes = b'', *numbers: int) -> int:
    """64 bits that change with everything given."""
    digest = xxhash.xxh3_64(text.encode('utf-8', 'surrogatepass'))
    digest.update(struct.pack(f'<{len(numbers)}q', *numbers))
    digest.update(data)
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
                f'{path}: the disk is full; what was written before is kept, so make room and run '
                'the same command again'
            ) from error
        if 'readonly' in message:
            raise PermissionError(
                f'{path}: a writer was killed here, and what it left must be rolled back, which '
                'needs permission to write'
            ) from error
        if any(part in message for part in ('locked', 'I/O error', 'unable to open')):
            raise OSError(f'{path}: {what}: {message}') from error
        raise DamagedRecordError(f'{path}: {what}: {message}; {_REMEDY}') from error
    except _WRONG as error:
        raise DamagedRecordError(f'{path}: {what}: {error}; {_REMEDY}') from error


def key_of(img_id: int | str) -> str:
    """The name of an image in a shard: its id in JSON, which tells 1 from '1'."""
    return json.dumps(img_id.item() if isinstance(img_id, np.generic) else img_id)


def img_id_of(key: str) -> int | str:
    """The inverse of :func:`key_of`; ValueError or RecursionError if it is something else."""
    img_id = json.loads(key)
    if not isinstance(img_id, (int, float, str)) or key_of(img_id) != key:
        raise ValueError(f'{key[:200]!r} is no id of an image; expected a number or a text')
    return img_id
