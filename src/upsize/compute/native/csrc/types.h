// What Python hands over, field by field as in library.py.
#pragma once

#include <cstdint>

namespace upsize {

enum Kind : int32_t { INT8 = 0, BF16 = 1 };

// Packed as tiles.h tells. Outputs are filled up with zeros to whole panels.
struct Matrix {
    const void* panels;
    const float* scales;  // int8: of each output
    int32_t inputs, outputs;
    int32_t group;  // int8: inputs that share a scale of their activations, a multiple of 16
    int32_t kind;
};

struct Layer {
    Matrix qkv, output, gate_up, down;  // gate_up: panels of 32 gates and their 32 ups
    const float *input_norm, *q_norm, *k_norm, *mlp_norm;
    int32_t hidden, heads, kv_heads, head_dim, intermediate;
    float eps;
};

// Rows on their way through the network. Keys and values lie in slots; each sequence's begin at a multiple of 64.
//   keys:   [kv_heads][slots / 64][head_dim / 2][64][2]
//   values: [kv_heads][head_dim / 64][slots / 2][64][2]
// so that both are panels for the bf16 tile, and attention is two products.
struct Batch {
    float* states;       // [rows][hidden], the residual stream
    uint16_t* queries;   // [rows][heads][head_dim], rotated and scaled
    const float *cos, *sin;  // [rows][head_dim / 2]
    uint16_t *keys, *values;
    const int32_t *first, *slot;  // [rows]: a row sees the slots from `first` up to its own, `slot`
    int64_t slots;
};

struct Kernels {
    void (*project)(const Layer&, const Batch&, int start, int stop);
    void (*finish)(const Layer&, const Batch&, int start, int stop);
    void (*turn)(float* x, int rows, int width);
    void (*linear)(const Matrix&, const float* x, int rows, float* out);
};

}  // namespace upsize
