"""Teacher embeddings computed while training, for small data."""

import multiprocessing

import mmcv
import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine import fileio
from torch.utils.data import get_worker_info

from mmdet_vild.embedding_store import EmbeddingRecord
from mmdet_vild.options import checked_options

from .file_proposer import FileProposer


@TASK_UTILS.register_module()
@checked_options
class OnTheFlyEmbeddings:
    """Stands in for an embedding store: it runs the teacher the first time an image is read.

    Each data-loading worker has a teacher and keeps the records that it computed, so
    ``persistent_workers=True`` saves most of the work. For more than a few thousand images, write
    an :class:`EmbeddingStore` instead.

    Args:
        teacher: Config of the teacher, such as
            ``dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai')``.
        proposal_file: The regions to embed, for every training image; see :class:`FileProposer`.
        backend_args: Where mmengine reads the files from; None for local ones.
    """

    def __init__(self, teacher: dict, proposal_file: str, backend_args: dict | None = None) -> None:
        self._teacher_config = teacher
        self.backend_args = backend_args
        self._proposer = FileProposer(proposal_file, backend_args)
        self._teacher = None
        self._records: dict = {}

    @property
    def teacher(self) -> str:
        """str: identity of the teacher, ``name@hash``."""
        return self._built_teacher().identity

    @property
    def embed_dims(self) -> int:
        """int: width of the embeddings."""
        return self._built_teacher().embed_dims

    def read(self, results: dict) -> EmbeddingRecord:
        """As :meth:`mmdet_vild.embedding_store.EmbeddingStore.read`, with ``img_path`` too.

        Raises:
            KeyError: The proposal file does not name the image.
            RuntimeError: The teacher is on a GPU, and this is a forked worker.
            ValueError: The image file has another size than the sample, a box is outside of it, or
                an embedding is none that a store takes.
        """
        img_id = results['img_id']
        if img_id in self._records:
            return self._records[img_id]
        boxes, scores = self._proposer.read(results)
        img_path, expected = results['img_path'], tuple(results['ori_shape'][:2])
        image = mmcv.imfrombytes(fileio.get(img_path, backend_args=self.backend_args))
        if image.shape[:2] != expected:
            raise ValueError(
                f'image {img_id!r}: the file {img_path} has (height, width) {image.shape[:2]}, but '
                f'the sample says {expected}; load images from files without changing their size'
            )
        embeddings = self._built_teacher().encode_crops(image, boxes).numpy()
        record = EmbeddingRecord(boxes, scores, embeddings)
        record.check(f'the embeddings of image {img_id!r}', self.embed_dims)
        record.embeddings = embeddings.astype(np.float16)
        return self._records.setdefault(img_id, record)

    def _built_teacher(self):
        device = self._teacher_config.get('device', 'cpu')
        forked = get_worker_info() and multiprocessing.get_start_method() == 'fork'
        if forked and torch.device(device).type == 'cuda':
            raise RuntimeError(
                f'the teacher of OnTheFlyEmbeddings has device={device!r}, which a forked '
                "data-loading worker cannot use; set env_cfg.mp_cfg.mp_start_method='spawn', or "
                "the dataloader's num_workers=0, or leave the teacher on the CPU"
            )
        if self._teacher is None:
            self._teacher = TASK_UTILS.build(self._teacher_config)
        return self._teacher

    def __getstate__(self) -> dict:
        # A spawned worker builds its own teacher instead of receiving the weights of this one.
        return {**self.__dict__, '_teacher': None, '_records': {}}
