"""Category names, base / novel splits, prompt templates and text-embedding files."""

from .asked_words import parse_words
from .category_files import is_novel, load_categories, named_categories, novel_names
from .category_names import CategoryNames
from .examples import Example, is_picture, read_examples
from .names import check_word, readable_name, repeated_names
from .plain_names import plain_name
from .prompts import VILD_TEMPLATES, fill_templates
from .text_embeddings import TextEmbeddings, knows_weights, same_space, same_teacher

__all__ = [
    'VILD_TEMPLATES',
    'CategoryNames',
    'Example',
    'TextEmbeddings',
    'check_word',
    'fill_templates',
    'is_novel',
    'is_picture',
    'knows_weights',
    'load_categories',
    'named_categories',
    'novel_names',
    'parse_words',
    'plain_name',
    'read_examples',
    'readable_name',
    'repeated_names',
    'same_space',
    'same_teacher',
]
