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
    same_teacher,
)
from mmdet_vild.vocabulary.known_words import KnownWords

from ..words import Words

#: Questions and encoded words that are kept.
QUESTIONS, ENCODED = 8, 20_000
_FILES = ('.txt', '.json', '.npz')


class WordEncoder:
    """Words to text embeddings, with the teacher that encoded a detector's own vocabulary.

    The teacher is built when the first word comes that the vocabulary does not have. The words that
    it encoded last are kept, and so are the last questions.

    Args:
        teacher: Config of a teacher, see :class:`mmdet_vild.teacher.OpenCLIPTeacher`; None for a
            detector that only has the words of its vocabulary.
    """

    def __init__(self, teacher: ConfigType | None) -> None:
        self._teacher_cfg = teacher
        self._teacher = None
        self._known: KnownWords | None = None
        self._questions: dict[tuple, Words] = {}
        self._encoded: dict[tuple, np.ndarray] = {}

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
            _check_same(teacher.identity, vocabulary)
            self._teacher = teacher
        return self._teacher

    def check(self, vocabulary: TextEmbeddings) -> None:
        """Refuse a teacher that cannot encode words, without reading weights or downloading any.

        For the start of a training, which does not need the teacher itself. A detector that is only
        tested may lack the teacher's weights.

        Raises:
            FileNotFoundError, TypeError, ValueError: The type, an argument, the name or the file of
                the teacher is wrong, or another one encoded the vocabulary.
        """
        if self._teacher_cfg is None:
            return
        arguments = dict(self._teacher_cfg)
        kind = arguments.pop('type', None)
        teacher = TASK_UTILS.get(kind) if isinstance(kind, str) else kind
        if teacher is None:
            raise ValueError(
                f'there is no teacher of type {kind!r}, which model.teacher names; take '
                "'OpenCLIPTeacher', or import the file that registers yours in custom_imports"
            )
        if hasattr(teacher, 'check'):
            _check_same(teacher.check(**arguments), vocabulary)

    def known(self, vocabulary: TextEmbeddings) -> KnownWords:
        """What words are compared with; of another vocabulary nothing is kept."""
        if self._known is None or self._known.vocabulary is not vocabulary:
            self._known = KnownWords(vocabulary)
            self._questions.clear()
        return self._known

    def words(
        self,
        text: str | Sequence[str],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
        with_vocabulary: bool = True,
    ) -> Words:
        """The words of a text on a device, as they were if they were asked for lately.

        Args:
            text, custom_entities, vocabulary: As for :meth:`encode`.
            device: Where the detector computes, and the teacher too.
            with_vocabulary: Whether the vocabulary's other words compete with these.
        """
        known = self.known(vocabulary)
        key = (str(device), with_vocabulary, custom_entities, _content(text))
        words = self._questions.pop(key, None)
        if words is None:
            encoded = self.encode(text, custom_entities, vocabulary, device)
            everything = known.add_rivals(encoded) if with_vocabulary else encoded
            words = Words.from_text_embeddings(everything, device, len(encoded.names))
        _keep(self._questions, {key: words}, QUESTIONS)
        return words

    def encode(
        self,
        text: str | Sequence[str],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
    ) -> TextEmbeddings:
        """The text embeddings of words.

        A word that is a category of the vocabulary has that one's embedding and synonyms; see
        :meth:`KnownWords.find`. The teacher encodes the others, in the prompts of the vocabulary.

        Args:
            text: Words, see :func:`mmdet_vild.vocabulary.parse_words`. Or a file: ``.txt`` or
                ``.json``, see :func:`mmdet_vild.vocabulary.load_categories`, beside which the
                embeddings are stored; ``.npz``, text embeddings with base and novel as they say.
            custom_entities: As mmdet has it. A text of words needs it to be True.
            vocabulary: The detector's own.
            device: Where the teacher computes.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: ``custom_entities`` is False, the words or the file are wrong, two words
                are one category, a word is too long for the teacher, or there is no teacher or
                another one.
        """
        suffix = _suffix(text)
        if suffix == '.npz':
            return _ready(text, vocabulary)
        if isinstance(text, str) and not suffix and not custom_entities:
            raise ValueError(
                f'custom_entities is False, which asks for the noun phrases of {text!r} to be '
                'found; ViLD detects words as they are: set custom_entities=True (-c of the image '
                'demo) and write them as "cat . toy elephant"'
            )
        categories = load_categories(text) if suffix else parse_words(text)
        rows, synonyms, novel = self.known(vocabulary).look_up(categories)
        templates = vocabulary.templates or VILD_TEMPLATES
        embeddings = [
            self._encoded.get((words, templates)) if row is None else vocabulary.embeddings[row]
            for row, words in zip(rows, synonyms, strict=True)
        ]
        missing = [i for i, embedding in enumerate(embeddings) if embedding is None]
        names = tuple(category['name'] for category in categories)
        # Those of missing words are any others until they are encoded.
        embeddings = np.stack([vocabulary.embeddings[0] if e is None else e for e in embeddings])
        found = TextEmbeddings(embeddings, names, novel, vocabulary.teacher, synonyms, templates)
        if missing:
            stored = _stored(text, found) if suffix else None
            if stored is None:
                stored = self._complete(found, missing, vocabulary, device)
                if suffix:
                    _store(text, stored)
            found = replace(found, embeddings=stored.embeddings)
            new = {(synonyms[i], templates): found.embeddings[i] for i in missing}
            _keep(self._encoded, new, ENCODED)
        return found

    def _complete(self, found, missing: list[int], vocabulary, device) -> TextEmbeddings:
        """With the teacher's embeddings of missing words."""
        if self._teacher_cfg is None:
            raise ValueError(
                f'{len(missing)} of {len(found.names)} words are not in the vocabulary of this '
                f'detector, such as {found.names[missing[0]]!r}, and its config names no teacher '
                'to encode them with; ask for words of the vocabulary, or set model.teacher to '
                f'the one that encoded it ({vocabulary.teacher})'
            )
        teacher = self.teacher(vocabulary).to(device)
        MMLogger.get_current_instance().info(
            f'{teacher.identity} encodes {len(missing)} word{"s"[: len(missing) > 1]} in '
            f'{len(found.templates)} prompts'
        )
        words = [
            dict(name=found.names[i], synonyms=list(found.synonyms[i]), frequency=None)
            for i in missing
        ]
        embeddings = found.embeddings.copy()
        embeddings[missing] = teacher.encode_categories(words, found.templates).embeddings
        return replace(found, embeddings=embeddings)


def _check_same(identity: str, vocabulary: TextEmbeddings) -> None:
    if not same_teacher(identity, vocabulary.teacher):
        raise ValueError(
            f'the teacher is {identity}, but {vocabulary.teacher} encoded the vocabulary; name '
            'that one in model.teacher'
        )


def _keep(kept: dict, new: dict, most: int) -> None:
    """Add to what is kept, of which the least recently added goes first."""
    for key, value in new.items():
        kept.pop(key, None)
        kept[key] = value
    for key in list(kept)[:-most]:
        kept.pop(key, None)


def _suffix(text: str | Sequence[str]) -> str:
    """Of a file of words; empty for words. Those of a list are never files."""
    suffix = Path(text).suffix.lower() if isinstance(text, str) else ''
    if suffix in _FILES:
        return suffix
    if suffix and len(text) < 256 and Path(text).is_file():
        raise ValueError(
            f'{text} is a file, and words are read from {", ".join(_FILES)} files; give it one of '
            'these names, or ask for a list of words, in which nothing is a file'
        )
    return ''


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
    if text.embed_dims != vocabulary.embed_dims:
        raise ValueError(
            f'the embeddings of {path} are {text.embed_dims} wide, those of the vocabulary of the '
            f'detector {vocabulary.embed_dims}; encode the words again'
        )
    return text


def _store_path(file: str, text: TextEmbeddings) -> str:
    return f'{file}.{text.teacher.replace("/", "-")}.npz'


def _stored(file: str, wanted: TextEmbeddings) -> TextEmbeddings | None:
    """What is stored beside a file of words, if it is what the file says now."""
    path = _store_path(file, wanted)
    if not Path(path).is_file():
        return None
    try:
        stored = TextEmbeddings.load(path)
    except ValueError as error:
        MMLogger.get_current_instance().warning(f'the words are encoded again: {error}')
        return None
    fields = ('names', 'synonyms', 'templates', 'teacher', 'embed_dims')
    same = all(getattr(stored, field) == getattr(wanted, field) for field in fields)
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
