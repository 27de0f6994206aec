"""What datasets with novel categories have in common: these stay out of training."""

import json
from collections.abc import Callable, Collection
from typing import Any

import cv2
from mmengine import dist, fileio
from mmengine.logging import MMLogger

from mmdet_vild.options import checked_options
from mmdet_vild.vocabulary import repeated_names
from mmdet_vild.vocabulary.word_checks import check_word

from .annotation_checks import CheckedAnnotations
from .clip_crop_embedding import CLIPCropEmbedding
from .geometry import check_transforms, flatten_transforms

#: How mmdet, pycocotools and lvis refuse a file, none of which checks it.
_REFUSALS = (AssertionError, AttributeError, LookupError, OverflowError, TypeError, ValueError)


@checked_options
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
    #: What an annotation file of this format needs, which folder its images' paths start from, in
    #: which field they are, and what to do about a base category without annotations.
    FORMAT = IMAGE_FOLDER = PATH = WITHOUT_ANNOTATIONS = ''

    def __init__(self, *args: Any, drop_novel: bool = True, **kwargs: Any) -> None:
        self.drop_novel = drop_novel
        super().__init__(*args, **kwargs)
        if any(isinstance(transform, CLIPCropEmbedding) for transform in self._transforms):
            check_transforms(self._transforms)

    def named_novel(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The novel categories that ``metainfo`` names, some of the classes."""
        novel = self._metainfo['novel_classes']
        if not isinstance(novel, (list, tuple)):
            raise ValueError(
                f'novel_classes for {self.ann_file} must be a list of names, found {novel!r}; '
                'write one name as novel_classes=("cat",)'
            )
        if unknown := [name for name in novel if name not in classes]:
            raise ValueError(
                f"these novel_classes of metainfo are none of {self.ann_file}'s "
                f'{len(classes)} classes: {unknown}'
            )
        return tuple(dict.fromkeys(novel))

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
        try:
            data_list = super().load_data_list()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there is no annotation file at {self.ann_file}; check data_root and ann_file'
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f'{self.ann_file} is not valid JSON: {error}') from error
        except _REFUSALS as error:
            if isinstance(error, ValueError) and str(self.ann_file) in str(error):
                raise
            found = f'{self.ann_file} cannot be read ({error!r})'
            try:
                self._checked(
                    json.loads(fileio.get_text(self.ann_file, backend_args=self.backend_args))
                )
            except ValueError as why:
                found = why if self.ann_file in str(why) else found
            raise ValueError(f'{found}. It needs {self.FORMAT}') from error
        if not data_list:
            raise ValueError(f'{self.ann_file} has no images')
        if self._dropping:
            for category_id in self._novel_ids:
                self.cat_img_map[category_id] = []
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse the annotations of one image, without those that must not be learned from.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` from the annotation file.

        Returns:
            The parsed annotations.
        """
        if self._novel_ids is None:
            self._begin()  # the whole file is at hand while mmdet goes through its images
        if self._dropping:
            kept = [
                annotation
                for annotation in raw_data_info['raw_ann_info']
                if annotation['category_id'] not in self._novel_ids
            ]
            raw_data_info = {**raw_data_info, 'raw_ann_info': kept}
        return super().parse_data_info(raw_data_info)

    def _begin(self) -> None:
        """Check the annotation file, learn which categories are novel, and say what is used."""
        content = (self.lvis if hasattr(self, 'lvis') else self.coco).dataset
        checked = from_main_process(lambda: self._checked(content, self.cat2label))
        classes, novel = self.read_categories()
        base = tuple(name for name in classes if name not in novel)
        self._metainfo.update(classes=classes, novel_classes=novel, base_classes=base)
        names = dict(zip(self.cat_ids, classes, strict=True))
        self._novel_ids = {category_id for category_id, name in names.items() if name in novel}
        if checked is None:
            return
        if self._dropping:
            checked.drop(checked.of(self._novel_ids), f'of {len(novel)} novel categories')
        unused = checked.unused(names.keys() - self._novel_ids)
        if unused and not self.test_mode:
            checked.doubts.append(
                f'{len(unused)} of the {len(base)} base categories have no annotation: '
                f'{[names[i] for i in unused[:20]]}; {self.WITHOUT_ANNOTATIONS}, or training takes '
                'every region for none of them'
            )
        logger = MMLogger.get_current_instance()
        # Not by arguments: MMLogger takes warnings of one template for the same warning.
        logger.info(f'{self.ann_file}:\n{checked.table()}')
        if checked.doubts:
            doubts = '\n'.join(f'- {doubt}' for doubt in checked.doubts)
            logger.warning(f'{self.ann_file} may not say what is meant:\n{doubts}')

    def _checked(self, content: dict, class_ids: Collection | None = None) -> CheckedAnnotations:
        loading = [t for t in self._transforms if getattr(t, 'with_mask', False)]
        bitmaps = any(getattr(t, 'poly2mask', True) for t in loading)
        masks = ('bitmaps' if bitmaps else 'polygons') if loading else ''
        folder = self.data_prefix['img']
        return CheckedAnnotations(content, self.ann_file, self.PATH, folder, class_ids, masks)

    def check_names(self, names: tuple) -> None:
        """Raise a ValueError if a name of a category shows nothing, or two are the same."""
        for name in names:
            if not isinstance(name, str):
                raise ValueError(
                    f'{self.ann_file} has a category of the name {name!r}; expected a text'
                )
            check_word([name], f'the category {name!r} of {self.ann_file}')
        if repeated := repeated_names(names):
            raise ValueError(f'{self.ann_file} names these categories more than once: {repeated}')

    def prepare_data(self, idx: int) -> Any:
        """A sample, as the pipeline makes it.

        Raises:
            ValueError: The image cannot be decoded, or has another size than the annotation file
                says, so that the annotations would be elsewhere in it.
        """
        data_info = self.get_data_info(idx)
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

    @property
    def _transforms(self) -> list:
        return list(flatten_transforms([self.pipeline]))


def from_main_process(function: Callable) -> Any:
    """A function's result in the main process, ``None`` in others; its errors are raised in all."""
    result = error = None
    if dist.is_main_process():
        try:
            result = function()
        except Exception as raised:  # or the others would wait for ever
            error = raised
    said = [error and str(error)]
    dist.broadcast_object_list(said)
    if error or said[0]:
        raise error or ValueError(said[0])
    return result
