"""What is said of names, weights and tokenizers that open_clip does not have, or cannot fetch."""

from urllib.error import URLError

import open_clip
import pytest
import torch
from open_clip import pretrained as open_clip_pretrained

from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.teacher.open_clip_models import check_model, load_tokenizer, normalisation

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (('no-such-model',), ValueError, "open_clip has no model 'no-such-model'"),
        (('mini-clip', 'openai'), ValueError, r"'openai' is neither a file nor .* mini-clip: \[\]"),
        (('ViT-B-32', 'absent.pt'), ValueError, "'absent.pt' is neither a file .*openai"),
        (('ViT-B-32', 'openai'), ValueError, 'QuickGELU.*; name the model ViT-B-32-quickgelu'),
        (('ViT-B-16', 'metaclip-400M'), ValueError, 'name the model ViT-B-16-quickgelu'),
        (('mini-clip', None, 'absent.json'), FileNotFoundError, 'config at absent.json'),
    ],
)
def test_refused_teachers(arguments, error, message):
    with pytest.raises(error, match=message):
        OpenCLIPTeacher(*arguments)


def test_models_named_by_the_refusal_of_quick_gelu_exist_and_are_accepted():
    """For every model and tag that open_clip has."""
    refused = 0
    for model, tag in open_clip.list_pretrained():
        try:
            check_model(model, tag, None)
        except ValueError as error:
            named = str(error).split()[-1]
            assert named.endswith('-quickgelu')
            check_model(named, tag, None)
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ('model', 'tag', 'url'),
    [
        (
            'ViT-B-32-quickgelu',
            'openai',
            'https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/'
            'open_clip_model.safetensors',
        ),
        ('RN50-quickgelu', 'yfcc15m', 'https://huggingface.co/timm/resnet50_clip.yfcc15m/resolve/'),
    ],
)
def test_weights_without_a_network(monkeypatch, model, tag, url):
    """One line with what to fetch and where to name it, and no other error before it."""

    def fail(*_, **__):
        raise URLError('Name or service not known')

    monkeypatch.setattr(open_clip, 'download_pretrained', fail)
    with pytest.raises(ConnectionError) as error:
        OpenCLIPTeacher(model, tag)
    message = str(error.value)
    assert message.startswith(f"the weights '{tag}' of {model} cannot be downloaded (URLError: <ur")
    assert f'bring the file {url}' in message and '"pretrained" (--pretrained of a' in message
    assert '\n' not in message and error.value.__suppress_context__


def test_tokenizers_without_a_network(monkeypatch):
    model = 'ViT-B-16-SigLIP'

    def fail(_):
        raise problem

    monkeypatch.setattr(open_clip, 'get_tokenizer', fail)
    problem = OSError("We couldn't connect to the hub\nand so on")
    with pytest.raises(ConnectionError) as error:
        load_tokenizer(model)
    message = str(error.value)
    assert "(OSError: We couldn't connect to the hub)" in message and '\n' not in message
    assert 'bring the folder https://huggingface.co/timm/ViT-B-16-SigLIP and' in message
    problem = ImportError("No module named 'transformers'")
    with pytest.raises(ImportError, match=f"{model} needs another .* named 'transformers'; instal"):
        load_tokenizer(model)


def test_weights_from_a_file_see_pixels_as_those_of_the_tags(tmp_path, monkeypatch):
    """SigLIP's mean is not CLIP's, and a file does not say so."""
    assert normalisation('ViT-B-16-SigLIP') == dict(mean=(0.5,) * 3, std=(0.5,) * 3)
    assert normalisation('mini-clip') == {}
    path = str(tmp_path / 'teacher.pt')
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), path)
    assert OpenCLIPTeacher('mini-clip', path).model.visual.image_mean == (
        open_clip.OPENAI_DATASET_MEAN
    )
    tags = dict(mine=dict(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3)))
    monkeypatch.setitem(open_clip_pretrained._PRETRAINED, 'mini-clip', tags)
    visual = OpenCLIPTeacher('mini-clip', path).model.visual
    assert visual.image_mean == (0.5, 0.4, 0.3) and visual.image_std == (0.1, 0.2, 0.3)
    tags['other'] = dict(mean=(0.1, 0.1, 0.1), std=(0.1, 0.2, 0.3))
    assert normalisation('mini-clip') == {}
