"""Nothing in a file executes code, however a user comes to read it."""

import json
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
from mmdet.apis import DetInferencer, init_detector
from mmdet.utils import register_all_modules
from mmengine.config import Config
from small_store import write as write_store
from tf_checkpoint import open_checkpoint

from mmdet_vild import config_path
from mmdet_vild.datasets import OpenVocabularyCocoDataset, OpenVocabularyLVISDataset
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.extraction import load_proposals
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings, load_categories

ROOT = Path(__file__).parents[2]


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


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config of a detector that can be built."""
    register_all_modules()
    text = tmp_path / 'text.npz'
    names = tuple('abcde')
    TextEmbeddings(np.ones((5, 4)), names, np.arange(5) > 3, 'teacher@1').save(text)
    found = Config.fromfile(config_path('mini_lvis/vild-text_r18-mini_fpn_mini-lvis.py'))
    heads = found.model.roi_head
    heads.bbox_head.cls_predictor_cfg.text_embeddings = str(text)
    heads.bbox_head.num_classes = heads.mask_head.num_classes = 5
    found.dump(tmp_path / 'config.py')
    return str(tmp_path / 'config.py')


@pytest.mark.onedl
@pytest.mark.parametrize('load', [init_detector, DetInferencer])
def test_a_pickle_in_a_checkpoint(
    marker: Path, config: str, tmp_path: Path, load: Callable
) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(state_dict={}, hidden=Hostile(marker)), path)
    with pytest.raises(pickle.UnpicklingError, match='[Ww]eights.only'):
        load(config, str(path), device='cpu')
    torch.load(path, weights_only=False)['hidden'].close()
    marker.unlink()  # it would have shown


@pytest.mark.onedl
def test_the_config_in_a_checkpoint(marker: Path, config: str, tmp_path: Path) -> None:
    """Who names a config executes that one; who names none asks for the checkpoint's."""
    path = tmp_path / 'checkpoint.pth'
    hostile = f'{Path(config).read_text()}\nmarker = open({str(marker)!r}, "w").name\n'
    meta = dict(cfg=hostile, config=hostile, dataset_meta=dict(classes=tuple('abcde')))
    torch.save(dict(state_dict={}, meta=meta), path)
    DetInferencer(model=config, weights=str(path), device='cpu')
    assert not marker.exists()
    DetInferencer(weights=str(path), device='cpu')
    marker.unlink()  # as docs/install.md says


def object_array(path: Path, hidden: Hostile) -> None:
    with open(path, 'wb') as file:
        np.save(file, np.array([hidden], object))


def object_arrays(path: Path, hidden: Hostile) -> None:
    names = ('embeddings', 'names', 'novel', 'teacher', 'var/a:0', 'params/img/x')
    with open(path, 'wb') as file:
        np.savez(file, **{name: np.array([hidden], object) for name in names})


def plain_pickle(path: Path, hidden: Hostile) -> None:
    path.write_bytes(pickle.dumps(hidden))


def torch_pickle(path: Path, hidden: Hostile) -> None:
    torch.save(dict(state_dict=hidden), path)


def build_dataset(kind: type) -> Callable[[str], object]:
    return lambda path: kind(ann_file=path, data_prefix=dict(img=''), pipeline=[])


@pytest.mark.parametrize('write', [object_array, object_arrays, plain_pickle, torch_pickle])
@pytest.mark.parametrize(
    ('load', 'suffixes'),
    [
        (TextEmbeddings.load, ['.npz']),
        (open_checkpoint, ['.npz', '.tar.gz', '.index']),
        (load_categories, ['.json', '.txt', '.pkl']),
        (lambda path: load_proposals(path, None), ['.json', '.pkl']),
        (build_dataset(OpenVocabularyLVISDataset), ['.json', '.pkl']),
        (build_dataset(OpenVocabularyCocoDataset), ['.json', '.pkl']),
        (lambda path: OpenCLIPTeacher('mini-clip', path), ['.pt', '.npy', '.npz', '.safetensors']),
    ],
)
def test_a_pickle_in_any_other_file(
    marker: Path, tmp_path: Path, write: Callable, load: Callable, suffixes: list[str]
) -> None:
    for suffix in suffixes:
        path = tmp_path / f'file{suffix}'
        write(path, Hostile(marker))
        with pytest.raises(Exception):  # noqa: B017 - open_clip's are of any kind
            load(str(path))


def test_a_model_config_that_trusts_remote_code(tmp_path: Path) -> None:
    """open_clip passes it on to transformers, which then executes what it finds."""
    own = ROOT / 'mmdet_vild' / 'teacher' / 'model_configs' / 'mini-clip.json'
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
    journal = Path(f'{file}-journal')
    name = str(precious).encode()
    page = struct.pack('>I', 2**30 // 16384 + 1)
    tail = struct.pack('>II', len(name), sum(name)) + bytes.fromhex('d9d505f920a163d7')
    with open(journal, 'ab') as opened:
        opened.write(page + name + tail)
    precious.write_text('of mine')
    for opening in (EmbeddingStore, lambda path: write_store(path, [2])):
        with pytest.raises(OSError, match='journal names another file.*delete the journal'):
            opening(store)
    assert precious.exists()
    with sqlite3.connect(file) as db:
        db.execute('SELECT count(*) FROM records').fetchone()
    assert not precious.exists()  # it would have


def test_a_query_in_place_of_a_table(tmp_path: Path) -> None:
    write_store(tmp_path, [1])
    with sqlite3.connect(tmp_path / 'shard-00000.sqlite') as db:
        db.execute('CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM header; END')
    with pytest.raises(ValueError, match='what no embedding store does: CREATE TRIGGER'):
        EmbeddingStore(tmp_path)
