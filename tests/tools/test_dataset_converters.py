"""Converters, on small files as the data sets' authors publish them, and what reads the results."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from label_pictures import blocks
from mmdet.registry import DATASETS
from official_files import ade20k, context, vipseg, vspw
from PIL import Image
from scipy.io import savemat

from mmdet_vild.vocabulary import is_novel, load_categories

pytestmark = pytest.mark.onedl

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


@pytest.fixture
def convert(monkeypatch):
    """Runs a converter."""

    def convert(name: str, *arguments: object) -> None:
        tool = str(TOOLS / f'{name}.py')
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(tool, run_name='__main__')

    return convert


def numbers(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def columns(dataset, index: int = 0) -> list[str]:
    """The classes of the columns of a picture, without those that are ignored."""
    sample = dataset[index]['data_samples'].gt_sem_seg
    labels = dict.fromkeys(sample.sem_seg[0, 0].tolist())
    return [dataset.metainfo['classes'][i] for i in labels if i != sample.metainfo['ignore_index']]


def build(**options):
    steps = ('LoadImageFromFile', 'LoadSemanticSegmentation', 'PackDetInputs')
    return DATASETS.build(dict(pipeline=[dict(type=step) for step in steps], **options))


# PASCAL-Context: a .mat a picture, and labels.txt.


def test_pascal_context(convert, tmp_path):
    shown = ['wall', 'c thing 3', 'aeroplane', 'wood']
    names = context(tmp_path, 0, *shown)
    convert('pascal_context', tmp_path / 'trainval', tmp_path / 'labels.txt', '--out', tmp_path)
    full = numbers(tmp_path / 'context_459/2008_000002.png')
    assert full.dtype == np.uint16
    expected = blocks([65535, *map(names.index, shown)], dtype=np.uint16)
    np.testing.assert_array_equal(full, expected)
    small = numbers(tmp_path / 'context_59/2008_000002.png')
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, blocks([0, 56, 0, 1, 59]))
    dataset = build(
        type='OpenVocabularySegDataset',
        vocabulary=str(tmp_path / 'context_459.json'),
        data_prefix=dict(img_path='JPEGImages', seg_map_path='context_459'),
        data_root=str(tmp_path),
    )
    assert columns(dataset) == shown
    # Words are as of the 59.
    words = {w['name']: w['synonyms'] for w in load_categories(str(tmp_path / 'context_459.json'))}
    assert words['pottedplant'] == ['potted plant'] and words['wall'] == ['wall']
    assert list(words) == names
    dataset = build(
        type='PascalContext59Dataset',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='context_59'),
        data_root=str(tmp_path),
    )
    assert columns(dataset) == ['wall', 'aeroplane', 'wood']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('accordion\naeroplane\n', 'labels.txt is not the list of PASCAL-Context'),
        ('1: accordion\n3: aeroplane\n', 'is not the list of PASCAL-Context'),
        ('1: accordion\n2: aeroplane\n', 'does not have 58 of the 59 classes'),
    ],
)
def test_pascal_context_refuses_another_list(convert, tmp_path, text, message):
    context(tmp_path, 1)
    (tmp_path / 'labels.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        convert('pascal_context', tmp_path / 'trainval', tmp_path / 'labels.txt', '--out', tmp_path)


def test_pascal_context_refuses_other_files(convert, tmp_path):
    context(tmp_path, 460)
    arguments = tmp_path / 'trainval', tmp_path / 'labels.txt', '--out', tmp_path
    with pytest.raises(ValueError, match='000002.mat has numbers up to 460; expected a LabelMap'):
        convert('pascal_context', *arguments)
    savemat(tmp_path / 'trainval/2008_000002.mat', {'other': blocks([1])})
    with pytest.raises(ValueError, match='000002.mat has no LabelMap'):
        convert('pascal_context', *arguments)
    (tmp_path / 'trainval/2008_000002.mat').unlink()
    with pytest.raises(FileNotFoundError, match=r'there are no \.mat files'):
        convert('pascal_context', *arguments)


# ADE20K, full: a picture and a mask of colours beside each other, and a pickled index.


def ade20k_dataset(root: Path):
    return build(
        type='OpenVocabularySegDataset',
        vocabulary=str(root / 'categories.json'),
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='annotations'),
        seg_map_suffix='.tif',
        ignored_values=[65535],
    )


def test_ade20k_classes_are_those_of_both_parts(convert, tmp_path, capsys):
    """Those in most training pictures first: the road is in two."""
    ade20k(tmp_path / 'ade')
    convert('ade20k_full', tmp_path / 'ade', '--out', tmp_path / 'out')
    said = capsys.readouterr().out
    assert '2 classes' in said and 'warning: papers test on 847 classes' in said
    words = load_categories(str(tmp_path / 'out/categories.json'))
    assert [c['name'] for c in words] == ['road, route', 'wall']
    assert words[0]['synonyms'] == ['road', 'route'] and words[0]['id'] == 300
    labels = numbers(tmp_path / 'out/annotations/ADE_val_00000004.tif')
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, blocks([1, 0, 65535, 65535], dtype=np.uint16))
    assert [p.name for p in (tmp_path / 'out/images').iterdir()] == ['ADE_val_00000004.jpg']
    assert columns(ade20k_dataset(tmp_path / 'out')) == ['wall', 'road, route']


@pytest.mark.parametrize('suffix', ['.json', '.py'])
def test_ade20k_with_a_list_of_classes(convert, tmp_path, suffix):
    """As Mask2Former has it: the Python file is read, not run."""
    ade20k(tmp_path / 'ade')
    listed = [dict(name='seventy-seven', id=77, trainId=1), dict(name='wall', id=1, trainId=0)]
    text = json.dumps(listed)
    if suffix == '.py':
        text = f'import detectron2_is_not_here\nOTHER = [1, 2]\nCATEGORIES = {listed}\n1 / 0\n'
    (tmp_path / f'list{suffix}').write_text(text)
    (tmp_path / 'ade/index_ade20k.pkl').unlink()
    options = '--categories', tmp_path / f'list{suffix}'
    convert('ade20k_full', tmp_path / 'ade', '--out', tmp_path / 'out', *options)
    assert columns(ade20k_dataset(tmp_path / 'out')) == ['wall', 'seventy-seven']


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [((600, 900), (512, 768)), ((1200, 600), (1024, 512)), ((500, 800), (500, 800))],
)
def test_ade20k_shorter_side(convert, tmp_path, shape, expected):
    """Labels stay whole numbers, and the columns where they are."""
    ade20k(tmp_path / 'ade', shape)
    convert('ade20k_full', tmp_path / 'ade', '--out', tmp_path / 'out')
    labels = numbers(tmp_path / 'out/annotations/ADE_val_00000004.tif')
    assert labels.shape == expected
    assert numbers(tmp_path / 'out/images/ADE_val_00000004.jpg').shape == (*expected, 3)
    exact = blocks([1, 0, 65535, 65535], expected, np.uint16)
    assert (labels != exact).mean() < 0.01 and set(np.unique(labels)) == {0, 1, 65535}


def test_ade20k_index_executes_nothing(convert, tmp_path):
    ade20k(tmp_path / 'ade')
    marker = tmp_path / 'executed'

    class Evil:
        def __reduce__(self):
            return Path.touch, (marker,)

    (tmp_path / 'ade/index_ade20k.pkl').write_bytes(pickle.dumps(dict(objectnames=[Evil()])))
    with pytest.raises(pickle.UnpicklingError, match='the index of ADE20K asks for '):
        convert('ade20k_full', tmp_path / 'ade', '--out', tmp_path / 'out')
    assert not marker.exists()


def test_ade20k_refuses(convert, tmp_path):
    with pytest.raises(FileNotFoundError, match='there are no pictures with a mask in'):
        convert('ade20k_full', tmp_path, '--out', tmp_path / 'out')
    ade20k(tmp_path)
    for text in ('[]', '[{"name": "wall"}]', '[{"name": "wall", "id": 1, "trainId": 1}]', '3'):
        (tmp_path / 'list.json').write_text(text)
        with pytest.raises(ValueError, match='has no list of categories with name, id and trainId'):
            options = '--categories', tmp_path / 'list.json'
            convert('ade20k_full', tmp_path, '--out', tmp_path / 'out', *options)


# VIPSeg and VSPW: videos.


def vipseg_dataset(root: Path, ann_file: str, **options):
    return build(
        type='OpenVocabularySegDataset',
        vocabulary=str(root / 'categories.json'),
        data_root=str(root),
        ann_file=f'{ann_file}.frames.txt',
        data_prefix=dict(img_path='images', seg_map_path='semantic'),
        **options,
    )


def test_vipseg(convert, tmp_path):
    """Category 11, stuff, is novel and so is 78, of instances; 61 and 123 are things too."""
    vipseg(
        tmp_path,
        train_base=[1, 6201, 6202, 0],
        train_novel=[12, 62 * 100, 200, 5],  # 200 stands in official masks, for nothing
        val_base=[124 * 100 + 7, 3],
        val_novel=[7901, 1, 0],
    )
    convert('vipseg', tmp_path, '--out', tmp_path)
    found = {p.name.split('.')[0]: p.read_text().split() for p in tmp_path.glob('*.frames.txt')}
    assert found == {
        'train': ['train_base/00000155', 'train_novel/00000155'],
        'train_base': ['train_base/00000155'],
        'val': ['val_base/00000155', 'val_novel/00000155'],
        'val_base': ['val_base/00000155'],
        'val_novel': ['val_novel/00000155'],
    }
    labels = numbers(tmp_path / 'semantic/train_base/00000155.png')
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, blocks([0, 61, 61, 255]))
    words = load_categories(str(tmp_path / 'categories.json'))
    assert len(words) == 124 and words[61]['synonyms'] == ['kind 61']
    novel = [i for i, category in enumerate(words) if is_novel(category)]
    assert novel == [11, 32, 34, 57, 76, 78, 80, 94, 102, 112, 116, 122]
    train = vipseg_dataset(tmp_path, 'train')
    assert [columns(train, i) for i in range(2)] == [['kind_0', 'kind_61'], ['kind_61', 'kind_4']]
    labels = numbers(tmp_path / 'semantic/train_novel/00000155.png')
    np.testing.assert_array_equal(labels, blocks([11, 61, 255, 4]))
    val = vipseg_dataset(tmp_path, 'val', test_mode=True)
    assert columns(val, 1) == ['kind_78', 'kind_0']


def test_vipseg_with_other_novel_categories(convert, tmp_path):
    vipseg(tmp_path, a=[1], b=[2], c=[1, 2], d=[3])
    convert('vipseg', tmp_path, '--out', tmp_path, '--novel', 1)
    assert (tmp_path / 'val_novel.frames.txt').read_text() == 'c/00000155\n'
    with pytest.raises(SystemExit):
        convert('vipseg', tmp_path, '--out', tmp_path, '--novel', 124)


def test_vipseg_refuses(convert, tmp_path):
    vipseg(tmp_path, a=[1, 20099], b=[2], c=[1])
    with pytest.raises(ValueError, match=r'a/00000155.png has the categories \[199\], which'):
        convert('vipseg', tmp_path, '--out', tmp_path)
    (tmp_path / 'train.txt').write_text('no_video')
    with pytest.raises(FileNotFoundError, match='there is no mask of the videos of'):
        convert('vipseg', tmp_path, '--out', tmp_path)
    for name in ('train.txt', 'panoVIPSeg_categories.json'):
        (tmp_path / name).unlink()
        with pytest.raises(FileNotFoundError, match=f'there is no {name} in .*; take it from'):
            convert('vipseg', tmp_path, '--out', tmp_path)


def test_videos_that_are_not_there(convert, tmp_path, capsys):
    """Are left out, which is said last."""
    vipseg(tmp_path, a=[1], b=[2], c=[1], d=[3])
    (tmp_path / 'val.txt').write_text('c\nno_video\nd\nnone\n')
    convert('vipseg', tmp_path, '--out', tmp_path)
    assert (tmp_path / 'val.frames.txt').read_text() == 'c/00000155\nd/00000155\n'
    told = [line for line in capsys.readouterr().out.splitlines() if line]
    assert 'warning: 2 of the 4 videos of val.txt have no mask in panomasks' in told[-1]
    assert told[-1].endswith('such as no_video') and 'warning' not in told[-2]
    vspw(tmp_path, {'wall': '1'})
    (tmp_path / 'val.txt').write_text('b\nno_video\n')
    convert('vspw', tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert len((tmp_path / 'val.frames.txt').read_text().splitlines()) == 2
    assert 'warning: 1 of the 2 videos of val.txt have no mask in data' in told[-1]


def test_vspw(convert, tmp_path):
    vspw(tmp_path, {'others': '0', 'wall': '1', 'handrail_or_fence': '2', 'sky': '3'})
    convert('vspw', tmp_path)
    dataset = build(
        type='OpenVocabularySegDataset',
        vocabulary=str(tmp_path / 'categories.json'),
        data_root=str(tmp_path),
        ann_file='val.frames.txt',
        data_prefix=dict(img_path='data/', seg_map_path='data/'),
        label_values=[1, 2, 3],
        ignored_values=[0, 255],
    )
    assert len(dataset) == 2 and columns(dataset) == ['wall', 'sky']
    assert dataset.get_data_info(1)['seg_map_path'].endswith('data/b/mask/00000002.png')
    words = load_categories(str(tmp_path / 'categories.json'))
    assert words[1]['synonyms'] == ['handrail or fence']


def test_vspw_refuses(convert, tmp_path):
    vspw(tmp_path, {'others': '0', 'wall': '1', 'sky': '3'})
    with pytest.raises(ValueError, match='does not number its categories from 1 on'):
        convert('vspw', tmp_path)
    vspw(tmp_path, {'wall': '1'})
    (tmp_path / 'train.txt').write_text('no_video')
    with pytest.raises(FileNotFoundError, match='there are no frames of'):
        convert('vspw', tmp_path)
