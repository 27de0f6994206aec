"""Pictures: MMDetection's visualizer, for many words of which some are novel."""

from .label_layout import place_labels
from .open_vocabulary_visualizer import STAR, OpenVocabularyVisualizer, surest, word_color

__all__ = ['STAR', 'OpenVocabularyVisualizer', 'place_labels', 'surest', 'word_color']
