"""Pre-trained weights: where they are, what is in them, and their way into a backbone.

`files` opens a folder or file and reads its scaling, `state_dict`, `torch_files` and `layer_weights` read the numbers,
and `places` finds what an address names, here or elsewhere. Does not own architectures (`variants`, `structure`), nor
how a network is put together (`builder`).
"""
