"""From pictures to an embedding store: what proposes regions, embeds and writes them."""

from .embedding_store_hook import EmbeddingStoreHook
from .embedding_store_writer import EmbeddingStoreWriter
from .file_proposer import FileProposer, load_proposals
from .ground_truth_proposer import GroundTruthProposer
from .load_image_or_skip import LoadImageOrSkip
from .on_the_fly_embeddings import OnTheFlyEmbeddings
from .proposer import Proposer
from .region_embedding_extractor import RegionEmbeddingExtractor
from .rpn_proposer import RPNProposer
from .unfinished_sampler import UnfinishedSampler

__all__ = [
    'EmbeddingStoreHook',
    'EmbeddingStoreWriter',
    'FileProposer',
    'GroundTruthProposer',
    'LoadImageOrSkip',
    'OnTheFlyEmbeddings',
    'Proposer',
    'RPNProposer',
    'RegionEmbeddingExtractor',
    'UnfinishedSampler',
    'load_proposals',
]
