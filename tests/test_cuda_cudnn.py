"""What cuDNN is asked for, by a library that writes it down and then refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

import wengert as wg

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)
if shutil.which("cc") is None:
    pytest.skip("no C compiler", allow_module_level=True)

LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int anchor;
static void say(const char* what, int n, const int* x) {
  FILE* f = fopen(getenv("CUDNN_CALLS"), "a");
  fprintf(f, "%s", what);
  for (int i = 0; i < n; ++i) fprintf(f, " %d", x[i]);
  fprintf(f, "\n");
  fclose(f);
}
static void say_one(const char* what, int x) { say(what, 1, &x); }

struct choice {
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math, reserved[3];
};
static int answer(const char* what, int* number, struct choice* to) {
  // fast but not the same each time; in fewer digits; too much memory; as wanted
  struct choice all[] = {{1, 0, 1, 0, 0, 3}, {2, 0, 2, 0, 1, 1}, {3, 0, 3, 0, 1, 3},
                         {4, 0, 4, 0, 1, 3}};
  memcpy(to, all, sizeof all);
  *number = 4;
  say(what, 0, 0);
  return 0;
}
static int measure(int algorithm, size_t* bytes) {
  *bytes = algorithm == 3 ? (size_t)1 << 40 : 4096;
  return 0;
}

size_t cudnnGetVersion(void) { return 91002; }
int cudnnCreate(void** h) { *h = &anchor; return 0; }
int cudnnSetStream(void* h, void* s) { return h != &anchor || s == 0; }
int cudnnCreateTensorDescriptor(void** d) { *d = &anchor; return 0; }
int cudnnDestroyTensorDescriptor(void* d) { return d != &anchor; }
int cudnnSetTensorNdDescriptor(void* d, int type, int n, const int* size, const int* stride) {
  say_one("type", type);
  say("tensor", n, size);
  say("strides", n, stride);
  return d != &anchor;
}
int cudnnCreateFilterDescriptor(void** d) { *d = &anchor; return 0; }
int cudnnDestroyFilterDescriptor(void* d) { return d != &anchor; }
int cudnnSetFilterNdDescriptor(void* d, int type, int format, int n, const int* size) {
  say("filter", n, size);
  return d != &anchor || format != 0 || type < 0;
}
int cudnnCreateConvolutionDescriptor(void** d) { *d = &anchor; return 0; }
int cudnnDestroyConvolutionDescriptor(void* d) { return d != &anchor; }
int cudnnSetConvolutionNdDescriptor(void* d, int n, const int* padding, const int* stride,
                                    const int* dilation, int mode, int compute) {
  say("padding", n, padding);
  say("stride", n, stride);
  say("dilation", n, dilation);
  say_one("compute", compute);
  return d != &anchor || mode != 1;
}
int cudnnSetConvolutionGroupCount(void* d, int n) { say_one("groups", n); return d != &anchor; }
int cudnnSetConvolutionMathType(void* d, int math) { say_one("math", math); return d != &anchor; }

#define CHOOSE(name, word)                                                                    \
  int cudnnGet##name##Algorithm_v7(void* h, void* a, void* b, void* c, void* d, int most,     \
                                   int* number, struct choice* to) {                          \
    return h != &anchor || !a || !b || !c || !d || most < 4 || answer(word, number, to);      \
  }                                                                                           \
  int cudnnGet##name##WorkspaceSize(void* h, void* a, void* b, void* c, void* d, int algo,    \
                                    size_t* bytes) {                                          \
    return h != &anchor || !a || !b || !c || !d || measure(algo, bytes);                      \
  }                                                                                           \
  int cudnn##name(void* h, const void* alpha, void* a, const void* x, void* b, const void* y, \
                  void* c, int algo, void* room, size_t bytes, const void* beta, void* d,     \
                  void* out) {                                                                \
    const int x_[] = {algo, (int)bytes, *(const float*)alpha == 1, *(const float*)beta == 0,  \
                      room && out && x && y && a && b && c && d && h == &anchor};             \
    say("run", 5, x_);                                                                        \
    return 3000;                                                                              \
  }
CHOOSE(ConvolutionForward, "forward")
CHOOSE(ConvolutionBackwardData, "data")
CHOOSE(ConvolutionBackwardFilter, "filter_gradient")
int cudnnAddTensor(void* h, const void* alpha, void* a, const void* x, const void* beta, void* b,
                   void* y) {
  return 0;
}
"""

PROGRAM = """
import wengert as wg
from wengert.nn import functional as F
def numbers(*shape):
    n = 1
    for s in shape:
        n *= s
    return (wg.arange(n, dtype=wg.float32).reshape(shape) % 7 - 3) / 4
def both(dtype, x, w, **options):
    results = []
    for device in ("cuda", "cpu"):
        a = numbers(*x).to(dtype).to(device).requires_grad_(True)
        b = numbers(*w).to(dtype).to(device).requires_grad_(True)
        y = (F.conv1d if len(x) == 3 else F.conv2d)(a, b, **options)
        results.append([t.to("cpu").float() for t in
                        (y, *wg.autograd.grad(y, [a, b], wg.ones_like(y)))])
    for one, other in zip(*results):
        assert (one - other).abs().max().item() <= 1e-4 * (1 + other.abs().max().item())
"""


def calls(tmp_path, program):
    """What a program asks of the library; it must end well without its help."""
    source, library, log = (tmp_path / n for n in ("cudnn.c", "libcudnn.so", "calls"))
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    log.write_text("")
    environment = {**os.environ, "WENGERT_CUDNN": str(library), "CUDNN_CALLS": str(log)}
    subprocess.run([sys.executable, "-c", PROGRAM + program], env=environment, check=True)
    return log.read_text().splitlines()


def test_descriptors(tmp_path):
    """All of a convolution's numbers; the choice of an algorithm; its failure harms nothing."""
    lines = calls(
        tmp_path,
        "both(wg.float32, (2, 4, 5, 6), (12, 2, 3, 2), stride=(2, 1), padding=(1, 0), groups=2)",
    )
    forward = [
        *("type 0", "tensor 2 4 5 6", "strides 120 30 6 1"),
        *("type 0", "tensor 2 12 3 5", "strides 180 15 5 1"),
        *("type 0", "tensor 1 12 1 1", "strides 12 1 1 1"),
        *("filter 12 2 3 2", "padding 1 0", "stride 2 1", "dilation 1 1", "compute 0"),
        *("groups 2", "math 3", "forward", "math 3", "math 3", "run 4 4096 1 1 1"),
    ]
    assert lines[: len(forward)] == forward
    assert [x for x in lines if x in ("forward", "data", "filter_gradient")] == [
        "forward",
        "data",
        "filter_gradient",
    ]
    assert lines.count("run 4 4096 1 1 1") == 3


def test_narrow_and_flat(tmp_path):
    """16-bit floats may use tensor cores; a line has two axes; a plan is made once."""
    one = "both(wg.bfloat16, (1, 3, 9), (6, 3, 4), dilation=2)\n"
    lines = calls(tmp_path, one + one)
    assert "type 9" in lines
    assert "compute 0" in lines
    assert "tensor 1 3 1 9" in lines
    assert "filter 6 3 1 4" in lines
    assert "padding 0 0" in lines
    assert "dilation 1 2" in lines
    assert lines.count("run 2 4096 1 1 1") == 6
    assert lines.count("forward") == 1


def test_left_alone(tmp_path):
    """Padding that is not alike on both sides, and depthwise convolutions, are not cuDNN's."""
    program = "both(wg.float32, (1, 3, 5, 5), (4, 3, 2, 2), padding='same')\n"
    program += "both(wg.float32, (1, 3, 5, 5), (3, 1, 3, 3), groups=3)"
    assert calls(tmp_path, program) == []
