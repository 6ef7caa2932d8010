// Threads at work at once, for ThreadSanitizer to look at: graphs of their own, one model that all
// of them read, leaves that all of them add to.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "ops/autograd.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/anomaly.h"
#include "tape/node.h"

namespace wengert {
namespace {

constexpr int kThreads = 4;

void in_threads(const std::function<void(int)>& work) {
  std::atomic<int> waiting{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      --waiting;
      while (waiting.load() > 0) std::this_thread::yield();
      work(i);
    });
  }
  for (auto& t : threads) t.join();
}

Tensor filled(const Dims& sizes, double value, bool tracked = false) {
  const Tensor t = ops::full(sizes, {false, 0, value}, DType::Float64);
  if (tracked) set_requires_grad(t, true);
  return t;
}

struct Model {
  Tensor w1 = filled({8, 4}, 0.1, true), b1 = filled({8}, 0.2, true);
  Tensor w2 = filled({1, 8}, 0.3, true), b2 = filled({1}, 0.4, true);
  Tensor operator()(const Tensor& x) const {
    return ops::linear(ops::exp(ops::linear(x, w1, b1)), w2, b2);
  }
  std::vector<Tensor> parameters() const { return {w1, b1, w2, b2}; }
};

Tensor loss_of(const Tensor& y) {
  return ops::sum(ops::square(y), nullptr, false);
}

TEST(Races, GraphsOfTheirOwn) {
  in_threads([](int i) {
    const Model model;
    const Tensor x = filled({3, 4}, i);
    for (int step = 0; step < 30; ++step) {
      backward({loss_of(model(x))}, {}, {}, {});
      const auto again = grad({loss_of(model(x))}, {}, model.parameters(), {false, true});
      EXPECT_EQ(again.size(), 4u);
      const GradMode off(false);
      for (const Tensor& p : model.parameters()) {
        apply_<Sub>(p, ops::mul(grad_of(p), Tensor::scalar(1e-3, DType::Float64)));
        set_grad(p, {});
      }
    }
  });
}

TEST(Races, OneModelForInference) {
  const Model model;
  const double want = model(filled({3, 4}, 1)).view({}, {}).to_double();
  in_threads([&](int i) {
    const GradMode mode(i % 2 == 0);  // with and without recording
    for (int step = 0; step < 100; ++step) {
      EXPECT_EQ(model(filled({3, 4}, 1)).view({}, {}).to_double(), want);
    }
  });
}

TEST(Races, InferenceMode) {
  const Model model;
  in_threads([&](int) {
    const Modes before = enter_inference_mode(true);
    for (int step = 0; step < 50; ++step) EXPECT_TRUE(model(filled({3, 4}, 1))->storage->inference);
    restore_modes(before);
    EXPECT_FALSE(model(filled({3, 4}, 1))->storage->inference);
  });
}

TEST(Races, SharedLeavesGetEverySum) {
  const Model model;
  constexpr int kSteps = 25;
  in_threads([&](int) {
    for (int step = 0; step < kSteps; ++step)
      backward({loss_of(model(filled({3, 4}, 1)))}, {}, {}, {});
  });
  const Model alone;
  backward({loss_of(alone(filled({3, 4}, 1)))}, {}, {}, {});
  const double one = grad_of(alone.b2).view({}, {}).to_double();
  EXPECT_NEAR(grad_of(model.b2).view({}, {}).to_double(), kThreads * kSteps * one, 1e-6 * one);
}

TEST(Races, OneGraphWalkedByAll) {
  const Tensor x = filled({16}, 0.5, true);
  const Tensor loss = loss_of(ops::exp(ops::mul(x, x)));
  in_threads([&](int) {
    for (int step = 0; step < 25; ++step) {
      const auto g = grad({loss}, {}, {x}, {true});
      EXPECT_EQ(g[0].numel(), 16);
    }
  });
}

TEST(Races, ViewsOfOneBase) {
  const Tensor base = filled({8}, 1, true);
  const Tensor scaled = ops::mul(base, Tensor::scalar(2.0, DType::Float64));
  const Tensor view = ops::narrow(scaled, 0, 2, 3);
  in_threads([&](int) {
    for (int step = 0; step < 50; ++step) {
      EXPECT_TRUE(requires_grad(view));
      EXPECT_EQ(grad({loss_of(view)}, {}, {base}, {true})[0].numel(), 8);
    }
  });
}

TEST(Races, FreedByAnotherThread) {
  std::vector<Tensor> made(kThreads);
  in_threads([&](int i) {
    Tensor y = filled({4}, 1, true);
    for (int k = 0; k < 2000; ++k) y = ops::mul(y, Tensor::scalar(1.0, DType::Float64));
    made[static_cast<size_t>(i)] = y;
  });
  in_threads([&](int i) { made[static_cast<size_t>((i + 1) % kThreads)].reset(); });
}

TEST(Races, ChangesAndTheirNotes) {
  const Tensor shared = filled({4}, 0);
  const Saved kept = Saved::input(shared);
  in_threads([&](int) {
    for (int step = 0; step < 100; ++step) note_change("add", shared);
    EXPECT_EQ(last_change(shared), "add_");
  });
  EXPECT_EQ(shared.version(), static_cast<uint32_t>(100 * kThreads));
}

TEST(Races, AnomalyDetectionIsSwitchedForAll) {
  in_threads([](int i) {
    for (int step = 0; step < 50; ++step) {
      if (i == 0) set_anomaly_mode({step % 2 == 0});
      const Tensor x = filled({4}, 1, true);
      backward({loss_of(ops::exp(x))}, {}, {}, {});
    }
  });
  set_anomaly_mode({});
}

TEST(Races, KernelsOnThePool) {
  const Tensor x = filled({1 << 17}, 1, true);
  in_threads([&](int) {
    for (int step = 0; step < 3; ++step) {
      EXPECT_EQ(grad({loss_of(x)}, {}, {x}, {})[0].numel(), 1 << 17);
    }
  });
}

}  // namespace
}  // namespace wengert
