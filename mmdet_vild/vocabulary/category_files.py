"""Categories from files and from MMDetection's dataset classes: names, synonyms, base and novel."""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from .asked_words import split_synonyms
from .category_names import CategoryNames
from .examples import read_examples
from .names import check_word, repeated_names

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
              and ``id`` (default: position + 1) are optional. ``examples`` are pictures in place
              of a word, see :func:`read_examples`; their paths begin at the file's folder;
            - an LVIS or COCO annotation file, whose ``categories`` are taken in the file's order,
              as mmdet's datasets do;
            - a ``.txt`` file, one name a line, or several synonyms with `` / `` between them;
            - the name of a dataset class of MMDetection, such as ``'CocoDataset'``, or of
              ``'OVCocoDataset'``, which also says which categories are novel; its names may have
              synonyms, as :func:`named_categories` reads them.

    Returns:
        A dict a category with ``id``, ``name``, ``synonyms`` and ``frequency``, and ``examples``
        where there are pictures.

    Raises:
        FileNotFoundError: There is no such file, picture or dataset class.
        ValueError: The file is none of these, or a picture or a category is malformed, invisible
            or repeated.
    """
    raw = _read(Path(path)) if Path(path).is_file() else _of_dataset_class(path)
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


def is_novel(category: dict) -> bool:
    """Whether a category is novel, that is rare in LVIS's sense."""
    return category['frequency'] == NOVEL_FREQUENCY


def novel_names(categories: Iterable[dict], base: Sequence[dict]) -> list[str]:
    """The names of the categories that are novel to what was trained on the base ones of ``base``.

    All that a category is called counts, as :meth:`CategoryNames.is_novel` says.
    """
    learned = CategoryNames(map(_all_names, base), map(is_novel, base))
    return [each['name'] for each in categories if learned.is_novel(_all_names(each))]


def _all_names(category: dict) -> tuple[str, ...]:
    return (category['name'], *category['synonyms'])


def named_categories(names: Iterable[str], novel: Collection[str] | None = None) -> list[dict]:
    """Categories of names as datasets have them: ``'road, route'`` has the synonyms road and route.

    Args:
        names: In label order.
        novel: Those that are novel; None if nobody says.

    Returns:
        As :func:`load_categories`, without the ids.
    """
    categories = []
    for name in names:
        synonyms = [_SPELLED_OUT.get(synonym, synonym) for synonym in name.split(', ')]
        frequency = None if novel is None else NOVEL_FREQUENCY if name in novel else 'f'
        categories.append(dict(name=name, synonyms=synonyms, frequency=frequency))
    return categories


def _read(path: Path) -> object:
    try:
        text = path.read_text(encoding='utf-8-sig')  # Notepad marks it
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not text in UTF-8: {error}') from error
    if path.suffix.lower() == '.txt':
        lines = [split_synonyms(line) for line in text.splitlines() if line.strip()]
        return [{'name': synonyms[0], 'synonyms': synonyms} for synonyms in lines]
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    return raw.get('categories') if isinstance(raw, dict) else raw


def _of_dataset_class(name: str) -> list[dict]:
    from mmdet.registry import DATASETS

    metas = {key: getattr(value, 'METAINFO', {}) for key, value in DATASETS.module_dict.items()}
    known = sorted(key for key, meta in metas.items() if meta.get('classes'))
    if name not in known:
        raise FileNotFoundError(
            f'there is no vocabulary file at {name}, nor is it a dataset class with categories, '
            f'which are: {", ".join(known)}'
        )
    return named_categories(metas[name]['classes'], metas[name].get('novel_classes'))


def _check(category: object, index: int, path: str) -> dict:
    where = f'category {index} of {path}'
    if not isinstance(category, dict):
        raise ValueError(
            f'{where} is {category!r}; expected {{"name": .., "frequency": ..}}, or plain words in '
            'a .txt file, one a line'
        )
    name, frequency = category.get('name'), category.get('frequency')
    if not isinstance(name, str):
        raise ValueError(f'{where} has no "name": found {category!r}')
    synonyms = category.get('synonyms')
    synonyms = [name] if synonyms is None else synonyms
    if synonyms == []:
        raise ValueError(
            f'{where}: "synonyms" is empty; leave it out, and the name is the only one'
        )
    if not isinstance(synonyms, list) or not all(isinstance(s, str) for s in synonyms):
        raise ValueError(f'{where}: "synonyms" must be a list of texts, found {synonyms!r}')
    check_word(list(dict.fromkeys([name, *synonyms])), where)
    identity = category.get('id', index + 1)
    if not isinstance(identity, int):
        raise ValueError(f'{where}: "id" must be an integer, found {identity!r}')
    if frequency is not None and frequency not in FREQUENCIES:
        raise ValueError(f'{where}: "frequency" must be one of {FREQUENCIES}, found {frequency!r}')
    found = dict(id=identity, name=name, synonyms=synonyms, frequency=frequency)
    if 'examples' in category:
        found |= read_examples(category, where, Path(path).parent)
    return found
