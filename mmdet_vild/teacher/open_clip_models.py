"""Names, weights and tokenizers of open_clip: whether there are such, and where they come from."""

import json
from collections.abc import Callable
from pathlib import Path

_HUB = 'https://huggingface.co/'


def check_model(model_name: str, pretrained: str | None, model_config: str | None) -> None:
    """Refuse a teacher that cannot be built, without building it or downloading anything.

    Raises:
        FileNotFoundError: There is no file at ``model_config``.
        ValueError: open_clip does not know the model or the weights, the weights were trained with
            another activation than the model has, or the model config could execute code.
    """
    import open_clip

    if 'mini-clip' not in open_clip.list_models():
        open_clip.add_model_config(Path(__file__).parent / 'model_configs')
    if model_config:
        if not Path(model_config).exists():
            raise FileNotFoundError(f'there is no open_clip model config at {model_config}')
        open_clip.add_model_config(model_config)
    if model_name not in open_clip.list_models():
        raise ValueError(
            f'open_clip has no model {model_name!r}; open_clip.list_models() names those it '
            'has, and model_config registers a JSON file of your own'
        )
    config = open_clip.get_model_config(model_name)
    if 'trust_remote_code' in json.dumps(config):
        raise ValueError(
            f'the model config of {model_name} has trust_remote_code, with which it could execute '
            "anything; remove it, and use a tokenizer that needs no code of its author's"
        )
    if not pretrained or Path(pretrained).is_file():
        return
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    # open_clip takes a tag in any case and with '_' for '-', e.g. 'laion2b_s34b_b79k'.
    if _tag(pretrained) not in map(_tag, tags):
        raise ValueError(
            f'{pretrained!r} is neither a file nor one of the weights that open_clip has for '
            f'{model_name}: {tags}'
        )
    # open_clip only warns. Not all of its tags say it, so a missing one means nothing.
    trained_with_quick_gelu = open_clip.get_pretrained_cfg(model_name, pretrained).get('quick_gelu')
    if trained_with_quick_gelu and not config.get('quick_gelu'):
        raise ValueError(
            f'{pretrained!r} was trained with QuickGELU, which {model_name} does not have; name '
            f'the model {model_name}-quickgelu'
        )


def download_weights(model_name: str, pretrained: str | None) -> None:
    """Put the weights of a tag where open_clip finds them; ConnectionError if that fails."""
    import open_clip

    if not pretrained or Path(pretrained).is_file():
        return
    weights = open_clip.get_pretrained_cfg(model_name, pretrained)
    try:
        open_clip.download_pretrained(weights)
    except Exception as error:  # of urllib, of the hub, of open_clip, and of what these use
        folder, _, name = weights.get('hf_hub', '').rpartition('/')
        url = f'{_HUB}{folder}/resolve/main/{name or "open_clip_model.safetensors"}'
        raise ConnectionError(
            f'the weights {pretrained!r} of {model_name} cannot be downloaded '
            f'({_first_line(error)}); without a network, bring the file '
            f'{url if folder else weights["url"]} and name it in place of {pretrained!r}, in '
            '"pretrained" (--pretrained of a tool)'
        ) from None


def load_tokenizer(model_name: str) -> Callable:
    """The tokenizer of a model of open_clip.

    Raises:
        ConnectionError: It is not there and cannot be downloaded.
        ImportError: It needs a package that is not installed.
    """
    import open_clip

    try:
        return open_clip.get_tokenizer(model_name)
    except ImportError as error:
        raise ImportError(
            f'the tokenizer of {model_name} needs another package: {error}; install it'
        ) from None
    except Exception as error:  # of transformers, of the hub, and of what these use
        name = open_clip.get_model_config(model_name)['text_cfg'].get('hf_tokenizer_name', '')
        raise ConnectionError(
            f'the tokenizer of {model_name} cannot be loaded ({_first_line(error)}); without a '
            f'network, bring the folder {_HUB}{name} and name it as hf_tokenizer_name in a copy of '
            f'{model_name}.json of open_clip/model_configs, and that copy in "model_config" '
            '(--model-config of a tool)'
        ) from None


def normalisation(model_name: str) -> dict:
    """The ``mean`` and ``std`` of pixels that a model's weights in a file expect.

    Those of all weights that open_clip has for it; empty if it has none, or if they differ.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model_name)
    known = (open_clip.get_pretrained_cfg(model_name, tag) for tag in tags)
    found = {(tuple(cfg['mean']), tuple(cfg['std'])) for cfg in known if 'mean' in cfg}
    return dict(zip(('mean', 'std'), found.pop(), strict=True)) if len(found) == 1 else {}


def _tag(pretrained: str) -> str:
    return pretrained.lower().replace('-', '_')


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0]
