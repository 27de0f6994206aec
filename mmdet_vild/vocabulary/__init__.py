"""Category names, base / novel splits, prompt templates and text-embedding files."""

from .asked_words import parse_words
from .categories import is_novel, load_categories
from .category_names import CategoryNames
from .prompts import VILD_TEMPLATES, fill_templates, readable_name
from .teacher_identity import knows_weights, same_teacher
from .text_embeddings import TextEmbeddings
from .word_checks import check_word, repeated_names

__all__ = [
    'VILD_TEMPLATES',
    'CategoryNames',
    'TextEmbeddings',
    'check_word',
    'fill_templates',
    'is_novel',
    'knows_weights',
    'load_categories',
    'parse_words',
    'readable_name',
    'repeated_names',
    'same_teacher',
]
