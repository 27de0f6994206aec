"""An extraction on a GPU that is not there: the teacher never waits for the host."""

import copy

import pytest
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator
from pretend_gpu import PretendGPU
from small_detector import TWICE

from mmdet_vild.embedding_store import EmbeddingShard, EmbeddingStore

pytestmark = pytest.mark.onedl

BATCHES = 4
#: Seconds an image batch takes. The teacher is slower than all that the host does meanwhile.
LOADING, CROPPING, WRITING, TEACHING = 2.0, 1.0, 3.0, 10.0
#: For the last batch: what the RPN found, the embeddings of the batch before, and its own.
WAITS = 3


@pytest.fixture
def extract(small, tmp_path, monkeypatch):
    """Runs batches of two images through the extractor and the writer, as the test loop does."""

    def run(ahead: bool) -> tuple[PretendGPU, list[str], EmbeddingStore]:
        detector, said = small('region-embeddings'), []
        folder = tmp_path / str(ahead)
        folder.mkdir()
        (folder / 'train.json').write_text('{}')
        writer = METRICS.build(
            dict(
                type='EmbeddingStoreWriter',
                path=str(folder / 'store'),
                ann_file=str(folder / 'train.json'),
            )
        )
        writer.open(detector.model.source)
        with PretendGPU() as gpu:
            model = copy.deepcopy(detector.model).to('cuda')
            model.ahead = ahead
            model.teacher.to('cuda')
            embed, write = model.teacher.embed_regions, EmbeddingShard.write

            def slowly_embed(images, boxes):
                gpu.pass_time(CROPPING)
                gpu.compute(TEACHING)
                said.append('teach')
                return embed(images, boxes)

            def slowly_write(shard, records):
                gpu.pass_time(WRITING)
                said.append(f'write {[img_id for img_id, _, _ in records]}')
                write(shard, records)

            monkeypatch.setattr(model.teacher, 'embed_regions', slowly_embed)
            monkeypatch.setattr(EmbeddingShard, 'write', slowly_write)
            evaluator = Evaluator(writer)
            for number in range(BATCHES):
                gpu.pass_time(LOADING)
                batch = detector.batch(TWICE, dict(type='Resize', scale=(100, 80)))
                inputs = batch['inputs'].to('cuda')
                for i, sample in enumerate(batch['data_samples']):
                    sample.set_metainfo(dict(img_id=10 * number + i))
                gpu.waits.clear(), gpu.uploads.clear()
                with torch.no_grad():
                    found = model.predict(inputs, batch['data_samples'])
                evaluator.process(data_batch=None, data_samples=found)
            done = evaluator.evaluate(2 * BATCHES)
            assert done['embedding_store/missing'] == 0
        monkeypatch.undo()
        return gpu, said, EmbeddingStore(folder / 'store')

    return run


def test_a_batch_ahead(small, extract):
    """A batch is written while the teacher has the next one, and is what a CPU computes."""
    gpu, said, store = extract(ahead=True)
    _, teacher = gpu.streams
    names = [f'write [{10 * i}, {10 * i + 1}]' for i in range(BATCHES)]
    assert said == ['teach', *(x for name in names[:-1] for x in ('teach', name)), names[-1]]
    assert teacher.idle == LOADING + CROPPING  # before the first
    assert gpu.host == teacher.idle + BATCHES * TEACHING + WRITING
    assert sum(gpu.ours().values()) <= WAITS, gpu.ours()

    detector = small('region-embeddings')
    expected = detector.predict(detector.sample(TWICE)).pred_instances
    order = expected.scores.argsort(descending=True, stable=True)
    for number in range(BATCHES):
        record = store.read(dict(img_id=10 * number, ori_shape=(80, 100)))
        found = torch.tensor(record.embeddings).float()
        assert torch.cosine_similarity(found, expected.embeddings[order]).amin() > 0.999


def test_a_batch_at_a_time(extract):
    """Who calls the detector has the embeddings when it returns; the teacher then waits."""
    gpu, said, _ = extract(ahead=False)
    assert said[:3] == ['teach', 'teach', 'write [0, 1]']
    _, teacher = gpu.streams
    assert teacher.idle > LOADING + CROPPING + (BATCHES - 1) * CROPPING
