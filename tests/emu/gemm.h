// The one matrix product behind the stand-ins of cuBLAS and cuBLASLt: column-major, summed in double, with an epilogue.
#pragma once

#include <library_types.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "emu/grid.h"

namespace emu::lib {

/// Bytes of an element; 0 for a type that is not emulated.
size_t size_of(cudaDataType_t type);
double load(const void* data, int64_t i, cudaDataType_t type);
void store(void* data, int64_t i, cudaDataType_t type, double value);

struct Matrix {
  const void* data = nullptr;
  int64_t rows = 0, cols = 0, ld = 0;  // as stored
  cudaDataType_t type = CUDA_R_32F;

  double at(int64_t row, int64_t col) const { return load(data, row + col * ld, type); }
};

enum class Epilogue : uint8_t { kNone, kRelu, kGelu };

/// D = act(alpha op(A) op(B) + beta C + bias), bias running down the rows of D. With beta = 0, C is not read.
struct Gemm {
  Matrix a, b, c, d;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
  Epilogue act = Epilogue::kNone;
};

/// Checks that all of it is memory of `device`, declares what is read and written and computes. Reports what is wrong;
/// computes nothing then.
void run_gemm(const Gemm& g, int device, OpId op, const char* what);

}  // namespace emu::lib
