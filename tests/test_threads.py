"""Inside, one thread; afterwards, as many as before, whatever happened."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_info

from medvae.threads import one_blas_thread, one_thread, one_torch_thread


def blas() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.fixture
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_torch_has_one_thread_inside_and_its_own_number_after_an_error(three) -> None:
    seen = []

    def failing() -> None:
        with one_torch_thread() as threads:
            seen.append((threads, torch.get_num_threads()))
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        failing()
    assert seen == [(3, 1)]
    assert torch.get_num_threads() == 3


def test_linear_algebra_has_one_thread_inside(three) -> None:
    before = blas()
    with one_blas_thread():
        assert blas() == {1}
        assert torch.get_num_threads() == 3
    assert blas() == before


def test_both(three) -> None:
    with one_thread():
        assert blas() == {1}
        assert torch.get_num_threads() == 1
