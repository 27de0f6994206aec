"""A training step and a prediction of GKC, on a GPU that is not there."""

import copy

import pytest
import torch
from pretend_gpu import PretendGPU
from small_segmentor import built, gkc_config, segment_batch, write_words

pytestmark = pytest.mark.onedl

#: Of a batch: which words were found.
PREDICTION = 1


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = write_words(str(tmp_path_factory.mktemp('words') / 'words.npz'))
    losses = dict(
        synonym_loss=dict(type='SynonymLoss', text_embeddings=path),
        distill_loss=dict(type='TextGuidedDistillLoss'),
    )
    return built(gkc_config(path, region_dropout=0.3, **losses))


def step(model, device: str, amp: torch.dtype | None) -> tuple[dict, dict]:
    """The losses, and the gradients."""
    model, batch = copy.deepcopy(model).to(device), segment_batch(3, 0, 2)
    batch = model.data_preprocessor(batch | dict(inputs=list(batch['inputs'])), training=True)
    torch.manual_seed(0)
    with torch.autocast(device, amp, bool(amp)):
        losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    grads = {name: value.grad.to('cpu') for name, value in model.named_parameters()}
    return {name: value.detach().to('cpu') for name, value in losses.items()}, grads


@pytest.mark.parametrize('amp', [None, torch.bfloat16, torch.float16], ids=str)
def test_training_step(model, amp):
    """It computes what a CPU computes, and none of our lines lets the host wait."""
    expected = step(model, 'cpu', amp)
    with PretendGPU() as gpu:
        found = step(model, 'cuda', amp)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert gpu.waits and not gpu.ours()


def test_prediction(model):
    batch = segment_batch(1)

    def predict(device: str, gpu=None):
        copied = copy.deepcopy(model).to(device).eval()
        samples = [sample.to(device) for sample in copy.deepcopy(batch['data_samples'])]
        inputs = batch['inputs'].to(device)
        if gpu:
            gpu.waits.clear(), gpu.uploads.clear()
        with torch.no_grad():
            (found,) = copied.predict(inputs, samples)
        if gpu:
            assert sum(gpu.ours().values()) <= PREDICTION, gpu.ours()
        return found.pred_sem_seg.sem_seg.to('cpu'), found.pred_instances.scores.to('cpu')

    expected = predict('cpu')
    with PretendGPU() as gpu:
        found = predict('cuda', gpu)
    torch.testing.assert_close(found, expected)
