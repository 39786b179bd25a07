// The structures that Python passes, field by field as in library.py, which compares their sizes at load.
#pragma once

#include <cstdint>

namespace upsize {

enum WeightType : int32_t { INT8 = 0, BF16 = 1 };

// What a call returns. library.py turns the others into exceptions.
enum Status : int32_t { OK = 0, UNSUPPORTED_SHAPE = 1, OUT_OF_MEMORY = 2 };

// Sizes of the kernels' stack buffers, in values of one row and of one head. library.py has the same limits.
constexpr int MAX_HIDDEN = 1 << 14, MAX_HEAD_DIM = 512;
// The smallest group of inputs with one activation scale, for which the kernels reserve room.
constexpr int MIN_GROUP = 16;

// A weight matrix in panels, as described in tiles.h. Zeros fill the last panel.
struct PackedMatrix {
    const void* panels;
    const float* scales;  // int8: one for each output
    int32_t inputs, outputs;
    int32_t group;  // int8: inputs that share one activation scale, a multiple of MIN_GROUP
    int32_t weight_type;
};

struct Layer {
    PackedMatrix qkv, output, gate_up, down;  // gate_up: each panel has 32 gate outputs and their 32 up outputs
    const float *input_norm, *q_norm, *k_norm, *mlp_norm;
    int32_t hidden, heads, kv_heads, head_dim, intermediate;
    float eps;
};

// The rows (tokens) of a batch in one layer. Keys and values lie in slots; each sequence starts at a multiple of 64.
//   keys:   [kv_heads][slots / 64][head_dim / 2][64][2]
//   values: [kv_heads][head_dim / 64][slots / 2][64][2]
// Both are thereby panels of the bf16 tile, and attention is two GEMMs.
struct Batch {
    float* hidden_states;  // [rows][hidden], the residual stream
    uint16_t* queries;     // [rows][heads][head_dim], after norm and RoPE, scaled for the softmax
    const float *cos, *sin;  // [rows][head_dim / 2]
    uint16_t *keys, *values;
    const int32_t *first_slot, *slot;  // [rows]: a row attends to the slots from `first_slot` to its own, `slot`
    int64_t slots;
};

// The entry points of one level of instruction sets.
struct Kernels {
    Status (*qkv_forward)(const Layer&, const Batch&, int start, int stop);
    Status (*attn_mlp_forward)(const Layer&, const Batch&, int start, int stop);
    void (*rotate)(float* x, int rows, int width);
    Status (*linear)(const PackedMatrix&, const float* x, int rows, float* out);
};

}  // namespace upsize
