// A recording from the entries of a file, all of which are looked at before anything runs.
#pragma once

#include "program/file_format.h"

namespace wengert {

// What the entries lead to.
struct FileParts {
  std::vector<Ref<Storage>> memories;
  std::vector<Ref<Node>> leaves;  // null where the leaf is an argument's
  std::vector<Generator*> generators;
  std::vector<std::shared_ptr<const SettingsSource>> groups;
};

// Throws where an entry is not what it can be: what is returned reaches no memory but its own.
Recording make_recording(const FileDescription& d, const FileParts& parts);

// Sets what a group of the file says; throws for what its rule does not have.
void read_group(const FileGroup& group, OptimizerLaunch& settings);

// The tensor, where it stays within its memory.
Tensor tensor_of(const FileTensor& t, const std::vector<Ref<Storage>>& memories);

}  // namespace wengert
