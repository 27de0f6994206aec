"""Encodes the words that a user asks a trained detector for."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.utils import ConfigType
from mmengine.logging import MMLogger

from mmdet_vild.vocabulary import (
    VILD_TEMPLATES,
    TextEmbeddings,
    load_categories,
    parse_words,
    readable_name,
    same_teacher,
)

from .words import Words

#: Vocabularies that are kept, the least recently used go first.
CACHED = 8
_FILES = ('.txt', '.json', '.npz')


class WordEncoder:
    """Words to text embeddings, with the teacher that encoded a detector's own vocabulary.

    The teacher is built when the first word comes that the vocabulary does not have.

    Args:
        teacher: Config of a teacher, see :class:`mmdet_vild.teacher.OpenCLIPTeacher`; None for a
            detector that only has the words of its vocabulary.
    """

    def __init__(self, teacher: ConfigType | None) -> None:
        self._teacher_cfg = teacher
        self._teacher = None
        self._cache: dict[tuple, Words] = {}

    def teacher(self, vocabulary: TextEmbeddings):
        """The teacher, built at the first call.

        Raises:
            ValueError: The config names none, or another one than encoded the vocabulary.
        """
        if self._teacher is None:
            if self._teacher_cfg is None:
                raise ValueError(
                    'the config names no teacher; set model.teacher to the one that encoded the '
                    f'vocabulary ({vocabulary.teacher}), such as dict(type="OpenCLIPTeacher", '
                    'model_name="ViT-B-32-quickgelu", pretrained="openai")'
                )
            teacher = TASK_UTILS.build(self._teacher_cfg)
            if not same_teacher(teacher.identity, vocabulary.teacher):
                raise ValueError(
                    f'the teacher is {teacher.identity}, but {vocabulary.teacher} encoded the '
                    'vocabulary; name that one in model.teacher'
                )
            self._teacher = teacher
        return self._teacher

    def words(
        self,
        text: str | Sequence[str],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
        with_vocabulary: bool = True,
    ) -> Words:
        """The words of a text on a device, from the cache if they were asked for lately.

        Args:
            text: As for :meth:`encode`.
            custom_entities: As for :meth:`encode`.
            vocabulary: The detector's own.
            device: Where the detector computes, and the teacher too.
            with_vocabulary: Whether the vocabulary's other words compete with these.
        """
        key = (id(vocabulary), str(device), with_vocabulary, custom_entities, _content(text))
        words = self._cache.pop(key, None)
        if words is None:
            encoded = self.encode(text, custom_entities, vocabulary, device)
            rivals = _others(encoded, vocabulary) if with_vocabulary else None
            words = Words.from_text_embeddings(encoded, device, rivals)
        self._cache[key] = words
        for old in list(self._cache)[:-CACHED]:
            self._cache.pop(old, None)
        return words

    def encode(
        self,
        text: str | Sequence[str],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
    ) -> TextEmbeddings:
        """The text embeddings of words.

        A word that the vocabulary has, and for which no synonyms are given, is that category, with
        its synonyms. The teacher encodes the others, in the prompts of the vocabulary. A word is
        base if the vocabulary has it as a base category or a synonym of one, and novel otherwise.

        Args:
            text: Words, see :func:`mmdet_vild.vocabulary.parse_words`. Or a file: ``.txt`` or
                ``.json``, see :func:`mmdet_vild.vocabulary.load_categories`, beside which the
                embeddings are stored; ``.npz``, text embeddings with base and novel as they say.
            custom_entities: As mmdet has it. A text of words needs it to be True.
            vocabulary: The detector's own.
            device: Where the teacher computes.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: ``custom_entities`` is False, the words or the file are wrong, a word is
                too long for the teacher, or there is no teacher or another one.
        """
        suffix = _suffix(text)
        if suffix == '.npz':
            return _ready(text, vocabulary)
        file = text if suffix else None
        if isinstance(text, str) and file is None and not custom_entities:
            raise ValueError(
                f'custom_entities is False, which asks for the noun phrases of {text!r} to be '
                'found; ViLD detects words as they are: set custom_entities=True (-c of the image '
                'demo) and write them as "cat . toy elephant"'
            )
        categories = parse_words(text) if file is None else load_categories(file)
        rows, categories = _known(categories, vocabulary)
        missing = [c for c, row in zip(categories, rows, strict=True) if row is None]
        found = TextEmbeddings(
            # Rows of missing words are any others until they are encoded.
            embeddings=vocabulary.embeddings[[row or 0 for row in rows]],
            names=tuple(c['name'] for c in categories),
            novel=_novel(categories, vocabulary),
            teacher=vocabulary.teacher,
            synonyms=tuple(tuple(c['synonyms']) for c in categories),
            templates=vocabulary.templates or VILD_TEMPLATES,
        )
        if not missing:
            return found
        stored = None if file is None else _stored(file, found)
        if stored is not None:
            return replace(found, embeddings=stored.embeddings)
        if self._teacher_cfg is None:
            raise ValueError(
                f'{len(missing)} of {len(categories)} words are not in the vocabulary of this '
                f'detector, such as {missing[0]["name"]!r}, and its config names no teacher to '
                'encode them with; ask for words of the vocabulary, or set model.teacher to '
                f'the one that encoded it ({vocabulary.teacher})'
            )
        teacher = self.teacher(vocabulary).to(device)
        MMLogger.get_current_instance().info(
            f'{teacher.identity} encodes {len(missing)} words in {len(found.templates)} prompts'
        )
        encoded = teacher.encode_categories(missing, found.templates)
        embeddings = found.embeddings.copy()
        embeddings[[row is None for row in rows]] = encoded.embeddings
        found = replace(found, embeddings=embeddings)
        if file is not None:
            _store(file, found)
        return found


def _suffix(text: str | Sequence[str]) -> str:
    """Of a file of words; empty for words. Those of a list are never files."""
    suffix = Path(text).suffix.lower() if isinstance(text, str) else ''
    return suffix if suffix in _FILES else ''


def _content(text: str | Sequence[str]) -> str:
    """What differs where the words do, without reading words in."""
    suffix = _suffix(text)
    if suffix and Path(text).is_file():
        return suffix + hashlib.sha256(Path(text).read_bytes()).hexdigest()
    return repr(text)


def _ready(path: str, vocabulary: TextEmbeddings) -> TextEmbeddings:
    text = TextEmbeddings.load(path)
    if not same_teacher(text.teacher, vocabulary.teacher):
        raise ValueError(
            f'{path} was encoded by the teacher {text.teacher}, the vocabulary of the detector by '
            f'{vocabulary.teacher}; encode the words with that one'
        )
    return text


def _known(categories: list[dict], vocabulary: TextEmbeddings) -> tuple[list, list[dict]]:
    """The rows that words have in the vocabulary, or None, and the words with its synonyms."""
    index = {readable_name(name): row for row, name in reversed([*enumerate(vocabulary.names)])}
    rows, completed = [], []
    for category in categories:
        row = index.get(readable_name(category['name']))
        if row is not None:
            own = list(vocabulary.synonyms[row]) if vocabulary.synonyms else [category['name']]
            if category['synonyms'] in ([category['name']], own):
                category = {**category, 'synonyms': own}
            else:
                row = None
        rows.append(row)
        completed.append(category)
    return rows, completed


def _novel(categories: list[dict], vocabulary: TextEmbeddings) -> np.ndarray:
    base, novel = set(), set()
    for name, names, is_novel in zip(
        vocabulary.names, _all_names(vocabulary), vocabulary.novel, strict=True
    ):
        if is_novel:
            novel.add(readable_name(name))
        else:
            base |= names
    return np.array([readable_name(c['name']) not in base - novel for c in categories])


def _others(text: TextEmbeddings, vocabulary: TextEmbeddings) -> np.ndarray:
    """The embeddings (R, D) of a vocabulary's words that mean something else.

    Those do not of which a name is one that was asked for, or a part of it, as "mug" is of
    "striped mug".
    """
    parts = {
        ' '.join(part)
        for names in _all_names(text)
        for name in names
        for part in _stretches(name.split())
    }
    return vocabulary.embeddings[[not names & parts for names in _all_names(vocabulary)]]


def _stretches(words: list[str]) -> list[list[str]]:
    ends = range(1, len(words) + 1)
    return [words[start:end] for end in ends for start in range(end)]


def _all_names(text: TextEmbeddings) -> list[set[str]]:
    synonyms = text.synonyms or [()] * len(text.names)
    return [
        {readable_name(name) for name in (name, *others)}
        for name, others in zip(text.names, synonyms, strict=True)
    ]


def _store_path(file: str, text: TextEmbeddings) -> str:
    return f'{file}.{text.teacher.replace("/", "-")}.npz'


def _stored(file: str, wanted: TextEmbeddings) -> TextEmbeddings | None:
    """What is stored beside a file of words, if it is what the file says now."""
    path = _store_path(file, wanted)
    try:
        stored = TextEmbeddings.load(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        MMLogger.get_current_instance().warning(f'the words are encoded again: {error}')
        return None
    same = all(
        getattr(stored, field) == getattr(wanted, field)
        for field in ('names', 'synonyms', 'templates', 'teacher')
    )
    return stored if same else None


def _store(file: str, text: TextEmbeddings) -> None:
    path = _store_path(file, text)
    try:
        text.save(path)
    except OSError as error:
        MMLogger.get_current_instance().warning(
            f'the embeddings of {file} cannot be stored at {path} ({error}), and will be computed '
            'again in the next run'
        )
