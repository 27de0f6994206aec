"""Semantic segmentation with any names: pictures, label files, and what their numbers mean."""

import os.path as osp
from collections import Counter
from collections.abc import Sequence

import numpy as np
from mmdet.datasets import BaseSegDataset
from mmdet.registry import DATASETS
from mmengine import fileio
from mmengine.logging import MMLogger

from mmdet_vild.options import checked_options
from mmdet_vild.vocabulary import is_novel, load_categories, named_categories, novel_names

from .class_names import check_base, check_class_names, check_metainfo_keys, novel_of
from .label_files import LabelTable, check_shape, picture_shape
from .load_semantic_segmentation import load_labels
from .open_vocabulary_dataset import from_main_process

#: What ``metainfo`` may say.
METAINFO_KEYS = ('classes', 'novel_classes', 'base_classes', 'palette')
#: Endings of pictures.
PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
#: So few classes are likely to be in one of so many label files.
FEW_CLASSES, FILES = 3, 20


@DATASETS.register_module()
@checked_options
class OpenVocabularySegDataset(BaseSegDataset):
    """Pictures and their label files, and the words for the numbers in these.

    ``metainfo`` holds ``classes``, names in label order; a name may have synonyms, with commas
    between them, as in ``'road, route'``. Where it is known which classes are novel,
    ``novel_classes`` and ``base_classes`` too: from ``metainfo``, from the vocabulary, or from
    ``base_vocabulary``. In training the pixels of novel classes are ignored.

    Label files are read by :class:`LoadSemanticSegmentation`. Three of them, first, middle and
    last, are read at the start, so that files of another data set stop a run before it runs. Where
    all of their pixels are ignored, or of one class of few, some more are, and a warning says so.

    Args:
        vocabulary: What :func:`mmdet_vild.vocabulary.load_categories` takes: a file, or the name
            of a dataset class. Default: the classes of ``metainfo``, or of the class.
        base_vocabulary: Another one, what a model was trained on: classes that are none of its
            categories are novel, as for ``--base`` of ``tools/encode_vocabulary.py``.
        label_values: The number of each class in the files. Default: those of the dataset class;
            of this one 0, 1, 2, ...
        ignored_values: Numbers of pixels of no class; others are an error. Default: those of the
            dataset class; of this one 255, or 65535 of more than 255 classes.
        drop_novel: Whether pixels of novel classes are ignored in training.
        **kwargs: Those of :class:`mmdet.datasets.BaseSegDataset`: ``data_prefix`` has the folders
            ``img_path`` and ``seg_map_path``. ``ann_file`` is a list of names without suffixes, or
            of two with a tab between them where a label file has another name; without it all
            pictures of the folder are taken.

    Raises:
        FileNotFoundError: A list, a folder or a file is missing.
        ValueError: The names do not fit together, or the label files are not of these classes.
    """

    #: ``label_values``, ``ignored_values`` and suffixes, where they are not given.
    LABEL_VALUES: Sequence[int] = ()
    IGNORED_VALUES: Sequence[int] | None = None
    SUFFIXES: dict[str, str] = {}

    def __init__(
        self,
        *,
        vocabulary: str | None = None,
        base_vocabulary: str | None = None,
        label_values: Sequence[int] | None = None,
        ignored_values: Sequence[int] | None = None,
        drop_novel: bool = True,
        **kwargs,
    ) -> None:
        if unused := [name for name in ('filter_cfg', 'use_label_map') if kwargs.get(name)]:
            raise ValueError(
                f'{unused} of {type(self).__name__} say nothing here; leave them out, and choose '
                'pictures by ann_file and classes by label_values'
            )
        metainfo = kwargs.pop('metainfo', None) or {}
        check_metainfo_keys(metainfo, METAINFO_KEYS, type(self).__name__)
        metainfo = self.named(metainfo, vocabulary, base_vocabulary)
        count = len(metainfo['classes'])
        values = (self.LABEL_VALUES or range(count)) if label_values is None else label_values
        ignored = self.IGNORED_VALUES if ignored_values is None else ignored_values
        if ignored is None:
            ignored = (255,) if count <= 255 else (65535,)
        if len(values) != count:
            raise ValueError(
                f'{type(self).__name__} has {count} classes and {len(values)} label_values; it '
                'needs one a class'
            )
        self.dropped: frozenset[int] = frozenset()
        if drop_novel and not kwargs.get('test_mode'):
            novel = metainfo.get('novel_classes', ())
            self.dropped = frozenset(map(metainfo['classes'].index, novel))
            if len(self.dropped) == count:
                raise ValueError(
                    f'all {count} classes of {type(self).__name__} are novel, so that training '
                    'would learn from no pixel; name those alone that it must not see'
                )
        self.label_table = LabelTable(values, ignored, self.dropped)
        self._whole_table = LabelTable(values, ignored)
        super().__init__(metainfo=metainfo, **{**self.SUFFIXES, **kwargs})

    def named(self, metainfo: dict, vocabulary: str | None, base_vocabulary: str | None) -> dict:
        """``metainfo`` with the names of all classes, and of novel and base ones if known."""
        owner = type(self).__name__
        classes = metainfo.get('classes') or self.METAINFO.get('classes')
        novel = metainfo.get('novel_classes', self.METAINFO.get('novel_classes'))
        named_base = metainfo.get('base_classes', ())
        if vocabulary:
            if metainfo.get('classes'):
                raise ValueError(
                    f'{owner} got a vocabulary, {vocabulary}, and the classes of metainfo; give '
                    'one of them'
                )
            categories = load_categories(vocabulary)
            classes = [category['name'] for category in categories]
            if novel is None and any(category['frequency'] for category in categories):
                novel = [category['name'] for category in categories if is_novel(category)]
        elif not isinstance(classes, (list, tuple)) or not classes:
            raise ValueError(
                f'{owner} does not know what its classes are called, found {classes!r}; name a '
                'vocabulary, or metainfo=dict(classes=("wall", "road, route"))'
            )
        else:
            check_class_names(classes, owner)
            categories = named_categories(classes)
        if base_vocabulary:
            if novel is not None:
                raise ValueError(
                    f'{owner} got a base_vocabulary, {base_vocabulary}, and novel classes of '
                    'metainfo or of the vocabulary; give one of them'
                )
            novel = novel_names(categories, load_categories(base_vocabulary))
        metainfo = {**metainfo, 'classes': tuple(classes)}
        if novel is not None:
            novel = novel_of(novel, classes, owner)
            base = tuple(name for name in classes if name not in novel)
            metainfo.update(novel_classes=novel, base_classes=base)
        check_base(named_base, [n for n in classes if n not in (novel or ())], owner)
        return metainfo

    def load_data_list(self) -> list[dict]:
        """One dict a picture, with ``img_id``, ``img_path`` and ``seg_map_path``."""
        folders = self.folders()
        data_list = []
        for img_id, names in enumerate(self._names_of_files(folders)):
            if len(names) > 2:
                raise ValueError(
                    f'{self.ann_file} has a line of {len(names)} names, {names}; it needs that of '
                    'a picture, or of it and of its label file with a tab between them'
                )
            image, labels = names if len(names) == 2 else names * 2
            data_list.append(
                dict(
                    img_id=img_id,
                    img_path=osp.join(folders[0], image + self.img_suffix),
                    seg_map_path=osp.join(folders[1], labels + self.seg_map_suffix),
                )
            )
        if not data_list:
            raise ValueError(
                f'{self.ann_file or folders[0]} names no picture'
                + ('' if self.ann_file else f' that ends with {self.img_suffix}')
            )
        pictures = Counter(osp.normpath(info['img_path']) for info in data_list)
        if len(pictures) < len(data_list):
            picture, count = pictures.most_common(1)[0]
            MMLogger.get_current_instance().warning(
                f'{len(data_list) - len(pictures):,} of {len(data_list):,} lines of '
                f'{self.ann_file} name a picture that another line names, too, and it counts as '
                f'often; {picture} is in {count}'
            )
        return data_list

    def folders(self) -> tuple[str, str]:
        """Of the pictures, and of the label files."""
        folders = tuple(self.data_prefix.get(key) for key in ('img_path', 'seg_map_path'))
        if None in folders:
            raise ValueError(
                f'found data_prefix={self.data_prefix} for {type(self).__name__}; name two '
                'folders inside data_root, img_path and seg_map_path'
            )
        return folders

    def _names_of_files(self, folders: tuple[str, str]) -> list[list[str]]:
        """Names without suffixes: of each picture, or of it and of its label file."""
        folder = folders[0]
        try:
            if self.ann_file:
                text = fileio.get_text(self.ann_file, backend_args=self.backend_args)
                lines = text.removeprefix('\ufeff').splitlines()  # which editors may put there
                return [line.strip().split('\t') for line in lines if line.strip()]
            found = fileio.list_dir_or_file(
                folder, list_dir=False, recursive=True, backend_args=self.backend_args
            )
            found = sorted(found)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'there is neither list nor folder at {self.ann_file or folder}; check data_root, '
                'data_prefix and ann_file'
            ) from error
        taken = [name for name in found if name.endswith(self.img_suffix)]
        within = not osp.relpath(folders[1] or '.', folder or '.').startswith('..')
        left = [
            name
            for name in found
            if name.lower().endswith(PICTURES)
            and not name.endswith(self.img_suffix)
            and not (within and name.endswith(self.seg_map_suffix))
        ]
        if taken and left:
            MMLogger.get_current_instance().warning(
                f'{len(left):,} of {len(left) + len(taken):,} pictures in {folder} do not end with '
                f'{self.img_suffix} and are left out, such as {left[0]}; rename them, or set '
                'img_suffix'
            )
        return [[name.removesuffix(self.img_suffix)] for name in taken]

    def full_init(self) -> None:
        """Load the list, and look at three label files."""
        if not self._fully_initialized:
            super().full_init()
            from_main_process(self._check_files)

    def _check_files(self) -> None:
        last, counts = len(self) - 1, Counter()
        indices = dict.fromkeys([0, last // 2, last])
        for index in indices:
            info = self.get_data_info(index)
            shape = picture_shape(info['img_path'], self.backend_args)
            found = self._whole_labels(info)
            if sorted(found.shape) != sorted(shape):  # the loaded picture tells how it is turned
                check_shape(found.shape, shape, info['seg_map_path'])
            counts += _counted(found)
        if self._look_ignored(counts) and 'segments_info' not in info:  # of which the JSON tells
            more = {last * i // (FILES - 1) for i in range(FILES)} - set(indices)
            for index in more:
                counts += _counted(self._whole_labels(self.get_data_info(index)))
            if self._look_ignored(counts):
                classes = self._metainfo['classes']
                share = counts[self._whole_table.ignore_index] / counts.total()
                missing = [name for label, name in enumerate(classes) if label not in counts]
                MMLogger.get_current_instance().warning(
                    f'{share:.0%} of the pixels of {len(indices) + len(more)} label files of '
                    f'{self.data_prefix["seg_map_path"]} are ignored, and none is of the classes '
                    f'{missing[:5]}; if what is ignored is one of them, correct label_values and '
                    'ignored_values, such as label_values=[0, 255] and ignored_values=[]'
                )

    def _whole_labels(self, info: dict) -> np.ndarray:
        """Of a label file, with novel classes in training, too."""
        whole = info | {'label_table': self._whole_table}
        return load_labels(whole, self.backend_args)['gt_seg_map']

    def _look_ignored(self, counts: Counter) -> bool:
        """Whether there are few classes or none among the labels, where pixels are ignored."""
        seen = len(counts) - 1
        if not counts[self._whole_table.ignore_index]:
            return False
        return not seen or (seen == 1 < len(self._metainfo['classes']) <= FEW_CLASSES)

    def get_data_info(self, idx: int) -> dict:
        """What is known of a picture, with the table of labels that all of them share."""
        return super().get_data_info(idx) | {'label_table': self.label_table}


def _counted(labels: np.ndarray) -> Counter:
    values, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
