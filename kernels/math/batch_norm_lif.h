// Batch norm and LIF neurons in one walk, one time step forward and backward:
//   y = (x - mean) * (inv_std * weight) + bias ;  then lif.h with y as its x
// The gradient of x follows in a second walk from that of y, through the statistics: both read what the other leaves in grad_x.
#pragma once

#include "channels.h"
#include "lif.h"

namespace spikeops {

// Numbers of a channel in the arithmetic.
template <class S>
struct Norm { S mean, scale, bias; };

template <class S>
SPIKEOPS_HD S normalised(S x, S mean, S scale, S bias) {
  return (x - mean) * scale + bias;
}

// What the gradient of a channel's x needs besides: the mean gradient of y, and its slope in x - mean.
template <class S>
struct NormGradient { S mean, scale, grad_mean, grad_slope; };

template <class S>
SPIKEOPS_HD S norm_gradient(S grad_y, S x, S mean, S scale, S grad_mean, S grad_slope) {
  return ((grad_y - grad_mean) - (x - mean) * grad_slope) * scale;
}

// Whose statistics they are. The numbers are part of the op schemas: spikeops/functional/batch_norm_lif.py.
//   given     constants: the gradient of x is that of y times the scale
//   own       of this x, through which the gradient passes
//   gathered  of more than this x: grad_x is left as the gradient of y, since the sums of others are still to come
enum class Statistics : int { given = 0, own = 1, gathered = 2 };

// Of each channel, (C) state.
struct BatchNorm {
  int64_t C, inner;         // neuron n is of channel n / inner % C
  int statistics;           // Statistics
  const void* mean;
  const void* inv_std;
  const void* weight;       // or null: 1
  const void* bias;         // or null: 0
};

template <class S>
SPIKEOPS_HD Norm<S> norm_of(const BatchNorm& b, int64_t channel) {
  const S inv_std = static_cast<const S*>(b.inv_std)[channel];
  return {static_cast<const S*>(b.mean)[channel],
          b.weight != nullptr ? inv_std * static_cast<const S*>(b.weight)[channel] : inv_std,
          b.bias != nullptr ? static_cast<const S*>(b.bias)[channel] : S(0)};
}

struct BatchNormLifForward {
  LifNeuron neuron;         // without a decay for each neuron, nor a constant input
  BatchNorm norm;
  void* spikes;             // (T, N) data
  void* v_last;             // (N) state
};

struct BatchNormLifBackward {
  LifNeuron neuron;
  BatchNorm norm;
  int surrogate;            // Surrogate
  double surrogate_scale, surrogate_peak;
  Channels channels;        // of (N)
  const void* grad_spikes;  // (T, N) data, or null: 0
  const void* grad_v_last;  // (N) state, or null: 0
  void* grad_x;             // (T, N) data: the gradient of y, or, with given statistics, that of x
  double* partials;         // (2, blocks, C): of the gradient of y, and of its product with x - mean. The terms of a neuron are added
                            // over time first, from the last step to the first, in the precision of the state
  void* grad_v_init;        // (N) state, or null
};
SPIKEOPS_HD Shares shares_of(const BatchNormLifBackward& a) {
  // Runs of neurons, or blocks of rows, each in one piece.
  const Channels& c = a.channels;
  return {c.inner == 1 ? blocks_of(c) : c.rows * c.C, 1, (c.inner == 1 ? c.rows_per_block * c.C : c.inner) * a.neuron.T};
}

// The gradient of x from that of y, which it may overwrite.
struct BatchNormBackward {
  DType dtype;
  int64_t T, N;
  BatchNorm norm;
  double count;             // the sums are those of so many numbers
  const double* sums;       // (2, C): of the gradient of y, and of its product with (x - mean) * inv_std
  const void* grad_y;       // (T, N) data
  const void* x;            // (T, N) data
  void* grad_x;             // (T, N) data
};

template <class S>
SPIKEOPS_HD NormGradient<S> norm_gradient_of(const BatchNormBackward& a, int64_t channel) {
  const Norm<S> norm = norm_of<S>(a.norm, channel);
  const double inv_std = static_cast<const S*>(a.norm.inv_std)[channel];
  const double slope = a.sums[a.norm.C + channel] / a.count * inv_std;
  return {norm.mean, norm.scale, S(a.sums[channel] / a.count), S(slope)};
}

}  // namespace spikeops
