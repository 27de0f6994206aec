"""LVIS-format data whose categories come from the file, with novel ones kept out of training."""

from mmdet.datasets import LVISV1Dataset
from mmdet.registry import DATASETS

from mmdet_vild.vocabulary import is_novel

from .open_vocabulary_dataset import OpenVocabularyDatasetMixin


@DATASETS.register_module()
class OpenVocabularyLVISDataset(OpenVocabularyDatasetMixin, LVISV1Dataset):
    """LVIS v1 format with any categories, of which those of frequency ``'r'`` are novel.

    ``metainfo=dict(novel_classes=(...))`` names others in their place, or none; ``APr`` stays the
    AP of frequency ``'r'``, and :class:`FastLVISMetric` adds ``novel_AP`` and ``base_AP``. The
    classes are the annotation file's ``categories`` in the order of their ids. Images are found
    through ``coco_url``, as in LVIS v1. Novel annotations are dropped in training, see
    :class:`OpenVocabularyDatasetMixin`.

    Args:
        drop_novel: Set to ``False`` to train a baseline supervised with novel categories too.
        **kwargs: Those of :class:`mmdet.datasets.LVISV1Dataset`.

    Raises:
        FileNotFoundError, ValueError: See :class:`OpenVocabularyDatasetMixin`.
    """

    #: Where the novel classes are None, they are those of frequency ``'r'``.
    METAINFO = {**OpenVocabularyDatasetMixin.METAINFO, 'novel_classes': None}
    PATH, CATEGORY = 'coco_url', 'id, name, frequency'

    def read_categories(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take the classes from the annotation file, and the novel ones by their frequency."""
        categories = list(self.lvis.cats.values())
        if without := [c['name'] for c in categories if c.get('frequency') not in ('f', 'c', 'r')]:
            raise ValueError(
                f'{self.ann_file}: {len(without)} of {len(categories)} categories have no '
                f'"frequency" of "f", "c" or "r", such as {without[0]!r}; mark novel categories '
                '"r" and the others "f" or "c"'
            )
        ids = [category['id'] for category in categories]
        if ids != sorted(ids):
            raise ValueError(
                f'{self.ann_file}: the categories are not in the order of their ids, in which '
                'labels are counted here but not by LVISMetric; sort them'
            )
        classes = tuple(category['name'] for category in categories)
        self.check_names(classes)
        given = tuple(self._metainfo['classes'])
        if given not in ((), classes):
            raise ValueError(
                f'metainfo names {len(given)} classes, but {self.ann_file} has {len(classes)} '
                'categories, with other names or in another order; leave the classes out of '
                'metainfo'
            )
        if self._metainfo['novel_classes'] is None:
            novel = tuple(category['name'] for category in categories if is_novel(category))
        else:
            novel = self.named_novel(classes)
        if self._dropping and not novel:
            raise ValueError(
                f'none of the {len(classes)} categories of {self.ann_file} is novel: mark those '
                'that training must not see with the frequency "r", or set drop_novel=False'
            )
        return classes, novel
