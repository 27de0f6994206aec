"""COCO's panoptic format: a PNG of segments a picture, and a JSON that says what they are."""

import json
import os.path as osp

from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine import fileio

from mmdet_vild.vocabulary import plain_name

from .annotation_checks import CheckedSegments
from .open_vocabulary_dataset import from_main_process
from .open_vocabulary_seg import OpenVocabularySegDataset


@DATASETS.register_module()
class OpenVocabularyPanopticDataset(OpenVocabularySegDataset):
    """Data in COCO's panoptic format, without ``panopticapi``.

    ``ann_file`` is the JSON, ``data_prefix`` has the folders of the pictures (``img_path``) and of
    the PNGs (``seg_map_path``). The classes are the vocabulary's, which may be the JSON itself;
    segments of other categories, and in training those of novel classes, are ignored. A category
    is the class of its name, or of its :func:`plain_name`.

    A sample has ``segments_info``, a list of dicts with ``id``, ``category`` (the label),
    ``is_thing`` and ``iscrowd``, and ``ignored_segments``, the ids of those that are ignored. What
    each pixel is, :class:`LoadSemanticSegmentation` reads from the PNG: crowds too have their
    category.

    Args:
        **kwargs: Those of :class:`OpenVocabularySegDataset`, but for ``label_values`` and
            ``ignored_values``.

    Raises:
        FileNotFoundError, ValueError: Also if the JSON is not of this format, has a field of
            another type or an id that leads nowhere, or does not have a class.
    """

    def load_data_list(self) -> list[dict]:
        """One dict a picture of the JSON."""
        images_in, masks_in = folders = self.folders()
        try:
            text = fileio.get_text(self.ann_file, backend_args=self.backend_args)
            content = json.loads(text)
            checked = from_main_process(lambda: CheckedSegments(content, self.ann_file, folders))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there is no annotation file at {self.ann_file}; check data_root and ann_file'
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{self.ann_file} is not in COCO's panoptic format ({error}): it needs images "
                '(id, file_name, height, width), annotations (image_id, file_name, segments_info '
                'with id, category_id and iscrowd) and categories (id, name, isthing)'
            ) from error
        if not content.get('annotations'):
            raise ValueError(f'{self.ann_file} has no annotations')
        labels, things = self._read_categories(content['categories'])
        if checked is not None:
            self._tell(checked, labels)
        images = {image['id']: image for image in content['images']}
        data_list = []
        for annotation in content['annotations']:
            image = images[annotation['image_id']]
            info = dict(
                img_id=image['id'],
                img_path=osp.join(images_in, image['file_name']),
                seg_map_path=osp.join(masks_in, annotation['file_name']),
                height=image['height'],
                width=image['width'],
            )
            data_list.append(info | self._segments(annotation, labels, things))
        return data_list

    def _tell(self, checked: CheckedSegments, labels: dict[int, int]) -> None:
        """Log how many segments are used, and what may be wrong."""
        classes = self._metainfo['classes']
        checked.drop(~checked.of(labels), 'of no class')
        novel = [id_ for id_, label in labels.items() if label in self.dropped]
        checked.drop(checked.of(novel), f'of {len(self.dropped)} novel classes')
        seen = {labels[id_] for id_ in labels.keys() - set(checked.unused(labels))}
        unused = [
            name
            for label, name in enumerate(classes)
            if label not in seen and label not in self.dropped
        ]
        if unused and not self.test_mode:
            checked.doubts.append(
                f'{len(unused)} of the {len(classes)} classes have no segment, or crowds alone: '
                f'{unused[:20]}'
            )
        checked.tell()

    def _read_categories(self, categories: list[dict]) -> tuple[dict[int, int], set[int]]:
        """Id -> label of the categories that are classes, and the ids of things."""
        classes = {name: label for label, name in enumerate(self._metainfo['classes'])}
        labels = {}
        for category in categories:
            name = category['name']
            label = classes.get(name, classes.get(plain_name(name)))
            if label is not None:
                labels[category['id']] = label
        if missing := [name for name, label in classes.items() if label not in labels.values()]:
            raise ValueError(
                f'{self.ann_file} does not have {len(missing)} of the {len(classes)} classes of '
                f'{type(self).__name__}: {missing[:5]}; to have the categories of the file '
                'as classes, give its path as vocabulary too'
            )
        return labels, {category['id'] for category in categories if category['isthing']}

    def _segments(self, annotation: dict, labels: dict[int, int], things: set[int]) -> dict:
        segments, ignored = [], []
        for segment in annotation['segments_info']:
            label = labels.get(segment['category_id'])
            if label is None or label in self.dropped:
                ignored.append(segment['id'])
                continue
            is_thing = segment['category_id'] in things
            crowd = bool(segment.get('iscrowd', 0))
            info = dict(id=segment['id'], category=label, is_thing=is_thing, iscrowd=crowd)
            segments.append(info)
        return dict(segments_info=segments, ignored_segments=ignored)


@DATASETS.register_module()
class CocoPanoptic133Dataset(OpenVocabularyPanopticDataset):
    """COCO panoptic: 80 things, then 53 kinds of stuff, by their plain names.

    :class:`OpenVocabularySegDataset` with ``vocabulary='CocoPanoptic133Dataset'`` has the same
    classes for label files of 8 bits, which were made from the PNGs.
    """

    METAINFO = dict(
        classes=tuple(map(plain_name, CocoPanopticDataset.METAINFO['classes'])),
        palette=CocoPanopticDataset.METAINFO['palette'],
    )


@DATASETS.register_module()
class OVCocoPanopticDataset(CocoPanoptic133Dataset):
    """COCO panoptic with the 18 novel categories of GKC, 13 things and 5 kinds of stuff."""

    METAINFO = dict(
        **CocoPanoptic133Dataset.METAINFO,
        novel_classes=(
            *('bicycle', 'stop sign', 'cow', 'giraffe', 'suitcase', 'frisbee', 'skateboard'),
            *('wine glass', 'apple', 'carrot', 'toilet', 'keyboard', 'scissors', 'bridge'),
            *('cardboard', 'playingfield', 'river', 'wall stone'),
        ),
    )
