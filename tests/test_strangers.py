"""Files from strangers: none executes code, and a malformed one is an error that names it."""

import copy
import io
import json
import math
import pickle
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from annotation_files import KINDS, NOVEL, PIPELINE, annotations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.apis import DetInferencer, inference_detector, init_detector
from small_detector import SmallDetector
from small_store import write as write_store
from tf_checkpoint import open_checkpoint

import mmdet_vild
from mmdet_vild import load_detector
from mmdet_vild.datasets import OpenVocabularyCocoDataset, OpenVocabularyLVISDataset
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.extraction import load_proposals
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings, load_categories


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return open, (str(self.marker), 'w')


@pytest.fixture
def marker(tmp_path: Path):
    """The file that a hostile one would create; that it was not is checked at the end."""
    yield tmp_path / 'executed'
    assert not (tmp_path / 'executed').exists()


@pytest.mark.onedl
def test_checkpoints(marker: Path, tmp_path: Path) -> None:
    """Of a stranger's checkpoint weights are taken, and nothing that would have been executed."""
    small = SmallDetector(tmp_path, 'vild')
    expected = small.predict(small.sample()).pred_instances
    config, path = str(tmp_path / 'config.py'), str(tmp_path / 'checkpoint.pth')
    small.config.dump(config)
    code = f'{Path(config).read_text()}\nmarker = open({str(marker)!r}, "w").name\n'
    meta = dict(cfg=code, config=code, dataset_meta=dict(CLASSES=('cat',)))
    torch.save(dict(state_dict=small.model.state_dict(), meta=meta), path)
    for named in (config, small.config):
        detector = load_detector(named, path, 'cpu')
        assert detector.dataset_meta['classes'] == small.text.names
        found = inference_detector(detector, small.image).pred_instances
        torch.testing.assert_close(found.scores, expected.scores)
    DetInferencer(model=config, weights=path, device='cpu')
    assert len(found) and not marker.exists()
    DetInferencer(weights=path, device='cpu')  # who names no config asks for the checkpoint's
    marker.unlink()  # as docs/install.md says

    torch.save(dict(state_dict=small.model.state_dict(), meta=Hostile(marker)), path)
    for load in (load_detector, init_detector, DetInferencer):
        with pytest.raises(pickle.UnpicklingError, match='[Ww]eights.only'):
            load(config, path, device='cpu')
    torch.load(path, weights_only=False)['meta'].close()
    marker.unlink()  # it would have shown
    for missing in (tmp_path / 'none.pth', 'https://192.0.2.1/checkpoint.pth'):
        with pytest.raises(FileNotFoundError, match='there is no checkpoint at'):
            load_detector(config, missing, 'cpu')


def pickles(hidden: Hostile) -> list[bytes]:
    """A hostile object in every form of file that may hold one."""
    files = [io.BytesIO() for _ in range(3)]
    array = np.array([hidden], object)
    names = ('embeddings', 'names', 'novel', 'teacher', 'var/a:0', 'params/img/x')
    np.save(files[0], array)
    np.savez(files[1], **dict.fromkeys(names, array))
    torch.save(dict(state_dict=hidden), files[2])
    return [pickle.dumps(hidden), *(file.getvalue() for file in files)]


@pytest.mark.parametrize(
    ('load', 'suffixes'),
    [
        (TextEmbeddings.load, ['.npz']),
        (open_checkpoint, ['.npz', '.tar.gz', '.index']),
        (load_categories, ['.json', '.txt', '.pkl']),
        (lambda path: load_proposals(path, None), ['.json', '.pkl']),
        (lambda path: OpenVocabularyLVISDataset(ann_file=path, pipeline=[]), ['.json', '.pkl']),
        (lambda path: OpenVocabularyCocoDataset(ann_file=path, pipeline=[]), ['.json', '.pkl']),
        (lambda path: OpenCLIPTeacher('mini-clip', path), ['.pt', '.npy', '.npz', '.safetensors']),
    ],
)
def test_pickles(marker: Path, tmp_path: Path, load: Callable, suffixes: list[str]) -> None:
    for content in pickles(Hostile(marker)):
        for suffix in suffixes:
            path = tmp_path / f'file{suffix}'
            path.write_bytes(content)
            with pytest.raises(Exception):  # noqa: B017 - open_clip's are of any kind
                load(str(path))


def test_a_model_config_that_trusts_remote_code(tmp_path: Path) -> None:
    """open_clip passes it on to transformers, which then executes what it finds."""
    own = Path(mmdet_vild.__file__).parent / 'teacher' / 'model_configs' / 'mini-clip.json'
    content = json.loads(own.read_text())
    content['text_cfg'] |= dict(
        hf_tokenizer_name=str(tmp_path), tokenizer_kwargs=dict(trust_remote_code=True)
    )
    path = tmp_path / 'hostile-clip.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='hostile-clip has trust_remote_code'):
        OpenCLIPTeacher('hostile-clip', model_config=str(path))
    open_clip.factory._MODEL_CONFIGS.pop('hostile-clip')


def test_a_journal_that_deletes_another_file(tmp_path: Path) -> None:
    """SQLite rolls back what a killed writer left, and then deletes the file that it names."""
    store, precious = tmp_path / 'store', tmp_path / 'precious'
    write_store(store, [1])
    file = store / 'shard-00000.sqlite'
    code = (
        f'import os, sqlite3; db = sqlite3.connect({str(file)!r}); '
        'db.execute("PRAGMA cache_size = 1"); '
        'db.executemany("INSERT INTO records VALUES (?, ?, 0, 0, 0, 0, zeroblob(400000))", '
        '[(n, str(n)) for n in range(10, 20)]); os._exit(0)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
    name = str(precious).encode()
    page = struct.pack('>I', 2**30 // 16384 + 1)
    tail = struct.pack('>II', len(name), sum(name)) + bytes.fromhex('d9d505f920a163d7')
    with open(f'{file}-journal', 'ab') as journal:
        journal.write(page + name + tail)
    precious.write_text('of mine')
    for opening in (EmbeddingStore, lambda path: write_store(path, [2])):
        with pytest.raises(OSError, match='journal names another file.*delete the journal'):
            opening(store)
    assert precious.exists()
    with sqlite3.connect(file) as db:
        db.execute('SELECT count(*) FROM records').fetchone()
    assert not precious.exists()  # it would have


@pytest.mark.parametrize('kind', ['TRIGGER', 'VIEW'])
def test_a_query_in_a_store(tmp_path: Path, kind: str) -> None:
    """One that runs by itself, or in place of a table; it might never end."""
    write_store(tmp_path, [1])
    code = 'TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM header; END'
    if kind == 'VIEW':
        code = (
            'VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) SELECT n FROM c'
        )
    with sqlite3.connect(tmp_path / 'shard-00000.sqlite') as db:
        db.execute(f'CREATE {code}')
    with pytest.raises(ValueError, match=f'what no embedding store does: CREATE {kind}'):
        EmbeddingStore(tmp_path)


#: What a field may hold instead of what it should.
ODD = st.sampled_from([
    *(None, True, 0, -1, 0.5, 1e308, math.nan, math.inf, 2**63, 10**40, '', ' ', '7', '\0'),
    *('\ud800', '../x', [], {}, [[]], [None], [1e9] * 4, ['a'] * 4, {'a': 1}),
    *('[' * 100_000, '9' * 5000),
    *({'size': [40, 60], 'counts': [5000]}, {'size': [10**9] * 2, 'counts': [10**9]}),
])  # fmt: skip


def places(content: object) -> list[tuple]:
    """Everything in JSON: what it is in, and where there."""
    keys = content if isinstance(content, dict) else range(len(content))
    found = [(content, key) for key in keys]
    for _, key in list(found):
        if isinstance(content[key], dict | list):
            found += places(content[key])
    return found


def load_dataset(kind: str, **options) -> Callable[[str], None]:
    """Loads every sample of an annotation file."""

    def load(path: str) -> None:
        dataset = KINDS[kind](ann_file=path, data_prefix=dict(img=''), pipeline=PIPELINE, **options)
        for i in range(len(dataset)):
            loaded = dataset.pipeline(dict(dataset.get_data_info(i), ori_shape=(40, 60)))
            assert loaded['gt_bboxes'].tensor.isfinite().all()

    return load


ROWS = [dict(image_id=i % 3 + 1, bbox=[i, 2, 5.5, 6], score=i / 8, category_id=1) for i in range(8)]
WORDS = [dict(id=3, name='cat', synonyms=['cat', 'kitty'], frequency='f'), dict(name='owl')]
JSON = {
    'coco': (annotations('coco'), load_dataset('coco', metainfo=dict(novel_classes=NOVEL))),
    'lvis': (annotations('lvis'), load_dataset('lvis')),
    'words': (WORDS, lambda path: json.dumps(load_categories(path)).encode()),
    'proposals': (ROWS, lambda path: load_proposals(path, None)),
}


@pytest.mark.parametrize('kind', JSON)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fields_of_json(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    """Changed, lost, cut off or no text: it is read, or refused by an error that names the file."""
    content, load = JSON[kind]
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2), 'changes')):
        if found := places(content):
            parent, key = found[data.draw(st.integers(0, len(found) - 1), 'place')]
            if data.draw(st.booleans(), 'lost'):
                del parent[key]
            else:
                parent[key] = copy.deepcopy(data.draw(ODD, 'value'))
    text = json.dumps(content)
    # As deep, and as long a number, as no parser takes.
    text = text.replace(f'"{"[" * 100_000}"', '[' * 100_000).replace(f'"{"9" * 5000}"', '9' * 5000)
    text = text[: data.draw(st.sampled_from([None, None, len(text) // 2]), 'end')]
    path = tmp_path / f'{kind}.json'
    path.write_bytes(
        data.draw(st.sampled_from([b'', b'', b'\xef\xbb\xbf', b'\xc3'])) + text.encode()
    )
    try:
        load(str(path))
    except (ValueError, OSError) as error:
        assert type(error) in (ValueError, FileNotFoundError) and str(path) in str(error)
