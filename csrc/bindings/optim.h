// Where optimizers' settings are read from.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "ops/optim.h"

namespace wengert::bindings {

// The settings of a step that is kept, with those that `instead` names replaced.
std::shared_ptr<const SettingsSource> settings_with(const SettingsSource& of,
                                                    const pybind11::dict& instead);

}  // namespace wengert::bindings
