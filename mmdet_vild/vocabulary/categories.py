"""Category lists: names, synonyms and the base / novel split."""

import json
from pathlib import Path

from .asked_words import split_synonyms
from .word_checks import check_word, repeated_names

#: Frequency groups of LVIS v1. Rare categories are the novel ones (ViLD, Sec. 4.1).
FREQUENCIES = ('f', 'c', 'r')
NOVEL_FREQUENCY = 'r'
#: Names that PASCAL VOC writes as one word, which a teacher would not know.
_SPELLED_OUT = dict(diningtable='dining table', pottedplant='potted plant', tvmonitor='tv monitor')


def load_categories(path: str) -> list[dict]:
    """Read the categories of a vocabulary, in label order.

    Args:
        path: One of

            - a vocabulary: a JSON list of LVIS-style category dicts. ``name`` is required;
              ``synonyms`` (default: the name), ``frequency`` (``'r'`` is novel; default: not novel)
              and ``id`` (default: position + 1) are optional;
            - an LVIS or COCO annotation file, whose ``categories`` are taken in the file's order,
              as mmdet's datasets do;
            - a ``.txt`` file, one name a line, or several synonyms with `` / `` between them;
            - the name of a dataset class that MMDetection knows, such as ``'CocoDataset'``,
              ``'VOCDataset'`` or ``'Objects365V2Dataset'``, or ``'OVCocoDataset'``, which also
              says which categories are novel.

    Returns:
        A dict a category with ``id``, ``name``, ``synonyms`` and ``frequency``, in label order.

    Raises:
        FileNotFoundError: There is no such file or dataset class.
        ValueError: The file is none of the above, is empty, or a category is malformed, shows
            nothing or occurs twice, to the teacher, which reads neither case nor underscores.
    """
    file = Path(path)
    if not file.is_file():
        return _of_dataset_class(path)
    try:
        text = file.read_text(encoding='utf-8-sig')  # Notepad marks it
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not text in UTF-8: {error}') from error
    if file.suffix.lower() == '.txt':
        lines = [split_synonyms(line) for line in text.splitlines() if line.strip()]
        raw = [{'name': synonyms[0], 'synonyms': synonyms} for synonyms in lines]
    else:
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path} is not valid JSON: {error}') from error
        if isinstance(raw, dict) and isinstance(raw.get('categories'), list):
            raw = raw['categories']
    if not isinstance(raw, list) or not raw:
        raise ValueError(
            f'{path} holds no categories; expected a JSON list of category dicts, an annotation '
            'file with a "categories" list, or a .txt file with one name a line'
        )
    categories = [_check(category, index, path) for index, category in enumerate(raw)]
    if repeated := repeated_names([category['name'] for category in categories]):
        raise ValueError(
            f'{path} names these categories more than once: {repeated}; the teacher reads neither '
            'case nor underscores'
        )
    return categories


def _of_dataset_class(name: str) -> list[dict]:
    from mmdet.registry import DATASETS

    dataset = DATASETS.get(name) if name.isidentifier() else None
    metainfo = getattr(dataset, 'METAINFO', {})
    names, novel = metainfo.get('classes', ()), metainfo.get('novel_classes')
    if not names:
        metas = {key: getattr(value, 'METAINFO', {}) for key, value in DATASETS.module_dict.items()}
        known = sorted(key for key, meta in metas.items() if meta.get('classes'))
        raise FileNotFoundError(
            f'there is no vocabulary file at {name}, nor is it a dataset class with categories, '
            f'which are: {", ".join(known)}'
        )
    categories = []
    for index, text in enumerate(names):
        category = {'name': text, 'synonyms': [_SPELLED_OUT.get(text, text)]}
        if novel is not None:
            category['frequency'] = NOVEL_FREQUENCY if text in novel else 'f'
        categories.append(_check(category, index, name))
    return categories


def _check(category: object, index: int, path: str) -> dict:
    where = f'category {index} of {path}'
    if not isinstance(category, dict):
        raise ValueError(
            f'{where} is {category!r}; expected {{"name": .., "frequency": ..}}, or plain words in '
            'a .txt file, one a line'
        )
    if not isinstance(category.get('name'), str):
        raise ValueError(f'{where} has no "name": found {category!r}')
    synonyms = category.get('synonyms') or [category['name']]
    if not isinstance(synonyms, list) or not all(isinstance(s, str) for s in synonyms):
        raise ValueError(f'{where}: "synonyms" must be a list of texts, found {synonyms!r}')
    check_word(list(dict.fromkeys([category['name'], *synonyms])), where)
    if not isinstance(category.get('id', 0), int):
        raise ValueError(f'{where}: "id" must be an integer, found {category["id"]!r}')
    frequency = category.get('frequency')
    if frequency is not None and frequency not in FREQUENCIES:
        raise ValueError(f'{where}: "frequency" must be one of {FREQUENCIES}, found {frequency!r}')
    identity = category.get('id', index + 1)
    return dict(id=identity, name=category['name'], synonyms=synonyms, frequency=frequency)


def is_novel(category: dict) -> bool:
    """Whether a category is novel, that is rare in LVIS's sense."""
    return category['frequency'] == NOVEL_FREQUENCY
