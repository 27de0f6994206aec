"""Read variables out of a TensorFlow checkpoint, without TensorFlow.

A checkpoint is an ``.index`` file, a sorted table of the format of LevelDB whose values are
protocol buffers, and ``.data`` files with the values of the variables one after the other
(TensorFlow, ``tensorflow/core/util/tensor_bundle`` and ``tensorflow/core/lib/io/format.h``).
"""

import gzip
import lzma
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

#: TensorFlow's numbers of the types that a variable of a network may have.
DTYPES = {
    1: np.dtype('<f4'),
    2: np.dtype('<f8'),
    3: np.dtype('<i4'),
    9: np.dtype('<i8'),
    19: np.dtype('<f2'),
}
#: Their numbers have five digits.
MAX_SHARDS = 99999
MAGIC = 0xDB4775248B80FB57
_DAMAGED_ARCHIVE = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError,
)  # fmt: skip
_INDEX = re.compile(r'(?P<prefix>.*)\.index')
_DATA = re.compile(r'(?P<prefix>.*)\.data-(?P<shard>\d{5})-of-\d{5}')


class TFCheckpoint(Mapping):
    """The variables of a checkpoint by name, each read when it is asked for.

    Args:
        index: Contents of the ``.index`` file.
        shards: Contents of each ``.data`` file.
        where: What to name in errors.

    Raises:
        ValueError: The index is damaged or of another format, or a ``.data`` file is missing.
    """

    def __init__(self, index: bytes, shards: dict[int, bytes], where: str) -> None:
        self.where = where
        self._shards = shards
        try:
            entries = dict(_table(index))
            header = _message(entries.pop(b''))
            self._entries = {key.decode(): _Entry(value) for key, value in entries.items()}
            count, big_endian = _last(header, 1, 1), _last(header, 2, 0)
        except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
            raise ValueError(f'{where}: the .index file is damaged ({error!r})') from error
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error
        last = max((entry.shard for entry in self._entries.values()), default=0)
        if not last < count <= MAX_SHARDS:
            raise ValueError(
                f'{where}: the .index file is damaged: of {count} shards it names number {last}'
            )
        missing = sorted(set(range(count)) - set(shards))
        if missing:
            raise ValueError(f'{where}: the .data files of the shards {missing} are missing')
        if big_endian:
            raise ValueError(f'{where}: its values are big-endian; expected little-endian ones')

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> np.ndarray:
        """The value of a variable.

        Raises:
            KeyError: There is no such variable.
            ValueError: It is damaged, or of a type that no variable of a network has.
        """
        entry = self._entries[name]
        if entry.sliced:
            raise ValueError(f'{self.where}: {name} is stored in slices, which is not supported')
        if entry.dtype not in DTYPES:
            raise ValueError(
                f'{self.where}: {name} has type number {entry.dtype}; expected one of '
                f'{ {key: str(dtype) for key, dtype in DTYPES.items()} }'
            )
        value = self._shards[entry.shard][entry.start : entry.start + entry.size]
        dtype, shape = DTYPES[entry.dtype], entry.shape
        expected = dtype.itemsize * math.prod(shape)
        if len(value) != entry.size or entry.size != expected or max(shape, default=0) >= 2**31:
            raise ValueError(
                f'{self.where}: {name} of shape {shape} and type {dtype} should have {expected} '
                f'bytes, found {len(value)}; the .data file is cut off or damaged'
            )
        if entry.crc is not None and _masked(crc32c(value)) != entry.crc:
            raise ValueError(f'{self.where}: the checksum of {name} is wrong; download it again')
        return np.frombuffer(value, dtype).reshape(shape)


class _Entry:
    """Where the value of a variable is (``BundleEntryProto``).

    Args:
        data: The entry of the index.

    Raises:
        IndexError, ValueError, struct.error: It is damaged.
    """

    def __init__(self, data: bytes) -> None:
        fields = _message(data)
        self.dtype = _last(fields, 1, 0)
        dims = _message(_last(fields, 2, b'')).get(2, [])
        self.shape = [_last(_message(_of_type(dim, bytes)), 1, 0) for dim in dims]
        self.shard = _last(fields, 3, 0)
        self.start, self.size = _last(fields, 4, 0), _last(fields, 5, 0)
        self.crc = _last(fields, 6, 0) if 6 in fields else None
        self.sliced = 7 in fields


def open_checkpoint(path: str) -> Mapping[str, np.ndarray]:
    """The variables of a released checkpoint.

    Args:
        path: One of

            - a ``.tar.gz`` as released, or the folder it unpacks to;
            - an ``.index`` file, or its path without ``.index``;
            - an ``.npz`` with ``var/<name>:0`` arrays.

    Returns:
        Arrays by the names of the variables.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: It is none of the above, holds several checkpoints, or is damaged.
    """
    file = Path(path)
    if file.suffix == '.npz' and file.is_file():
        return _open_npz(path)
    if file.is_dir():
        names = {str(p.relative_to(file)): p for p in sorted(file.rglob('*')) if p.is_file()}
        return _open_files({name: p.read_bytes for name, p in names.items()}, path)
    if file.is_file():
        try:
            if tarfile.is_tarfile(path):
                return _open_tar(path)
        except _DAMAGED_ARCHIVE as error:
            raise ValueError(f'{path} is damaged ({error}); download it again') from error
    prefix = file.name.removesuffix('.index')
    if file.with_name(f'{prefix}.index').is_file():
        siblings = file.parent.glob(f'{prefix}.*')
        return _open_files({p.name: p.read_bytes for p in siblings}, path)
    if not file.exists():
        raise FileNotFoundError(f'there is no checkpoint at {path}')
    raise ValueError(
        f'{path} is no TensorFlow checkpoint; expected a .tar.gz or a folder with '
        'model.ckpt-*.index and model.ckpt-*.data-*, such an .index file, or an .npz of '
        'var/<name> arrays'
    )


def _open_tar(path: str) -> TFCheckpoint:
    with tarfile.open(path) as archive:
        members = {m.name: m for m in archive.getmembers() if m.isfile()}
        # Read in memory: nothing is written where an archive says.
        return _open_files(
            {name: lambda m=m: archive.extractfile(m).read() for name, m in members.items()}, path
        )


def _open_npz(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            variables = {
                key.removeprefix('var/').removesuffix(':0'): data[key]
                for key in data.files
                if key.startswith('var/')
            }
    except PermissionError:
        raise
    except Exception as error:  # a damaged zip file raises errors of many kinds
        raise ValueError(f'{path} is no .npz of arrays, or damaged ({error})') from error
    if not variables:
        raise ValueError(f'{path} holds no var/<name> arrays')
    for name, value in variables.items():
        if value.dtype not in DTYPES.values():
            raise ValueError(f'{path}: {name} has the type {value.dtype}; expected numbers')
    return variables


def _open_files(files: dict, where: str) -> TFCheckpoint:
    """The one checkpoint among files, given as functions that read them."""
    files = {n: read for n, read in files.items() if not Path(n).name.startswith('._')}  # a Mac's
    prefixes = [match['prefix'] for match in map(_INDEX.fullmatch, files) if match]
    if len(prefixes) != 1:
        raise ValueError(
            f'{where} holds {len(prefixes)} checkpoints {sorted(prefixes)}; expected one, a '
            'model.ckpt-*.index file and its model.ckpt-*.data-* files'
        )
    data = {name: match for name in files if (match := _DATA.fullmatch(name))}
    shards = {
        int(match['shard']): files[name]()
        for name, match in data.items()
        if match['prefix'] == prefixes[0]
    }
    return TFCheckpoint(files[f'{prefixes[0]}.index'](), shards, where)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted table."""
    if len(data) < 48 or struct.unpack_from('<Q', data, len(data) - 8)[0] != MAGIC:
        raise ValueError('the .index file is cut off, or of another format')
    footer = data[-48:]
    _, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    for _, value in _block(data, *index):
        handle, _ = _handle(value, 0)
        yield from _block(data, *handle)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    contents = data[offset : offset + size + 5]
    compression, checksum = struct.unpack('<BI', contents[size:])
    if compression:
        raise ValueError('the .index file is compressed, which is not supported')
    if _masked(crc32c(contents[: size + 1])) != checksum:
        raise ValueError('the .index file is damaged: a checksum is wrong')
    (restarts,) = struct.unpack_from('<I', contents, size - 4)
    position, end, key = 0, size - 4 * (restarts + 1), b''
    while position < end:
        shared, position = _varint(contents, position)
        own, position = _varint(contents, position)
        length, position = _varint(contents, position)
        key = key[:shared] + contents[position : position + own]
        position += own
        yield key, contents[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        if shift >= 64:
            raise ValueError('the .index file is damaged: a number has more than 64 bits')
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _message(data: bytes) -> dict[int, list]:
    """The fields of a protocol buffer: every value of each number."""
    fields, position = {}, 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(data, position)
        elif kind == 2:
            length, position = _varint(data, position)
            value = data[position : position + length]
            position += length
        elif kind == 5:
            (value,) = struct.unpack_from('<I', data, position)
            position += 4
        else:
            raise ValueError(f'the .index file has a field of the unknown kind {kind}')
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _last(message: dict[int, list], field: int, default: int | bytes) -> int | bytes:
    return _of_type(message.get(field, [default])[-1], type(default))


def _of_type(value: int | bytes, kind: type) -> int | bytes:
    if not isinstance(value, kind):
        raise ValueError(f'the .index file is damaged: {value!r} stands where {kind} is expected')
    return value


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0x82F63B78, table >> 1).astype(np.uint32)
    return table


_TABLE = _crc_table()
_TABLE_LIST = _TABLE.tolist()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum, of many stretches of the data at once.

    The checksum is linear: that of two stretches is that of the first, moved on by as many zeros
    as the second is long, plus that of the second. Where each bit is moved is found along the way.
    """
    count = min(4096, len(data) // 64)
    length = len(data) // count if count else 0
    crc = 0xFFFFFFFF
    if count:
        stretches = np.frombuffer(data, np.uint8, count * length).reshape(count, length)
        state = np.concatenate([np.zeros(count), 2.0 ** np.arange(32)]).astype(np.uint32)
        for column in np.pad(stretches, ((0, 32), (0, 0))).T:
            state = _TABLE[(state ^ column) & 0xFF] ^ (state >> 8)
        moved = state[count:].tolist()
        for stretch in state[:count].tolist():
            shifted = 0
            for bit in range(32):
                if crc >> bit & 1:
                    shifted ^= moved[bit]
            crc = shifted ^ stretch
    for byte in data[count * length :]:
        crc = _TABLE_LIST[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
