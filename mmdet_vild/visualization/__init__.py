"""Pictures: MMDetection's visualizer, for many words of which some are novel."""

from .label_layout import place_labels
from .open_vocabulary_visualizer import OpenVocabularyVisualizer

__all__ = ['OpenVocabularyVisualizer', 'place_labels']
