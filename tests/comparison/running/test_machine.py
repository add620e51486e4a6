"""Devices are those that CUDA shows to this process."""

import pytest

from lm_objectives.comparison.running.machine import visible_devices


def test_runs_are_dealt_to_the_devices_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    assert visible_devices() == ["2", "GPU-5a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == []
