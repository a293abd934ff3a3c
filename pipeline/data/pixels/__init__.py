"""Bytes of a photo -> the pixels that the network sees: the one path of training, evaluation and serving.

`shards` and `shard_processes` run many photos through it, in processes that a malicious file may crash. Does not own
files and folders (`intake`, `store`), nor random augmentation (`training`).
"""

from pipeline.data.pixels.decode import BadImage, decode, decode_with_notes, prepare
from pipeline.data.pixels.image_ops import IMAGE_OPS, apply_ops, check_ops

__all__ = ["IMAGE_OPS", "BadImage", "apply_ops", "check_ops", "decode", "decode_with_notes", "prepare"]
