"""The networks: ResNet variants, the builder, pre-trained weights, and the use of a network outside training.

`variants` and `structure` define the architectures, `builder` builds a network from a config, `saved` reads one from
disk, `predict` runs photos through it, `folding` and `fast_layers` make it faster, `cost` and `grad_cam` inspect it,
and `backend` loads TensorFlow. Does not own training (`training`), nor photos (`data`).

TensorFlow and Keras are imported inside functions, and so is `fast_layers`, which subclasses Keras layers.
"""
