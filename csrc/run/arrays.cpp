#include "run/arrays.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "ops/ops.h"
#include "run/zip.h"

namespace wengert::run {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr const char* kDescr[kNumDTypes] = {"|b1", "|u1", "|i1",   "<i2", "<i4",
                                            "<i8", "<f2", nullptr, "<f4", "<f8"};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  struct stat about{};
  if (!file || stat(path.c_str(), &about) != 0) fail(std::strerror(errno));
  if (!S_ISREG(about.st_mode)) fail("it is no file");
  std::string bytes(static_cast<size_t>(about.st_size), '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file.gcount() != static_cast<std::streamsize>(bytes.size())) fail("it ends too early");
  return bytes;
}
void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) fail("cannot write '", path, "': ", std::strerror(errno));
}

// Calls `read`, whose errors then name the file.
template <class F>
auto reading(const std::string& path, F&& read) try {
  return read(read_file(path));
} catch (const Error& e) {
  throw Error(e.kind(), text("cannot read '", path, "': ", e.what()));
}

// What stands behind a key of the header, which is the text of a Python dict.
std::string_view value_of(std::string_view header, std::string_view key) {
  const std::string quoted = text('\'', key, "':");
  const size_t at = header.find(quoted);
  if (at == std::string_view::npos) fail("its header has no ", key);
  header.remove_prefix(at + quoted.size());
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header;
}

Dims shape_of(std::string_view text) {
  Dims sizes;
  if (text.empty() || text[0] != '(') fail("its shape is none");
  size_t i = 1;
  while (i < text.size() && text[i] != ')') {
    if (text[i] == ' ' || text[i] == ',') {
      ++i;
      continue;
    }
    int64_t n = 0;
    for (; i < text.size() && '0' <= text[i] && text[i] <= '9'; ++i) {
      if (n > (int64_t{1} << 52)) fail("its shape is too large");
      n = 10 * n + (text[i] - '0');
    }
    if (i >= text.size() || (text[i] != ',' && text[i] != ')')) fail("its shape is none");
    sizes.push_back(n);
  }
  return sizes;
}

Tensor array_of(const std::string& file) {
  if (file.size() < 10 || std::memcmp(file.data(), kMagic, 6) != 0) fail("it is no .npy file");
  const int major = file[6];
  uint32_t length = 0;
  const size_t start = major == 1 ? 10 : 12;
  if (major < 1 || major > 3 || file.size() < start) fail("it is a .npy file of version ", major);
  std::memcpy(&length, file.data() + 8, start - 8);
  if (length > file.size() - start) fail("it ends within its header");
  const auto header = std::string_view(file).substr(start, length);
  const std::string_view descr = value_of(header, "descr");
  int found = -1;
  for (int d = 0; d < kNumDTypes; ++d) {
    if (kDescr[d] && descr.substr(0, 5) == text('\'', kDescr[d], '\'')) found = d;
  }
  if (found < 0) {
    fail("its dtype ", descr.substr(0, std::min(descr.find(','), descr.size())),
         " is none that tensors have");
  }
  const auto dtype = static_cast<DType>(found);
  const bool columns_first = value_of(header, "fortran_order").substr(0, 4) == "True";
  const Dims sizes = shape_of(value_of(header, "shape"));
  int64_t bytes = 0;
  if (__builtin_mul_overflow(product(sizes), static_cast<int64_t>(item_size(dtype)), &bytes) ||
      static_cast<uint64_t>(bytes) != file.size() - start - length) {
    fail("it has ", file.size() - start - length, " bytes for an array of shape ", sizes, " of ",
         name_of(dtype));
  }
  const Tensor out = Tensor::empty(sizes, dtype);
  std::memcpy(out.data(), file.data() + start + length, static_cast<size_t>(bytes));
  if (dtype == DType::Bool) {
    for (int64_t i = 0; i < bytes; ++i) out.data()[i] = out.data()[i] != 0;
  }
  if (!columns_first) return out;
  Dims strides = Dims::filled(sizes.size(), 1);
  for (int d = 1; d < sizes.size(); ++d) strides[d] = strides[d - 1] * sizes[d - 1];
  return ops::contiguous(out.view(sizes, strides));
}

std::string npy_of(const Tensor& given) {
  const Tensor t = ops::contiguous(given);
  const char* descr = kDescr[static_cast<int>(t.dtype())];
  if (!descr) {
    fail("NumPy has no ", name_of(t.dtype()), "; write a .safetensors file");
  }
  std::string header =
      text("{'descr': '", descr, "', 'fortran_order': False, 'shape': ", t.sizes(), ", }");
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  std::string out(kMagic, 6);
  out += '\1';
  out += '\0';
  out.append(reinterpret_cast<const char*>(&length), 2);
  out += header;
  out.append(t.data(), static_cast<size_t>(t.numel()) * item_size(t.dtype()));
  return out;
}

}  // namespace

Arrays read_npz(const std::string& path) {
  return reading(path, [](const std::string& file) {
    Arrays out;
    for (const auto& [name, content] : unzip(file)) {
      const std::string plain = name.ends_with(".npy") ? name.substr(0, name.size() - 4) : name;
      out.emplace_back(plain, array_of(content));
    }
    return out;
  });
}

Tensor read_npy(const std::string& path) {
  return reading(path, &array_of);
}

Tensor read_raw(const std::string& path, DType dtype, const Dims& row) {
  return reading(path, [&](const std::string& file) {
    const auto bytes = product(row) * static_cast<int64_t>(item_size(dtype));
    const auto have = static_cast<int64_t>(file.size());
    if (bytes == 0 || have % bytes != 0) {
      fail("it has ", have, " bytes, which are no whole rows of ", bytes);
    }
    const Tensor out = Tensor::empty(concat(Dims{have / bytes}, row), dtype);
    std::memcpy(out.data(), file.data(), file.size());
    return out;
  });
}

void write_npy(const std::string& path, const Tensor& t) {
  write_file(path, npy_of(t));
}

void write_npz(const std::string& path, const Arrays& arrays) {
  Entries entries;
  for (const auto& [name, t] : arrays) entries.emplace_back(name + ".npy", npy_of(t));
  write_file(path, zip(entries));
}

}  // namespace wengert::run
