// Arrays in files: NumPy's .npy and .npz, and numbers without any header.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace wengert::run {

using Arrays = std::vector<std::pair<std::string, Tensor>>;

// Throw Error, naming the file, where it is not one, is damaged, or holds what no tensor can be.
Arrays read_npz(const std::string& path);
Tensor read_npy(const std::string& path);
// As many rows of these as the file has.
Tensor read_raw(const std::string& path, DType dtype, const Dims& row);

void write_npy(const std::string& path, const Tensor& t);
void write_npz(const std::string& path, const Arrays& arrays);

}  // namespace wengert::run
