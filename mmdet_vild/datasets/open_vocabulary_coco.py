"""COCO-format data with novel categories, and the open-vocabulary split of COCO itself."""

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .open_vocabulary import OpenVocabularyDatasetMixin


@DATASETS.register_module()
class OpenVocabularyCocoDataset(OpenVocabularyDatasetMixin, CocoDataset):
    """COCO format with any categories, of which ``metainfo`` says which are novel.

    ``metainfo=dict(novel_classes=('cat', 'dog'))`` makes any dataset in COCO's format an
    open-vocabulary benchmark. ``metainfo['classes']`` may name a part of the file's categories, in
    the file's order; annotations of the others are ignored. Without it, all of them are classes.
    Novel annotations are dropped in training, see :class:`OpenVocabularyDatasetMixin`.

    In test mode ``filter_cfg=dict(filter_empty_gt=True)`` leaves out images without annotations
    of the classes, on which every detection would be a false positive; without ``filter_cfg`` all
    images are tested, as mmdet does.

    Args:
        drop_novel: Set to ``False`` to train a baseline supervised with novel categories too.
        **kwargs: Those of :class:`mmdet.datasets.CocoDataset`.

    Raises:
        FileNotFoundError: There is no annotation file.
        ValueError: The annotation file is not in COCO's format, or does not have the classes or
            novel categories that ``metainfo`` names, or has them in another order; or the
            pipeline has a transform that ``CLIPCropEmbedding`` cannot follow.
    """

    IMAGE_FOLDER = "the one that holds the images, as data_prefix=dict(img='train2017/')"
    PATH = 'file_name'
    WITHOUT_ANNOTATIONS = (
        'leave them out (metainfo=dict(classes=...) names those to detect), or list them in '
        'novel_classes'
    )
    FORMAT = (
        'images (id, file_name, height, width), annotations (id, image_id, category_id, bbox, '
        "area, segmentation) and categories (id, name), as COCO's has"
    )

    def read_categories(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Compare the classes with the annotation file, and look the novel ones up in it."""
        found = tuple(category['name'] for category in self.coco.load_cats(self.cat_ids))
        classes = tuple(self._metainfo['classes']) or found
        if not classes:
            raise ValueError(f'{self.ann_file} has no categories. It needs {self.FORMAT}')
        self.check_names(found)
        missing = [name for name in classes if name not in found]
        if missing:
            raise ValueError(
                f'{self.ann_file} does not have {len(missing)} of the {len(classes)} classes that '
                f'metainfo names: {missing[:5]}'
            )
        if classes != found:
            first = next(i for i, name in enumerate(found) if classes[i] != name)
            raise ValueError(
                f'metainfo names the classes in another order than {self.ann_file}, where number '
                f'{first} is {found[first]!r}, not {classes[first]!r}; mmdet counts labels in the '
                "file's order, so name them in it"
            )
        novel = self.named_novel(classes)
        if not novel:
            raise ValueError(
                f'metainfo names no novel_classes among the {len(classes)} classes of '
                f'{self.ann_file}; name them, as in metainfo=dict(novel_classes=("cat", "dog")), '
                'or use CocoDataset'
            )
        return classes, novel

    @property
    def _filtering_empty(self) -> bool:
        return True  # in test mode too; see the class


@DATASETS.register_module()
class OVCocoDataset(OpenVocabularyCocoDataset):
    """OV-COCO: COCO's official files, 48 base and 17 novel categories (Bansal et al., 2018).

    The other 15 of COCO's 80 categories are ignored. The training set is the 107,761 images of
    ``instances_train2017.json`` with base annotations, the test set the 4,836 of
    ``instances_val2017.json`` with annotations of any of the 65 categories.
    """

    METAINFO = {
        'classes': (
            'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
            'bench', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra',
            'giraffe', 'backpack', 'umbrella', 'handbag', 'tie', 'suitcase', 'frisbee', 'skis',
            'snowboard', 'kite', 'skateboard', 'surfboard', 'bottle', 'cup', 'fork', 'knife',
            'spoon', 'bowl', 'banana', 'apple', 'sandwich', 'orange', 'broccoli', 'carrot', 'pizza',
            'donut', 'cake', 'chair', 'couch', 'bed', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
            'keyboard', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock',
            'vase', 'scissors', 'toothbrush',
        ),
        'novel_classes': (
            'airplane', 'bus', 'cat', 'dog', 'cow', 'elephant', 'umbrella', 'tie', 'snowboard',
            'skateboard', 'cup', 'knife', 'cake', 'couch', 'keyboard', 'sink', 'scissors',
        ),
        'base_classes': (),
        'palette': 'random',
    }  # fmt: skip
