/* Since 3.11 the interpreter makes a frame object only when one is asked for, at some 100 ns each,
 * which would be half of a recorded operation. Where the layout of its own frames is known they are
 * read as they are; the headers that say it come with the Python that is built for. In C, as those
 * headers are. */
#if defined(__has_include)
#if __has_include(<internal/pycore_frame.h>)
#define HAVE_INTERNAL_FRAMES 1
#endif
#endif
#define Py_BUILD_CORE 1

#include "bindings/frames.h"

#if defined(HAVE_INTERNAL_FRAMES) && !defined(Py_GIL_DISABLED) && \
    PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000

#include <internal/pycore_frame.h>

void wengert_walk_frames(wengert_frame_visitor visit, void* context) {
  PyThreadState* thread = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030D0000
  struct _PyInterpreterFrame* frame = thread->current_frame;
#else
  struct _PyInterpreterFrame* frame = thread->cframe->current_frame;
#endif
  for (; frame; frame = frame->previous) {
    if (_PyFrame_IsIncomplete(frame)) continue;
#if PY_VERSION_HEX >= 0x030D0000
    PyCodeObject* code = _PyFrame_GetCode(frame);
#else
    PyCodeObject* code = frame->f_code;
#endif
    const int at = _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT);
    if (visit(context, code, frame->f_globals, at)) return;
  }
}

#else

#include <frameobject.h>

void wengert_walk_frames(wengert_frame_visitor visit, void* context) {
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
#if PY_VERSION_HEX >= 0x030B0000
    PyObject* globals = PyFrame_GetGlobals(frame);
    const int at = PyFrame_GetLasti(frame);
#else
    PyObject* globals = frame->f_globals;
    const int at = frame->f_lasti * 2; /* instructions of two bytes */
    Py_INCREF(globals);
#endif
    const int done = visit(context, code, globals, at);
    Py_DECREF(code);
    Py_DECREF(globals);
    PyFrameObject* outer = done ? NULL : PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = outer;
  }
}

#endif
