"""The tool for embedding stores, on small ones; the extraction's tests use it on real ones."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmdet_vild.embedding_store.repair import damage
from small_store import killed_at_write, write

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingShard, EmbeddingStore

pytestmark = pytest.mark.onedl

TOOL = Path(__file__).parents[2] / 'tools' / 'embedding_store.py'
SIZE = (60, 70)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Images 0 to 9 in one shard, 'a/b' in another."""
    source = dict(teacher='mini-clip@0123', embed_dims=8)
    rng = np.random.default_rng(0)
    for shard, img_ids in enumerate((range(10), ['a/b'])):
        opened = EmbeddingStore.create(tmp_path / 'store', source, {}, shard)
        for img_id in img_ids:
            arrays = (rng.random(shape, np.float32) for shape in ((60, 4), 60, (60, 8)))
            opened.write([(img_id, EmbeddingRecord(*arrays), SIZE)])
        opened.close()
    return tmp_path / 'store'


def tool(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """Run it; returns what it exits with."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as end:
        return end.code
    return None


def contents(path: Path) -> dict:
    store = EmbeddingStore(path)
    sample = dict(ori_shape=SIZE)
    return {i: store.read({**sample, 'img_id': i}).to_bytes() for i in store.img_ids()}


def test_shows(path, monkeypatch, capsys):
    assert tool(monkeypatch, 'show', path) is None
    printed = capsys.readouterr().out
    assert '"teacher": "mini-clip@0123"' in printed
    assert 'shard-00000.sqlite: 10 images' in printed and '11 images, 0.000 GB' in printed


def test_merges(path, tmp_path, monkeypatch):
    out = tmp_path / 'merged'
    assert tool(monkeypatch, 'merge', path, '--out', out) is None
    assert [file.name for file in out.glob('*.sqlite')] == ['shard-00000.sqlite']
    assert contents(out) == contents(path)
    assert EmbeddingStore(out).header == EmbeddingStore(path).header
    assert 'holds a store already' in tool(monkeypatch, 'merge', path, '--out', out)


def test_killed_while_it_merges(tmp_path, monkeypatch):
    """The next one is not disturbed by what is left."""
    write(tmp_path / 'store', range(100), n=2000)
    out = tmp_path / 'merged'
    arguments = 'merge', tmp_path / 'store', '--out', out
    killed_at_write(3, tool, monkeypatch, *arguments)
    assert (out / 'shard-00000.unfinished-journal').exists()
    assert tool(monkeypatch, *arguments) is None
    assert list(damage(out / 'shard-00000.sqlite')) == []
    assert contents(out) == contents(tmp_path / 'store')


def test_what_merges_or_exports_takes_what_is_read(path, tmp_path, monkeypatch):
    """Of an image that two shards have."""
    record = EmbeddingRecord(*(np.zeros(shape, np.float32) for shape in ((1, 4), 1, (1, 8))))
    opened = EmbeddingStore.create(path, dict(teacher='mini-clip@0123', embed_dims=8), {}, 1)
    opened.write([(3, record, SIZE)])
    opened.close()
    expected = contents(path)
    assert len(expected) == 11 and expected[3] != record.to_bytes()
    assert tool(monkeypatch, 'merge', path, '--out', tmp_path / 'merged') is None
    assert contents(tmp_path / 'merged') == expected
    assert tool(monkeypatch, 'export', path, '--out', tmp_path / 'out') is None
    with np.load(tmp_path / 'out' / '3.npz') as data:
        found = EmbeddingRecord(data['boxes'], data['scores'], data['embeddings'])
        assert found.to_bytes() == expected[3]


def test_a_second_merge_leaves_the_first_alone(path, tmp_path, monkeypatch):
    out, first = tmp_path / 'merged', EmbeddingShard.write
    messages = []

    def write_and_merge_again(shard, records):
        monkeypatch.setattr(EmbeddingShard, 'write', first)
        messages.append(tool(monkeypatch, 'merge', path, '--out', out))
        first(shard, records)

    monkeypatch.setattr(EmbeddingShard, 'write', write_and_merge_again)
    assert tool(monkeypatch, 'merge', path, '--out', out) is None
    (message,) = messages
    assert 'another process is writing' in message
    assert contents(out) == contents(path)


def test_what_reads_all_waits_until_all_is_written(path, tmp_path, monkeypatch, capsys):
    """Or what comes later would be left out, or the writer kept waiting."""
    source = dict(teacher='mini-clip@0123', embed_dims=8)
    for number in (0, 1):
        opened = EmbeddingStore.create(path, source, {}, number)
        for arguments in (
            ['verify', path],
            ['merge', path, '--out', tmp_path / 'merged'],
            ['export', path, '--out', tmp_path / 'out'],
        ):
            message = tool(monkeypatch, *arguments)
            assert 'another process is writing' in message and opened.path.name in message
        assert tool(monkeypatch, 'show', path) is None
        opened.close()
    assert tool(monkeypatch, 'verify', path) == 0
    captured = capsys.readouterr()
    assert 'shard-00000.sqlite: its structure first (0.0 GB' in captured.out
    assert '10/10' in captured.err


def test_exports(path, tmp_path, monkeypatch):
    assert tool(monkeypatch, 'export', path, '--out', tmp_path / 'out') is None
    assert len(list((tmp_path / 'out').iterdir())) == 11
    with np.load(tmp_path / 'out' / 'a%2Fb.npz', allow_pickle=False) as data:
        record = EmbeddingRecord(data['boxes'], data['scores'], data['embeddings'])
        assert record.to_bytes() == contents(path)['a/b']
        assert tuple(data['image_size']) == SIZE


def test_exports_into_its_folder_alone(tmp_path, monkeypatch):
    """Whatever an image is called, its file is there, and has a name of its own."""
    ids = [
        '../../x',
        '/etc/x',
        '..',
        '.',
        '',
        'a\0b',
        'CON',
        'a/../b',
        '%2F',
        '/',
        '\ud800',
        '-',
        7,
    ]
    record = EmbeddingRecord(*(np.zeros(shape, np.float32) for shape in ((1, 4), 1, (1, 8))))
    source = dict(teacher='mini-clip@0123', embed_dims=8)
    opened = EmbeddingStore.create(tmp_path / 'store', source, {})
    opened.write([(img_id, record, SIZE) for img_id in ids])
    opened.close()
    before = sorted(tmp_path.rglob('*'))
    out = tmp_path / 'a' / 'b' / 'out'
    assert tool(monkeypatch, 'export', tmp_path / 'store', '--out', out) is None
    written = {file for file in tmp_path.rglob('*') if file.is_file()} - set(before)
    assert len(written) == len(ids) and {file.parent for file in written} == {out}

    opened = EmbeddingStore.create(tmp_path / 'store', source, {})
    opened.write([('é' * 90, record, SIZE)])
    opened.close()
    again = tmp_path / 'again'
    message = tool(monkeypatch, 'export', tmp_path / 'store', '--out', again)
    assert "the id 'ééé" in message and 'is too long for the name of a file' in message
    assert not again.exists()


def test_repairs(path, monkeypatch, capsys):
    """What is right is kept, and what was damaged too, beside it."""
    expected, file = contents(path), path / 'shard-00000.sqlite'
    assert tool(monkeypatch, 'verify', path) == 0
    assert '0 damages found' in capsys.readouterr().out
    data = bytearray(file.read_bytes())
    data[data.index(expected.pop(3)[-64:])] ^= 4
    file.write_bytes(data)
    assert tool(monkeypatch, 'verify', path) == 1
    printed = capsys.readouterr().out
    assert 'image 3 are damaged' in printed and '1 damages found' in printed
    assert tool(monkeypatch, 'repair', path) is None
    assert '9 records kept' in capsys.readouterr().out
    assert file.with_suffix('.damaged').read_bytes() == data
    assert contents(path) == expected
    assert tool(monkeypatch, 'verify', path) == 0


def test_goes_on_to_the_next_shard(path, monkeypatch, capsys):
    """One shard is none at all."""
    last = contents(path)['a/b'][-64:]
    (path / 'shard-00000.sqlite').write_bytes(b'x' * 5000)
    data = bytearray((path / 'shard-00001.sqlite').read_bytes())
    data[data.index(last)] ^= 1
    (path / 'shard-00001.sqlite').write_bytes(data)
    assert tool(monkeypatch, 'verify', path) == 1
    printed = capsys.readouterr().out
    assert 'shard-00000.sqlite: its header' in printed and 'image "a/b" are damaged' in printed
    assert tool(monkeypatch, 'repair', path) is None
    assert contents(path) == {}
    assert len(list(path.glob('*.damaged'))) == 2


def test_merging_is_all_or_nothing(path, tmp_path, monkeypatch):
    file, expected = path / 'shard-00000.sqlite', contents(path)
    right, data = file.read_bytes(), bytearray(file.read_bytes())
    data[data.index(expected[5][-64:])] ^= 4
    file.write_bytes(data)
    out = tmp_path / 'merged'
    assert 'image 5' in tool(monkeypatch, 'merge', path, '--out', out)
    assert not list(out.glob('*.sqlite'))
    file.write_bytes(right)
    assert tool(monkeypatch, 'merge', path, '--out', out) is None
    assert contents(out) == expected
    assert {each.name for each in out.iterdir()} == {
        'shard-00000.sqlite',
        'shard-00000.sqlite.lock',
    }


def test_repairs_nothing_that_is_right(path, monkeypatch):
    before = {file: file.read_bytes() for file in path.glob('*.sqlite')}
    assert tool(monkeypatch, 'repair', path) is None
    assert {file: file.read_bytes() for file in path.glob('*.sqlite')} == before
    assert not list(path.glob('*.damaged'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['show', 'absent'], 'no embedding store at absent'),
        (['repair', 'absent'], 'no embedding store at absent'),
        (['merge', 'absent'], 2),
        (['show', 'absent', '--out', 'x'], 2),
        (['polish', 'absent'], 2),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = tool(monkeypatch, *arguments)
    assert found == message or message in found
