#include "run/zip.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "core/error.h"

#ifdef WENGERT_ZLIB
#include <zlib.h>
#endif

namespace wengert::run {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint16_t kStored = 0, kDeflated = 8;

uint32_t crc32_of(const std::string& bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = t[i] & 1 ? t[i] >> 1 ^ 0xEDB88320u : t[i] >> 1;
    }
    return t;
  }();
  uint32_t c = ~uint32_t{0};
  for (const char byte : bytes) c = c >> 8 ^ table[(c ^ static_cast<uint8_t>(byte)) & 255];
  return ~c;
}

// Fields of an archive, each of which is looked for within it.
struct Fields {
  const std::string& from;

  template <class T>
  T at(uint64_t place) const {
    T v;
    if (place > from.size() || sizeof v > from.size() - place) fail("it ends too early");
    std::memcpy(&v, from.data() + place, sizeof v);
    return v;
  }
  std::string text(uint64_t place, uint64_t bytes) const {
    if (place > from.size() || bytes > from.size() - place) fail("it ends too early");
    return from.substr(place, bytes);
  }
};

struct Entry {
  std::string name;
  uint16_t method = 0;
  uint32_t checksum = 0;
  uint64_t packed = 0, bytes = 0, local = 0;
};

// The 64-bit sizes that stand in the extra field where the others are full.
void take_wide(Entry& e, const std::string& extra) {
  const Fields f{extra};
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    const auto tag = f.at<uint16_t>(at), length = f.at<uint16_t>(at + 2);
    if (tag == 1) {
      uint64_t next = at + 4;
      for (uint64_t* v : {&e.bytes, &e.packed, &e.local}) {
        if (*v != UINT32_MAX) continue;
        *v = f.at<uint64_t>(next);
        next += 8;
      }
      return;
    }
    at += 4u + length;
  }
}

#ifdef WENGERT_ZLIB
std::string inflated(const std::string& packed, uint64_t bytes) {
  // Deflate packs no better than this: what says otherwise need not be made room for.
  if (bytes > packed.size() * 1100 + 1100) fail("its sizes cannot be");
  std::string out(bytes, '\0');
  z_stream z{};
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) fail("zlib cannot start");
  constexpr uint64_t most = 1u << 30;
  uint64_t read = 0, written = 0;
  int state = Z_OK;
  while (state == Z_OK) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + read));
    z.avail_in = static_cast<uInt>(std::min<uint64_t>(packed.size() - read, most));
    z.next_out = reinterpret_cast<Bytef*>(out.data() + written);
    z.avail_out = static_cast<uInt>(std::min<uint64_t>(bytes - written, most));
    const uInt in = z.avail_in, room = z.avail_out;
    state = inflate(&z, Z_NO_FLUSH);
    read += in - z.avail_in;
    written += room - z.avail_out;
    if (in == z.avail_in && room == z.avail_out && state == Z_OK) state = Z_DATA_ERROR;
  }
  inflateEnd(&z);
  if (state != Z_STREAM_END || written != bytes) fail("what is packed in it is damaged");
  return out;
}
#endif

std::string content_of(const Fields& f, const Entry& e) {
  if (f.at<uint32_t>(e.local) != kLocal) fail("entry '", e.name, "' is not where it should be");
  const uint64_t start = e.local + 30 + f.at<uint16_t>(e.local + 26) + f.at<uint16_t>(e.local + 28);
  std::string packed = f.text(start, e.packed);
  if (e.method == kStored) {
    if (e.packed != e.bytes) fail("entry '", e.name, "' has two sizes");
    return packed;
  }
  if (e.method != kDeflated) fail("entry '", e.name, "' is packed by method ", e.method);
#ifdef WENGERT_ZLIB
  return inflated(packed, e.bytes);
#else
  fail("entry '", e.name,
       "' is compressed, and this build has no zlib; write it with numpy.savez instead");
#endif
}

template <class T>
void put(std::string& to, T v) {
  to.append(reinterpret_cast<const char*>(&v), sizeof v);
}

}  // namespace

Entries unzip(const std::string& archive) {
  const Fields f{archive};
  constexpr uint64_t end_bytes = 22;
  if (archive.size() < end_bytes) fail("it is no zip archive");
  // A comment of up to 64 KiB may follow the end's record.
  uint64_t end = archive.size() - end_bytes;
  const uint64_t least = end > UINT16_MAX ? end - UINT16_MAX : 0;
  while (f.at<uint32_t>(end) != kEnd) {
    if (end-- == least) fail("it is no zip archive");
  }
  uint64_t count = f.at<uint16_t>(end + 10), at = f.at<uint32_t>(end + 16);
  if (at == UINT32_MAX || count == UINT16_MAX) {
    if (end < 20 || f.at<uint32_t>(end - 20) != kLocator64) fail("its directory is not found");
    const auto wide = f.at<uint64_t>(end - 12);
    if (f.at<uint32_t>(wide) != kEnd64) fail("its directory is not found");
    count = f.at<uint64_t>(wide + 32);
    at = f.at<uint64_t>(wide + 48);
  }
  Entries out;
  for (uint64_t i = 0; i < count; ++i) {
    if (f.at<uint32_t>(at) != kCentral) fail("its directory is damaged");
    Entry e;
    e.method = f.at<uint16_t>(at + 10);
    e.checksum = f.at<uint32_t>(at + 16);
    e.packed = f.at<uint32_t>(at + 20);
    e.bytes = f.at<uint32_t>(at + 24);
    e.local = f.at<uint32_t>(at + 42);
    const auto name = f.at<uint16_t>(at + 28), extra = f.at<uint16_t>(at + 30);
    e.name = f.text(at + 46, name);
    take_wide(e, f.text(at + 46 + name, extra));
    at += 46u + name + extra + f.at<uint16_t>(at + 32);
    std::string content = content_of(f, e);
    if (crc32_of(content) != e.checksum) fail("entry '", e.name, "' has a wrong checksum");
    out.emplace_back(std::move(e.name), std::move(content));
  }
  return out;
}

std::string zip(const Entries& entries) {
  std::string out, directory;
  for (const auto& [name, content] : entries) {
    if (content.size() >= UINT32_MAX || out.size() >= UINT32_MAX) {
      fail("more than 4 GiB for a .npz; write a .npy or .safetensors file");
    }
    std::string fields;  // that both headers have
    put<uint16_t>(fields, 20);
    put<uint16_t>(fields, 0);
    put<uint16_t>(fields, kStored);
    put<uint16_t>(fields, 0);
    put<uint16_t>(fields, 0x21);  // 1980-01-01, as every time is
    put<uint32_t>(fields, crc32_of(content));
    put<uint32_t>(fields, static_cast<uint32_t>(content.size()));
    put<uint32_t>(fields, static_cast<uint32_t>(content.size()));
    put<uint16_t>(fields, static_cast<uint16_t>(name.size()));
    put<uint16_t>(fields, 0);
    put(directory, kCentral);
    put<uint16_t>(directory, 20);
    directory += fields;
    put<uint16_t>(directory, 0);
    put<uint16_t>(directory, 0);
    put<uint16_t>(directory, 0);
    put<uint32_t>(directory, 0);
    put<uint32_t>(directory, static_cast<uint32_t>(out.size()));
    directory += name;
    put(out, kLocal);
    out += fields;
    out += name;
    out += content;
  }
  const auto start = static_cast<uint32_t>(out.size());
  out += directory;
  put(out, kEnd);
  put<uint32_t>(out, 0);
  put<uint16_t>(out, static_cast<uint16_t>(entries.size()));
  put<uint16_t>(out, static_cast<uint16_t>(entries.size()));
  put<uint32_t>(out, static_cast<uint32_t>(directory.size()));
  put<uint32_t>(out, start);
  put<uint16_t>(out, 0);
  return out;
}

}  // namespace wengert::run
