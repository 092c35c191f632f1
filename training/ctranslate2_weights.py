"""Reads the weights of a CTranslate2 model without CTranslate2.

The format is that of ``ctranslate2.specs.ModelSpec.save``, version 6: little-endian numbers; a string is its length
including a final NUL in 16 bits, then its bytes; a variable is its name, its shape, its type and its content.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

VERSION = 6
# In the order of CTranslate2's DataType. bfloat16, number 5, is unknown to numpy and read as 16-bit integers.
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
BFLOAT16 = 5
QUANTISED = ("i1", "i2")
SCALE = "_scale"


def read_weights(path: Path, spec: str, scope: str) -> dict[str, np.ndarray]:
    """The variables below ``scope`` of the model.bin at ``path``, by name without ``scope``; floats as float32.

    Quantised weights are divided by their scales: int8 has one per row, int16 one in all. ``spec`` is the expected kind
    of model.

    Raises ValueError for another format or kind of model, and for a file that is cut short.
    """
    with path.open("rb") as stream:
        version, kind, _ = _number(stream, "I"), _string(stream), _number(stream, "I")
        if version != VERSION or kind != spec:
            raise ValueError(f"{path} holds {kind} in format {version}, not {spec} in format {VERSION}")
        variables = dict(_variable(stream) for _ in range(_number(stream, "I")))
        aliases = [(_string(stream), _string(stream)) for _ in range(_number(stream, "I"))]
    variables |= {alias: variables[name] for alias, name in aliases}
    below = {name.removeprefix(scope): value for name, value in variables.items() if name.startswith(scope)}
    return {
        name: _dequantised(value, below.get(name + SCALE)) for name, value in below.items() if not name.endswith(SCALE)
    }


def _dequantised(value: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if scale is None:
        return value
    if value.dtype.str[1:] not in QUANTISED:
        raise ValueError(f"a scale for weights of type {value.dtype}")
    return value.astype(np.float32) / scale.astype(np.float32).reshape(-1, *[1] * (value.ndim - 1))


def _variable(stream: BinaryIO) -> tuple[str, np.ndarray]:
    name = _string(stream)
    shape = [_number(stream, "I") for _ in range(_number(stream, "B"))]
    number = _number(stream, "B")
    if number >= len(TYPES):
        raise ValueError(f"{name} has the unknown type {number}")
    value = np.frombuffer(_bytes(stream, _number(stream, "I")), np.dtype(TYPES[number]).newbyteorder("<"))
    if number == BFLOAT16:  # the upper half of a float32
        value = (value.astype(np.uint32) << 16).view(np.float32)
    return name, (value.astype(np.float32) if value.dtype.kind == "f" else value).reshape(shape)


def _string(stream: BinaryIO) -> str:
    return _bytes(stream, _number(stream, "H"))[:-1].decode()


def _number(stream: BinaryIO, code: str) -> int:
    return struct.unpack(f"<{code}", _bytes(stream, struct.calcsize(code)))[0]


def _bytes(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise ValueError("the file is cut short")
    return content
