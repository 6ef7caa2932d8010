// The safetensors format: the length of a header, the header in JSON, the data. Tensors are dense
// and stand in the order of their names.
#include <algorithm>
#include <fstream>
#include <numeric>

#include "core/error.h"
#include "ops/ops.h"
#include "program/file.h"

namespace wengert {
namespace {

constexpr const char* kNames[kNumDTypes] = {"BOOL", "U8",  "I8",   "I16", "I32",
                                            "I64",  "F16", "BF16", "F32", "F64"};

std::string quoted(const std::string& name) {
  std::string out = "\"";
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      constexpr char digits[] = "0123456789abcdef";
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

void save_safetensors(const std::string& path, std::span<const NamedTensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return tensors[a].name < tensors[b].name; });
  std::string header = "{";
  std::vector<Tensor> dense;
  int64_t at = 0;
  for (const size_t i : order) {
    const Tensor t = ops::contiguous(ops::detach(tensors[i].tensor));
    const int64_t end = at + t.numel() * static_cast<int64_t>(item_size(t.dtype()));
    header += text(header.size() > 1 ? "," : "", quoted(tensors[i].name), ":{\"dtype\":\"",
                   kNames[static_cast<int>(t.dtype())], "\",\"shape\":[");
    for (int d = 0; d < t.dim(); ++d) header += text(d ? "," : "", t.size(d));
    header += text("],\"data_offsets\":[", at, ',', end, "]}");
    dense.push_back(t);
    at = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const auto length = static_cast<uint64_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const Tensor& t : dense) {
    file.write(t.data(), static_cast<std::streamsize>(t.numel()) *
                             static_cast<std::streamsize>(item_size(t.dtype())));
  }
  file.close();
  if (!file) fail("cannot write '", path, "'");
}

}  // namespace wengert
