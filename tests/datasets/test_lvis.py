"""The official annotation files of LVIS v1, without their pictures."""

import os
from collections import Counter
from pathlib import Path

import pytest

from mmdet_vild.datasets import OpenVocabularyLVISDataset
from mmdet_vild.vocabulary import load_categories

pytestmark = pytest.mark.dataset

IMAGES = {'train': 100_170, 'val': 19_809}


def annotation_file(split: str) -> str:
    return str(Path(os.environ['VILD_LVIS_DIR'], 'annotations', f'lvis_v1_{split}.json'))


def test_counts() -> None:
    categories = load_categories(annotation_file('val'))
    assert Counter(category['frequency'] for category in categories) == dict(f=405, c=461, r=337)
    dataset = OpenVocabularyLVISDataset(
        ann_file=annotation_file('val'), data_prefix=dict(img=''), pipeline=[], test_mode=True
    )
    assert dataset.metainfo['classes'] == tuple(category['name'] for category in categories)
    assert len(dataset.metainfo['classes']) == 1203
    assert len(dataset.metainfo['novel_classes']) == 337
    assert len(dataset) == IMAGES['val']


def test_exactly_the_base_categories_are_trained() -> None:
    dataset = OpenVocabularyLVISDataset(
        ann_file=annotation_file('train'), data_prefix=dict(img=''), pipeline=[]
    )
    assert len(dataset) == IMAGES['train']
    labels = {label for i in range(len(dataset)) for label in dataset.get_cat_ids(i)}
    base = set(dataset.metainfo['classes']) - set(dataset.metainfo['novel_classes'])
    assert {dataset.metainfo['classes'][label] for label in labels} == base
    assert len(base) == 866
