"""The text-embedding file: what a vocabulary looks like to the detector."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .word_checks import repeated_names

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
        synonyms: For each category the words that were encoded; empty if not known.
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
        embeddings = np.asarray(self.embeddings, dtype=np.float32)
        novel = np.asarray(self.novel, dtype=bool)
        names = tuple(str(name) for name in self.names)
        if embeddings.ndim != 2 or not embeddings.size:
            raise ValueError(f'embeddings must have shape (C, D), found {embeddings.shape}')
        if len(names) != len(embeddings) or novel.shape != (len(names),):
            raise ValueError(
                f'found {len(embeddings)} embeddings, {len(names)} names and a novel mask of '
                f'shape {novel.shape}; expected one of each a category'
            )
        if repeated := repeated_names(names):
            raise ValueError(f'category names must be unique, found {repeated} repeatedly')
        if self.synonyms and len(self.synonyms) != len(names):
            raise ValueError(
                f'found synonyms of {len(self.synonyms)} categories, but {len(names)} names'
            )
        for words in (self.templates, *self.synonyms):
            if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
                raise ValueError(
                    'the templates, and the synonyms of a category, are lists of texts, found '
                    f'{words!r}'
                )
        synonyms, templates = tuple(map(tuple, self.synonyms)), tuple(self.templates)
        _check_rows(embeddings, names)
        if self.synonym_embeddings is not None:
            of_synonyms = [synonym for words in synonyms for synonym in words]
            found, expected = self.synonym_embeddings.shape, (len(of_synonyms), embeddings.shape[1])
            if found != expected:
                raise ValueError(
                    f'the embeddings of synonyms have shape {found}, expected {expected}'
                )
            _check_rows(self.synonym_embeddings, of_synonyms)
        parts = dict(embeddings=embeddings, names=names, novel=novel)
        for field, value in (parts | dict(synonyms=synonyms, templates=templates)).items():
            object.__setattr__(self, field, value)

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.embeddings.shape[1]

    def save(self, path: str) -> None:
        """Write the file, replacing an older one only when the new one is complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f'{target.name}.{os.getpid()}.partial')
        with open(partial, 'wb') as file:
            prompts = json.dumps({'synonyms': self.synonyms, 'templates': self.templates})
            parts = {field: np.array(getattr(self, field)) for field in _FIELDS}
            if self.synonym_embeddings is not None:
                parts['synonym_embeddings'] = self.synonym_embeddings
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
