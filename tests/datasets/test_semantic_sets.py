"""Each public set, from files in its official layout, through the config that names them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from config_files import ROOT
from label_pictures import blocks, colors_of, with_palette, write_numbers, write_picture
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.config import Config

from mmdet_vild.vocabulary import load_categories

pytestmark = pytest.mark.onedl

FOLDER = ROOT / 'configs' / '_base_' / 'datasets'
IGNORED = 'ignored'


def ade20k_150(root: Path) -> None:
    write_picture(root / 'images/validation/ADE_val_00000001.jpg')
    path = root / 'annotations/validation/ADE_val_00000001.png'
    write_numbers(path, blocks([1, 8, 150, 0]))


def ade20k_847(root: Path) -> None:
    write_picture(root / 'images/ADE_val_00000001.jpg')
    numbers = blocks([0, 300, 846, 65535], dtype=np.uint16)
    write_numbers(root / 'annotations/ADE_val_00000001.tif', numbers)
    words = [dict(name=f'thing {i}, object {i}', synonyms=[f'thing {i}']) for i in range(847)]
    (root / 'categories.json').write_text(json.dumps(words))


def voc2010(root: Path) -> None:
    (root / 'ImageSets/Main').mkdir(parents=True)
    (root / 'ImageSets/Main/val.txt').write_text('2008_000002\n')
    write_picture(root / 'JPEGImages/2008_000002.jpg')
    write_picture(root / 'JPEGImages/2008_000003.jpg')  # of the training pictures


def context_59(root: Path) -> None:
    voc2010(root)
    write_numbers(root / 'context_59/2008_000002.png', blocks([1, 40, 59, 0]))


def context_459(root: Path) -> None:
    voc2010(root)
    numbers = blocks([0, 457, 458, 65535], dtype=np.uint16)
    write_numbers(root / 'context_459/2008_000002.png', numbers)
    words = [dict(name=f'thing {i}') for i in range(459)]
    (root / 'context_459.json').write_text(json.dumps(words))


def voc2012(root: Path) -> None:
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    (root / 'ImageSets/Segmentation/val.txt').write_text('2007_000033\n')
    write_picture(root / 'JPEGImages/2007_000033.jpg')
    (root / 'SegmentationClass').mkdir()
    content = with_palette(blocks([1, 11, 20, 0, 255]))
    (root / 'SegmentationClass/2007_000033.png').write_bytes(content)


def cityscapes(root: Path) -> None:
    name = 'frankfurt/frankfurt_000000_000294'
    write_picture(root / f'leftImg8bit/val/{name}_leftImg8bit.png')
    write_numbers(root / f'gtFine/val/{name}_gtFine_labelIds.png', blocks([7, 19, 33, 0, 29]))
    # What else is in the folder.
    write_numbers(root / f'gtFine/val/{name}_gtFine_instanceIds.png', blocks([26001], dtype='u2'))


def coco_stuff(root: Path) -> None:
    write_picture(root / 'val2017/000000000139.jpg')
    path = root / 'stuffthingmaps/val2017/000000000139.png'
    # person is category 1, toothbrush 90, banner 92, wood 182
    write_numbers(path, blocks([0, 89, 91, 181, 255]))


def coco_panoptic(root: Path) -> None:
    """Three segments of each picture."""
    write_picture(root / 'val2017/000000000139.jpg')
    write_picture(root / 'train2017/000000000009.jpg')
    names = CocoPanopticDataset.METAINFO['classes']
    categories = [
        dict(id=i + 1, name=name, isthing=int(i < 80), supercategory='', color=[0, 0, 0])
        for i, name in enumerate(names)
    ]
    ids = {name: names.index(name) + 1 for name in ('person', 'wall-stone', 'rug-merged')}
    for split, number in (('train', 9), ('val', 139)):
        segments = [
            dict(id=1000 * id_, category_id=id_, iscrowd=0, bbox=[0, 0, 1, 1], area=1)
            for id_ in ids.values()
        ]
        file_name = f'{number:012d}.png'
        path = root / f'annotations/panoptic_{split}2017/{file_name}'
        write_numbers(path, colors_of(blocks([*(1000 * i for i in ids.values()), 0], dtype=int)))
        content = dict(
            images=[dict(id=number, file_name=f'{number:012d}.jpg', height=24, width=32)],
            annotations=[dict(image_id=number, file_name=file_name, segments_info=segments)],
            categories=categories,
        )
        (root / f'annotations/panoptic_{split}2017.json').write_text(json.dumps(content))


def vipseg(root: Path) -> None:
    """As tools/dataset_converters/vipseg.py writes it."""
    for split in ('train', 'val'):
        write_picture(root / f'images/{split}_video/00000001.jpg')
        path = root / f'semantic/{split}_video/00000001.png'
        write_numbers(path, blocks([0, 11, 123, 255]))
        (root / f'{split}.frames.txt').write_text(f'{split}_video/00000001\n')
    frequencies = ['r' if i == 11 else 'f' for i in range(124)]
    words = [dict(name=f'thing {i}', frequency=f) for i, f in enumerate(frequencies)]
    (root / 'categories.json').write_text(json.dumps(words))


def vspw(root: Path) -> None:
    """As tools/dataset_converters/vspw.py leaves it."""
    for split in ('train', 'val'):
        write_picture(root / f'data/{split}_video/origin/00000001.jpg')
        path = root / f'data/{split}_video/mask/00000001.png'
        write_numbers(path, blocks([1, 2, 124, 0, 255]))
        line = f'{split}_video/origin/00000001\t{split}_video/mask/00000001\n'
        (root / f'{split}.frames.txt').write_text(line)
    names = ['person', 'thing 2', *(f'thing {i}' for i in range(3, 124)), 'sky']
    (root / 'categories.json').write_text(json.dumps([dict(name=name) for name in names]))


#: Config -> what makes its files, how many classes, those that are in the picture, in columns, and
#: one that is novel to a model trained on COCO panoptic, if the set says so.
SETS = {
    'ade20k-150': (ade20k_150, 150, ['wall', 'bed', 'flag', IGNORED], 'flag'),
    'ade20k-847': (
        *(ade20k_847, 847),
        ['thing 0, object 0', 'thing 300, object 300', 'thing 846, object 846', IGNORED],
        'thing 0, object 0',
    ),
    'pascal-context-59': (
        *(context_59, 59, ['aeroplane', 'pottedplant', 'wood', IGNORED]),
        'bedclothes',
    ),
    'pascal-context-459': (
        *(context_459, 459, ['thing 0', 'thing 457', 'thing 458', IGNORED]),
        'thing 0',
    ),
    'voc-20': (
        *(voc2012, 20, ['aeroplane', 'diningtable', 'tvmonitor', IGNORED, IGNORED]),
        'aeroplane',
    ),
    'voc-21': (
        *(voc2012, 21, ['aeroplane', 'diningtable', 'tvmonitor', 'background', IGNORED]),
        'background',
    ),
    'cityscapes-19': (
        *(cityscapes, 19, ['road', 'traffic light', 'bicycle', IGNORED, IGNORED]),
        'vegetation',
    ),
    'coco-stuff-171': (
        *(coco_stuff, 171, ['person', 'toothbrush', 'banner', 'wood', IGNORED]),
        'fog',
    ),
    'coco_panoptic': (coco_panoptic, 133, ['person', 'wall stone', 'rug', IGNORED], ''),
    'ov-coco_panoptic': (
        *(coco_panoptic, 133, ['person', 'wall stone', 'rug', IGNORED]),
        'wall stone',
    ),
    'vipseg': (vipseg, 124, ['thing 0', 'thing 11', 'thing 123', IGNORED], 'thing 11'),
    'vspw': (vspw, 124, ['person', 'thing 2', 'sky', IGNORED, IGNORED], 'thing 2'),
}


def below(node, root: Path):
    """A config with its paths below a folder."""
    if isinstance(node, dict):
        return {key: below(value, root) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(below(value, root) for value in node)
    return f'{root}/{node}' if isinstance(node, str) and node.startswith('data/') else node


def prepared(name: str, root: Path) -> Config:
    """The config of a set, with its files below ``root``."""
    config = Config.fromfile(str(FOLDER / f'{name}_semantic.py'), import_custom_modules=False)
    config = Config(below(config.to_dict(), root))
    write_files, *_ = SETS[name]
    folder = Path(config.test_dataloader.dataset.data_root)
    folder.mkdir(parents=True)
    write_files(folder)
    return config


def shown(dataset) -> list[str]:
    """The classes of the columns of the first picture."""
    sample = dataset[0]['data_samples']
    labels, ignored = sample.gt_sem_seg.sem_seg[0], sample.gt_sem_seg.metainfo['ignore_index']
    assert labels.shape == sample.ori_shape == (24, 32)
    row = labels[0].tolist()
    classes = dataset.metainfo['classes']
    columns = [row[0], *(b for a, b in zip(row, row[1:], strict=False) if a != b)]
    return [IGNORED if label == ignored else classes[label] for label in columns]


def merged(names: list[str]) -> list[str]:
    """Neighbours that are ignored look like one column."""
    return [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]


@pytest.mark.parametrize('name', SETS)
def test_official_files(name, tmp_path):
    config = prepared(name, tmp_path)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    _, count, names, novel = SETS[name]
    assert len(dataset) == 1 and len(dataset.metainfo['classes']) == count
    assert shown(dataset) == merged(names)
    found = dataset.metainfo.get('novel_classes')
    assert (novel in found) if novel else (found is None)
    assert dataset[0]['inputs'].shape == (3, 512, 683)
    if 'train_dataloader' in config:
        train = DATASETS.build(config.train_dataloader.dataset)
        # What is novel is gone.
        sample = train[0]['data_samples'].gt_sem_seg
        labels = set(sample.sem_seg.unique().tolist())
        classes = train.metainfo['classes']
        assert labels <= {255, *(classes.index(n) for n in names if n not in (IGNORED, novel))}


def test_train_ids_of_cityscapes(tmp_path):
    """With the options that the page on data says."""
    config = prepared('cityscapes-19', tmp_path)
    (of_ids,) = tmp_path.rglob('*_gtFine_labelIds.png')
    of_ids.unlink()
    train_ids = of_ids.with_name(of_ids.name.replace('labelIds', 'labelTrainIds'))
    write_numbers(train_ids, blocks([0, 6, 18, 255, 255]))
    text = (ROOT / 'docs/gkc_data.md').read_text()
    (options,) = re.findall(r'`(label_values=.*labelTrainIds\.png\')`', text)
    dataset = DATASETS.build(config.test_dataloader.dataset | eval(f'dict({options})'))
    assert shown(dataset) == merged(SETS['cityscapes-19'][2])


def novel_of(name: str) -> set[str]:
    dataset = DATASETS.get(name)(
        base_vocabulary='CocoPanoptic133Dataset', lazy_init=True, test_mode=True
    )
    return set(dataset.metainfo['novel_classes'])


def test_what_coco_does_not_have_by_name():
    expected = {'aeroplane', 'motorbike', 'sofa', 'tvmonitor'}
    assert novel_of('PascalVOC20Dataset') == expected
    assert novel_of('PascalVOC21Dataset') == expected | {'background'}
    names = {'sidewalk', 'pole', 'traffic sign', 'vegetation', 'terrain', 'rider'}
    assert novel_of('Cityscapes19Dataset') == names


def test_a_vocabulary_is_encoded_by_the_name_of_its_data_set():
    found = load_categories('PascalVOC21Dataset')
    assert [c['name'] for c in found][:2] == ['background', 'aeroplane']
    assert found[11]['name'] == 'diningtable' and found[11]['synonyms'] == ['dining table']
