"""Public sets of semantic segmentation: their names, and the numbers in their official files."""

from mmdet.datasets import ADE20KSegDataset, CocoSegDataset, VOCDataset
from mmdet.registry import DATASETS

from mmdet_vild.vocabulary import plain_name

from .open_vocabulary_seg import OpenVocabularySegDataset


@DATASETS.register_module()
class ADE20K150Dataset(OpenVocabularySegDataset):
    """ADEChallengeData2016: files have 1 to 150, and 0 for other things."""

    METAINFO = dict(
        classes=tuple(name.strip() for name in ADE20KSegDataset.METAINFO['classes']),
        palette=ADE20KSegDataset.METAINFO['palette'],
    )
    LABEL_VALUES = range(1, 151)
    IGNORED_VALUES = (0,)


@DATASETS.register_module()
class PascalContext59Dataset(OpenVocabularySegDataset):
    """PASCAL-Context's 59 most frequent classes, 1 to 59 by the alphabet; 0 is all else."""

    METAINFO = dict(
        classes=(
            'aeroplane', 'bag', 'bed', 'bedclothes', 'bench', 'bicycle', 'bird', 'boat', 'book',
            'bottle', 'building', 'bus', 'cabinet', 'car', 'cat', 'ceiling', 'chair', 'cloth',
            'computer', 'cow', 'cup', 'curtain', 'dog', 'door', 'fence', 'floor', 'flower', 'food',
            'grass', 'ground', 'horse', 'keyboard', 'light', 'motorbike', 'mountain', 'mouse',
            'person', 'plate', 'platform', 'pottedplant', 'road', 'rock', 'sheep', 'shelves',
            'sidewalk', 'sign', 'sky', 'snow', 'sofa', 'table', 'track', 'train', 'tree', 'truck',
            'tvmonitor', 'wall', 'water', 'window', 'wood',
        )
    )  # fmt: skip
    LABEL_VALUES = range(1, 60)
    IGNORED_VALUES = (0, 255)


@DATASETS.register_module()
class PascalVOC20Dataset(OpenVocabularySegDataset):
    """PASCAL VOC's ``SegmentationClass``: 1 to 20; the background, 0, and borders are ignored."""

    METAINFO = dict(classes=VOCDataset.METAINFO['classes'])
    LABEL_VALUES = range(1, 21)
    IGNORED_VALUES = (0, 255)


@DATASETS.register_module()
class PascalVOC21Dataset(OpenVocabularySegDataset):
    """PASCAL VOC's ``SegmentationClass`` with the background as a class."""

    METAINFO = dict(classes=('background', *VOCDataset.METAINFO['classes']))
    IGNORED_VALUES = (255,)


@DATASETS.register_module()
class Cityscapes19Dataset(OpenVocabularySegDataset):
    """Cityscapes' 19 classes that count, read from ``labelIds``, which come with the data."""

    METAINFO = dict(
        classes=(
            'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light',
            'traffic sign', 'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck',
            'bus', 'train', 'motorcycle', 'bicycle',
        )
    )  # fmt: skip
    LABEL_VALUES = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
    IGNORED_VALUES = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255)
    SUFFIXES = dict(img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelIds.png')


@DATASETS.register_module()
class CocoStuff171Dataset(OpenVocabularySegDataset):
    """COCO-Stuff's ``stuffthingmaps``: ids of categories minus 1, 80 of things and 91 of stuff."""

    METAINFO = dict(
        classes=tuple(map(plain_name, CocoSegDataset.METAINFO['classes'])),
        palette=CocoSegDataset.METAINFO['palette'],
    )
    #: Without those that COCO's paper names and its annotations do not have.
    LABEL_VALUES = sorted({*range(182)} - {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
    IGNORED_VALUES = (255,)
