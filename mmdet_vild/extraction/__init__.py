"""From pictures to an embedding store: what proposes regions, embeds and writes them."""

from .clip_anchor_proposer import CLIPAnchorProposer
from .clip_region_extractor import CLIPRegionExtractor
from .embedding_store_hook import EmbeddingStoreHook
from .embedding_store_writer import EmbeddingStoreWriter
from .file_proposer import FileProposer, load_proposals
from .ground_truth_proposer import GroundTruthProposer
from .load_image_or_skip import LoadImageOrSkip
from .on_the_fly_embeddings import OnTheFlyEmbeddings
from .proposer import Proposer
from .region_embedder import RegionEmbedder
from .region_embedding_extractor import RegionEmbeddingExtractor
from .rpn_proposer import RPNProposer
from .segment_embedding_extractor import SegmentEmbeddingExtractor
from .unfinished_sampler import UnfinishedSampler

__all__ = [
    'CLIPAnchorProposer',
    'CLIPRegionExtractor',
    'EmbeddingStoreHook',
    'EmbeddingStoreWriter',
    'FileProposer',
    'GroundTruthProposer',
    'LoadImageOrSkip',
    'OnTheFlyEmbeddings',
    'Proposer',
    'RPNProposer',
    'RegionEmbedder',
    'RegionEmbeddingExtractor',
    'SegmentEmbeddingExtractor',
    'UnfinishedSampler',
    'load_proposals',
]
