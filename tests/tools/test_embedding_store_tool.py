"""The tool for embedding stores, on small ones; the extraction's tests use it on real ones."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from small_store import DATASET, SOURCE, contents, killed_at_write, make_record, write

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.embedding_store.shard import is_finished

TOOL = Path(__file__).parents[2] / 'tools' / 'embedding_store.py'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Images 0 to 9 in one shard, 'a/b' in another."""
    write(tmp_path / 'store', range(10), n=60)
    write(tmp_path / 'store', ['a/b'], shard=1, n=60)
    return tmp_path / 'store'


def tool(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """Run it; returns what it exits with."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as end:
        return end.code
    return None


def test_shows(path, monkeypatch, capsys):
    assert tool(monkeypatch, 'show', path) is None
    printed = capsys.readouterr().out
    assert '"teacher": "mini-clip@0123' in printed
    assert 'shard-00000.sqlite: 10 images' in printed and '11 images, 0.000 GB' in printed


def test_says_how_many_images_have_no_region(path, monkeypatch, capsys):
    """Each once, and not of a record that is not read because another shard has one."""
    for action in ('show', 'verify'):
        assert not tool(monkeypatch, action, path)
        assert 'no region' not in capsys.readouterr().out
    write(path, ['c', 'd'], shard=1, n=0)
    write(path, [3, 'd'], shard=2, n=0)
    for action in ('show', 'verify'):
        assert not tool(monkeypatch, action, path)
        assert "2 of 13 images have no region, such as image 'c'; " in capsys.readouterr().out


def test_killed_while_it_merges(tmp_path, monkeypatch):
    """What is left is no part of what is merged next, of another store here."""
    write(tmp_path / 'store', range(100), n=60)
    write(tmp_path / 'other', [200])
    out = tmp_path / 'merged'
    killed_at_write(3, tool, monkeypatch, 'merge', tmp_path / 'store', '--out', out)
    assert (out / 'shard-00000.unfinished-journal').exists()
    assert tool(monkeypatch, 'merge', tmp_path / 'other', '--out', out) is None
    assert tool(monkeypatch, 'verify', out) == 0
    assert contents(out) == contents(tmp_path / 'other')


def test_merges_and_exports_what_is_read(path, tmp_path, monkeypatch):
    """Of an image that two shards have, one record."""
    write(path, [3], shard=1)
    expected, out = contents(path), tmp_path / 'merged'
    assert len(expected) == 11 and expected[3] == make_record(60, seed=3).to_bytes()
    assert tool(monkeypatch, 'merge', path, '--out', out) is None
    assert [file.name for file in out.glob('*.sqlite')] == ['shard-00000.sqlite']
    assert contents(out) == expected and is_finished(out / 'shard-00000.sqlite')
    assert EmbeddingStore(out).header == EmbeddingStore(path).header
    assert 'holds a store already' in tool(monkeypatch, 'merge', path, '--out', out)
    assert tool(monkeypatch, 'export', path, '--out', tmp_path / 'out') is None
    assert len(list((tmp_path / 'out').iterdir())) == 11
    for name, img_id in (('3', 3), ('a%2Fb', 'a/b')):
        with np.load(tmp_path / 'out' / f'{name}.npz', allow_pickle=False) as data:
            fields = ('boxes', 'scores', 'embeddings', 'weights')
            record = EmbeddingRecord(*(data[key] for key in fields))
            assert record.to_bytes() == expected[img_id]
            assert tuple(data['image_size']) == (60, 70)


def test_what_reads_all_waits_until_all_is_written(path, tmp_path, monkeypatch, capsys):
    """Or what comes later would be left out, or the writer kept waiting."""
    for number in (0, 1):
        opened = EmbeddingStore.create(path, SOURCE, DATASET, number)
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
    assert '10/10' in capsys.readouterr().err


def test_exports_into_its_folder_alone(tmp_path, monkeypatch):
    """Whatever an image is called, its file is there, and has a name of its own."""
    ids = ['../../x', '/etc/x', '..', '.', '', 'a\0b', 'CON', 'a/../b', '%2F', '/', '\ud800', 7]
    write(tmp_path / 'store', ids, n=1)
    before = sorted(tmp_path.rglob('*'))
    out = tmp_path / 'a' / 'b' / 'out'
    assert tool(monkeypatch, 'export', tmp_path / 'store', '--out', out) is None
    written = {file for file in tmp_path.rglob('*') if file.is_file()} - set(before)
    assert len(written) == len(ids) and {file.parent for file in written} == {out}

    write(tmp_path / 'store', ['é' * 90], n=1)
    again = tmp_path / 'again'
    message = tool(monkeypatch, 'export', tmp_path / 'store', '--out', again)
    assert "the id 'ééé" in message and 'is too long for the name of a file' in message
    assert not again.exists()


def test_verifies(path, monkeypatch, capsys):
    """Also where one shard is none at all; each can be deleted by itself."""
    expected, (first, second) = contents(path), sorted(path.glob('*.sqlite'))
    assert tool(monkeypatch, 'verify', path) == 0
    assert '0 damages found' in capsys.readouterr().out
    data = bytearray(first.read_bytes())
    for img_id in (3, 5):
        data[data.index(expected[img_id][-64:])] ^= 4
    first.write_bytes(data)
    second.write_bytes(b'x' * 5000)
    assert tool(monkeypatch, 'verify', path) == 1
    lines = capsys.readouterr().out.splitlines()
    advice = 'delete this file and run the extraction again, which embeds its images alone'
    assert [line.removesuffix(advice) for line in lines] == [
        f'{first}: the embeddings of image 3: the checksum differs; ',
        f'{first}: the embeddings of image 5: the checksum differs; ',
        f'{second}: its header: file is not a database; ',
        '3 damages found',
    ]
    first.unlink()
    second.unlink()
    assert 'no embedding store at' in tool(monkeypatch, 'verify', path)


def test_an_image_that_is_not_listed(path, monkeypatch, capsys):
    """Its entry in the index bears the name of another one."""
    file, entry = path / 'shard-00000.sqlite', b'\x03\x0f\x015\x06'  # image 5, the 6th record
    data = file.read_bytes()
    assert data.count(entry) == 1
    file.write_bytes(data.replace(entry, entry.replace(b'5', b'4')))
    assert tool(monkeypatch, 'verify', path) == 1
    assert f'{file}: its list of images: it names 9 of 10 images' in capsys.readouterr().out


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
    assert sorted(file.suffix for file in out.iterdir()) == ['.lock', '.sqlite']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['show', 'absent'], 'no embedding store at absent'),
        (['verify', 'absent'], 'no embedding store at absent'),
        (['merge', 'absent'], 2),
        (['show', 'absent', '--out', 'x'], 2),
        (['polish', 'absent'], 2),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = tool(monkeypatch, *arguments)
    assert found == message or message in found
