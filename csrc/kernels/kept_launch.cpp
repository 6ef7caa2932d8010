#include "kernels/kept_launch.h"

namespace wengert {

KeptLaunch::KeptLaunch(const Launch& l) : launch(l) {
  const auto keep = [&]<class P>(P) {
    launch.pointer = &params_.emplace<P>(*static_cast<const P*>(l.pointer));
  };
  if (is_conv(l)) {
    keep(ConvParams{});
    return;
  }
  switch (static_cast<Kernel>(l.kernel)) {
    case Kernel::Gemm:
      keep(GemmParams{});
      break;
    case Kernel::MaxPool:
      keep(PoolParams{});
      break;
    case Kernel::OptimizerStep: {
      keep(OptimizerLaunch{});
      OptimizerLaunch& o = *optimizer();
      items_.assign(o.items, o.items + o.num_items);
      o.items = items_.data();
      break;
    }
    case Kernel::ManyNorm:
    case Kernel::ManyClip:
    case Kernel::ManyLimit:
    case Kernel::ManyUnscale: {
      keep(TensorList{});
      TensorList& list = std::get<TensorList>(params_);
      list_.assign(list.items, list.items + list.num_items);
      list.items = list_.data();
      break;
    }
    default:
      break;
  }
}

}  // namespace wengert
