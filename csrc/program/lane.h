// Within an ensemble: where everything lies for a group of models, and one thread's copy of the
// launches.
#pragma once

#include "program/ensemble.h"

namespace wengert {

// For arguments of which some are each model's own.
struct Ensemble::Layout {
  Layout(const Ensemble& e, std::vector<bool> each);

  std::vector<bool> each;      // by argument
  std::vector<Slot> slots;     // Intermediate: in a lane's arena, for a group
  std::vector<int64_t> apart;  // by slot: bytes from one model's to the next's; 0: all share it
  int64_t group = 1;           // models at once, at most
  size_t arena = 0;
  std::vector<std::unique_ptr<Lane>> lanes;  // by thread
};

class Ensemble::Lane {
 public:
  Lane(Ensemble& e, const Layout& layout);
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Of the models [first, first + count).
  void bind(int64_t first, int64_t count);
  // Row k of the data.
  void bind_arguments(const EnsembleData& data, int64_t k);
  void step();
  // Copies each model's result to row [k, i] of `stacked`.
  void hand_out(std::span<const Tensor> stacked, int64_t k) const;
  std::vector<std::string> lines() const;

 private:
  struct Move {  // a pointer from model to model
    void* at;
    ptrdiff_t stride;
  };
  struct Line {
    const Step* of = nullptr;
    std::unique_ptr<KeptLaunch> launch;  // or a check
    std::vector<Tensor> checked;
    bool wide = false, repeated = false;
    int64_t size = 0, count = 0;  // of one model, where it is wide
    std::vector<Move> moves;
    int optimizer = -1;
  };
  Line copy_of(const Step& s);
  bool widens(Line& line, const Step& s);
  void patch(uint32_t slot, char* base, const Storage* storage);
  void take(const Line& line, bool observed) const;
  void repeat(Line& line, bool observed);
  void refill();

  Ensemble& e_;
  const Layout& layout_;
  std::vector<Line> lines_;
  std::vector<std::vector<SlotPointer>> pointers_;  // by slot
  std::vector<char*> base_;                         // by slot
  std::vector<uint32_t> refilled_;                  // slots
  std::vector<char*> starts_;                       // of a line's moves
  Ref<Storage> arena_;
  std::vector<Ref<Storage>> staged_;  // by argument
  int64_t first_ = 0, models_ = 0;
};

}  // namespace wengert
