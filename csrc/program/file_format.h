// What stands in a program's file (docs/saved-programs.md), and its header and checksum.
#pragma once

#include <string>
#include <vector>

#include "program/archive.h"
#include "program/recording.h"

namespace wengert {

inline constexpr char kFileMagic[8] = {'\x89', 'W', 'G', 'P', '\r', '\n', '\x1a', '\n'};
inline constexpr uint32_t kFileVersion = 1;
struct FileHeader {
  char magic[8];
  uint32_t version, zero;
  uint64_t bytes;        // of the file
  uint64_t checksum;     // of what comes after the header
  uint64_t description;  // bytes of it, which stands next
};
static_assert(sizeof(FileHeader) == 40);
inline constexpr size_t kChecked = 32;  // from here on, the checksum holds

// CRC-64 of ECMA-182 as .xz files have it (The .xz File Format, version 1.1.0, section 6).
uint64_t crc64(const char* data, size_t bytes);

// --- the description's entries -------------------------------------------------------------------

// A tensor in one of the file's memories, or nowhere.
struct FileTensor {
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t memory = kNone;
  DType dtype{};
  Dims sizes{}, strides{};
  int64_t offset = 0;  // in bytes
};
struct FileSlot {
  uint8_t kind = 0;
  uint64_t bytes = 0;
  uint32_t index = 0;
};
struct FilePointer {
  uint32_t slot = TensorPlace::kNone;  // a null pointer
  int64_t offset = 0;
};
struct FileStep {
  // a launch, if it has a kernel
  std::string kernel;
  Launch launch{};
  GemmParams gemm{};
  std::string activation;
  ConvParams conv{};
  PoolParams pool{};
  OptimizerLaunch optimizer{};
  std::vector<OptimizerItem> items;
  std::vector<ListedTensor> list;
  std::vector<FilePointer> pointers;  // of the buffers, then what KeptLaunch::each_pointer tells
  int32_t stream = -1;
  uint64_t counter = 0;
  int32_t group = -1;
  // or a check
  std::string check;
  CheckFacts facts;
  std::string text[2];
  std::vector<TensorPlace> checked;
};
struct FileLeaf {
  int32_t argument = -1;
  bool looked_at = false, changed = false;
  TensorPlace before, after;
  DType dtype{};  // of the leaf itself, and its sizes
  Dims sizes{};
  FileTensor grad;
};
struct FileStream {
  uint64_t seed = 0, counter = 0, end_seed = 0, end_counter = 0;
  bool seeded = false;
  uint64_t now_seed = 0, now_counter = 0;
};
struct FileSetting {
  std::string name;
  double value = 0;
};
struct FileGroup {
  std::string rule;
  std::vector<FileSetting> settings;
};
struct FileArgument {
  std::string name;
  TensorPlace place;
};
struct FileNamed {
  std::string name;
  uint8_t role = 0;
  int32_t leaf = -1;
  FileTensor tensor;
};
struct FileDescription {
  std::string producer, structure;
  std::vector<uint64_t> memories;  // bytes of each
  std::vector<FileSlot> slots;
  std::vector<uint32_t> slot_memory;  // of each slot, or kNone
  std::vector<FileArgument> arguments;
  std::vector<TensorPlace> results;
  std::vector<FileLeaf> leaves;
  std::vector<FileStream> streams;
  std::vector<FileGroup> groups;
  std::vector<FileStep> steps;
  std::vector<FileNamed> tensors;
};

// What a plan may change is kept as it was recorded: the entries of slots and steps, as bytes.
struct RecordedBytes {
  std::string slots, steps;
  std::vector<Slot::Kind> kinds;  // of the slots
  struct Group {
    std::shared_ptr<const SettingsSource> source;
    OptimizerRule rule;
  };
  std::vector<Group> groups;
};
RecordedBytes bytes_of(const Recording& r);

std::string write_description(FileDescription& d, const RecordedBytes& recorded);
FileDescription read_description(const char* data, size_t bytes);

DType dtype_of(const std::string& name);
KernelId kernel_of(const std::string& name);

}  // namespace wengert
