// Instruments that a trace carries while it lists what is recorded: each sees the launches of the
// thread, and is told which line they were for.
#pragma once

#include <array>
#include <chrono>
#include <unordered_map>
#include <vector>

#include "kernels/work.h"
#include "tape/node.h"

namespace wengert {

class Gauge : public LaunchObserver {
 public:
  // The launches since the last line were for this one; entries are the trace's.
  virtual void on_line(size_t entry, Node& node, const Tensor* const* inputs,
                       const Tensor* outputs) = 0;
  // A walk comes to a node: the launches that follow pull its adjoints back.
  virtual void on_adjoints(size_t entry, Node& node, const Tensor* const* grads) = 0;

  void on_launch(const Launch& l) override {
    if (before_) before_->on_launch(l);
  }
  void on_done(const Launch& l) override {
    if (before_) before_->on_done(l);
  }
  void start() { before_ = set_launch_observer(this); }
  void stop() { set_launch_observer(std::exchange(before_, nullptr)); }

 private:
  LaunchObserver* before_ = nullptr;
};

// Time and work of each line, forwards and backwards.
class Meter final : public Gauge {
 public:
  struct Reading {
    double seconds = 0;
    Work work;
    int64_t launches = 0;
  };
  struct Readings {
    Reading forward, backward;
  };

  void on_line(size_t entry, Node&, const Tensor* const*, const Tensor*) override {
    std::swap(of(entry).forward, pending_);
    pending_ = {};
    pulling_ = false;
  }
  void on_adjoints(size_t entry, Node&, const Tensor* const*) override {
    of(entry);
    pulled_ = entry;
    pulling_ = true;
  }
  void on_launch(const Launch& l) override {
    Gauge::on_launch(l);
    Reading& r = current();
    const Work w = work_of(l);
    r.work.flops += w.flops;
    r.work.bytes += w.bytes;
    ++r.launches;
    began_ = Clock::now();
  }
  void on_done(const Launch& l) override {
    current().seconds += std::chrono::duration<double>(Clock::now() - began_).count();
    Gauge::on_done(l);
  }
  Readings read(size_t entry) { return of(entry); }

 private:
  using Clock = std::chrono::steady_clock;
  Readings& of(size_t entry) {
    if (readings_.size() <= entry) readings_.resize(entry + 1);
    return readings_[entry];
  }
  Reading& current() { return pulling_ ? readings_[pulled_].backward : pending_; }

  std::vector<Readings> readings_;
  Reading pending_;
  size_t pulled_ = 0;
  bool pulling_ = false;
  Clock::time_point began_;
};

}  // namespace wengert
