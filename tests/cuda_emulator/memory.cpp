#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace cuda_emulator {

namespace {

constexpr size_t kDefaultCapacity = size_t{8} << 30;
constexpr size_t kReserved = size_t{64} << 30;
constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kFilled = size_t{1} << 20;  // how much of a fresh allocation is filled

constexpr size_t kMuch = size_t{64} << 20;
constexpr std::chrono::microseconds kDear(500);  // of opening the region

size_t rounded_up(size_t size, size_t step) {
  return (size + step - 1) / step * step;
}

}  // namespace

DeviceMemory::DeviceMemory() {
  page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const char* capacity = std::getenv("WENGERT_EMULATOR_MEMORY");
  capacity_ = capacity != nullptr ? std::strtoull(capacity, nullptr, 10) : kDefaultCapacity;
  const char* guard = std::getenv("WENGERT_EMULATOR_GUARD");
  guard_ = guard != nullptr && *guard != '\0' && *guard != '0';
  reserved_ = std::max(kReserved, rounded_up(2 * capacity_, page_));
  const auto reserve = [&] {
    return mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  };
  void* base = reserve();
  while (base == MAP_FAILED && reserved_ > 2 * kHugePage) {  // a limit of the process forbids it
    reserved_ /= 2;
    base = reserve();
  }
  if (base == MAP_FAILED) throw std::bad_alloc();
  // Opening and closing costs by the page, so the pages are to be large ones where they can.
  const auto address = reinterpret_cast<uintptr_t>(base);
  const size_t lead = rounded_up(address, kHugePage) - address;
  base_ = static_cast<char*>(base) + lead;
  reserved_ -= lead;
  capacity_ = std::min(capacity_, reserved_);
  madvise(base_, reserved_, MADV_HUGEPAGE);
}

void* DeviceMemory::allocate(size_t size) {
  if (size > capacity_) return nullptr;
  const size_t pages = rounded_up(std::max<size_t>(size, 1), page_);
  if (pages > capacity_ - used_) return nullptr;
  const size_t needed = pages + (guard_ ? page_ : 0);
  size_t offset = 0;
  for (const auto& [begin, allocation] : allocations_) {
    if (begin - offset >= needed) break;
    offset = begin + allocation.pages + (guard_ ? page_ : 0);
  }
  if (offset + needed > reserved_) return nullptr;
  // With guards an allocation ends, as nearly as its alignment lets it, where its pages end.
  const size_t lead = guard_ ? pages - rounded_up(std::max<size_t>(size, 1), kAlignment) : 0;
  char* pointer = base_ + offset + lead;
  allocations_[offset] = {pages, pointer, size, true};
  fresh_.push_back(offset);
  used_ += pages;
  changed_ = true;
  return pointer;
}

std::map<size_t, DeviceMemory::Allocation>::const_iterator DeviceMemory::around(
    const void* p) const {
  if (!contains(p)) return allocations_.end();
  auto after = allocations_.upper_bound(static_cast<size_t>(static_cast<const char*>(p) - base_));
  if (after == allocations_.begin()) return allocations_.end();
  return --after;
}

bool DeviceMemory::release(void* p) {
  const auto found = around(p);
  if (found == allocations_.end() || found->second.pointer != p) return false;
  char* begin = base_ + found->first;
  const size_t pages = found->second.pages;
  if (pages >= kHugePage) {  // what is smaller is kept: a huge page would be broken up
    const size_t lead = rounded_up(found->first, kHugePage) - found->first;
    madvise(begin + lead, (pages - lead) / kHugePage * kHugePage, MADV_DONTNEED);
  }
  if (open_) mprotect(begin, pages, PROT_NONE);
  used_ -= pages;
  changed_ = true;
  std::erase(fresh_, found->first);
  allocations_.erase(found);
  return true;
}

bool DeviceMemory::contains(const void* p) const {
  const auto* at = static_cast<const char*>(p);
  return at >= base_ && at < base_ + reserved_;
}

bool DeviceMemory::holds(const void* p, size_t size) const {
  const auto found = around(p);
  if (found == allocations_.end()) return false;
  const Allocation& allocation = found->second;
  const auto* at = static_cast<const char*>(p);
  if (at < allocation.pointer) return false;
  const auto before = static_cast<size_t>(at - allocation.pointer);
  return before <= allocation.size && size <= allocation.size - before;
}

void* DeviceMemory::start_of(const void* p) const {
  const auto found = around(p);
  if (found == allocations_.end() || !holds(p, 0)) return nullptr;
  return found->second.pointer;
}

void DeviceMemory::find_spans() {
  spans_.clear();
  for (const auto& [offset, allocation] : allocations_) {
    if (!spans_.empty() && spans_.back().offset + spans_.back().size == offset) {
      spans_.back().size += allocation.pages;
    } else {
      spans_.push_back({offset, allocation.pages});
    }
  }
}

void DeviceMemory::protect(int protection) {
  for (const Span& span : spans_) {
    if (mprotect(base_ + span.offset, span.size, protection) != 0) throw std::bad_alloc();
  }
}

void DeviceMemory::open() {
  if (open_ && !changed_) return;
  const auto begin = Clock::now();
  if (changed_) {
    if (open_) protect(PROT_NONE);
    find_spans();
    changed_ = false;
  }
  protect(PROT_READ | PROT_WRITE);
  open_ = true;
  cost_ = Clock::now() - begin;
  for (const size_t offset : fresh_) {
    Allocation& allocation = allocations_[offset];
    if (allocation.fresh) std::memset(allocation.pointer, 0xFF, std::min(allocation.size, kFilled));
    allocation.fresh = false;
  }
  fresh_.clear();
}

void DeviceMemory::close() {
  if (!open_) return;
  // Where much memory is in use, and in small pages, the region is closed only now and then.
  const auto now = Clock::now();
  if (used_ > kMuch && cost_ > kDear && now - closed_ < 20 * cost_) return;
  protect(PROT_NONE);
  open_ = false;
  closed_ = Clock::now();
}

}  // namespace cuda_emulator
