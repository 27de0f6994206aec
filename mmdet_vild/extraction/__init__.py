"""From pictures to an embedding store: what proposes regions, embeds and writes them."""

from .embedding_store_hook import EmbeddingStoreHook
from .embedding_store_writer import EmbeddingStoreWriter
from .load_image_or_skip import LoadImageOrSkip
from .on_the_fly_embeddings import OnTheFlyEmbeddings, clip_proposals, load_proposals
from .region_embedding_extractor import RegionEmbeddingExtractor
from .unfinished_sampler import UnfinishedSampler

__all__ = [
    'EmbeddingStoreHook',
    'EmbeddingStoreWriter',
    'LoadImageOrSkip',
    'OnTheFlyEmbeddings',
    'RegionEmbeddingExtractor',
    'UnfinishedSampler',
    'clip_proposals',
    'load_proposals',
]
