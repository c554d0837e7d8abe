"""The small functions of the notebook, and checks of its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import LAB_EPSILON as EPSILON
from bptt._support import check

Array = NDArray[np.float64]
Columns = ArrayLike | Sequence[ArrayLike]

#: The notebook clips the norm of all gradients together to this.
MAX_NORM = 0.25

FLOAT64 = np.dtype(np.float64)


def init_orthogonal(param: ArrayLike) -> Array:
    """Return an orthogonal matrix of the shape of `param` (Saxe, McClelland and Ganguli 2014).

    The draws come from NumPy's global generator, as in the notebook.

    Parameters
    ----------
    param : array_like
        A matrix; only its shape matters.

    Returns
    -------
    ndarray
        A new matrix. Its rows are orthonormal, or its columns if it has fewer of them.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> W = lab.init_orthogonal(np.zeros((4, 50)))
    >>> bool(np.allclose(W @ W.T, np.eye(4)))
    True
    """
    shape = check.array_of("param", param).shape
    if len(shape) != 2:
        raise ValueError(f"param must be a matrix, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"param must have rows and columns, got shape {shape}")
    rows, columns = shape
    draw = np.random.randn(rows, columns)  # noqa: NPY002
    q, r = np.linalg.qr(draw if rows >= columns else draw.T)
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T)


def sigmoid(x: ArrayLike, derivative: bool = False) -> Any:
    """Return ``f = 1 / (1 + exp(-x))`` of ``x + 1e-12``, or ``f (1 - f)``.

    Examples
    --------
    >>> from bptt import lab
    >>> round(float(lab.sigmoid(0.0)), 9), round(float(lab.sigmoid(0.0, derivative=True)), 9)
    (0.5, 0.25)
    """
    with np.errstate(over="ignore"):
        f = 1 / (1 + np.exp(-(check.floats("x", x, FLOAT64) + EPSILON)))
    return f * (1 - f) if derivative else f


def tanh(x: ArrayLike, derivative: bool = False) -> Any:
    """Return ``f = tanh(x)`` of ``x + 1e-12``, or ``1 - f^2``.

    Examples
    --------
    >>> from bptt import lab
    >>> round(float(lab.tanh(0.0)), 9), round(float(lab.tanh(0.0, derivative=True)), 9)
    (0.0, 1.0)
    """
    f = np.tanh(check.floats("x", x, FLOAT64) + EPSILON)
    return 1 - f * f if derivative else f


def softmax(x: ArrayLike) -> Array:
    """Return ``exp(x) / sum(exp(x))`` over axis 0, of ``x + 1e-12`` shifted by its maximum.

    Examples
    --------
    >>> from bptt import lab
    >>> lab.softmax([[0.0], [0.0]])
    array([[0.5],
           [0.5]])
    """
    array = check.floats("x", x, FLOAT64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"x must have numbers along axis 0, got shape {array.shape}")
    shifted = array + EPSILON
    e: Array = np.exp(shifted - shifted.max())
    total: Array = e / e.sum(axis=0)
    return total


def clip_gradient_norm(grads: Sequence[Array], max_norm: float = MAX_NORM) -> Sequence[Array]:
    """Scale gradients in place so that their joint norm is at most `max_norm`.

    Parameters
    ----------
    grads : sequence of ndarray
        Multiplied by ``max_norm / (norm + 1e-6)`` if that is below 1.
    max_norm : float, default 0.25
        The largest norm.

    Returns
    -------
    sequence of ndarray
        `grads` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> (grad,) = lab.clip_gradient_norm([np.array([3.0, 4.0])])
    >>> grad.round(3)
    array([0.15, 0.2 ])
    """
    bound = check.real("max_norm", max_norm)
    if not bound >= 0:
        raise ValueError(f"max_norm must be at least 0, got {max_norm}")
    _check_writable("grads", grads)
    norm = sum(float(np.square(grad, dtype=np.float64).sum()) for grad in grads) ** 0.5
    scale = bound / (norm + 1e-6)
    if scale < 1:
        for grad in grads:
            grad *= scale
    return grads


def update_parameters(
    params: Sequence[Array], grads: Sequence[ArrayLike], lr: float = 1e-3
) -> Sequence[Array]:
    """Take a step of gradient descent in place: ``param -= lr * grad``.

    Parameters
    ----------
    params : sequence of ndarray
        Changed in place.
    grads : sequence of array_like
        A gradient for every parameter, in its shape.
    lr : float, default 1e-3
        The learning rate.

    Returns
    -------
    sequence of ndarray
        `params` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import lab
    >>> lab.update_parameters([np.array([1.0])], [np.array([10.0])], lr=0.01)
    [array([0.9])]
    """
    rate = check.real("lr", lr)
    _check_writable("params", params)
    if len(params) != len(grads):
        raise ValueError(
            f"params and grads must have the same length, got {len(params)} and {len(grads)}"
        )
    steps = []
    for n, (param, grad) in enumerate(zip(params, grads)):
        step = grad if check.is_plain(grad, FLOAT64) else check.floats(f"grads[{n}]", grad, FLOAT64)
        if step.shape != param.shape:
            raise ValueError(f"grads[{n}] must have shape {param.shape}, got {step.shape}")
        steps.append(rate * step)
    for param, step in zip(params, steps):
        param -= step
    return params


def _check_writable(name: str, arrays: Sequence[Any]) -> None:
    if not isinstance(arrays, (tuple, list)):
        raise TypeError(f"{name} must be a tuple or list of arrays, got {type(arrays).__name__}")
    for n, array in enumerate(arrays):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(
                f"{name}[{n}] must be an array of floats, which is changed in place, got {kind}"
            )
        if not array.flags.writeable:
            raise ValueError(f"{name}[{n}] must be writable, got a read-only array: give a copy")
        if not _is_apart(array):
            raise ValueError(
                f"{name}[{n}] must not have several numbers in one place of memory, as a broadcast "
                "array has, because it is changed in place: give a copy"
            )
    # Arrays that own their memory cannot share it with each other.
    if len({id(array) for array in arrays if array.base is None}) == len(arrays):
        return
    for (n, array), (m, other) in combinations(enumerate(arrays), 2):
        if np.shares_memory(array, other):
            raise ValueError(
                f"{name}[{n}] and {name}[{m}] must not share memory, because both are changed in "
                "place: give copies"
            )


def _is_apart(array: NDArray[Any]) -> bool:
    """Tell whether no two numbers of an array share memory, as far as its strides show."""
    if array.flags.c_contiguous or not array.size:
        return True
    reach = array.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1):
        if stride < reach:
            return False
        reach += stride * (size - 1)
    return True


def column(name: str, value: ArrayLike, rows: int) -> Array:
    """Return a column (rows, 1) as an array (rows,)."""
    array = check.floats(name, value, FLOAT64)
    if array.shape != (rows, 1):
        raise ValueError(f"{name} must have shape {(rows, 1)}, got {array.shape}")
    return array.ravel()


def columns(name: str, values: Columns, rows: int, steps: int | None = None) -> Array:
    """Return T columns, a list of arrays (rows, 1) or an array (T, rows, 1), as (T, rows)."""
    array = check.floats(name, values, FLOAT64)  # type: ignore[arg-type]
    shape = ("T" if steps is None else steps, rows, 1)
    wanted = "({}, {}, {})".format(*shape)
    if array.size == 0:
        raise ValueError(f"{name} must have shape {wanted} with T >= 1, got {array.shape}")
    if array.ndim != 3 or array.shape != (steps or len(array), rows, 1):
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    return array.reshape(len(array), rows)


def parameters(
    name: str, given: Sequence[ArrayLike], shapes: dict[str, tuple[str, str]]
) -> dict[str, Array]:
    """Return parameters by name and check that their shapes fit each other.

    `shapes` maps each parameter to its shape in letters, such as ("H", "V"). The first size of a
    letter is the size that all others must have.
    """
    if not isinstance(given, (tuple, list)) or len(given) != len(shapes):
        got = len(given) if isinstance(given, (tuple, list)) else type(given).__name__
        raise ValueError(f"{name} must be a sequence ({', '.join(shapes)}), got {got}")
    arrays, sizes = {}, {"1": 1}
    for n, (parameter, letters) in enumerate(shapes.items()):
        array = given[n]
        if not check.is_plain(array, FLOAT64):  # building the name takes longer than this check
            array = check.floats(f"{name}[{n}] ({parameter})", array, FLOAT64)
        shape = array.shape
        rows, columns = letters
        if (
            len(shape) != 2
            or sizes.setdefault(rows, shape[0]) != shape[0]
            or sizes.setdefault(columns, shape[1]) != shape[1]
        ):
            shown = ", ".join(f"{letter}={sizes.get(letter, '?')}" for letter in letters)
            raise ValueError(f"{name}[{n}] ({parameter}) must have shape ({shown}), got {shape}")
        arrays[parameter] = array
    if 0 in sizes.values():
        raise ValueError(f"{name} must not have sizes of 0")
    return arrays
