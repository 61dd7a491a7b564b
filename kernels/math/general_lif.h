// Leaky integrate-and-fire neuron in its general form, one time step forward and backward: lif.h with numbers of each neuron, resets that
// come late, several spikes in a step and a lower bound of the membrane potential.
//   u = charge(v, x) ;  s = spikes(u) ;  w = reset(u, s) ;  v' = max(w - v_min, 0) + v_min, or w
#pragma once

#include "lif.h"
#include "surrogate_of_lif.h"

namespace spikeops {

// When a spike resets the membrane potential, and how. The numbers are part of the op schemas: spikeops/functional/_general_lif.py.
//   late       in the next step, by the spikes that v, what is left of this one, makes: before the decay ("to"), or after the input
//   guarded    at once, and once more in the next step if v still fires; that step's spikes reset by as many less, and without any the
//              reset is taken back
enum class ResetScheme : int {
  subtract = 0,
  subtract_late = 1,
  subtract_guarded = 2,
  to = 3,
  to_late = 4,
  to_late_with_input = 5,  // the input of that step is lost
  none = 6,
};
constexpr int kResetSchemes = 7;

SPIKEOPS_HD constexpr bool is_subtracting(ResetScheme scheme) { return scheme <= ResetScheme::subtract_guarded; }
// Whether the state before a step decides on a reset in it.
SPIKEOPS_HD constexpr bool looks_back(ResetScheme scheme) {
  return scheme == ResetScheme::subtract_late || scheme == ResetScheme::subtract_guarded || scheme == ResetScheme::to_late ||
         scheme == ResetScheme::to_late_with_input;
}

// How many spikes a step may have: one, or the membrane potential in thresholds, rounded.
enum class SpikeCounting : int { one = 0, whole = 1, nearest = 2 };

// Which membrane potentials are put out.
enum class Trace : int { none = 0, before = 1, after = 2 };

// Of a layer. Options are told by numbers that what differs from neuron to neuron is compared with: gcc does not vectorise a loop with a
// truth that comes from without.
template <class S>
struct GeneralLifParams {
  S v_rest, v_reset;
  S v_min;         // 0 without a bound
  S unbounded;     // below it, no bound matters: -infinity with a bound, infinity without
  S no_gradient;   // at w - v_min below it, no gradient passes: the smallest number above 0 with a bound, -infinity without
  S at_threshold;  // 1: a membrane potential that just reaches the threshold fires, 0: it does not
  S most_over;     // how much more than the potential in thresholds the number of several spikes may be: 0, or 1/2 for the nearest number
  S max_spikes;
  SurrogateNumbers<S> surrogate;
};

// Of each neuron.
template <class S>
struct GeneralLifNeuronNumbers { S decay, threshold, input_scale, reset_amount; };

// The gradients that pass from step to step, of the state and, summed over time, of the numbers of each neuron.
template <class S>
struct GeneralLifCarry { S v, decay, input_scale, threshold, reset_amount; };

template <class S>
struct GeneralLifStep {
  S late;    // the spikes of the state before the step, where the reset looks back
  S from;    // what decays
  S u;       // the membrane potential before the reset
  S spikes;  // how many
  S w;       // the membrane potential after the reset
  S v;       // and after the bound
};

template <class S>
SPIKEOPS_HD S general_lif_spikes(bool counts, S u, S threshold, const GeneralLifParams<S>& p) {
  if (!counts) return lif_fires(u, threshold, p.at_threshold);
  const S thresholds = u / threshold;
  const S nearest = nearest_whole(thresholds);
  const S over = nearest - thresholds;
  const S reached = over == p.most_over ? nearest - (S(1) - p.at_threshold) : nearest;
  const S count = over > p.most_over ? nearest - S(1) : reached;
  const S some = count > S(0) ? count : S(0);
  return some < p.max_spikes ? some : p.max_spikes;
}

// What follows from `late`, `u` and `spikes`. `bounded`: whether there may be a bound.
template <class S>
SPIKEOPS_HD void general_lif_fire(ResetScheme scheme, bool bounded, GeneralLifStep<S>& step,
                                  const GeneralLifNeuronNumbers<S>& n, const GeneralLifParams<S>& p) {
  const S u = step.u;
  S w = u;
  if (scheme == ResetScheme::subtract) w = step.spikes > S(0) ? u - step.spikes * n.reset_amount : u;
  if (scheme == ResetScheme::subtract_guarded) {
    const S resets = step.spikes - step.late;  // below 0: takes a reset back
    w = resets != S(0) ? u - resets * n.reset_amount : u;
  }
  if (scheme == ResetScheme::to) w = choice(step.spikes, p.v_reset, u);
  step.w = step.v = w;
  if (!bounded) return;
  const S above = w - p.v_min;
  const S in_bounds = (above < S(0) ? S(0) : above) + p.v_min;
  step.v = w < p.unbounded ? w : in_bounds;
}

// What the state before the step says. `counts`: whether there may be several spikes.
template <class S>
SPIKEOPS_HD GeneralLifStep<S> general_lif_look_back(ResetScheme scheme, bool counts, S v, const GeneralLifNeuronNumbers<S>& n,
                                                    const GeneralLifParams<S>& p) {
  GeneralLifStep<S> step;
  step.late = looks_back(scheme) ? general_lif_spikes(counts, v, n.threshold, p) : S(0);
  step.from = scheme == ResetScheme::to_late && step.late > S(0) ? p.v_reset : v;
  return step;
}

template <class S>
SPIKEOPS_HD GeneralLifStep<S> general_lif_step(ResetScheme scheme, bool counts, bool bounded, S v, S x,
                                               const GeneralLifNeuronNumbers<S>& n, const GeneralLifParams<S>& p) {
  GeneralLifStep<S> step = general_lif_look_back(scheme, counts, v, n, p);
  const S charged = lif_membrane(step.from, x, n.decay, n.input_scale, p.v_rest);
  S u = charged;
  if (scheme == ResetScheme::subtract_late || scheme == ResetScheme::subtract_guarded)
    u = step.late > S(0) ? charged - step.late * n.reset_amount : charged;
  if (scheme == ResetScheme::to_late_with_input) u = choice(step.late, p.v_reset, charged);
  step.u = u;
  step.spikes = general_lif_spikes(counts, u, n.threshold, p);
  general_lif_fire(scheme, bounded, step, n, p);
  return step;
}

template <class S>
SPIKEOPS_HD GeneralLifStep<S> general_lif_step(ResetScheme scheme, bool counts, S v, S x, const GeneralLifNeuronNumbers<S>& n,
                                               const GeneralLifParams<S>& p) {
  return general_lif_step(scheme, counts, true, v, x, n, p);
}

// The same step once more, of which `u` and `spikes` are known.
template <class S>
SPIKEOPS_HD GeneralLifStep<S> general_lif_step_again(ResetScheme scheme, bool counts, bool bounded, S v, S u, S spikes,
                                                     const GeneralLifNeuronNumbers<S>& n, const GeneralLifParams<S>& p) {
  GeneralLifStep<S> step = general_lif_look_back(scheme, counts, v, n, p);
  step.u = u;
  step.spikes = spikes;
  general_lif_fire(scheme, bounded, step, n, p);
  return step;
}

// Takes the carry back through a step; returns the gradient of x. `grad_u` and `grad_v` are what comes from traces of the membrane
// potential before and after the reset; `derivative` is that of the surrogate at the step's u.
template <class S>
SPIKEOPS_HD S general_lif_step_back(ResetScheme scheme, bool counts, bool bounded, bool detach_reset, GeneralLifCarry<S>& carry,
                                    S grad_spike, S grad_u, S grad_v, const GeneralLifStep<S>& step, S x, S derivative,
                                    const GeneralLifNeuronNumbers<S>& n, const GeneralLifParams<S>& p) {
  grad_v = carry.v + grad_v;
  const S grad_w = bounded && step.w - p.v_min < p.no_gradient ? S(0) : grad_v;

  S through_spike = grad_spike, kept = grad_w;
  if (scheme == ResetScheme::subtract) {
    if (!detach_reset) through_spike = through_spike - grad_w * n.reset_amount;
    carry.reset_amount = carry.reset_amount - (step.spikes > S(0) ? grad_w * step.spikes : S(0));
  } else if (scheme == ResetScheme::subtract_guarded) {
    if (!detach_reset) through_spike = through_spike - grad_w * n.reset_amount;
    const S resets = step.spikes - step.late;
    carry.reset_amount = carry.reset_amount - (resets != S(0) ? grad_w * resets : S(0));
  } else if (scheme == ResetScheme::to) {
    if (!detach_reset) through_spike = through_spike + grad_w * (p.v_reset - step.u);
    kept = step.spikes > S(0) ? S(0) : grad_w;
  }
  const S grad_distance = through_spike * derivative;
  // A single spike is a function of u - threshold, several are one of u / threshold.
  carry.threshold = carry.threshold - (counts ? grad_distance * (step.u / n.threshold) : grad_distance);
  grad_u = kept + grad_distance + grad_u;

  S grad_charged = grad_u;
  if (scheme == ResetScheme::subtract_late || scheme == ResetScheme::subtract_guarded)
    carry.reset_amount = carry.reset_amount - (step.late > S(0) ? grad_u * step.late : S(0));
  if (scheme == ResetScheme::to_late_with_input) grad_charged = step.late > S(0) ? S(0) : grad_u;
  carry.decay = carry.decay + grad_charged * (step.from - p.v_rest);
  carry.input_scale = carry.input_scale + grad_charged * x;
  const S grad_from = grad_charged * n.decay;
  carry.v = scheme == ResetScheme::to_late && step.late > S(0) ? S(0) : grad_from;
  return grad_charged * n.input_scale;
}

template <class S>
SPIKEOPS_HD S general_lif_step_back(ResetScheme scheme, bool counts, bool detach_reset, GeneralLifCarry<S>& carry, S grad_spike,
                                    S grad_u, S grad_v, S v, S x, S derivative, const GeneralLifNeuronNumbers<S>& n,
                                    const GeneralLifParams<S>& p) {
  const GeneralLifStep<S> step = general_lif_step(scheme, counts, v, x, n, p);
  return general_lif_step_back(scheme, counts, true, detach_reset, carry, grad_spike, grad_u, grad_v, step, x, derivative, n, p);
}

struct GeneralLifNeuron {
  DType dtype;           // of x, spikes, trace and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, threshold, input_scale, reset_amount, v_reset, v_rest, v_min, max_spikes;  // 0 spikes at most: no limit
  double scale, peak, center, a, b, c;  // of the surrogate
  int scheme;            // ResetScheme
  bool strict, detach_reset;
  int count;             // SpikeCounting
  bool is_bounded;
  int trace;             // Trace
  int surrogate, in_thresholds;
  const void* x;
  const void* decay_per_neuron;         // (N) state, or null: the number for all
  const void* threshold_per_neuron;     // likewise
  const void* input_scale_per_neuron;   // likewise
  const void* reset_amount_per_neuron;  // likewise
  const void* v_init;                   // (N) state, or null: 0
};

struct GeneralLifForward {
  GeneralLifNeuron neuron;
  void* spikes;  // (T, N) data
  void* v_last;  // (N) state
  void* trace;   // (T, N) data, or null
};

struct GeneralLifBackward {
  GeneralLifNeuron neuron;
  const void* grad_spikes;  // (T, N) data, or null: 0
  const void* grad_v_last;  // (N) state, or null: 0
  const void* grad_trace;   // (T, N) data, or null: 0
  void* grad_x;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_decay;         // (N) state, summed over time, or null; all of these
  void* grad_threshold;
  void* grad_input_scale;
  void* grad_reset_amount;
  void* grad_v_init;
};

template <class S>
static inline GeneralLifParams<S> general_lif_params(const GeneralLifNeuron& n) {
  const S infinity = std::numeric_limits<S>::infinity();
  return {S(n.v_rest),
          S(n.v_reset),
          n.is_bounded ? S(n.v_min) : S(0),
          n.is_bounded ? -infinity : infinity,
          n.is_bounded ? std::numeric_limits<S>::denorm_min() : -infinity,
          S(n.strict ? 0 : 1),
          S(n.count == int(SpikeCounting::nearest) ? 0.5 : 0),
          n.max_spikes > 0 ? S(n.max_spikes) : infinity,
          {S(n.scale), S(n.peak), S(n.center), S(n.a), S(n.b), S(n.c)}};
}

}  // namespace spikeops
