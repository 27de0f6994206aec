"""Files with something wrong in them: bytes, fields of JSON, arrays of .npz files."""

import copy
import io
import json
import zipfile
from collections.abc import Callable
from random import Random

import numpy as np

#: What a field may hold instead of what it should.
ODD = (
    None, True, False, 0, 1, 2, -1, 0.5, 1e308, -1e308, float('nan'), float('inf'), 2**31, 2**63,
    10**40, '', ' ', 'x', '7', '\0', '\ud800', 'é★\u202e', '../../../x', '/etc/passwd', 'y' * 70000,
    [], {}, [[]], [None], [1, 2, 3], [1e9, 1e9, 1e9, 1e9], ['a', 'b', 'c', 'd'], {'a': 1},
    {'size': [40, 60], 'counts': [5000]}, {'size': [40, 60], 'counts': 'ooooooo'},
    {'size': [10**9, 10**9], 'counts': [10**9]}, [[1e9, 0, 0, 1e9, -1e9, -1e9]],
)  # fmt: skip
#: Stands for what ``json.dumps`` cannot write.
DEEP, LONG = '@deep@', '@long@'


def changed_bytes(data: bytes, rng: Random) -> bytes:
    """A file with some of its bytes changed, lost, repeated or added."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(out) + 1)
        end = min(len(out), start + rng.choice((1, 2, 16, 200, len(out))))
        kind = rng.randrange(9)
        if kind <= 1 and start < end:
            out[start] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[start:]
        elif kind == 3:
            del out[start:end]
        elif kind == 4:
            out[start:start] = out[start:end]
        elif kind == 5:
            out[start:end] = rng.randbytes(end - start)
        elif kind == 6:
            out[start:end] = bytes(end - start)
        elif kind == 7:
            out[start:start] = rng.choice(
                (b'\xff\xfe', b'\xc3', b'\xed\xa0\x80', b'\0', b'-', b'9')
            )
        elif rng.random() < 0.2:
            out.clear()
    return bytes(out)


def changed_json(content: object, rng: Random) -> bytes:
    """A JSON file with some of its fields changed, lost, repeated, swapped or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(content))
        if not places:
            break
        parent, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 3:
            parent[key] = copy.deepcopy(rng.choice((*ODD, *ODD, DEEP, LONG)))
        elif kind == 4:
            del parent[key]
        elif kind == 5 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 5:
            parent[rng.choice(('', 'ignore', 'iscrowd', f'{key}s'))] = parent.pop(key)
        else:
            other, place = rng.choice(places)
            parent[key], other[place] = copy.deepcopy((other[place], parent[key]))
    text = json.dumps(content).replace(f'"{DEEP}"', '[' * 100_000 + ']' * 100_000)
    return text.replace(f'"{LONG}"', '9' * 5000).encode()


def _places(content: object):
    """Everything in JSON: what it is in, and where there."""
    keys = {dict: list, list: lambda c: range(len(c))}.get(type(content), lambda c: ())(content)
    for key in keys:
        yield content, key
        yield from _places(content[key])


def changed_npz(data: bytes, rng: Random) -> bytes:
    """An .npz file with some of its arrays changed, lost or swapped."""
    with np.load(io.BytesIO(data)) as file:
        arrays = {key: file[key] for key in file.files}
    headers = {}
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(sorted(arrays))
        array = arrays[key]
        kind = rng.randrange(10)
        if kind == 0:
            del arrays[key]
            if not arrays:
                break
        elif kind == 1:
            other = rng.choice(sorted(arrays))
            arrays[key], arrays[other] = arrays[other], arrays[key]
        elif kind == 2:
            arrays[key] = array[: len(array) // 2] if array.ndim else array[None]
        elif kind == 3:
            arrays[key] = array.T if array.ndim > 1 else np.stack([array, array])
        elif kind == 4:
            arrays[key] = array.ravel()[0] if array.size else array
        elif kind == 5:
            dtype = rng.choice(('S', 'O', 'c8', 'i4', 'f8', 'M8[s]', '?', 'U'))
            try:
                arrays[key] = array.astype(dtype)
            except (TypeError, ValueError):
                arrays[key] = np.zeros(array.shape, dtype)
        elif kind == 6 and array.dtype.kind == 'f' and array.size:
            arrays[key] = array.copy()
            arrays[key].flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, 3e38))
        elif kind == 7:
            arrays[key] = np.array(rng.choice(('', '{}', '[' * 100_000, 'é', '\x01', '7')))
        elif kind == 8:
            headers[f'{key}.npy'] = rng.choice((10**12, 2**62, -1, 0, 7))
        else:
            arrays[key] = np.concatenate([array, array]) if array.ndim else array
    out = io.BytesIO()
    np.savez(out, **arrays)
    if headers:
        out = _with_headers(out, headers)
    return out.getvalue()


def _with_headers(data: io.BytesIO, rows: dict[str, int]) -> io.BytesIO:
    """The .npz whose arrays say that they have so many rows."""
    out = io.BytesIO()
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            if name in rows:
                array = np.load(io.BytesIO(content), allow_pickle=True)
                header = io.BytesIO()
                shape = (rows[name], *array.shape[1:])
                fields = dict(shape=shape, fortran_order=False, descr=array.dtype.str)
                np.lib.format.write_array_header_1_0(header, fields)
                content = header.getvalue() + array.tobytes()
            new.writestr(name, content)
    return out


def one_of(*makers: Callable[[Random], bytes]) -> Callable[[Random], bytes]:
    """Choose one of several ways to make a file."""
    return lambda rng: rng.choice(makers)(rng)
