"""Teacher embeddings of image regions on disk: one record an image."""

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from mmdet.registry import TASK_UTILS

#: Meta key of a data sample under which a region extractor names its teacher.
EMBEDDING_TEACHER_KEY = 'embedding_teacher'


@dataclass
class EmbeddingRecord:
    """The regions of one image and what the teacher saw in them.

    Attributes:
        boxes: (n, 4) float32, ``x1, y1, x2, y2`` in pixels of the original image.
        scores: (n,) float32, objectness.
        embeddings: (n, D) float16 or float32, L2-normalised.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def check(self, where: str, embed_dims: int) -> None:
        """Refuse a record whose arrays do not fit together.

        Args:
            where: Whose record this is, for the message.
            embed_dims: Expected width D.

        Raises:
            ValueError: The arrays have other shapes.
        """
        found = [array.shape for array in (self.boxes, self.scores, self.embeddings)]
        n = len(self.boxes) if self.boxes.ndim else 0
        expected = [(n, 4), (n,), (n, embed_dims)]
        if found != expected:
            raise ValueError(
                f'{where}: expected boxes, scores and embeddings of shapes {expected}, found '
                f'{found}; were they written by another teacher? Extract the embeddings again'
            )


@TASK_UTILS.register_module()
class NpzEmbeddingStore:
    """A folder with one ``.npz`` file an image and a ``header.json``.

    It holds a few hundred thousand images at most: each record is a file of its own, which makes
    writing from several processes, interrupting and resuming trivial.

    Args:
        path: A folder made by :meth:`create`, which running the stock test tool with
            :class:`mmdet_vild.evaluation.EmbeddingStoreWriter` does.

    Raises:
        FileNotFoundError: The folder has no header.
        ValueError: The header is malformed or of another format version.
    """

    FORMAT = 'mmdet_vild.npz_store'
    VERSION = 1

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        file = self.path / 'header.json'
        if not file.is_file():
            raise FileNotFoundError(
                f'there is no embedding store at {path} ({file.name} is missing); make one by '
                'testing a region-embedding extractor with EmbeddingStoreWriter as its evaluator'
            )
        try:
            header = json.loads(file.read_text(encoding='utf-8'))
            format_, version = header['format'], header['version']
            teacher, embed_dims = header['teacher'], header['embed_dims']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{file} is not the header of an embedding store ({error!r}); delete the folder '
                'and extract the embeddings again'
            ) from error
        if (format_, version) != (self.FORMAT, self.VERSION):
            raise ValueError(
                f'{file} has format {format_!r} version {version!r}, but this release reads '
                f'{self.FORMAT!r} version {self.VERSION}; extract the embeddings again'
            )
        #: str: Identity of the teacher, ``name@hash``.
        self.teacher: str = teacher
        #: int: Width of the embeddings.
        self.embed_dims: int = embed_dims

    @classmethod
    def create(cls, path: str, teacher: str, embed_dims: int) -> 'NpzEmbeddingStore':
        """Open a store for writing; several processes may do so at once.

        Args:
            path: The folder. It may already hold a store of the same teacher.
            teacher: Identity of the teacher.
            embed_dims: Width of the embeddings.

        Returns:
            The store.

        Raises:
            ValueError: The folder holds a store of another teacher or width.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / 'header.json').exists():
            header = {
                'format': cls.FORMAT,
                'version': cls.VERSION,
                'teacher': teacher,
                'embed_dims': embed_dims,
            }
            tmp = _temporary(folder)
            tmp.write_text(json.dumps(header, indent=2) + '\n', encoding='utf-8')
            _move_if_absent(tmp, folder / 'header.json')
        store = cls(path)
        if (store.teacher, store.embed_dims) != (teacher, embed_dims):
            raise ValueError(
                f'the embedding store at {path} belongs to the teacher {store.teacher!r} (width '
                f'{store.embed_dims}), so embeddings of {teacher!r} (width {embed_dims}) cannot '
                'go into it; choose another folder or delete this one'
            )
        return store

    def write(self, img_id: int | str, record: EmbeddingRecord, image_size: tuple) -> None:
        """Write the record of one image, replacing the one it may have.

        Args:
            img_id: The image.
            record: Its regions, in any order.
            image_size: (height, width) of the image that the boxes refer to.

        Raises:
            ValueError: The arrays do not fit together, or hold NaN or infinity.
        """
        where = f'the embeddings of image {img_id!r}'
        record.check(where, self.embed_dims)
        for name in ('boxes', 'scores', 'embeddings'):
            if not np.isfinite(getattr(record, name)).all():
                raise ValueError(f'{where}: the {name} hold NaN or infinity')
        order = np.argsort(-record.scores, kind='stable')
        tmp = _temporary(self.path)
        with tmp.open('xb') as file:
            np.savez(
                file,
                boxes=record.boxes[order].astype(np.float32),
                scores=record.scores[order].astype(np.float32),
                embeddings=record.embeddings[order].astype(np.float16),
                image_size=np.array(image_size[:2], dtype=np.int64),
            )
        os.replace(tmp, self._file(img_id))

    def read(self, results: dict) -> EmbeddingRecord:
        """Read the record of an image.

        Args:
            results: The dict that a data pipeline passes on, with ``img_id`` and ``ori_shape``.

        Returns:
            The record, in descending order of the scores.

        Raises:
            FileNotFoundError: The store lacks the image.
            ValueError: The record is malformed or belongs to an image of another size.
        """
        img_id = results['img_id']
        file = self._file(img_id)
        where = f'the embeddings of image {img_id!r} ({file})'
        try:
            with np.load(file, allow_pickle=False) as data:
                record = EmbeddingRecord(data['boxes'], data['scores'], data['embeddings'])
                image_size = tuple(data['image_size'].tolist())
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'the embedding store at {self.path} has no record of image {img_id!r} '
                f'({results.get("img_path")}); extract the embeddings of every training image'
            ) from error
        except PermissionError:
            raise
        except Exception as error:
            raise ValueError(
                f'{where} cannot be read ({error!r}); delete the file and extract them again'
            ) from error
        record.check(where, self.embed_dims)
        if image_size != tuple(results['ori_shape'][:2]):
            raise ValueError(
                f'{where} were computed on an image of (height, width) {image_size}, but the one '
                f'loaded has {tuple(results["ori_shape"][:2])}; does the store belong to other '
                'images? Extract the embeddings again'
            )
        return record

    def __contains__(self, img_id: int | str) -> bool:
        return self._file(img_id).is_file()

    def __len__(self) -> int:
        return sum(1 for _ in self.path.glob('*.npz'))

    def _file(self, img_id: int | str) -> Path:
        return self.path / f'{quote(str(img_id), safe="")}.npz'


def _temporary(folder: Path) -> Path:
    return folder / f'.{os.getpid()}-{uuid.uuid4().hex}.tmp'


def _move_if_absent(source: Path, target: Path) -> None:
    """Move a complete file into place unless there is one already, whoever else does the same."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not target.exists():
            os.replace(source, target)
    source.unlink(missing_ok=True)
