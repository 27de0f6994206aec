"""What datasets with novel categories have in common: these stay out of training."""

import json
from functools import cached_property
from typing import Any

import cv2
from mmengine.logging import MMLogger

from mmdet_vild.vocabulary import repeated_names

from .annotation_checks import check_box, check_image, check_mask
from .clip_crop_embedding import CLIPCropEmbedding
from .geometry import check_transforms, flatten_transforms

#: How mmdet, pycocotools and lvis refuse a file, none of which checks it.
_REFUSALS = (AssertionError, AttributeError, IndexError, OverflowError, TypeError, ValueError)


class OpenVocabularyDatasetMixin:
    """Put before an mmdet dataset in COCO's or LVIS's format, whose annotations it goes through.

    In training, the annotations of novel categories are dropped while loading: they reach no
    sample, count for no sampler, and an image that has no others is empty
    (``filter_cfg=dict(filter_empty_gt=True)``). In test mode every annotation stays.

    ``metainfo`` holds ``classes``, ``novel_classes`` and ``base_classes``, names in label order.

    Args:
        drop_novel: Set to ``False`` to train a baseline supervised with novel categories too.
        **kwargs: Those of the dataset.
    """

    METAINFO = {'classes': (), 'novel_classes': (), 'base_classes': (), 'palette': 'random'}
    #: What an annotation file of this format needs, and which folder its images' paths start from.
    FORMAT = IMAGE_FOLDER = ''

    def __init__(self, *args: Any, drop_novel: bool = True, **kwargs: Any) -> None:
        self.drop_novel = drop_novel
        super().__init__(*args, **kwargs)
        if any(isinstance(transform, CLIPCropEmbedding) for transform in self._transforms):
            check_transforms(self._transforms)

    def read_categories(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Check the categories of the annotation file.

        Called once, while the annotation file is at hand.

        Returns:
            The names of all classes, in the order of ``cat_ids``, and of the novel ones.
        """
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Load the annotation file.

        Returns:
            One dict an image.
        """
        if 'img' not in self.data_prefix:
            raise ValueError(
                f"found data_prefix={self.data_prefix} for {self.ann_file}, which has no 'img'; "
                f'name the folder inside data_root: {self.IMAGE_FOLDER}'
            )
        self._novel_ids: set | None = None
        self._num_dropped = self._num_unusable = 0
        try:
            data_list = super().load_data_list()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there is no annotation file at {self.ann_file}; check data_root and ann_file'
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f'{self.ann_file} is not valid JSON: {error}') from error
        except KeyError as error:
            raise ValueError(
                f'{self.ann_file} lacks the field {error}. It needs {self.FORMAT}'
            ) from error
        except _REFUSALS as error:
            if isinstance(error, ValueError) and str(self.ann_file) in str(error):
                raise
            raise ValueError(
                f'{self.ann_file} cannot be read ({error}). It needs {self.FORMAT}'
            ) from error
        if not data_list:
            raise ValueError(f'{self.ann_file} has no images')
        logger = MMLogger.get_current_instance()
        if self._num_unusable:
            # Not by arguments: MMLogger takes warnings of one template for the same warning.
            logger.warning(
                f'ignored {self._num_unusable} annotations of {self.ann_file} whose boxes are '
                'outside of their image or less than a pixel wide or high, or whose area is 0'
            )
        if self._dropping:
            for category_id in self._novel_ids:
                self.cat_img_map[category_id] = []
            logger.info(
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
            classes, novel = self.read_categories()
            self._metainfo.update(
                classes=classes,
                novel_classes=novel,
                base_classes=tuple(name for name in classes if name not in novel),
            )
            ids = zip(self.cat_ids, classes, strict=True)
            self._novel_ids = {category_id for category_id, name in ids if name in novel}
        image, annotations = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        check_image(image, self.data_prefix['img'], f'image {image["img_id"]!r} of {self.ann_file}')
        if self._dropping:
            kept = [ann for ann in annotations if ann['category_id'] not in self._novel_ids]
            self._num_dropped += len(annotations) - len(kept)
            annotations = kept
        wanted = [
            ann
            for ann in annotations
            if ann['category_id'] in self.cat2label and not ann.get('ignore')
        ]
        for annotation in wanted:
            check_box(annotation, f'annotation {annotation["id"]!r} of {self.ann_file}')
        if self._loads_masks:
            for annotation in wanted:
                if not annotation.get('segmentation'):
                    raise ValueError(
                        f'annotation {annotation["id"]} of {self.ann_file} has no segmentation; '
                        'add it, or train boxes only, with LoadAnnotations(with_mask=False) and a '
                        'model without a mask head'
                    )
        data_info = super().parse_data_info({**raw_data_info, 'raw_ann_info': annotations})
        self._num_unusable += len(wanted) - len(data_info['instances'])
        return data_info

    def check_names(self, names: tuple) -> None:
        """Raise a ValueError if a name of a category is no text, or two are the same."""
        if odd := [name for name in names if not isinstance(name, str)]:
            raise ValueError(
                f'{self.ann_file} has a category of the name {odd[0]!r}; expected a text'
            )
        if repeated := repeated_names(names):
            raise ValueError(f'{self.ann_file} names these categories more than once: {repeated}')

    def prepare_data(self, idx: int) -> Any:
        """A sample, as the pipeline makes it.

        Raises:
            ValueError: The image cannot be decoded, or has another size than the annotation file
                says, so that the annotations would be elsewhere in it; or a mask is malformed.
        """
        data_info = self.get_data_info(idx)
        if self._loads_masks:
            where = f'an annotation of image {data_info["img_id"]!r} of {self.ann_file}'
            for instance in data_info['instances']:
                check_mask(instance['mask'], data_info['height'], data_info['width'], where)
        try:
            sample = self.pipeline(data_info)
        except (AssertionError, cv2.error) as error:  # how mmcv refuses what is no image
            raise ValueError(
                f'{data_info["img_path"]}, named in {self.ann_file}, cannot be prepared: {error}'
            ) from error
        loaded = data_info.get('ori_shape')  # written there by LoadImageFromFile
        annotated = (data_info['height'], data_info['width'])
        if loaded is not None and tuple(loaded) != annotated:
            advice = 'correct the annotation file, or restore the image'
            if tuple(loaded) == annotated[::-1]:
                advice = (
                    'if the image has an EXIF orientation that the annotations do not follow, '
                    'load it with LoadImageFromFile(color_type="color_ignore_orientation")'
                )
            raise ValueError(
                f'{data_info["img_path"]} has {loaded[1]}x{loaded[0]} pixels, but '
                f'{self.ann_file} says {annotated[1]}x{annotated[0]}; {advice}'
            )
        return sample

    def filter_data(self) -> list[dict]:
        """Filter images according to ``filter_cfg``.

        Where mmdet leaves out images without annotations, those whose annotations were all
        ignored, for their boxes, are left out too.

        Returns:
            The dicts of the images that are left.

        Raises:
            ValueError: None is.
        """
        data_list = super().filter_data()
        if self.filter_cfg and self.filter_cfg.get('filter_empty_gt') and self._filtering_empty:
            data_list = [info for info in data_list if info['instances']]
        if not data_list:
            raise ValueError(
                f'no image of {self.ann_file} is left by filter_cfg={self.filter_cfg}'
                + (' after dropping the novel annotations' if self._dropping else '')
            )
        return data_list

    @property
    def _filtering_empty(self) -> bool:
        return not self.test_mode

    @property
    def _dropping(self) -> bool:
        return self.drop_novel and not self.test_mode

    @cached_property  # asked for every image
    def _loads_masks(self) -> bool:
        return any(getattr(transform, 'with_mask', False) for transform in self._transforms)

    @property
    def _transforms(self) -> list:
        return list(flatten_transforms([self.pipeline]))
