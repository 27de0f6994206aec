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
            if not same_teacher(teacher.identity, vocabulary.teacher):
                raise ValueError(
                    f'the teacher is {teacher.identity}, but {vocabulary.teacher} encoded the '
                    'vocabulary; name that one in model.teacher'
                )
            self._teacher = teacher
        return self._teacher

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
            text: As for :meth:`encode`.
            custom_entities: As for :meth:`encode`.
            vocabulary: The detector's own.
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

        A word that the vocabulary has, and for which no synonyms are given, is that category, with
        its synonyms. The teacher encodes the others, in the prompts of the vocabulary. A word is
        base if one of its names is that of a base category or a synonym of one, and novel
        otherwise.

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
        known = self.known(vocabulary)
        categories = parse_words(text) if file is None else load_categories(file)
        templates = vocabulary.templates or VILD_TEMPLATES
        synonyms, embeddings, novel = [], [], []
        for category in categories:
            row, names = known.find(category['name'], category['synonyms'])
            synonyms.append(names)
            if row is None:
                embeddings.append(self._encoded.get((names, templates)))
                novel.append(known.is_novel((category['name'], *names)))
            else:
                embeddings.append(vocabulary.embeddings[row])
                novel.append(vocabulary.novel[row])
        missing = [i for i, embedding in enumerate(embeddings) if embedding is None]
        found = TextEmbeddings(
            # Those of missing words are any others until they are encoded.
            np.stack([vocabulary.embeddings[0] if e is None else e for e in embeddings]),
            tuple(category['name'] for category in categories),
            np.array(novel),
            vocabulary.teacher,
            tuple(synonyms),
            templates,
        )
        if missing:
            found = self._complete(found, missing, file, vocabulary, device)
            new = {(synonyms[i], templates): found.embeddings[i] for i in missing}
            _keep(self._encoded, new, ENCODED)
        return found

    def _complete(
        self,
        found: TextEmbeddings,
        missing: list[int],
        file: str | None,
        vocabulary: TextEmbeddings,
        device: str | torch.device,
    ) -> TextEmbeddings:
        """With the embeddings of missing words, from beside their file or by the teacher."""
        stored = None if file is None else _stored(file, found)
        if stored is not None:
            return replace(found, embeddings=stored.embeddings)
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
            dict(id=i, name=found.names[i], synonyms=list(found.synonyms[i]), frequency=None)
            for i in missing
        ]
        embeddings = found.embeddings.copy()
        embeddings[missing] = teacher.encode_categories(words, found.templates).embeddings
        found = replace(found, embeddings=embeddings)
        if file is not None:
            _store(file, found)
        return found


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
    try:
        stored = TextEmbeddings.load(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        MMLogger.get_current_instance().warning(f'the words are encoded again: {error}')
        return None
    same = all(
        getattr(stored, field) == getattr(wanted, field)
        for field in ('names', 'synonyms', 'templates', 'teacher', 'embed_dims')
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
