#pragma once

#include "cuda_emulator/api.h"
