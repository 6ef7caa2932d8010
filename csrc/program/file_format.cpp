#include "program/file_format.h"

#include <algorithm>
#include <unordered_map>

#include "kernels/reach.h"
#include "ops/checks.h"

namespace wengert {

uint64_t crc64(const char* data, size_t bytes) {
  using Table = std::array<std::array<uint64_t, 256>, 8>;
  static const Table table = [] {
    Table t{};
    for (uint64_t i = 0; i < 256; ++i) {
      uint64_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c & 1 ? c >> 1 ^ 0xC96C5795D7870F42u : c >> 1;
      t[0][i] = c;
    }
    for (size_t k = 1; k < 8; ++k) {
      for (size_t i = 0; i < 256; ++i) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    }
    return t;
  }();
  uint64_t c = ~uint64_t{0};
  for (; bytes >= 8; data += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    c ^= word;
    uint64_t next = 0;
    for (size_t k = 0; k < 8; ++k) next ^= table[7 - k][c >> (8 * k) & 255];
    c = next;
  }
  for (; bytes > 0; ++data, --bytes) {
    c = c >> 8 ^ table[0][(c ^ static_cast<uint8_t>(*data)) & 255];
  }
  return ~c;
}

DType dtype_of(const std::string& name) {
  for (int d = 0; d < kNumDTypes; ++d) {
    if (name == name_of(static_cast<DType>(d))) return static_cast<DType>(d);
  }
  fail("dtype '", name, "' is unknown to this version");
}

namespace {

// Their names in traces; where several kernels share one, the later have a number behind it.
struct KernelNames {
  std::vector<std::string> of;
  std::unordered_map<std::string, KernelId> ids;

  KernelNames() {
    std::unordered_map<std::string, int> times;
    for (int k = 0; k < kNumKernels; ++k) {
      std::string name = kernel_name(static_cast<KernelId>(k));
      if (const int n = ++times[name]; n > 1) name += text('#', n);
      ids.emplace(name, static_cast<KernelId>(k));
      of.push_back(std::move(name));
    }
  }
};
const KernelNames& kernel_names() {
  static const KernelNames names;
  return names;
}
std::string file_name(KernelId k) {
  return k < kNumKernels ? kernel_names().of[k] : kernel_name(k);
}

}  // namespace

KernelId kernel_of(const std::string& name) {
  const auto found = kernel_names().ids.find(name);
  if (found == kernel_names().ids.end()) fail("kernel '", name, "' is unknown to this version");
  return found->second;
}

namespace {

template <class Io>
void dtype(Io& io, DType& d) {
  std::string name = Io::kReads ? "" : name_of(d);
  io(name);
  if (Io::kReads) d = dtype_of(name);
}
template <class Io>
void dims(Io& io, Dims& d) {
  auto n = static_cast<uint8_t>(d.size());
  io(n);
  if (n > kMaxDims) fail("a tensor of ", int{n}, " dimensions");
  d.resize(n);
  for (int64_t& v : d) io(v);
}
template <class Io>
void place(Io& io, TensorPlace& p) {
  io(p.slot);
  if (p.slot == TensorPlace::kNone) return;
  auto offset = static_cast<int64_t>(p.offset);
  dtype(io, p.dtype);
  dims(io, p.sizes);
  dims(io, p.strides);
  io(offset, p.requires_grad, p.is_view);
  p.offset = offset;
  if (p.sizes.size() != p.strides.size()) fail("a tensor with more sizes than strides");
}
template <class Io>
void file_tensor(Io& io, FileTensor& t) {
  io(t.memory);
  if (t.memory == FileTensor::kNone) return;
  dtype(io, t.dtype);
  dims(io, t.sizes);
  dims(io, t.strides);
  io(t.offset);
  if (t.sizes.size() != t.strides.size()) fail("a tensor with more sizes than strides");
}

template <class Io>
void conv(Io& io, ConvParams& p) {
  io(p.batch, p.groups, p.in_channels, p.out_channels);
  for (auto* of : {&p.input, &p.output, &p.kernel, &p.stride, &p.padding, &p.dilation}) {
    io((*of)[0], (*of)[1], (*of)[2]);
  }
  io(p.has_bias);
}
template <class Io>
void pool(Io& io, PoolParams& p) {
  io(p.planes);
  for (auto* of : {&p.input, &p.output, &p.kernel, &p.stride, &p.padding, &p.dilation}) {
    io((*of)[0], (*of)[1], (*of)[2]);
  }
  io(p.adaptive);
}
template <class Io>
void gemm(Io& io, FileStep& s) {
  GemmParams& p = s.gemm;
  io(p.m, p.n, p.k, p.a_rs, p.a_cs, p.b_rs, p.b_cs, p.c_rs);
  io(p.accumulate, p.has_bias, p.has_activation);
  if (!p.has_activation) return;
  io(s.activation);
  if (Io::kReads) p.activation = kernel_of(s.activation);
}

// A pointer that is not null yet leads nowhere.
template <class Io, class P>
void presence(Io& io, P*& pointer) {
  bool there = pointer != nullptr;
  io(there);
  if (Io::kReads) pointer = there ? reinterpret_cast<P*>(uintptr_t{kAlignment}) : nullptr;
}
template <class Io>
void optimizer(Io& io, FileStep& s) {
  OptimizerLaunch& o = s.optimizer;
  std::string rule = Io::kReads ? "" : name_of(o.rule);
  io(rule);
  if (!rule_from(rule, o.rule)) fail("optimizer rule '", rule, "' is unknown to this version");
  io.list(s.items, [&](OptimizerItem& it) {
    auto format = static_cast<uint8_t>(it.format);
    io(it.count, format);
    if (format >= kNumStateFormats) fail("an optimizer's state of format ", int{format});
    it.format = static_cast<StateFormat>(format);
    presence(io, it.param);
    presence(io, it.grad);
    for (void*& state : it.state) presence(io, state);
    for (float*& peaks : it.peaks) presence(io, peaks);
    presence(io, it.steps);
  });
  io(o.grad_scale);
  presence(io, o.norm);
  if (o.norm) {
    dtype(io, o.norm_dtype);
    io(o.max_norm);
  }
  presence(io, o.found_inf);
}
template <class Io>
void list(Io& io, FileStep& s) {
  io.list(s.list, [&](ListedTensor& t) {
    io(t.count);
    dtype(io, t.dtype);
    presence(io, t.data);
  });
}

template <class Io>
void launch(Io& io, FileStep& s) {
  Launch& l = s.launch;
  if (Io::kReads) l.kernel = kernel_of(s.kernel);
  dtype(io, l.dtype);
  io(l.dense, l.count, l.ndim, l.nbuffers);
  if (l.ndim > kMaxDims || l.nbuffers > kMaxBuffers) fail("a launch of too many buffers");
  for (int d = 0; d < l.ndim; ++d) io(l.size[d]);
  const LaunchFields set = fields_of(l.kernel);
  for (int i = 0; i < set.numbers; ++i) io(l.integer[i]);
  for (int i = 0; i < set.more; ++i) io(l.more[i]);
  for (int k = 0; k < l.nbuffers; ++k) {
    dtype(io, l.buffer[k].dtype);
    if (!goes_by_strides(l, k)) continue;
    for (int d = 0; d < l.ndim; ++d) io(l.buffer[k].stride[d]);
  }
  switch (params_of(l.kernel)) {
    case ParamsKind::None:
      break;
    case ParamsKind::Gemm:
      gemm(io, s);
      break;
    case ParamsKind::Conv:
      conv(io, s.conv);
      break;
    case ParamsKind::Pool:
      pool(io, s.pool);
      break;
    case ParamsKind::Optimizer:
      optimizer(io, s);
      break;
    case ParamsKind::List:
      list(io, s);
      break;
  }
  io.list(s.pointers, [&](FilePointer& p) { io(p.slot, p.offset); });
  io(s.stream, s.counter, s.group);
}

template <class Io>
void step(Io& io, FileStep& s) {
  io(s.kernel);
  if (!s.kernel.empty()) return launch(io, s);
  io(s.check, s.text[0], s.text[1]);
  for (int64_t& v : s.facts.integer) io(v);
  for (double& v : s.facts.number) io(v);
  io.list(s.checked, [&](TensorPlace& p) { place(io, p); });
}

template <class Io>
void slot(Io& io, FileSlot& s) {
  io(s.kind, s.bytes, s.index);
}

template <class Io>
void before_slots(Io& io, FileDescription& d) {
  io(d.producer, d.structure);
  io.list(d.memories, [&](uint64_t& bytes) { io(bytes); });
}
template <class Io>
void between(Io& io, FileDescription& d) {
  io.list(d.slot_memory, [&](uint32_t& memory) { io(memory); });
  io.list(d.arguments, [&](FileArgument& a) {
    io(a.name);
    place(io, a.place);
  });
  io.list(d.results, [&](TensorPlace& p) { place(io, p); });
  io.list(d.leaves, [&](FileLeaf& l) {
    io(l.argument, l.looked_at, l.changed);
    place(io, l.before);
    place(io, l.after);
    dtype(io, l.dtype);
    dims(io, l.sizes);
    file_tensor(io, l.grad);
  });
  io.list(d.streams, [&](FileStream& s) {
    io(s.seed, s.counter, s.end_seed, s.end_counter, s.seeded, s.now_seed, s.now_counter);
  });
  io.list(d.groups, [&](FileGroup& g) {
    io(g.rule);
    io.list(g.settings, [&](FileSetting& s) { io(s.name, s.value); });
  });
}
template <class Io>
void after_steps(Io& io, FileDescription& d) {
  io.list(d.tensors, [&](FileNamed& t) {
    io(t.name, t.role, t.leaf);
    file_tensor(io, t.tensor);
  });
}

// --- of a recording ----------------------------------------------------------------------------

FileStep entry_of(const Step& s, RecordedBytes& to) {
  FileStep out;
  if (!s.launch) {
    out.check = s.check.rule->name;
    out.facts = s.check.facts;
    for (int i = 0; i < 2; ++i) out.text[i] = s.check.text[i];
    for (size_t i = 0; i < s.checked.size(); ++i) {
      const Tensor& t = s.checked[i];
      out.checked.push_back(
          {s.pointers[i].slot, t.dtype(), t.sizes(), t.strides(), s.pointers[i].offset});
    }
    return out;
  }
  out.launch = s.launch->launch;
  const Launch& l = out.launch;
  out.kernel = file_name(l.kernel);
  switch (params_of(l.kernel)) {
    case ParamsKind::None:
      break;
    case ParamsKind::Gemm:
      out.gemm = *static_cast<const GemmParams*>(l.pointer);
      if (out.gemm.has_activation) out.activation = file_name(out.gemm.activation);
      break;
    case ParamsKind::Conv:
      out.conv = *static_cast<const ConvParams*>(l.pointer);
      break;
    case ParamsKind::Pool:
      out.pool = *static_cast<const PoolParams*>(l.pointer);
      break;
    case ParamsKind::Optimizer:
      out.optimizer = *static_cast<const OptimizerLaunch*>(l.pointer);
      out.items.assign(out.optimizer.items, out.optimizer.items + out.optimizer.num_items);
      break;
    case ParamsKind::List: {
      const auto& of = *static_cast<const TensorList*>(l.pointer);
      out.list.assign(of.items, of.items + of.num_items);
      break;
    }
  }
  out.pointers.resize(l.nbuffers);
  for (const SlotPointer& p : s.pointers) {
    FilePointer* at = nullptr;
    for (int k = 0; k < l.nbuffers; ++k) {
      if (p.at == &s.launch->launch.buffer[k].data) at = &out.pointers[static_cast<size_t>(k)];
    }
    if (!at) at = &out.pointers.emplace_back();
    *at = {p.slot, p.offset};
  }
  out.stream = s.generator;
  out.counter = s.counter;
  if (s.settings) {
    const auto same = [&](const auto& g) { return g.source->group() == s.settings->group(); };
    const auto found = std::find_if(to.groups.begin(), to.groups.end(), same);
    out.group = static_cast<int32_t>(found - to.groups.begin());
    if (found == to.groups.end()) to.groups.push_back({s.settings, out.optimizer.rule});
  }
  return out;
}

}  // namespace

RecordedBytes bytes_of(const Recording& r) {
  RecordedBytes out;
  ArchiveWriter slots, steps;
  slots(static_cast<uint32_t>(r.slots.size()));
  for (const Slot& s : r.slots) {
    out.kinds.push_back(s.kind);
    FileSlot entry{s.kind, s.bytes, s.index};
    slot(slots, entry);
  }
  std::vector<FileStep> entries;
  for (const Step& s : r.steps) {
    // Those that a reader has put in, he puts in again.
    if (s.launch || s.check.rule != &checks::kOffsets) entries.push_back(entry_of(s, out));
  }
  steps.list(entries, [&](FileStep& s) { step(steps, s); });
  out.slots = slots.take();
  out.steps = steps.take();
  return out;
}

std::string write_description(FileDescription& d, const RecordedBytes& recorded) {
  ArchiveWriter io;
  before_slots(io, d);
  io.raw(recorded.slots);
  between(io, d);
  io.raw(recorded.steps);
  after_steps(io, d);
  return io.take();
}

FileDescription read_description(const char* data, size_t bytes) {
  FileDescription d;
  ArchiveReader io(data, bytes);
  before_slots(io, d);
  io.list(d.slots, [&](FileSlot& s) { slot(io, s); });
  between(io, d);
  io.list(d.steps, [&](FileStep& s) { step(io, s); });
  after_steps(io, d);
  if (!io.at_end()) fail("more in its description than belongs there");
  return d;
}

}  // namespace wengert
