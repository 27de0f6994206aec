"""A vocabulary inside a checkpoint, and which teacher a checkpoint's words are of.

What a :class:`CLIPTextClassifier` keeps in a state dict beside its weights.
"""

import hashlib
import json

import numpy as np
import torch
from torch import Tensor

from mmdet_vild.vocabulary import TextEmbeddings, knows_weights

from ..words import Words

#: What a checkpoint with a vocabulary has, beside the weights.
VOCABULARY_KEYS = ('text_embeddings', 'novel', 'vocabulary_json')


def vocabulary_state(text: TextEmbeddings, count: int) -> dict[str, Tensor]:
    """What a checkpoint has for words of which the first ``count`` are detected; tensors alone."""
    words = Words.from_text_embeddings(text)
    rest = {key: getattr(text, key) for key in ('names', 'teacher', 'synonyms', 'templates')}
    encoded = np.frombuffer(json.dumps({**rest, 'count': count}).encode(), np.uint8).copy()
    values = (words.embeddings, words.novel, torch.from_numpy(encoded))
    return dict(zip(VOCABULARY_KEYS, values, strict=True))


def read_vocabulary(state_dict: dict, prefix: str) -> tuple[TextEmbeddings, int]:
    """The inverse of :func:`vocabulary_state`; a ValueError if there is none, or it is damaged."""
    missing = [key for key in VOCABULARY_KEYS if f'{prefix}{key}' not in state_dict]
    if missing:
        raise ValueError(
            'text_embeddings is None, which takes the vocabulary from the checkpoint, but this '
            f'one has no {", ".join(missing)}; make one that has with '
            'tools/model_converters/bake_vocabulary.py, or name a text-embedding file'
        )
    try:
        embeddings, novel, encoded = (
            np.asarray(state_dict[f'{prefix}{key}'].cpu()) for key in VOCABULARY_KEYS
        )
        rest = json.loads(encoded.tobytes())
        count, names = int(rest['count']), tuple(map(str, rest['names']))
        parts = (names, novel, str(rest['teacher']), rest['synonyms'], rest['templates'])
        text = TextEmbeddings(embeddings, *parts)
        if count > len(names):
            raise ValueError(f'{count} of its {len(names)} words are to be detected')
    # RuntimeError: from torch, or of JSON that is nested too deeply.
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's vocabulary is damaged: {error}") from error
    return text, count


def teacher_digest(teacher: str) -> Tensor:
    """(32,) uint8 that tell a teacher from others; zeros where its weights are not known."""
    digest = hashlib.sha256(teacher.encode()).digest()
    return torch.tensor(list(digest if knows_weights(teacher) else bytes(32)), dtype=torch.uint8)


def same_digest(one: object, other: Tensor) -> bool:
    """Whether a checkpoint's digest is, or may be, the other: weights from elsewhere have none."""
    if one is None or (isinstance(one, Tensor) and not one.any()):
        return True
    return isinstance(one, Tensor) and torch.equal(one.cpu(), other.cpu())
