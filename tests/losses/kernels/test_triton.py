"""The GPU kernel: its results, on a GPU or in Triton's interpreter, and that it compiles."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import noisylabels
from noisylabels.losses import PAPER, loss

triton = pytest.importorskip("triton")


def rows(**environment):
    """Run triton_rows.py in a new process, because the interpreter is chosen before triton is imported."""
    source = str(Path(noisylabels.__file__).parents[1])
    file = Path(__file__).with_name("triton_rows.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", str(file)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"} | environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    (count,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(count) >= 200
    assert " skipped" not in done.stdout


@pytest.mark.slow
def test_what_it_computes_through_the_interpreter():
    rows(TRITON_INTERPRET="1")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_it_computes_on_a_card():
    rows()


def compiled(kernel, arguments, constants, warps):
    """Return the kernel compiled for an H100, by the code generator and assembler that triton brings."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(inspect.signature(kernel.fn).parameters)
    signature = {name: "constexpr" if name in constants else arguments.get(name, "fp32") for name in names}
    source = ASTSource(
        kernel, signature, constexprs={(names.index(name),): value for name, value in constants.items()}
    )
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "text", [*PAPER, "gce+nnagce", "5*nfl+5*nnfl+js", "ntaylor_ce(t=5)+phuber_ce+aul+ael"]
)
def test_it_compiles_for_a_card(text, tmp_path, monkeypatch):
    """The compiler checks types, which the interpreter does not."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from noisylabels.losses.kernels import gpu
    from noisylabels.losses.kernels import triton_kernels as kernels

    integers = {
        "stride": "i32",
        "gradient_stride": "i32",
        "classes": "i32",
        "ignore_index": "i32",
        "n": "i32",
    }
    pointers = {"target": "*i64", "weight": "*fp32", "factor": "*fp32", "values": "*fp32", "found": "*fp32"}
    for classes, kind in ((10, "fp32"), (1000, "bf16"), (128_000, "bf16")):
        codes, numbers = gpu.encode(loss(text)._plan.steps(classes))
        one = classes <= gpu.WHOLE
        block = max(16, triton.next_power_of_2(classes)) if one else gpu.LOOP
        constants = dict(zip(("F0", "F1", "F2", "G0", "N0", "G1", "N1"), codes, strict=True))
        constants |= {"NCE": numbers[0] != 0, "WEIGHTED": True, "MEAN": True, "IGNORES": True}
        constants |= {"GRADIENT": True, "BLOCK": block, "ONE": one}
        arguments = integers | pointers | {"logits": f"*{kind}", "gradient": f"*{kind}"}
        found = compiled(kernels.rows, arguments, constants, min(16, max(1, block // 512)))
        assert found.asm["cubin"]
    if text == "ce":
        counted = compiled(kernels.one_over_count, integers | pointers, {"WEIGHTED": True, "BLOCK": 1024}, 4)
        product = compiled(kernels.multiply, {"x": "*bf16", "up": "*fp32", "size": "i32"}, {"BLOCK": 4096}, 8)
        assert counted.asm["cubin"]
        assert product.asm["cubin"]
