// A walk over the calling thread's Python frames, from the innermost out.
#pragma once

#include <Python.h>

#ifdef __cplusplus
extern "C" {
#endif

// Code and globals are borrowed; `at` is the offset in bytes that PyCode_Addr2Line takes. Ends
// where the visitor returns nonzero.
typedef int (*wengert_frame_visitor)(void* context, PyCodeObject* code, PyObject* globals, int at);
void wengert_walk_frames(wengert_frame_visitor visit, void* context);

#ifdef __cplusplus
}
#endif
