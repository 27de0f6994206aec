"""What datasets with novel categories have in common: these stay out of training."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import cv2
from mmengine import dist, fileio
from mmengine.logging import MMLogger

from mmdet_vild.options import NotNegative, check_option, check_settings, checked_options
from mmdet_vild.vocabulary import repeated_names

from .annotation_checks import CheckedAnnotations
from .class_names import check_base, check_class_names, check_metainfo_keys, novel_of
from .unwrapped import flatten_transforms

#: How mmdet, pycocotools and lvis refuse a file, none of which checks it.
_REFUSALS = (AssertionError, AttributeError, LookupError, OverflowError, TypeError, ValueError)

#: What ``filter_cfg`` may say.
_FILTER = dict(filter_empty_gt=bool, min_size=NotNegative)


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

    Raises:
        FileNotFoundError: There is no annotation file.
        ValueError: It is not in the format, or does not have what ``metainfo`` names; no image is
            left; or an image cannot be read, or has another size than the file says.
    """

    METAINFO = {'classes': (), 'novel_classes': (), 'base_classes': (), 'palette': 'random'}
    #: The field with the path of an image, and those of a category.
    PATH, CATEGORY = 'file_name', 'id, name'
    #: Whether ``filter_cfg`` leaves out images without annotations in test mode, too.
    FILTERS_TESTS = False

    def __init__(self, *args: Any, drop_novel: bool = True, **kwargs: Any) -> None:
        self.drop_novel = drop_novel
        super().__init__(*args, **kwargs)

    def read_categories(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Check the categories of the annotation file, while it is at hand.

        Returns:
            The names of all classes, in the order of ``cat_ids``, and of the novel ones.
        """
        raise NotImplementedError

    def named_novel(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The novel categories that ``metainfo`` names, some of the classes."""
        return novel_of(self._metainfo['novel_classes'], classes, self.ann_file)

    def check_names(self, names: tuple) -> None:
        """Raise a ValueError if a name of a category shows nothing, or two are the same."""
        named = zip(self.cat_ids, names, strict=True)
        empty = [(i, name) for i, name in named if not self.cat_img_map.get(i)]
        advice = ''
        if repeated := sorted({name for _, name in empty} & set(repeated_names(map(str, names)))):
            ids = [i for i, name in empty if name in repeated]
            advice = (
                f'; nothing is annotated as the categories of the ids {ids}: take them out of the '
                'file, or rename them (exports of Roboflow begin with such a category, their group)'
            )
        check_class_names(names, self.ann_file, advice)

    def load_data_list(self) -> list[dict]:
        """Load the annotation file: one dict an image."""
        if 'img' not in self.data_prefix:
            raise ValueError(
                f"found data_prefix={self.data_prefix} for {self.ann_file}, which has no 'img'; "
                f'name the folder inside data_root that each {self.PATH} starts from, or ""'
            )
        check_metainfo_keys(self._metainfo, self.METAINFO, self.ann_file)
        check_settings(self.filter_cfg, _FILTER, f'filter_cfg of {type(self).__name__}')
        if unknown := sorted((self.filter_cfg or {}).keys() - _FILTER.keys()):
            raise ValueError(
                f'filter_cfg for {self.ann_file} has {unknown}, which say nothing here; it may '
                f'have {sorted(_FILTER)}'
            )
        names = f'classes of metainfo for {self.ann_file}'
        check_option(self._metainfo['classes'], Sequence[str], names)
        check_class_names(self._metainfo['classes'], names)
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
                content = fileio.get_text(self.ann_file, backend_args=self.backend_args)
                self._checked(json.loads(content))
            except ValueError as why:
                found = why if self.ann_file in str(why) else found
            raise ValueError(
                f'{found}. It needs images (id, {self.PATH}, height, width), annotations (id, '
                'image_id, category_id, bbox, area, segmentation) and categories '
                f'({self.CATEGORY})'
            ) from error
        if not data_list:
            raise ValueError(f'{self.ann_file} has no images')
        if self._dropping:
            for category_id in self._novel_ids:
                self.cat_img_map[category_id] = []
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse the annotations of one image, without those that must not be learned from."""
        if self._novel_ids is None:
            self._begin()  # the whole file is at hand while mmdet goes through its images
        if self._dropping:
            annotations = raw_data_info['raw_ann_info']
            kept = [a for a in annotations if a['category_id'] not in self._novel_ids]
            raw_data_info = {**raw_data_info, 'raw_ann_info': kept}
        return super().parse_data_info(raw_data_info)

    def _begin(self) -> None:
        """Check the annotation file, learn which categories are novel, and say what is used."""
        content = (self.lvis if hasattr(self, 'lvis') else self.coco).dataset
        checked = from_main_process(lambda: self._checked(content, self.cat2label))
        classes, novel = self.read_categories()
        base = tuple(name for name in classes if name not in novel)
        check_base(self._metainfo['base_classes'], base, self.ann_file)
        if self._dropping and not base:
            raise ValueError(
                f'all {len(classes)} classes of {self.ann_file} are novel, so that training would '
                'learn from no annotation; name those alone that it must not see'
            )
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
                f'{len(unused)} of the {len(base)} base categories have no annotation, or crowds '
                f'alone: {[names[i] for i in unused[:20]]}; list them in novel_classes of '
                'metainfo, or leave them out (of COCO, by metainfo=dict(classes=...)), or training '
                'takes every region for none of them'
            )
        if checked.has_id_0 and self.test_mode:
            checked.doubts.append(
                'annotation 0 counts as not found, and what finds it as wrong, since pycocotools '
                'and lvis take the id 0 for none; count the ids of annotations from 1'
            )
        checked.tell()

    def _checked(self, content: dict, class_ids: Collection | None = None) -> CheckedAnnotations:
        loading = [t for t in self._transforms if getattr(t, 'with_mask', False)]
        bitmaps = any(getattr(t, 'poly2mask', True) for t in loading)
        masks = ('bitmaps' if bitmaps else 'polygons') if loading else ''
        folder = self.data_prefix['img']
        return CheckedAnnotations(content, self.ann_file, self.PATH, folder, class_ids, masks)

    def prepare_data(self, idx: int) -> Any:
        """A sample, as the pipeline makes it, of an image that has the annotated size."""
        data_info = self.get_data_info(idx)
        try:
            sample = self.pipeline(data_info)
        except (AssertionError, cv2.error) as error:  # how mmcv refuses what is no image
            raise ValueError(
                f'{data_info["img_path"]}, named in {self.ann_file}, cannot be prepared: {error}'
            ) from error
        annotated = (data_info['height'], data_info['width'])
        loaded = tuple(data_info.get('ori_shape', annotated))  # written there while loading
        if loaded != annotated:
            advice = 'correct the annotation file, or restore the image'
            if loaded == annotated[::-1]:
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
        """The images that ``filter_cfg`` leaves.

        Where mmdet leaves out images without annotations, those whose annotations were all
        ignored, for their boxes, are left out too.
        """
        data_list = super().filter_data()
        filtering = self.filter_cfg and self.filter_cfg.get('filter_empty_gt')
        if filtering and (self.FILTERS_TESTS or not self.test_mode):
            data_list = [info for info in data_list if info['instances']]
        if left_out := len(self.data_list) - len(data_list):
            MMLogger.get_current_instance().info(
                f'{left_out:,} of {len(self.data_list):,} images of {self.ann_file} are left out '
                f'by filter_cfg={self.filter_cfg}'
            )
        if not data_list:
            raise ValueError(
                f'no image of {self.ann_file} is left by filter_cfg={self.filter_cfg}'
                + (' after dropping the novel annotations' if self._dropping else '')
            )
        return data_list

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
