"""Reading TensorFlow's checkpoints, against TensorFlow's own.

``tf_checkpoint_data`` holds one that TensorFlow 2.21 wrote. Where ``VILD_TF_PYTHON`` names a Python
that has TensorFlow, as ``make test`` does, it writes more.
"""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tf_checkpoint import TFCheckpoint, crc32c, open_checkpoint

WRITTEN = Path(__file__).parent / 'tf_checkpoint_data'
VALUES = {
    'a/kernel': np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4) / 7,
    'a/kernel/Momentum': np.zeros((2, 3, 1, 4), np.float32),
    'a/bias': np.array([-1.5, 2.5], np.float16),
    'b': np.array([[1e300]]),
    'global_step': np.array(7),
    'small': np.array(3, np.int32),
    'empty': np.zeros((0, 4), np.float32),
}
#: What wrote the files: arrays of an .npz into so many shards.
WRITE = """
import sys
import numpy as np
import tensorflow as tf

source, prefix, shards = sys.argv[1:]
with np.load(source) as data:
    values = {name: data[name] for name in data.files}
parts = []
for shard in range(int(shards)):
    names = list(values)[shard :: int(shards)]
    parts.append(f'{prefix}_part{shard}')
    tf.raw_ops.SaveV2(
        prefix=parts[-1],
        tensor_names=names,
        shape_and_slices=[''] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)
"""


def write(folder: Path, values: dict[str, np.ndarray], shards: int) -> Path:
    """Have TensorFlow write a checkpoint; returns its prefix."""
    np.savez(folder / 'source.npz', **values)
    command = [os.environ['VILD_TF_PYTHON'], '-c', WRITE]
    command += [folder / 'source.npz', folder / 'model.ckpt-7', shards]
    env = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': ''}
    subprocess.run(list(map(str, command)), check=True, env=env)
    (folder / 'source.npz').unlink()
    return folder / 'model.ckpt-7'


def assert_same(found, expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected) and len(found) == len(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def parts() -> tuple[bytes, dict[int, bytes]]:
    data = sorted(WRITTEN.glob('*.data-*'))
    return (WRITTEN / 'model.ckpt-7.index').read_bytes(), {
        shard: path.read_bytes() for shard, path in enumerate(data)
    }


@given(st.binary(max_size=3000), st.integers(0, 2))
def test_crc32c(data, repeat):
    """Bit by bit (Castagnoli's polynomial, reflected), and the value that RFC 3720 gives."""
    data *= 10**repeat // 9 + 1
    crc = 0xFFFFFFFF
    for byte in data[:2000]:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data[:2000]) == crc ^ 0xFFFFFFFF
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize('form', ['folder', 'index', 'prefix', 'tar.gz', 'folder in a tar'])
def test_reads(tmp_path, form):
    path = {'folder': WRITTEN, 'index': WRITTEN / 'model.ckpt-7.index'}.get(
        form, WRITTEN / 'model.ckpt-7'
    )
    if 'tar' in form:
        path = tmp_path / 'resnet50_vild.tar.gz'
        with tarfile.open(path, 'w:gz') as archive:
            for file in WRITTEN.iterdir():
                folder = '../resnet50_vild/' if 'folder' in form else ''
                archive.add(file, folder + file.name)
    assert_same(open_checkpoint(str(path)), VALUES)
    assert len(list(tmp_path.parent.glob('resnet50_vild'))) == 0  # nothing is unpacked


def test_reads_npz(tmp_path):
    np.savez(tmp_path / 'a.npz', **{f'var/{k}:0': v for k, v in VALUES.items()}, image=np.ones(3))
    assert_same(open_checkpoint(str(tmp_path / 'a.npz')), VALUES)


def test_every_damaged_byte_is_noticed():
    """A flipped bit anywhere is an error, or in a byte that nothing depends on."""
    index, shards = parts()
    rng = np.random.default_rng(0)
    harmless = 0
    for which, data in {None: index, **shards}.items():
        for position in range(len(data)):
            damaged = bytearray(data)
            damaged[position] ^= 1 << rng.integers(8)
            files = {None: index, **shards, which: bytes(damaged)}
            try:
                assert_same(TFCheckpoint(files.pop(None), files, 'here'), VALUES)
                harmless += 1
            except ValueError as error:
                assert str(error).startswith('here: ')
    # The footer is filled up to 48 bytes, and the restarts of its empty metadata are unused.
    assert harmless <= 50


def test_every_truncation_is_noticed():
    index, shards = parts()
    for size in range(len(index)):
        with pytest.raises(ValueError, match='here: '):
            TFCheckpoint(index[:size], shards, 'here')
    for shard, data in shards.items():
        for size in range(len(data)):
            with pytest.raises(ValueError, match='cut off or damaged'):
                found = TFCheckpoint(index, shards | {shard: data[:size]}, 'here')
                list(found.values())


def refuses(path: Path, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        open_checkpoint(str(path))


def test_refuses_what_is_not_one_checkpoint(tmp_path):
    refuses(tmp_path / 'nowhere', FileNotFoundError, 'there is no checkpoint at .*nowhere')
    refuses(tmp_path, ValueError, 'holds 0 checkpoints')
    (tmp_path / 'readme.txt').write_text('words')
    refuses(tmp_path / 'readme.txt', ValueError, 'is no TensorFlow checkpoint; expected')
    np.savez(tmp_path / 'a.npz', a=np.ones(3))
    refuses(tmp_path / 'a.npz', ValueError, 'holds no var/<name> arrays')
    with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as archive:
        archive.addfile(tarfile.TarInfo('nothing'), io.BytesIO())
    refuses(tmp_path / 'a.tar.gz', ValueError, 'holds 0 checkpoints')
    for file in WRITTEN.iterdir():
        shutil.copy(file, tmp_path)
        (tmp_path / f'._{file.name}').write_bytes(b'what a Mac adds')
    assert_same(open_checkpoint(str(tmp_path)), VALUES)
    for file in WRITTEN.iterdir():
        shutil.copy(file, tmp_path / file.name.replace('-7', '-8'))
    refuses(tmp_path, ValueError, r"holds 2 checkpoints \['model.ckpt-7', 'model.ckpt-8'\]")
    assert_same(open_checkpoint(str(tmp_path / 'model.ckpt-8')), VALUES)
    (tmp_path / 'model.ckpt-8.data-00001-of-00002').unlink()
    refuses(tmp_path / 'model.ckpt-8', ValueError, r'the shards \[1\] are missing')


@pytest.mark.parametrize('name', ['a.tar.gz', 'a.npz'])
def test_damaged_downloads(tmp_path, name):
    """Cut off anywhere: an error that names the file. A byte changed: that, or the right values."""
    whole = tmp_path / name
    if name == 'a.npz':
        np.savez(whole, **{f'var/{k}:0': v for k, v in VALUES.items()})
    else:
        with tarfile.open(whole, 'w:gz') as archive:
            for file in WRITTEN.iterdir():
                archive.add(file, file.name)
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    changed = [data[:size] for size in range(0, len(data), 7)]
    for position in range(0, len(data) if name == 'a.tar.gz' else 0, 7):
        flip = data[position] ^ 1 << int(rng.integers(8))
        changed.append(data[:position] + bytes([flip]) + data[position + 1 :])
    for content in changed:
        whole.write_bytes(content)
        try:
            assert_same(open_checkpoint(str(whole)), VALUES)
        except ValueError as error:
            assert str(whole) in str(error)


@pytest.mark.tensorflow
@pytest.mark.parametrize('shards', [1, 3])
def test_reads_what_tensorflow_writes(tmp_path, shards):
    """Thousands of variables, whose names fill more than a block of the index."""
    rng = np.random.default_rng(shards)
    values = {}
    for i in range(5000):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 5)))
        name = '/'.join(rng.choice(['conv', 'norm', 'é', 'x' * 60], rng.integers(1, 5)))
        values[f'{name}_{i}'] = rng.normal(size=shape).astype(rng.choice(['f2', 'f4', 'f8', 'i4']))
    values['large'] = rng.normal(size=(300, 999)).astype(np.float32)
    assert_same(open_checkpoint(str(write(tmp_path, values, shards))), values)


@pytest.mark.tensorflow
def test_refuses_other_types(tmp_path):
    found = open_checkpoint(str(write(tmp_path, {'flag': np.array(True)}, 1)))
    with pytest.raises(ValueError, match='flag has type number 10; expected one of'):
        found['flag']
