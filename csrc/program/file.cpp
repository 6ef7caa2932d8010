#include "program/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <unordered_map>

#include "core/error.h"
#include "core/version.h"
#include "kernels/reach.h"
#include "kernels/work.h"
#include "program/arena.h"
#include "program/file_recording.h"
#include "program/program.h"

namespace wengert {
namespace {

// --- writing -----------------------------------------------------------------------------------

class Writer {
 public:
  Writer(const Program& program, const ProgramNotes& notes)
      : p_(program), r_(program.recording()), notes_(notes) {}

  std::string description() {
    d_.producer = text("wengert ", kVersion);
    d_.structure = notes_.structure;
    slots();
    tensors();
    arguments();
    d_.results = r_.results;
    leaves();
    streams();
    groups();
    for (const Ref<Storage>& m : memories_) d_.memories.push_back(m->bytes);
    std::string bytes = write_description(d_, p_.recorded());
    check(bytes);
    return bytes;
  }
  const std::vector<Ref<Storage>>& memories() const { return memories_; }

 private:
  uint32_t memory_of(const Ref<Storage>& s) {
    const auto [it, fresh] = known_.try_emplace(s.get(), static_cast<uint32_t>(memories_.size()));
    if (fresh) memories_.push_back(s);
    return it->second;
  }
  FileTensor entry_of(const Tensor& t) {
    return {memory_of(t->storage), t.dtype(), t.sizes(), t.strides(),
            t.data() - static_cast<char*>(t->storage->data)};
  }

  void slots() {
    const auto& kinds = p_.recorded().kinds;  // a plan may have made others of them, and more
    for (size_t i = 0; i < kinds.size(); ++i) {
      const Slot& s = r_.slots[i];
      uint32_t memory = FileTensor::kNone;
      if (kinds[i] == Slot::External) {
        memory = memory_of(s.storage);
      } else if (kinds[i] == Slot::Constant || (kinds[i] == Slot::Result && !s.content.empty())) {
        const Ref<Storage> content = Storage::make(s.bytes, Device::CPU);
        std::copy(s.content.begin(), s.content.end(), static_cast<char*>(content->data));
        memory = memory_of(content);
      }
      d_.slot_memory.push_back(memory);
    }
  }

  int32_t leaf_of(const Tensor& t) const {
    for (size_t i = 0; t->node && i < r_.leaves.size(); ++i) {
      if (r_.leaves[i].leaf.get() == t->node.get()) return static_cast<int32_t>(i);
    }
    return -1;
  }
  void tensors() {
    std::vector<bool> named(r_.slots.size());
    for (const NamedTensor& t : notes_.tensors) {
      d_.tensors.push_back({t.name, t.role, leaf_of(t.tensor), entry_of(t.tensor)});
      for (size_t i = 0; i < r_.slots.size(); ++i) {
        if (r_.slots[i].storage.get() == t.tensor->storage.get()) named[i] = true;
      }
    }
    std::vector<DType> seen(r_.slots.size(), DType::UInt8);
    for (const Step& s : r_.steps) {
      for (const SlotPointer& p : s.pointers) {
        if (!s.launch || !p.storage) continue;
        for (int k = 0; k < s.launch->launch.nbuffers; ++k) {
          const Buffer& b = s.launch->launch.buffer[k];
          if (p.storage == &b.storage) seen[p.slot] = b.dtype;
        }
      }
    }
    for (size_t i = 0; i < p_.recorded().kinds.size(); ++i) {
      const Slot& s = r_.slots[i];
      if (s.kind != Slot::External || named[i]) continue;
      const auto n = static_cast<int64_t>(s.bytes / item_size(seen[i]));
      d_.tensors.push_back(
          {text("tensor.", i), NamedTensor::State, -1, {d_.slot_memory[i], seen[i], {n}, {1}, 0}});
    }
  }

  void arguments() {
    for (size_t i = 0; i < r_.arguments.size(); ++i) {
      const bool named = i < notes_.arguments.size();
      d_.arguments.push_back({named ? notes_.arguments[i] : text(i), r_.arguments[i]});
    }
  }

  void leaves() {
    for (const LeafPlace& l : r_.leaves) {
      FileLeaf out{l.argument, l.looked_at, l.changed, l.before, l.after, {}, {}, {}};
      if (l.argument < 0) {
        const auto& leaf = static_cast<const Leaf&>(*l.leaf);
        out.dtype = leaf.meta_storage.dtype;
        out.sizes = leaf.meta_storage.sizes;
        if (leaf.grad.defined()) out.grad = entry_of(leaf.grad);
        if (l.looked_at && leaf.grad.defined() != (l.before.slot != TensorPlace::kNone)) {
          fail(ErrorKind::Capture, "a gradient ", leaf.grad.defined() ? "has come" : "is gone",
               " since the program was captured, with which it could not go on; save it where the "
               "gradients are as they were");
        }
      }
      d_.leaves.push_back(std::move(out));
    }
  }

  void streams() {
    for (const Stream& s : r_.streams) {
      const RandomState now = s.generator->state();
      d_.streams.push_back(
          {s.seed, s.counter, s.end_seed, s.end_counter, s.seeded, now.seed, now.counter});
    }
  }

  void groups() {
    for (const auto& [source, rule] : p_.recorded().groups) {
      OptimizerLaunch now{};
      now.rule = rule;
      source->read(now);
      FileGroup out{name_of(now.rule), {}};
      for (const Setting& s : settings_of(now.rule)) out.settings.push_back({s.name, s.get(now)});
      d_.groups.push_back(std::move(out));
    }
  }

  // That it can be read again: what cannot is refused now.
  void check(const std::string& bytes) const {
    const FileDescription again = read_description(bytes.data(), bytes.size());
    FileParts parts{memories_, {}, {}, {}};
    for (const auto& g : p_.recorded().groups) parts.groups.push_back(g.source);
    for (const LeafPlace& l : r_.leaves) parts.leaves.push_back(l.leaf);
    for (const Stream& s : r_.streams) parts.generators.push_back(s.generator);
    try {
      make_recording(again, parts);
    } catch (const Error& e) {
      throw Error(ErrorKind::Capture, text("this program cannot be kept in a file: ", e.what()));
    }
  }

  const Program& p_;
  const Recording& r_;
  const ProgramNotes& notes_;
  FileDescription d_;
  std::vector<Ref<Storage>> memories_;
  std::unordered_map<const Storage*, uint32_t> known_;
};

[[noreturn]] void cannot(const char* what, const std::string& path) {
  fail("cannot ", what, " '", path, "': ", std::strerror(errno));
}

}  // namespace

void save_program(const std::string& path, Program& program, const ProgramNotes& notes) {
  if (program.device_run()) {
    fail(ErrorKind::NotImplemented,
         "save: a program on a CUDA device cannot be saved; capture it on the CPU");
  }
  const auto held = program.hold();
  Writer writer(program, notes);
  const std::string description = writer.description();
  std::string body(sizeof(FileHeader), '\0');
  body += description;
  for (const Ref<Storage>& m : writer.memories()) {
    body.resize(rounded(body.size()));
    body.append(static_cast<const char*>(m->data), m->bytes);
  }
  FileHeader h{};
  std::memcpy(h.magic, kFileMagic, sizeof h.magic);
  h.version = kFileVersion;
  h.bytes = body.size();
  h.description = description.size();
  std::memcpy(body.data(), &h, sizeof h);
  h.checksum = crc64(body.data() + kChecked, body.size() - kChecked);
  std::memcpy(body.data(), &h, sizeof h);
  // Whole, or not at all: a file that was there stays until this one is complete.
  const std::string part = text(path, ".", getpid(), ".part");
  std::ofstream file(part, std::ios::binary);
  file.write(body.data(), static_cast<std::streamsize>(body.size()));
  file.close();
  if (!file || std::rename(part.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    std::remove(part.c_str());
    errno = reason;
    cannot("write", path);
  }
}

// --- reading -----------------------------------------------------------------------------------

namespace {

std::string bytes_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  struct stat about{};
  if (!file || stat(path.c_str(), &about) != 0) cannot("read", path);
  if (!S_ISREG(about.st_mode)) fail("cannot read '", path, "': it is no file");
  std::string bytes(static_cast<size_t>(about.st_size), '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file.gcount() != static_cast<std::streamsize>(bytes.size())) cannot("read", path);
  return bytes;
}

// What stands before the data; the file is as long as it says, and what its checksum says.
FileHeader header_of(const std::string& file) {
  FileHeader h{};
  if (file.size() < sizeof h) fail("it is too short");
  std::memcpy(&h, file.data(), sizeof h);
  if (std::memcmp(h.magic, kFileMagic, sizeof h.magic) != 0) fail("it is no program of wengert's");
  if (h.version != kFileVersion || h.zero != 0) {
    fail("it is of format version ", h.version, "; this version of wengert reads ", kFileVersion);
  }
  if (h.bytes != file.size()) fail("it has ", file.size(), " bytes instead of ", h.bytes);
  if (h.checksum != crc64(file.data() + kChecked, file.size() - kChecked)) {
    fail("its checksum is wrong");
  }
  if (h.description > file.size() - sizeof h) fail("its description is longer than the file");
  return h;
}

std::vector<Ref<Storage>> memories_of(const FileDescription& d, const std::string& file,
                                      size_t at) {
  std::vector<Ref<Storage>> out;
  for (const uint64_t bytes : d.memories) {
    at = rounded(at);
    if (at > file.size() || bytes > file.size() - at) fail("it ends within its data");
    out.push_back(Storage::make(bytes, Device::CPU));
    std::memcpy(out.back()->data, file.data() + at, bytes);
    at += bytes;
  }
  if (at != file.size()) fail("more in it than belongs there");
  return out;
}

}  // namespace

// Settings that stand in the program itself.
class SavedProgram::Settings final : public SettingsSource {
 public:
  explicit Settings(const FileGroup& from) {
    rule_from(from.rule, now.rule);
    read_group(from, now);
  }
  void read(OptimizerLaunch& settings) const override {
    for (const Setting& s : settings_of(now.rule)) s.set(settings, s.get(now));
  }
  const void* group() const override { return this; }

  OptimizerLaunch now{};
};

SavedProgram::SavedProgram() = default;
SavedProgram::~SavedProgram() = default;

std::unique_ptr<SavedProgram> SavedProgram::load(const std::string& path) try {
  const std::string file = bytes_of_file(path);
  const FileHeader h = header_of(file);
  const FileDescription d = read_description(file.data() + sizeof h, h.description);
  FileParts parts{memories_of(d, file, sizeof h + h.description), {}, {}, {}};
  std::unique_ptr<SavedProgram> out(new SavedProgram);
  out->notes_.structure = d.structure;
  std::vector<Tensor> of_leaf(d.leaves.size());
  for (const FileNamed& t : d.tensors) {
    if (t.role > NamedTensor::State) fail("a tensor of role ", int{t.role});
    Tensor tensor = tensor_of(t.tensor, parts.memories);
    if (t.leaf < -1 || t.leaf >= static_cast<int64_t>(d.leaves.size())) fail("leaf ", t.leaf);
    if (t.leaf >= 0) {  // one of several names
      Tensor& known = of_leaf[static_cast<size_t>(t.leaf)];
      known.defined() ? tensor = known : known = tensor;
    }
    out->notes_.tensors.push_back({t.name, static_cast<NamedTensor::Role>(t.role), tensor});
  }
  for (size_t i = 0; i < d.leaves.size(); ++i) {
    const FileLeaf& l = d.leaves[i];
    if (l.argument >= 0) {
      parts.leaves.emplace_back();
      continue;
    }
    Tensor& t = of_leaf[i];
    if (!t.defined()) {  // of which only the gradient is known
      t = Tensor::empty({0}, l.dtype);
      t->sizes = l.sizes;
      t->strides = contiguous_strides(l.sizes);
    } else if (t.dtype() != l.dtype || !(t.sizes() == l.sizes)) {
      fail("a leaf of shape ", l.sizes, " for a tensor of shape ", t.sizes());
    }
    set_requires_grad(t, true);
    parts.leaves.push_back(Ref<Node>::share(node_of(t)));
    if (l.grad.memory == FileTensor::kNone) continue;
    const Tensor grad = tensor_of(l.grad, parts.memories);
    if (grad.dtype() != l.dtype || !(grad.sizes() == l.sizes)) {
      fail("a gradient of shape ", grad.sizes(), " for a leaf of shape ", l.sizes);
    }
    static_cast<Leaf&>(*node_of(t)).grad = grad;
  }
  for (const FileStream& s : d.streams) {
    out->generators_.push_back(std::make_unique<Generator>(RandomState{s.now_seed, s.now_counter}));
    parts.generators.push_back(out->generators_.back().get());
  }
  for (const FileGroup& g : d.groups) {
    out->groups_.push_back(std::make_shared<Settings>(g));
    parts.groups.push_back(out->groups_.back());
  }
  for (const FileArgument& a : d.arguments) {
    out->arguments_.push_back({a.name, a.place.dtype, a.place.sizes});
    out->notes_.arguments.push_back(a.name);
  }
  out->program_ = std::make_shared<Program>(make_recording(d, parts));
  return out;
} catch (const Error& e) {
  throw Error(e.kind(), text("load_program: '", path, "' cannot be read: ", e.what()));
}

// --- running -----------------------------------------------------------------------------------

std::vector<Tensor> SavedProgram::run(std::span<const Tensor> arguments) {
  if (const char* reason = program_->refuses(arguments)) {
    std::string expected;
    for (const Argument& a : arguments_) {
      expected += text(expected.empty() ? "" : ", ", a.name, ": ", name_of(a.dtype), ' ', a.sizes);
    }
    fail(ErrorKind::Value, "saved program: ", reason,
         " differs from what it was captured with; expected ", expected);
  }
  program_->read_settings();
  return program_->replay(arguments);
}

std::vector<Tensor> SavedProgram::train(std::span<const Tensor> arrays, const Batches& batches,
                                        const std::function<bool(int64_t)>& between) {
  if (arrays.empty() || arrays.size() != arguments_.size()) {
    fail(ErrorKind::Value, "saved program: ", arrays.size(), " arrays for ", arguments_.size(),
         " arguments");
  }
  std::vector<Tensor> data;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const Argument& a = arguments_[i];
    Dims row = arrays[i].sizes(), expected = a.sizes;
    if (row.empty() || expected.empty() || row[0] != arrays[0].size(0) ||
        expected[0] != arguments_[0].sizes[0] || expected[0] == 0) {
      fail(ErrorKind::Value, "saved program: data of shape ", row, " for '", a.name, "' of shape ",
           expected, "; expected rows, as many in each");
    }
    row.erase(0);
    expected.erase(0);
    if (!(row == expected) || arrays[i].dtype() != a.dtype) {
      fail(ErrorKind::Value, "saved program: data of ", name_of(arrays[i].dtype()), " and shape ",
           arrays[i].sizes(), " for '", a.name, "'; expected rows of ", name_of(a.dtype),
           " and shape ", expected);
    }
    data.push_back(ops::contiguous(ops::detach(arrays[i])));
  }
  const int64_t rows = arrays[0].size(0), batch = arguments_[0].sizes[0];
  const int64_t steps = rows / batch, all = steps * batches.epochs;
  std::vector<Tensor> stacked;
  for (const TensorPlace& r : program_->results()) {
    if (!is_contiguous(r.sizes, r.strides)) {
      fail("saved program: a result of shape ", r.sizes, " is not contiguous");
    }
    stacked.push_back(Tensor::empty(concat(Dims{all}, r.sizes), r.dtype));
  }
  program_->read_settings();
  Generator order_of(RandomState{batches.seed, 0});
  int64_t done = 0;
  bool goes_on = true;
  for (int64_t e = 0; e < batches.epochs && goes_on && steps > 0; ++e) {
    const Tensor order = batches.shuffle ? ops::permutation(rows, order_of) : ops::arange(rows);
    std::vector<Tensor> here;
    for (const Tensor& t : stacked) here.push_back(ops::narrow(t, 0, e * steps, steps));
    const int64_t now =
        program_->run(data, {order.data<int64_t>(), static_cast<size_t>(steps * batch)}, here,
                      {.every = between ? 1 : std::numeric_limits<int64_t>::max(),
                       .between = [&](int64_t k) { return goes_on = between(e * steps + k + 1); }});
    if (now < steps && goes_on) fail("saved program: its state is no longer what it goes on from");
    done += now;
  }
  for (Tensor& t : stacked) t = ops::narrow(t, 0, 0, done);
  return stacked;
}

Tensor SavedProgram::tensor(std::string_view name) const {
  for (const NamedTensor& t : notes_.tensors) {
    if (t.name == name) return t.tensor;
  }
  return {};
}

size_t SavedProgram::groups() const {
  return groups_.size();
}

std::vector<std::pair<std::string, double>> SavedProgram::settings(size_t group) const {
  const OptimizerLaunch& now = groups_.at(group)->now;
  std::vector<std::pair<std::string, double>> out;
  for (const Setting& s : settings_of(now.rule)) out.emplace_back(s.name, s.get(now));
  return out;
}

void SavedProgram::set(size_t group, std::string_view name, double value) {
  OptimizerLaunch& now = groups_.at(group)->now;
  for (const Setting& s : settings_of(now.rule)) {
    if (name != s.name) continue;
    OptimizerLaunch other = now;
    s.set(other, value);
    if (states_used(other) != states_used(now)) {
      fail(ErrorKind::Value, "saved program: ", name, "=", value,
           " asks for other states than it was captured with");
    }
    now = other;
    return;
  }
  fail(ErrorKind::Value, "saved program: ", name_of(now.rule), " has no setting '", name, "'");
}

void SavedProgram::set(std::string_view name, double value) {
  bool found = false;
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const Setting& s : settings_of(groups_[i]->now.rule)) {
      if (name != s.name) continue;
      set(i, name, value);
      found = true;
    }
  }
  if (!found)
    fail(ErrorKind::Value, "saved program: no optimizer in it has a setting '", name, "'");
}

void SavedProgram::seed(uint64_t seed) {
  for (const auto& g : generators_) g->manual_seed(seed);
}

void SavedProgram::save(const std::string& path) const {
  save_program(path, *program_, notes_);
}

}  // namespace wengert
