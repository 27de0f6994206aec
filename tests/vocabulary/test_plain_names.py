"""COCO's names of stuff, as one would say them."""

import pytest
from mmdet.datasets import CocoPanopticDataset, CocoSegDataset

from mmdet_vild.vocabulary import plain_name, repeated_names


@pytest.mark.parametrize(
    ('name', 'plain'),
    [
        ('wall-other-merged', 'wall'),
        ('sky-other', 'sky'),
        ('tree-merged', 'tree'),
        ('floor-wood', 'floor wood'),
        ('door-stuff', 'door stuff'),
        ('hot dog', 'hot dog'),
    ],
)
def test_plain_name(name, plain):
    assert plain_name(name) == plain


@pytest.mark.parametrize('dataset', [CocoPanopticDataset, CocoSegDataset])
def test_no_two_become_the_same(dataset):
    assert not repeated_names(map(plain_name, dataset.METAINFO['classes']))
