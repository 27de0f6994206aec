"""Encodes the words that a user asks a trained detector for."""

import hashlib
from collections.abc import Sequence
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
    same_space,
    same_teacher,
)
from mmdet_vild.vocabulary.known_words import KnownWords

from ..words import Words

#: Questions and encoded words that are kept.
QUESTIONS, ENCODED = 8, 20_000
_FILES = ('.txt', '.json', '.npz')
#: What a JSON file with pictures in place of words has.
_EXAMPLES = b'"examples"'


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
        #: As :meth:`TextEmbeddings.rows`, by synonyms and templates.
        self._encoded: dict[tuple, np.ndarray] = {}

    def teacher(self, vocabulary: TextEmbeddings | None, words: Sequence[str] = ()):
        """The teacher, built at the first call; ``words`` are what it is needed for.

        There is no vocabulary yet where the teacher has to encode it first.

        Raises:
            ValueError: The config names none, or another one than encoded the vocabulary.
        """
        if self._teacher is None:
            if self._teacher_cfg is None:
                needed = f', and {words[0]!r} is no word of the vocabulary' if words else ''
                raise ValueError(
                    f'the config names no teacher{needed}; ask for words of the vocabulary, or set '
                    f'model.teacher to the one that encoded it ({vocabulary.teacher}), such as '
                    'dict(type="OpenCLIPTeacher", model_name="ViT-B-32-quickgelu", '
                    'pretrained="openai")'
                )
            teacher = TASK_UTILS.build(self._teacher_cfg)
            if vocabulary is not None:
                _check_same(teacher.identity, vocabulary)
            self._teacher = teacher
        return self._teacher

    def check(self, vocabulary: TextEmbeddings) -> None:
        """Refuse a teacher that cannot encode words, without reading weights or downloading any.

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
        text: str | Sequence[str | dict],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
        with_vocabulary: bool = True,
        by_synonym: bool = False,
    ) -> Words:
        """As :meth:`encode`, on a device; the vocabulary's other words may compete with these."""
        known, text = self.known(vocabulary), _asked(text, custom_entities)
        key = (str(device), with_vocabulary, by_synonym, custom_entities, _content(text))
        words = self._questions.get(key)
        if words is None:
            encoded = self.encode(text, custom_entities, vocabulary, device, by_synonym)
            everything = known.add_rivals(encoded) if with_vocabulary else encoded
            count = len(encoded.names)
            words = Words.from_text_embeddings(everything, device, count, by_synonym)
        _keep(self._questions, {key: words}, QUESTIONS)
        return words

    def encode(
        self,
        text: str | Sequence[str | dict],
        custom_entities: bool,
        vocabulary: TextEmbeddings,
        device: str | torch.device = 'cpu',
        by_synonym: bool = False,
    ) -> TextEmbeddings:
        """The text embeddings of words.

        A word that is a category of the vocabulary has that one's embedding and synonyms; see
        :meth:`KnownWords.find`. The teacher encodes the others, in the prompts of the vocabulary,
        and pictures that stand in place of words.

        Args:
            text: Words, see :func:`parse_words`. Or a file: ``.txt`` or ``.json``, see
                :func:`load_categories`, beside which the embeddings are stored; ``.npz``, text
                embeddings with base and novel as they say.
            custom_entities: As mmdet has it, a bool. A text of words needs it to be True.
            vocabulary: The detector's own.
            device: Where the detector computes, and the teacher too.
            by_synonym: Whether the embedding of each synonym is needed, not their average alone.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: The words are none, or custom_entities is no bool.
            ValueError: The words, a picture, the file or the teacher are wrong.
        """
        text = _asked(text, custom_entities)
        suffix = _suffix(text)
        if suffix == '.npz':
            return _ready(text, vocabulary, by_synonym)
        if isinstance(text, str) and not suffix and not custom_entities:
            raise ValueError(
                f'custom_entities is False, which asks for the noun phrases of {text!r} to be '
                'found; ViLD detects words as they are: set custom_entities=True (-c of the image '
                'demo) and write them as "cat . toy elephant"'
            )
        categories = load_categories(text) if suffix else parse_words(text)
        rows, synonyms, novel = self.known(vocabulary).look_up(categories)
        missing = [i for i, row in enumerate(rows) if row is None]
        names = tuple(category['name'] for category in categories)
        templates = vocabulary.templates or VILD_TEMPLATES
        entries = [None if row is None else vocabulary.rows(row) for row in rows]
        # Those of missing words are any others until they are encoded.
        embeddings = vocabulary.embeddings[[row or 0 for row in rows]]
        found = TextEmbeddings(embeddings, names, novel, vocabulary.teacher, synonyms, templates)
        path = f'{text}.{found.teacher.replace("/", "-")}.npz' if suffix and missing else ''
        if stored := _stored(path, found, by_synonym):
            entries = [stored.rows(i) for i in range(len(names))]
        elif missing:
            encoded = self._encode(found, categories, missing, by_synonym, vocabulary, device)
            entries = [encoded.get(i, entry) for i, entry in enumerate(entries)]
        _keep(self._encoded, {(synonyms[i], templates): entries[i] for i in missing}, ENCODED)
        found = found.with_rows(entries)
        if path and not stored:
            _store(path, found)
        if by_synonym and found.synonym_embeddings is None:
            raise ValueError(
                f'the teacher {found.teacher} has the average of synonyms alone, and this detector '
                'compares with each; set synonyms="average" in its classifier'
            )
        return found

    def _encode(
        self,
        found,
        categories: list[dict],
        missing: list[int],
        by_synonym: bool,
        vocabulary,
        device,
    ) -> dict[int, np.ndarray]:
        """The rows of missing words, by their places: those that are kept, and the teacher's."""
        encoded = {i: self._encoded.get((found.synonyms[i], found.templates)) for i in missing}
        # A file that an earlier release stored may have brought the average of synonyms alone.
        least = 2 if by_synonym else 1
        if new := [i for i, entry in encoded.items() if entry is None or len(entry) < least]:
            names = [found.names[i] + ' (a picture)' * bool(found.pictures[i]) for i in new]
            teacher = self.teacher(vocabulary, names).to(device)
            MMLogger.get_current_instance().info(
                f'{teacher.identity} encodes {len(new)} word{"s"[: len(new) > 1]} in '
                f'{len(found.templates)} prompts'
            )
            words = [categories[i] | dict(synonyms=list(found.synonyms[i])) for i in new]
            text = teacher.encode_categories(words, found.templates)
            encoded |= {i: text.rows(row) for row, i in enumerate(new)}
        if len(new) < len(found.names) and hasattr(self._teacher, 'check_distinct'):
            # Also with words that it encoded before, or that the vocabulary has.
            pairs = zip(found.names, found.synonyms, strict=True)
            self._teacher.check_distinct([dict(name=n, synonyms=s) for n, s in pairs])
        return encoded


def _check_same(identity: str, vocabulary: TextEmbeddings) -> None:
    if not same_space(identity, vocabulary.teacher):
        raise ValueError(
            f'the teacher is {identity}, but {vocabulary.teacher} encoded the vocabulary; name '
            'that one in model.teacher'
        )


def _keep(kept: dict, new: dict, most: int) -> None:
    """Add to what is kept, of which the least recently used goes first."""
    for key, value in new.items():
        kept.pop(key, None)
        kept[key] = value
    for key in list(kept)[:-most]:
        del kept[key]


def _asked(text: str | Sequence[str | dict], custom_entities: bool) -> str | Sequence[str | dict]:
    """The words, or the file of words, without blanks or ends of lines around them."""
    if not isinstance(custom_entities, bool):
        raise TypeError(
            f'custom_entities is True or False, found {custom_entities!r}; True takes words as '
            'they are'
        )
    return text.strip() if isinstance(text, str) else text


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
        content = Path(text).read_bytes()
        named = _named(load_categories(text)) if _EXAMPLES in content else ''
        return suffix + hashlib.sha256(content).hexdigest() + named
    words = [text] if isinstance(text, str) else text
    if isinstance(words, Sequence) and all(isinstance(word, str) for word in words):
        return repr(text)
    return _named(parse_words(text))


def _named(categories: list[dict]) -> str:
    """What words are called; the names of pictures are other ones when their files have changed."""
    return repr([(category['name'], category['synonyms']) for category in categories])


def _ready(path: str, vocabulary: TextEmbeddings, by_synonym: bool) -> TextEmbeddings:
    text = TextEmbeddings.load(path)
    same = same_teacher(text.teacher, vocabulary.teacher)
    if not same or text.embed_dims != vocabulary.embed_dims:
        raise ValueError(
            f'{path} was encoded by the teacher {text.teacher} and is {text.embed_dims} wide, the '
            f'vocabulary of the detector by {vocabulary.teacher} and {vocabulary.embed_dims} wide; '
            'encode the words with that one'
        )
    if by_synonym and text.synonym_embeddings is None:
        raise ValueError(
            f'{path} has the average of synonyms alone, and this detector compares with each; name '
            'a file that tools/encode_vocabulary.py writes now'
        )
    return text


def _stored(path: str, wanted: TextEmbeddings, by_synonym: bool) -> TextEmbeddings | None:
    """What is stored beside a file of words, if it is what the file says now."""
    if not Path(path).is_file():
        return None
    try:
        stored = TextEmbeddings.load(path)
    except ValueError as error:
        MMLogger.get_current_instance().warning(f'the words are encoded again: {error}')
        return None
    fields = ('names', 'synonyms', 'templates', 'teacher', 'embed_dims')
    same = all(getattr(stored, field) == getattr(wanted, field) for field in fields)
    return stored if same and not (by_synonym and stored.synonym_embeddings is None) else None


def _store(path: str, text: TextEmbeddings) -> None:
    try:
        text.save(path)
    except OSError as error:
        MMLogger.get_current_instance().warning(
            f'the embeddings of words cannot be stored at {path} ({error}), and will be computed '
            'again in the next run'
        )
