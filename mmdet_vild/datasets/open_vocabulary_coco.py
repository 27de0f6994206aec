"""COCO-format data with novel categories, and the open-vocabulary split of COCO itself."""

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .open_vocabulary_dataset import OpenVocabularyDatasetMixin


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
        FileNotFoundError, ValueError: See :class:`OpenVocabularyDatasetMixin`.
    """

    FILTERS_TESTS = True

    def read_categories(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Compare the classes with the annotation file, and look the novel ones up in it."""
        found = tuple(category['name'] for category in self.coco.load_cats(self.cat_ids))
        classes = tuple(self._metainfo['classes']) or found
        if not classes:
            raise ValueError(f'{self.ann_file} has no categories')
        self.check_names(found)
        if missing := [name for name in classes if name not in found]:
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


#: The categories of COCO that OV-COCO leaves out.
IGNORED = (
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'sports ball', 'baseball bat',
    'baseball glove', 'tennis racket', 'wine glass', 'hot dog', 'potted plant', 'dining table',
    'cell phone', 'hair drier', 'teddy bear',
)  # fmt: skip


@DATASETS.register_module()
class OVCocoDataset(OpenVocabularyCocoDataset):
    """OV-COCO: COCO's official files, 48 base and 17 novel categories (Bansal et al., 2018).

    The other 15 of COCO's 80 categories are ignored. The training set is the 107,761 images of
    ``instances_train2017.json`` with base annotations, the test set the 4,836 of
    ``instances_val2017.json`` with annotations of any of the 65 categories.
    """

    METAINFO = {
        **OpenVocabularyCocoDataset.METAINFO,
        'classes': tuple(name for name in CocoDataset.METAINFO['classes'] if name not in IGNORED),
        'novel_classes': (
            'airplane', 'bus', 'cat', 'dog', 'cow', 'elephant', 'umbrella', 'tie', 'snowboard',
            'skateboard', 'cup', 'knife', 'cake', 'couch', 'keyboard', 'sink', 'scissors',
        ),
    }  # fmt: skip
