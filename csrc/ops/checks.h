// What operations look at in tensors and throw for: done at once, and again in each replay of a
// captured program, also of one that was read from a file. Hence plain functions by name.
#pragma once

#include <string_view>

#include "core/watch.h"

namespace wengert::checks {

extern const CheckRule kIndex;    // {least, greatest index}, indices; {prefix}, {size, ErrorKind,
                                  // dimension, whether negative ones count from the end}
extern const CheckRule kDivisor;  // {number of zeros}; {op}
extern const CheckRule kClasses;  // {classes}; {op}, {their number, the one that is ignored}
extern const CheckRule kWithin;   // {numbers}; {op, what is expected}, {low, high}
extern const CheckRule kWeights;  // {of categories}; {rows, categories}
extern const CheckRule kRegular;  // {first zero pivots}; {op, what failed}, {dimensions}
extern const CheckRule kPositiveDefinite;  // {first minors that are not}; {op}, {dimensions}
extern const CheckRule kConverged;         // {values}; {op}
extern const CheckRule kAllTrue;           // {bools}; {message}
extern const CheckRule kSorter;            // {least, greatest place}; {boundaries}
extern const CheckRule kQuantiles;         // {numbers}; {op}
extern const CheckRule kNotNegative;       // {numbers}; {op, what they are}
// {offsets or indices}; {least, greatest, another one that may be}. In programs of files, before
// launches that go where these say.
extern const CheckRule kOffsets;

const CheckRule* find(std::string_view name);  // null if there is none

}  // namespace wengert::checks
