"""The text-embedding file: what a vocabulary looks like to the detector."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from .examples import is_picture
from .names import repeated_names

#: The kind of data and the number of dimensions of each.
_FIELDS = {'embeddings': ('f', 2), 'names': ('U', 1), 'novel': ('b', 1), 'teacher': ('U', 0)}
_NOT_KNOWN = '{"synonyms": [], "templates": []}'


@dataclass(frozen=True)
class TextEmbeddings:
    """Text embeddings of a vocabulary, with what is needed to use them safely.

    Attributes:
        embeddings: (C, D) float32, one row a category in label order.
        names: The C category names in label order.
        novel: (C,) bool, the categories that nobody annotated for training.
        teacher: Which model with which weights encoded them
            (:attr:`mmdet_vild.teacher.OpenCLIPTeacher.identity`).
        synonyms: For each category the words that were encoded, or the names of pictures
            (:class:`Example`); empty if not known.
        templates: The prompt templates they were put into; empty if not known.
        synonym_embeddings: (V, D) float32, one row a synonym in the order of ``synonyms``, of which
            ``embeddings`` are the averages; None if not known.

    Raises:
        ValueError: The parts do not fit together, or an embedding is zero or not finite.
    """

    embeddings: np.ndarray
    names: tuple[str, ...]
    novel: np.ndarray
    teacher: str
    synonyms: tuple[tuple[str, ...], ...] = ()
    templates: tuple[str, ...] = ()
    synonym_embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        for words in (self.templates, *self.synonyms):
            if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
                raise ValueError(
                    'the templates, and the synonyms of a category, are lists of texts, found '
                    f'{words!r}'
                )
        fields = dict(
            embeddings=np.asarray(self.embeddings, dtype=np.float32),
            names=tuple(map(str, self.names)),
            novel=np.asarray(self.novel, dtype=bool),
            synonyms=tuple(map(tuple, self.synonyms)),
            templates=tuple(self.templates),
        )
        if self.synonym_embeddings is not None:
            each = np.asarray(self.synonym_embeddings, dtype=np.float32)
            fields['synonym_embeddings'] = each
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        count = len(self.names)
        if (
            self.embeddings.ndim != 2
            or not self.embeddings.size
            or (len(self.embeddings), *self.novel.shape) != (count, count)
            or len(self.synonyms) not in (0, count)
        ):
            raise ValueError(
                f'found embeddings of shape {self.embeddings.shape}, {count} names, a novel mask '
                f'of shape {self.novel.shape} and synonyms of {len(self.synonyms)} categories; '
                'expected (C, D) embeddings, and of the others one a category'
            )
        if repeated := repeated_names(self.names):
            raise ValueError(f'category names must be unique, found {repeated} repeatedly')
        _check_rows(self.embeddings, self.names)
        if self.synonym_embeddings is not None:
            of_synonyms = [synonym for words in self.synonyms for synonym in words]
            found, expected = self.synonym_embeddings.shape, (len(of_synonyms), self.embed_dims)
            if found != expected:
                raise ValueError(
                    f'the embeddings of synonyms have shape {found}, expected {expected}'
                )
            _check_rows(self.synonym_embeddings, of_synonyms)

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.embeddings.shape[1]

    @cached_property
    def pictures(self) -> np.ndarray:
        """(C,) bool: the categories that were encoded from pictures, and not from words."""
        synonyms = self.synonyms or [()] * len(self.names)
        return np.array([bool(each) and all(map(is_picture, each)) for each in synonyms])

    def rows(self, label: int) -> np.ndarray:
        """(1 + n, D): the embedding of a category, and those of its n synonyms if known."""
        return np.concatenate([self.embeddings[label : label + 1], self._of_synonyms[label]])

    @cached_property
    def _of_synonyms(self) -> list[np.ndarray]:
        if self.synonym_embeddings is None:
            return [self.embeddings[:0]] * len(self.names)
        return np.split(self.synonym_embeddings, np.cumsum(list(map(len, self.synonyms)))[:-1])

    def with_rows(self, rows: Sequence[np.ndarray]) -> 'TextEmbeddings':
        """The same words with other embeddings, those of each as :meth:`rows` returns them."""
        of_synonyms = [each[1:] for each in rows]
        known = list(map(len, of_synonyms)) == list(map(len, self.synonyms))
        return replace(
            self,
            embeddings=np.stack([each[0] for each in rows]),
            synonym_embeddings=np.concatenate(of_synonyms) if known else None,
        )

    def save(self, path: str) -> None:
        """Write the file, replacing an older one only when the new one is complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        parts = {field: np.array(getattr(self, field)) for field in _FIELDS}
        if self.synonym_embeddings is not None:
            parts['synonym_embeddings'] = self.synonym_embeddings
        prompts = json.dumps({'synonyms': self.synonyms, 'templates': self.templates})
        partial = target.with_name(f'{target.name}.{os.getpid()}.partial')
        with open(partial, 'wb') as file:
            np.savez(file, **parts, prompts=np.array(prompts))
        os.replace(partial, target)

    @classmethod
    def load(cls, path: str) -> 'TextEmbeddings':
        """Read a text-embedding file; nothing in it can execute code.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged or was not written by :meth:`save`.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'there is no text-embedding file at {path}; write one with '
                'tools/encode_vocabulary.py'
            )
        try:
            with np.load(path, allow_pickle=False) as data:
                parts = {field: data[field] for field in _FIELDS}
                found = {field: (a.dtype.kind, a.ndim) for field, a in parts.items()}
                if found != _FIELDS:
                    raise ValueError(f'found {found}, expected {_FIELDS}')
                prompts = json.loads(str(data['prompts']) if 'prompts' in data else _NOT_KNOWN)
                parts['synonym_embeddings'] = data.get('synonym_embeddings')
            parts |= {'names': tuple(parts['names'].tolist()), 'teacher': str(parts['teacher'])}
            return cls(**parts, synonyms=prompts['synonyms'], templates=prompts['templates'])
        except PermissionError:
            raise
        except Exception as error:  # a damaged zip file raises errors of many kinds
            raise ValueError(
                f'{path} is not a text-embedding file ({error}); expected an .npz with '
                f'{tuple(_FIELDS)}, as tools/encode_vocabulary.py writes it'
            ) from error


def _check_rows(embeddings: np.ndarray, names: Sequence[str]) -> None:
    norms = np.linalg.norm(embeddings, axis=1)
    bad = [names[i] for i in np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))]
    if bad:
        raise ValueError(f'the embeddings of {bad} are zero or not finite; encode them again')


def same_teacher(one: str, other: str) -> bool:
    """Whether two identities are, or may be, those of one teacher.

    An identity is ``name@hash of the weights``; or the name alone, where somebody else computed the
    embeddings and nobody knows the hash, which then may be any.
    """
    if knows_weights(one) and knows_weights(other):
        return one == other
    return one.split('@')[0] == other.split('@')[0]


def same_space(regions: str, words: str) -> bool:
    """Whether regions that one teacher embeds may be compared with words that another one encoded.

    They are by the same teacher, or its image encoder alone was tuned since it encoded the words.
    A tuned teacher's identity is ``name@hash before+hash after``. Words of the tuned one do not
    belong to regions of the raw one.
    """
    return same_teacher(regions, words) or same_teacher(regions.split('+')[0], words)


def knows_weights(identity: str) -> bool:
    """Whether an identity has the hash of the weights."""
    return '@' in identity
