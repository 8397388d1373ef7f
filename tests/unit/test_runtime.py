"""What the machine is said to be, on machines that it is not."""

import os
import random
import sys
import types

import numpy as np
import pytest
import torch

from course_lib import runtime
from course_lib.timing import campaign, environment
from course_lib.timing.sweeps import Sweep


def pretend_gpu(monkeypatch, capability=(7, 5)):
    found = types.SimpleNamespace(
        name="Some GPU", total_memory=16 * 2**30, major=capability[0], minor=capability[1]
    )
    monkeypatch.setattr(runtime.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(runtime.torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(runtime.torch.cuda, "get_device_properties", lambda _: found)


def pretend_no_gpu(monkeypatch):
    monkeypatch.setattr(runtime.torch.cuda, "is_available", lambda: False)


def test_the_size_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("COURSE_SIZE", "ci")
    assert runtime.size() == "ci"
    assert runtime.pick(ci=1, laptop=2, gpu=3) == 1


def test_the_size_comes_from_the_device_otherwise(monkeypatch):
    monkeypatch.delenv("COURSE_SIZE", raising=False)
    pretend_no_gpu(monkeypatch)
    assert runtime.pick(ci=1, laptop=2, gpu=3) == 2
    pretend_gpu(monkeypatch)
    assert runtime.device().type == "cuda"
    assert runtime.pick(ci=1, laptop=2, gpu=3) == 3
    assert runtime.pick(ci=1, laptop=2) == 2


def test_a_size_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_SIZE", "huge")
    with pytest.raises(ValueError, match="'huge'"):
        runtime.size()


T4, A100, H100 = (7, 5), (8, 0), (9, 0)


@pytest.mark.parametrize("feature", runtime.FEATURES)
def test_features_go_by_capability_and_say_what_is_missing(monkeypatch, feature):
    for capability in (A100, H100):
        pretend_gpu(monkeypatch, capability)
        assert runtime.lacks(feature) == ""
    pretend_gpu(monkeypatch, T4)
    assert runtime.lacks(feature).endswith("this GPU has compute capability 7.5, and it takes 8.0")
    pretend_no_gpu(monkeypatch)
    assert runtime.lacks(feature) == "there is no CUDA GPU here"


def test_an_unknown_feature_is_named():
    with pytest.raises(ValueError, match="feature is 'warp drive'; expected one of bfloat16"):
        runtime.lacks("warp drive")


@pytest.mark.parametrize(("capability", "dtypes"), [(T4, {"float32"}), (A100, {"float32", "bfloat16"})])
def test_a_campaign_measures_no_emulated_dtype(monkeypatch, capability, dtypes):
    pretend_gpu(monkeypatch, capability)
    assert {group.dtype for group in campaign.groups()} == dtypes
    told = list(campaign.lines(Sweep("", "time", {}, {}, environment(), "cuda")))
    assert [line.split(":")[0] for line in told] == ["bfloat16 was not measured"] * (capability == T4)


def test_a_seed_repeats_every_generator():
    def draw():
        runtime.set_seed(3)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw() == draw()
    first = draw()
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) != first


def test_the_machine_on_a_cpu(monkeypatch):
    pretend_no_gpu(monkeypatch)
    here = runtime.machine()
    assert here.threads == torch.get_num_threads()
    assert 1 <= here.cores <= os.cpu_count()
    assert here.memory_bytes == here.device_memory_bytes > 2**28
    assert here.device == here.processor != ""
    assert "no GPU" in str(here)


def test_the_machine_on_a_gpu(monkeypatch):
    pretend_gpu(monkeypatch)
    here = runtime.machine()
    assert (here.device, here.capability, here.device_memory_bytes) == ("Some GPU", (7, 5), 16 * 2**30)
    assert "capability 7.5" in str(here)


def test_the_memory_is_found_with_and_without_psutil(monkeypatch):
    pytest.importorskip("psutil")
    if not hasattr(os, "sysconf"):
        pytest.skip("Windows has no sysconf")
    with_it = runtime._physical_memory()
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert runtime._physical_memory() == with_it
    monkeypatch.delattr(runtime.os, "sysconf")
    with pytest.raises(RuntimeError, match="pip install psutil"):
        runtime._physical_memory()


def test_a_container_limit_counts_if_it_is_lower(monkeypatch, tmp_path):
    limited, unlimited = tmp_path / "limited", tmp_path / "unlimited"
    limited.write_text(f"{2**27}\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(runtime, "MEMORY_LIMIT_FILES", (str(limited), str(unlimited), str(tmp_path / "none")))
    assert runtime._memory_bytes() == 2**27
    monkeypatch.setattr(runtime, "MEMORY_LIMIT_FILES", (str(unlimited),))
    assert runtime._memory_bytes() == runtime._physical_memory()


def test_each_system_tells_its_processor(monkeypatch):
    for system, reader in [("Linux", "_processor_linux"), ("Darwin", "_processor_macos")]:
        monkeypatch.setattr(runtime.platform, "system", lambda system=system: system)
        monkeypatch.setattr(runtime, reader, lambda: "  A   chip\n")
        runtime._processor.cache_clear()
        assert runtime._processor() == "A chip"
    monkeypatch.setattr(runtime.platform, "system", lambda: "Windows")
    monkeypatch.setattr(runtime.platform, "processor", lambda: "")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "AMD64")
    runtime._processor.cache_clear()
    assert runtime._processor() == "AMD64"
    runtime._processor.cache_clear()


@pytest.mark.parametrize(("setting", "shown"), [("0", False), ("1", True)])
def test_the_progress_bar_keeps_off_stderr_and_can_be_switched_off(monkeypatch, capfd, setting, shown):
    monkeypatch.setenv("COURSE_PROGRESS_BAR", setting)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with runtime.progress(2, "counting") as bar:
        bar.update()
    written = capfd.readouterr()
    assert written.err == ""
    assert ("counting" in written.out) is shown


def test_no_bar_where_nobody_looks(monkeypatch, capfd):
    monkeypatch.delenv("COURSE_PROGRESS_BAR", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with runtime.progress(2, "counting") as bar:
        bar.update()
    assert capfd.readouterr().out == ""
