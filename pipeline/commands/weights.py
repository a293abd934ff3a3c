"""``weights``: which ImageNet weights are here, which can be had; fetches, verifies and packs them."""

from __future__ import annotations

from pipeline.config import UserError
from pipeline.config import WeightsConfig as CONFIG

HOW_TO = """\
fetch:   python -m pipeline weights --fetch=resnet18,resnet18_vd
         (weights=auto does this itself if {server} answers; HF_ENDPOINT names a mirror)
copy:    python -m pipeline weights --pack=FOLDER, then copy FOLDER to {folder} on the machine without a network;
         or put a KerasHub preset or a timm model from elsewhere into {folder}/VARIANT
caches:  KAGGLEHUB_CACHE and HF_HOME set where the libraries of Kaggle and Hugging Face keep their downloads"""


def run(config: CONFIG) -> None:
    """Fetch and pack what is asked for, and print a line per variant.

    Raises:
        UserError: something could not be fetched, or is damaged.
    """
    from huggingface_hub import constants

    from pipeline.models.variants import VARIANTS
    from pipeline.models.weights.library import WEIGHTS_FOLDER, find_weights, pack, state_of
    from pipeline.models.weights.sources import SOURCES

    wrong = []
    for wanted in config.fetch:
        try:
            find_weights(wanted)
        except UserError as error:
            wrong.append(str(error))
    print(f"{'variant':<13} {'here':<18} {'MB':>4} {'top-1':>5}  {'licence':<11} source", flush=True)
    for variant in VARIANTS:
        source, state = SOURCES.get(variant), state_of(variant)
        if state.damage:
            wrong.append(state.damage)
        size, top1, licence, address = ("", "", "", "none published")
        if source:
            size, licence, address = str(source.megabytes), source.licence, f"hf://{source.repository}"
            top1 = "" if source.top1 is None else f"{source.top1:.1f}"
        print(f"{variant:<13} {state.text:<18} {size:>4} {top1:>5}  {licence:<11} {address}", flush=True)
    if config.pack:
        print(f"packed {', '.join(pack(config.pack)) or 'nothing'} into {config.pack}")
    print(HOW_TO.format(server=constants.ENDPOINT, folder=WEIGHTS_FOLDER))
    if wrong:
        raise UserError("; ".join(wrong))
