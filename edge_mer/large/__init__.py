"""The large tier: encoders of the starter contract on transformers checkpoints (extra ``asr``: torch, transformers).

The run-time path never imports this package; ``edge_mer.perception.load`` opens it by name when ``perception.<m>``
names a checkpoint.
"""
