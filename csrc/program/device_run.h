// How a program's launches on a CUDA device are replayed: stretches of them as graphs.
//
// A graph keeps the addresses that it was recorded with. Memory that is another at each replay (an
// argument, a result that the user still holds) gets a place of the graph's own, from or to which
// the numbers are copied around each replay; so does memory of the processor's that holds a number
// for a graph. That is found out from replay to replay, so what stays where it is, such as a
// gradient that is renewed, is never copied.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "program/recording.h"

namespace wengert {

// Between places of one device's memory, or of the processor's.
void copy_on(Device device, void* to, const void* from, size_t bytes);

class DeviceRun {
 public:
  // Of what a program does, in order, by which a graph can take.
  DeviceRun(const Recording& r, const std::vector<bool>& by_graph);

  // What stands for a slot in this replay is at `base`: returns the memory that launches find it in
  // if that is another.
  const Storage* settle(uint32_t slot, void* base);
  // Where the user finds what launches find at `base`.
  void* outer(uint32_t slot, void* base) const {
    return staged_[slot].own ? staged_[slot].outer : base;
  }

  // `prepare` sets what operation i reads; `launch` runs it, or is recorded.
  void execute(const std::function<void(size_t)>& prepare,
               const std::function<void(size_t)>& launch);

  int graphs() const;    // recorded
  size_t nodes() const;  // of them all

 private:
  struct Stretch {
    size_t first, count;
    bool graph;
    bool warm = false;  // it has run once, launch by launch
    std::unique_ptr<cuda::Graph> recorded;
  };
  struct Staged {
    void* baked = nullptr;  // where the graphs find it
    void* outer = nullptr;
    size_t bytes = 0;       // 0: cannot be staged
    bool in_graph = false;  // whether a graph may keep its address
    Ref<Storage> own;
  };
  void forget();
  // Replays share memory, which was made on this stream: on another than the last one's, a replay
  // waits for that.
  void follow_last();

  const Recording& r_;
  std::vector<Stretch> stretches_;
  std::vector<Staged> staged_;        // by slot
  std::vector<uint32_t> own_places_;  // slots that have one
  bool recorded_ = false;
  cuda::StreamId last_ = cuda::current_stream();
};

}  // namespace wengert
