"""Reads a state dict that PyTorch wrote before its files were zip archives, without PyTorch.

A pickle may call anything that it names. This one may name what tensors are made of, and nothing else.
"""
import collections, pickle, sys
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# Where a tensor's elements are: of which storage, from which element on.
View = collections.namedtuple("View", "storage offset shape strides")
Storage = collections.namedtuple("Storage", "dtype key")


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: View(storage, offset, shape, strides)
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise pickle.UnpicklingError(f"the file names {module}.{name}, which no state dict needs")

    def persistent_load(self, said):
        kind, dtype, key, *_ = said
        if kind != "storage":
            raise pickle.UnpicklingError(f"the file refers to a {kind}")
        return Storage(dtype, key)


def read(path):
    """Arrays by name."""
    with open(path, "rb") as file:
        if Unpickler(file).load() != MAGIC:
            sys.exit(f"{path} is no state dict of the old form")
        # The protocol's version and the sizes of the writer's integers.
        Unpickler(file).load()
        Unpickler(file).load()
        views = Unpickler(file).load()
        types = {view.storage.key: view.storage.dtype for view in views.values()}
        storages = {}
        for key in Unpickler(file).load():
            count = int.from_bytes(file.read(8), "little")
            dtype = types[key]
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: array(storages[view.storage.key], view) for name, view in views.items()}


def array(storage, view):
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset:], view.shape, strides).copy()
