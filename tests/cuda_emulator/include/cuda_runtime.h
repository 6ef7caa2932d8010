#pragma once

#include "cuda_emulator.h"
#include "cuda_emulator/atomics.h"
#include "cuda_emulator/intrinsics.h"
#include "cuda_emulator/language.h"
#include "cuda_emulator/math.h"
