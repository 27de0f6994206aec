"""Small annotation files in COCO's and LVIS's format, and datasets of them."""

import json
from pathlib import Path

from mmdet.datasets.transforms import LoadAnnotations

from mmdet_vild.datasets import OpenVocabularyCocoDataset, OpenVocabularyLVISDataset

#: Ids with gaps, as those of a subset of LVIS have: id, name, frequency.
CATEGORIES = [(3, 'cat', 'f'), (7, 'unicorn', 'r'), (20, 'spoon', 'c'), (21, 'griffin', 'r')]
NOVEL = ('unicorn', 'griffin')
#: Categories of the boxes in each image.
IMAGES = {11: [3, 7, 20], 12: [7, 21], 13: [20, 20], 14: [], 15: [3]}
PIPELINE = [LoadAnnotations(with_bbox=True, with_mask=True)]
KINDS = {'coco': OpenVocabularyCocoDataset, 'lvis': OpenVocabularyLVISDataset}


def annotations(kind: str, categories: list = CATEGORIES, images: dict = IMAGES) -> dict:
    """The content of a file."""
    lvis = kind == 'lvis'
    url = 'http://images.cocodataset.org/train2017'
    absent = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
    boxes = [(i, c, 5 + 15 * n, 4 + n) for i, found in images.items() for n, c in enumerate(found)]
    return dict(
        images=[
            dict(id=i, height=40, width=60)
            | (dict(absent, coco_url=f'{url}/{i:012}.jpg') if lvis else dict(file_name=f'{i}.jpg'))
            for i in images
        ],
        annotations=[
            dict(id=number, image_id=image, category_id=category, bbox=[x, y, 12, 20], area=240,
                 segmentation=[[x, y, x + 12, y, x + 12, y + 20, x, y + 20]])
            | ({} if lvis else dict(iscrowd=0))
            for number, (image, category, x, y) in enumerate(boxes, 1)
        ],
        categories=[
            dict(id=i, name=name, **(dict(frequency=f, synonyms=[name]) if lvis else {}))
            for i, name, f in categories
        ],
    )  # fmt: skip


def build(
    folder: Path, kind: str, data: dict | str | None = None, cls: type | None = None, **kwargs
):
    """A dataset of a file, by default of :func:`annotations`."""
    path = folder / f'{kind}.json'
    data = annotations(kind) if data is None else data
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    options = dict(pipeline=PIPELINE, data_prefix=dict(img=''))
    if kind == 'coco':
        options['metainfo'] = dict(novel_classes=NOVEL)
    return (cls or KINDS[kind])(ann_file=str(path), **{**options, **kwargs})


def labels_of(dataset) -> dict[int, list[int]]:
    """Image id -> labels."""
    return {
        info['img_id']: [instance['bbox_label'] for instance in info['instances']]
        for info in map(dataset.get_data_info, range(len(dataset)))
    }
