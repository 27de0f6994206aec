"""A teacher that encodes words without a network, and text embeddings as it makes them."""

import zlib
from dataclasses import replace

import numpy as np
from mmdet.registry import TASK_UTILS
from small_models import TEACHER, WIDTH

from mmdet_vild.vocabulary import TextEmbeddings

TEMPLATES = ('a {}', '{}')
#: A vocabulary, of which one word is a synonym of a base category and the name of a novel one.
OWN = [['dog'], ['sofa', 'couch'], ['tow_truck', 'red heart'], ['red heart'], ['cup', 'mug']]
OWN_NOVEL = [False, False, False, True, True]


@TASK_UTILS.register_module()
class HashTeacher:
    """Random embeddings that depend on the synonyms and the templates alone."""

    calls: list[list[str]] = []

    def __init__(self, identity: str = TEACHER, each: bool = False) -> None:
        self.identity, self.each = identity, each

    def to(self, device) -> 'HashTeacher':
        return self

    def encode_categories(self, categories, templates) -> TextEmbeddings:
        self.calls.append([category['name'] for category in categories])
        synonyms = [category['synonyms'] for category in categories]
        return encode(synonyms, templates, self.identity, each=self.each)


def encode(synonyms, templates=(), teacher=TEACHER, novel=True, each=False) -> TextEmbeddings:
    """Text embeddings (n, WIDTH) of n lists of synonyms, of which the first is the name.

    With ``each`` they have an embedding of each synonym, which that of the list is no average of.
    """
    rows = [
        np.random.default_rng(zlib.crc32(repr((list(s), tuple(templates))).encode())).normal(
            size=WIDTH
        )
        for s in synonyms
    ]
    names = tuple(s[0] for s in synonyms)
    synonyms = tuple(map(tuple, synonyms))
    novel = np.broadcast_to(novel, len(names))
    text = TextEmbeddings(np.array(rows), names, novel, teacher, synonyms, tuple(templates))
    if not each:
        return text
    alone = [encode([[word]], templates).embeddings for words in synonyms for word in words]
    return replace(text, synonym_embeddings=np.concatenate(alone))
