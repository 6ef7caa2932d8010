"""Array interchange without copying."""

from typing import Any

from numpy.typing import NDArray

from ._core import Tensor

def from_array(array: Any) -> Tensor: ...
def to_numpy(tensor: Tensor) -> NDArray[Any]: ...
def to_dlpack(tensor: Tensor) -> Any: ...
