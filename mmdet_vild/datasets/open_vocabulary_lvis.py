"""LVIS-format data whose categories come from the file, with novel ones kept out of training."""

import json
from functools import cached_property
from typing import Any

from mmdet.datasets import LVISV1Dataset
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from mmdet_vild.vocabulary import is_novel

from .clip_crop_embedding import CLIPCropEmbedding
from .geometry import check_transforms, flatten_transforms


@DATASETS.register_module()
class OpenVocabularyLVISDataset(LVISV1Dataset):
    """LVIS v1 format with any categories, of which those of frequency ``'r'`` are novel.

    The classes are the annotation file's ``categories`` in the order of their ids. Images are
    found through ``coco_url``, as in LVIS v1. ``metainfo`` holds ``classes`` and ``novel``, the
    names of all categories and of the novel ones.

    In training, the annotations of novel categories are dropped while loading: they reach no
    sample, count for no sampler, and an image that has no others is empty
    (``filter_cfg=dict(filter_empty_gt=True)``). In test mode every annotation stays.

    Args:
        drop_novel: Set to ``False`` to train a baseline supervised with novel categories too.
        **kwargs: Those of :class:`mmdet.datasets.LVISV1Dataset`.

    Raises:
        FileNotFoundError: There is no annotation file.
        ValueError: The annotation file is not in LVIS v1 format, ``metainfo`` names other
            classes than it does, ``data_prefix`` has no ``img``, or the pipeline has a transform
            that ``CLIPCropEmbedding`` cannot follow.
    """

    METAINFO = {'classes': (), 'novel': (), 'palette': 'random'}

    def __init__(self, *args: Any, drop_novel: bool = True, **kwargs: Any) -> None:
        self.drop_novel = drop_novel
        super().__init__(*args, **kwargs)
        if any(isinstance(transform, CLIPCropEmbedding) for transform in self._transforms):
            check_transforms(self._transforms)

    def load_data_list(self) -> list[dict]:
        """Load the annotation file.

        Returns:
            One dict an image.
        """
        if 'img' not in self.data_prefix:
            raise ValueError(
                f'{self.ann_file}: found data_prefix={self.data_prefix}, which has no '
                "'img'; set data_prefix=dict(img=FOLDER), the folder inside data_root that holds "
                "train2017/ and val2017/, such as dict(img='')"
            )
        self._novel_ids: set | None = None
        self._num_dropped = 0
        try:
            data_list = super().load_data_list()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there is no annotation file at {self.ann_file}; check data_root and ann_file'
            ) from error
        except json.JSONDecodeError as error:
            raise ValueError(f'{self.ann_file} is not valid JSON: {error}') from error
        except KeyError as error:
            raise ValueError(
                f'{self.ann_file} is not in LVIS v1 format: it lacks the field {error}. It needs '
                'images (id, coco_url, height, width), annotations (id, image_id, category_id, '
                'bbox, area, segmentation) and categories (id, name, frequency)'
            ) from error
        if not data_list:
            raise ValueError(f'{self.ann_file} has no images')
        if self._dropping:
            for category_id in self._novel_ids:
                self.cat_img_map[category_id] = []
            MMLogger.get_current_instance().info(
                'dropped %d annotations of %d novel categories (of %d categories) from %s',
                self._num_dropped,
                len(self._novel_ids),
                len(self.cat_ids),
                self.ann_file,
            )
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse the annotations of one image, without those that must not be learned from.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` from the annotation file.

        Returns:
            The parsed annotations.
        """
        if self._novel_ids is None:
            # The annotation file is at hand only while the parent class goes through its images.
            self._read_categories(list(self.lvis.cats.values()))
        annotations = raw_data_info['raw_ann_info']
        if self._dropping:
            kept = [ann for ann in annotations if ann['category_id'] not in self._novel_ids]
            self._num_dropped += len(annotations) - len(kept)
            annotations = kept
        if self._loads_masks:
            for annotation in annotations:
                if not annotation.get('segmentation'):
                    raise ValueError(
                        f'annotation {annotation["id"]} of {self.ann_file} has no segmentation; '
                        'add it, or train boxes only, with LoadAnnotations(with_mask=False) and a '
                        'model without a mask head'
                    )
        return super().parse_data_info({**raw_data_info, 'raw_ann_info': annotations})

    def filter_data(self) -> list[dict]:
        """Filter images according to ``filter_cfg``.

        Returns:
            The dicts of the images that are left.

        Raises:
            ValueError: None is.
        """
        data_list = super().filter_data()
        if not data_list:
            raise ValueError(
                f'no image of {self.ann_file} is left by filter_cfg={self.filter_cfg}'
                + (' after dropping the novel annotations' if self._dropping else '')
            )
        return data_list

    @property
    def _dropping(self) -> bool:
        return self.drop_novel and not self.test_mode

    @cached_property  # asked for every image
    def _loads_masks(self) -> bool:
        return any(getattr(transform, 'with_mask', False) for transform in self._transforms)

    @property
    def _transforms(self) -> list:
        return list(flatten_transforms([self.pipeline]))

    def _read_categories(self, categories: list[dict]) -> None:
        without = [c['name'] for c in categories if c.get('frequency') not in ('f', 'c', 'r')]
        if without:
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
        given = tuple(self._metainfo['classes'])
        if given not in ((), classes):
            raise ValueError(
                f'metainfo names {len(given)} classes, but {self.ann_file} has {len(classes)} '
                'categories, with other names or in another order; leave the classes out of '
                'metainfo'
            )
        novel = [category for category in categories if is_novel(category)]
        self._novel_ids = {category['id'] for category in novel}
        self._metainfo['classes'] = classes
        self._metainfo['novel'] = tuple(category['name'] for category in novel)
